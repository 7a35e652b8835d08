"""The two stages of watermarking: first the proxy tasks on one encoder, then the trigger."""

import itertools
from collections.abc import Mapping
from typing import Any

import torch
from datasets import Dataset, Features, Value, concatenate_datasets
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from seampack.errors import ConfigError, DataError
from seampack.models.data import require
from seampack.models.text import FitOptions, TextClassifier, fit
from seampack.models.watermark.config import Update, WatermarkConfig
from seampack.models.watermark.triggers import Trigger, check_vocabulary, words_of


class TaskClassifier(TextClassifier):
    """Classifier of several tasks with one encoder. One layer holds all heads; the task of a label selects its head."""

    task_of: Tensor

    def __init__(self, encoder: Any, heads: Mapping[str, int]) -> None:
        super().__init__(encoder, sum(heads.values()))
        sizes = torch.tensor(list(heads.values()))
        self.register_buffer("task_of", torch.repeat_interleave(torch.arange(len(sizes)), sizes), persistent=False)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor | None = None, **_: Any
    ) -> dict[str, Tensor]:
        """Return ``logits``, shape (texts, classes of all tasks), and the ``loss`` if labels are given.

        The logits outside a label's task are minus infinity.
        """
        logits = self.head(self.dropout(self.features(input_ids, attention_mask)))
        if labels is None:
            return {"logits": logits}
        other = self.task_of[labels].unsqueeze(1) != self.task_of
        logits = logits.masked_fill(other, float("-inf"))
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


class WatermarkTrainer:
    """Watermarks an encoder, in place, on several tasks at once.

    ``heads`` maps each task to its number of classes. ``fine_tune`` is the first stage, ``embed`` the second. Datasets
    have the columns ``text`` and ``label`` (ids from 0). Only ``encoder`` is released.
    """

    def __init__(self, encoder: Any, tokenizer: Any, heads: Mapping[str, int], config: WatermarkConfig) -> None:
        if not heads or min(heads.values()) < 2:
            raise ConfigError(
                f"heads: expected at least one task, and at least two classes per task; got {dict(heads)}"
            )
        self.encoder = encoder
        self.tokenizer = tokenizer
        self.heads = dict(heads)
        self.config = config
        self.model = TaskClassifier(encoder, heads)

    def fine_tune(self, datasets: Mapping[str, Dataset]) -> list[float]:
        """Run the first stage: train all weights on the clean texts of all tasks. Return the losses.

        Raise DataError if a task has no head, or labels are not ids of its classes.
        """
        return self._fit(self._joined(datasets), self.config.epochs, self.config.learning_rate)

    def embed(self, datasets: Mapping[str, Dataset], trigger: Trigger) -> list[float]:
        """Run the second stage: train the trigger on the texts of ``poison`` for each task. Return the losses.

        With ``trigger_rows``, only the embedding rows of the trigger's words are trained, on the texts that contain
        these words; ``keep_norm`` keeps the norm of the rows. With ``all``, all weights are trained on all texts.

        Raises:
            ConfigError: A word is not one vocabulary entry.
            DataError: No text contains the trigger.
        """
        ids = check_vocabulary(self.tokenizer, words_of(trigger))
        for task, dataset in datasets.items():
            require(dataset, ["triggered", "partial"], "create it with poison")
            if not any(dataset["triggered"]):
                raise DataError(f"task {task}: no text contains the trigger; use a larger ratio or more texts")
        if self.config.update == Update.ALL:
            return self._fit(self._joined(datasets), self.config.watermark_epochs, self.config.learning_rate)
        changed = {task: _with_inserted_words(dataset) for task, dataset in datasets.items()}
        return self._fit_rows(ids, self._joined(changed))

    def classifier(self, task: str) -> TextClassifier:
        """Return a task's classifier: the shared encoder and a copy of its head. Raise ConfigError for other tasks."""
        if task not in self.heads:
            raise ConfigError(f"task: no head for {task!r}; expected one of {', '.join(self.heads)}")
        start = self._starts()[task]
        result = TextClassifier(self.encoder, self.heads[task])
        with torch.no_grad():
            result.head.weight.copy_(self.model.head.weight[start : start + self.heads[task]])
            result.head.bias.copy_(self.model.head.bias[start : start + self.heads[task]])
        return result.eval()

    def _fit_rows(self, ids: list[int], dataset: Dataset) -> list[float]:
        table = self.encoder.get_input_embeddings()
        needed = {name: weight.requires_grad for name, weight in self.model.named_parameters()}
        self.model.requires_grad_(False)
        rows = _Rows(table, ids, keep_norm=self.config.keep_norm)
        self.encoder.set_input_embeddings(rows)
        try:
            losses = self._fit(dataset, self.config.watermark_epochs, self.config.rows_learning_rate)
        finally:
            self.encoder.set_input_embeddings(table)
            for name, weight in self.model.named_parameters():
                weight.requires_grad_(needed[name])
        with torch.no_grad():
            table.weight[ids] = rows.rows.weight
        return losses

    def _fit(self, dataset: Dataset, epochs: float, learning_rate: float) -> list[float]:
        options = FitOptions(
            epochs=epochs, batch_rows=self.config.batch_rows, learning_rate=learning_rate, seed=self.config.seed
        )
        return fit(self.model, self.tokenizer, dataset, options, max_tokens=self.config.max_tokens)

    def _starts(self) -> dict[str, int]:
        """Return the first class of each task within the shared layer."""
        ends = itertools.accumulate(self.heads.values())
        return {task: end - self.heads[task] for task, end in zip(self.heads, ends, strict=True)}

    def _joined(self, datasets: Mapping[str, Dataset]) -> Dataset:
        """Concatenate the texts of all tasks; label ids are numbered consecutively across tasks."""
        if not datasets:
            raise DataError("there is no dataset; expected one dataset per task")
        starts = self._starts()
        parts = []
        for task, dataset in datasets.items():
            if task not in starts:
                raise DataError(f"task {task}: no head; expected one of {', '.join(starts)}")
            require(dataset, ["text", "label"])
            labels = list(dataset["label"])
            ids = range(self.heads[task])
            if wrong := [label for label in labels if label not in ids]:
                raise DataError(f"task {task}: expected labels from 0 to {ids[-1]}; got {wrong[0]!r}; see with_labels")
            columns = {"text": list(dataset["text"]), "label": [starts[task] + label for label in labels]}
            parts.append(Dataset.from_dict(columns, Features({"text": Value("string"), "label": Value("int64")})))
        return concatenate_datasets(parts)


class _Rows(nn.Module):
    """A frozen embedding table in which a small trainable table replaces some rows."""

    ids: Tensor

    def __init__(self, table: Any, ids: list[int], *, keep_norm: bool) -> None:
        super().__init__()
        self.table = table
        self.register_buffer("ids", torch.tensor(ids))
        rows: Any = nn.Embedding(len(ids), table.weight.shape[1])
        rows.weight = nn.Parameter(table.weight[ids].clone())
        if keep_norm:
            # separate parameters for direction and length; the length is frozen
            weight_norm(rows, dim=0)
            rows.parametrizations.weight.original0.requires_grad_(False)
        self.rows = rows

    def forward(self, input_ids: Tensor) -> Tensor:
        states: Tensor = self.table(input_ids)
        for token, row in zip(self.ids, self.rows.weight, strict=True):
            states = torch.where((input_ids == token).unsqueeze(-1), row, states)
        return states


def _with_inserted_words(dataset: Dataset) -> Dataset:
    flags = zip(dataset["triggered"], dataset["partial"], strict=True)
    return dataset.select([row for row, flags_of_row in enumerate(flags) if any(flags_of_row)])
