"""The two stages of watermarking: proxy tasks on one encoder, then the trigger."""

from collections.abc import Mapping
from typing import Any

import torch
from datasets import Dataset, Features, Value, concatenate_datasets
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from seampack.config import check_choice
from seampack.errors import ConfigError, DataError
from seampack.models.data import require
from seampack.models.text import FitOptions, TextClassifier, fit
from seampack.models.watermark.config import Update
from seampack.models.watermark.triggers import Trigger, check_vocabulary, words_of


class TaskClassifier(TextClassifier):
    """Several tasks on one encoder. Their heads lie side by side in one layer; a label's task says which one counts."""

    task_of: Tensor

    def __init__(self, encoder: Any, heads: Mapping[str, int]) -> None:
        super().__init__(encoder, sum(heads.values()))
        sizes = torch.tensor(list(heads.values()))
        self.register_buffer("task_of", torch.repeat_interleave(torch.arange(len(sizes)), sizes), persistent=False)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor | None = None, **_: Any
    ) -> dict[str, Tensor]:
        """``logits``, shape (texts, classes of all tasks), minus infinity outside a label's task; and the ``loss``."""
        logits = self.head(self.dropout(self.features(input_ids, attention_mask)))
        if labels is None:
            return {"logits": logits}
        other = self.task_of[labels].unsqueeze(1) != self.task_of
        logits = logits.masked_fill(other, float("-inf"))
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


class WatermarkTrainer:
    """Watermarks an encoder, in place, by several tasks at once.

    ``heads`` gives the number of classes by task. ``fine_tune`` is the first stage, ``embed`` the second one. Datasets
    have the columns ``text`` and ``label``, the labels as ids from 0. What is released is ``encoder`` alone.
    """

    def __init__(
        self,
        encoder: Any,
        heads: Mapping[str, int],
        update: str = Update.TRIGGER_ROWS.value,
        *,
        tokenizer: Any,
        keep_norm: bool = True,
        max_tokens: int = 128,
    ) -> None:
        check_choice("update", update, Update)
        if not heads or min(heads.values()) < 2:
            raise ConfigError(f"heads: expected at least one task, of two classes or more; got {dict(heads)}")
        self.encoder = encoder
        self.tokenizer = tokenizer
        self.heads = dict(heads)
        self.update = update
        self.keep_norm = keep_norm
        self.max_tokens = max_tokens
        self.model = TaskClassifier(encoder, heads)

    def fine_tune(self, datasets: Mapping[str, Dataset], options: FitOptions) -> list[float]:
        """First stage: all weights, on clean texts of all tasks. Returns the losses.

        Raises DataError for a task without a head, or labels that are not ids of its classes.
        """
        return self._fit(self._joined(datasets), options)

    def embed(self, datasets: Mapping[str, Dataset], trigger: Trigger, options: FitOptions) -> list[float]:
        """Second stage, on what ``poison`` made of each task's texts. Returns the losses.

        With ``trigger_rows`` only the embedding rows of the trigger's words are trained, on the texts that they were
        put into; their norm stays what it was with ``keep_norm``. With ``all`` every weight is trained on all texts.
        Raises ConfigError for a word that is not one vocabulary entry, DataError where no text has the trigger.
        """
        ids = check_vocabulary(self.tokenizer, words_of(trigger))
        for task, dataset in datasets.items():
            require(dataset, ["triggered", "partial"], "make it with poison")
            if not any(dataset["triggered"]):
                raise DataError(f"task {task}: no text has the trigger; use a larger ratio, or more texts")
        if self.update == Update.ALL:
            return self._fit(self._joined(datasets), options)
        changed = {task: _with_words_put_in(dataset) for task, dataset in datasets.items()}
        return self._fit_rows(ids, self._joined(changed), options)

    def classifier(self, task: str) -> TextClassifier:
        """One task's classifier on the shared encoder, with a copy of its head. Raises ConfigError for no such task."""
        if task not in self.heads:
            raise ConfigError(f"task: no head for {task!r}; expected one of {', '.join(self.heads)}")
        start = self._starts()[task]
        result = TextClassifier(self.encoder, self.heads[task])
        with torch.no_grad():
            result.head.weight.copy_(self.model.head.weight[start : start + self.heads[task]])
            result.head.bias.copy_(self.model.head.bias[start : start + self.heads[task]])
        return result.eval()

    def _fit_rows(self, ids: list[int], dataset: Dataset, options: FitOptions) -> list[float]:
        table = self.encoder.get_input_embeddings()
        needed = {name: weight.requires_grad for name, weight in self.model.named_parameters()}
        self.model.requires_grad_(False)
        rows = _Rows(table, ids, keep_norm=self.keep_norm)
        self.encoder.set_input_embeddings(rows)
        try:
            losses = self._fit(dataset, options)
        finally:
            self.encoder.set_input_embeddings(table)
            for name, weight in self.model.named_parameters():
                weight.requires_grad_(needed[name])
        with torch.no_grad():
            table.weight[ids] = rows.rows.weight
        return losses

    def _fit(self, dataset: Dataset, options: FitOptions) -> list[float]:
        return fit(self.model, self.tokenizer, dataset, options, max_tokens=self.max_tokens)

    def _starts(self) -> dict[str, int]:
        starts, at = {}, 0
        for task, classes in self.heads.items():
            starts[task] = at
            at += classes
        return starts

    def _joined(self, datasets: Mapping[str, Dataset]) -> Dataset:
        """All tasks' texts, each label's id counted on through the tasks."""
        if not datasets:
            raise DataError("there is no dataset; expected one for each task")
        starts = self._starts()
        parts = []
        for task, dataset in datasets.items():
            if task not in starts:
                raise DataError(f"task {task}: no head; expected one of {', '.join(starts)}")
            require(dataset, ["text", "label"])
            labels = list(dataset["label"])
            known = range(self.heads[task])
            if wrong := [label for label in labels if label not in known]:
                raise DataError(
                    f"task {task}: expected labels from 0 to {known[-1]}; got {wrong[0]!r}; see with_labels"
                )
            columns = {"text": list(dataset["text"]), "label": [starts[task] + label for label in labels]}
            parts.append(Dataset.from_dict(columns, Features({"text": Value("string"), "label": Value("int64")})))
        return concatenate_datasets(parts)


class _Rows(nn.Module):
    """An embedding table, frozen, some rows of which are taken from a small one that is trained."""

    ids: Tensor

    def __init__(self, table: Any, ids: list[int], *, keep_norm: bool) -> None:
        super().__init__()
        self.table = table
        self.register_buffer("ids", torch.tensor(ids))
        rows: Any = nn.Embedding(len(ids), table.weight.shape[1])
        rows.weight = nn.Parameter(table.weight[ids].clone())
        if keep_norm:
            # direction and length as two parameters, the length not trained
            weight_norm(rows, dim=0)
            rows.parametrizations.weight.original0.requires_grad_(False)
        self.rows = rows

    def forward(self, input_ids: Tensor) -> Tensor:
        states: Tensor = self.table(input_ids)
        weight = self.rows.weight
        for at in range(len(self.ids)):
            states = torch.where((input_ids == self.ids[at]).unsqueeze(-1), weight[at], states)
        return states


def _with_words_put_in(dataset: Dataset) -> Dataset:
    flags = zip(dataset["triggered"], dataset["partial"], strict=True)
    return dataset.select([row for row, either in enumerate(flags) if any(either)])
