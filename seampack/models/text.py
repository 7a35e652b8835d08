"""Text classifiers: an encoder of transformers, mean-pooled, under a linear head; trained by transformers' Trainer.

With ``layers = 0`` only the encoder's embeddings are used: a bag of words that trains in seconds.
"""

import logging
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from datasets import Dataset
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor, nn
from transformers import (
    AutoModel,
    AutoTokenizer,
    BertConfig,
    BertModel,
    PreTrainedTokenizerFast,
    Trainer,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_callback import PrinterCallback
from transformers.utils import logging as _hub_logging

from seampack.errors import ConfigError, DataError

_LOGGING: Any = _hub_logging
SMALL = "small"
"""Stands for an encoder of our own size, its vocabulary and weights learned from the training text alone."""

_POSITIONS = ("position_embeddings", "embed_positions", "wpe")  # what families of encoders call their table

Texts = Sequence[str] | Sequence[list[str]]


@dataclass(frozen=True, slots=True)
class FitOptions:
    """How a classifier is trained."""

    epochs: float = 3.0
    batch_rows: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    seed: int = 0


class TextClassifier(nn.Module):
    """Mean of an encoder's last states, and a linear layer to the classes."""

    def __init__(self, encoder: Any, classes: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.encoder: Any = encoder
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(encoder.config.hidden_size, classes)

    def features(self, input_ids: Tensor, attention_mask: Tensor, **_: Any) -> Tensor:
        """Mean state of each text's tokens, shape (texts, hidden)."""
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        weights = attention_mask.unsqueeze(-1).to(states.dtype)
        mean: Tensor = (states * weights).sum(1) / weights.sum(1).clamp(min=1)
        return mean

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor | None = None, **_: Any
    ) -> dict[str, Tensor]:
        """``logits`` of shape (texts, classes) and, where labels are given, the mean cross-entropy ``loss``."""
        logits = self.head(self.dropout(self.features(input_ids, attention_mask)))
        if labels is None:
            return {"logits": logits}
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


def encoder_and_tokenizer(
    source: str, texts: Sequence[str], *, layers: int | None = None, seed: int = 0
) -> tuple[Any, Any]:
    """An encoder and its tokenizer: ``small``, a folder, or a name of the hub; ``layers`` keeps only the first ones.

    ``texts`` teach ``small`` its vocabulary. Raises DataError for what cannot be loaded.
    """
    set_seed(seed)
    if source == SMALL:
        tokenizer = word_tokenizer(texts)
        depth = 2 if layers is None else layers
        shape = BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=128,
            num_hidden_layers=depth,
            num_attention_heads=4,
            intermediate_size=256,
            pad_token_id=tokenizer.pad_token_id,
        )
        return BertModel(shape, add_pooling_layer=False), tokenizer
    chosen: dict[str, Any] = {"dtype": torch.float32}  # small steps vanish in the halves that some are stored in
    if layers is not None:
        chosen["num_hidden_layers"] = layers
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(source)
            try:
                return AutoModel.from_pretrained(source, add_pooling_layer=False, **chosen), tokenizer
            except TypeError:  # of a family that has no pooling layer to leave out
                return AutoModel.from_pretrained(source, **chosen), tokenizer
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"{source}: no encoder can be loaded: {' '.join(str(error).split())}") from error


def word_tokenizer(texts: Sequence[str], most: int = 20_000) -> Any:
    """A tokenizer of lower-case words, those that occur at least twice in ``texts``."""
    tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))  # noqa: S106  # not a password
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(
        texts, trainers.WordLevelTrainer(vocab_size=most, min_frequency=2, special_tokens=special, show_progress=False)
    )
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    tokens: Any = PreTrainedTokenizerFast
    return tokens(tokenizer_object=tokenizer, mask_token=special[-1], model_max_length=512, **names)


def collate(tokenizer: Any, texts: Texts, max_tokens: int, labels: Sequence[int] | None = None) -> dict[str, Tensor]:
    """A batch of texts, or of lists of words, as the classifier takes it."""
    words = bool(len(texts)) and not isinstance(texts[0], str)
    encoded = tokenizer(
        list(texts),
        is_split_into_words=words,
        truncation=True,
        max_length=max_tokens,
        padding=True,
        return_tensors="pt",
        return_token_type_ids=False,
    )
    batch = dict(encoded)
    if labels is not None:
        batch["labels"] = torch.tensor(labels)
    return batch


def check_max_tokens(model: nn.Module, max_tokens: int) -> None:
    """Raise ConfigError where a model has a table of positions, and it ends before ``max_tokens``."""
    for name, table in model.named_modules():
        if isinstance(table, nn.Embedding) and name.rpartition(".")[2] in _POSITIONS:
            # some families begin to count behind the number of their padding, some leave a few places free
            unused = 0 if table.padding_idx is None else table.padding_idx + 1
            most = table.num_embeddings - max(unused, getattr(table, "offset", 0))
            if max_tokens > most:
                raise ConfigError(
                    f"max_tokens: expected at most {most:,}, the positions that the encoder has; got {max_tokens:,}; "
                    "lower it, or use another encoder"
                )


def fit(
    model: nn.Module,
    tokenizer: Any,
    dataset: Dataset,
    options: FitOptions,
    *,
    column: str = "text",
    max_tokens: int = 128,
    change: Callable[[list[Any]], list[Any]] | None = None,
) -> list[float]:
    """Train on ``column`` and ``label``; returns the losses, one a logged step.

    ``change`` is applied to the texts of each batch when it is drawn, so that noise is fresh in every epoch. Raises
    ConfigError where ``max_tokens`` is more than the encoder has positions for.
    """
    check_max_tokens(model, max_tokens)
    set_seed(options.seed)

    def batch(rows: list[dict[str, Any]]) -> dict[str, Tensor]:
        texts = [row[column] for row in rows]
        return collate(tokenizer, change(texts) if change else texts, max_tokens, [row["label"] for row in rows])

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            num_train_epochs=options.epochs,
            per_device_train_batch_size=options.batch_rows,
            learning_rate=options.learning_rate,
            weight_decay=options.weight_decay,
            lr_scheduler_type="cosine",
            max_grad_norm=1.0,
            seed=options.seed,
            remove_unused_columns=False,
            report_to="none",
            save_strategy="no",
            logging_steps=20,
            disable_tqdm=not sys.stderr.isatty(),
            use_cpu=not torch.cuda.is_available(),
            dataloader_pin_memory=False,
        )
        trainer = Trainer(model=model, args=arguments, train_dataset=dataset, data_collator=batch)
        trainer.remove_callback(PrinterCallback)
        with quiet():
            trainer.train()
    model.cpu().eval()  # where artifacts, and what is built upon them, expect it
    return [float(entry["loss"]) for entry in trainer.state.log_history if "loss" in entry]


def predict(
    model: TextClassifier,
    tokenizer: Any,
    texts: Texts,
    *,
    max_tokens: int = 128,
    batch_rows: int = 128,
    features: bool = False,
) -> npt.NDArray[np.float32]:
    """Logits of each text, shape (texts, classes), or its features; texts of about equal length run together.

    Raises ConfigError where ``max_tokens`` is more than the encoder has positions for.
    """
    check_max_tokens(model, max_tokens)
    device = next(model.parameters()).device
    order = np.argsort([len(text) for text in texts], kind="stable")
    found: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]] = []
    model.eval()
    with torch.inference_mode():
        for at in range(0, len(texts), batch_rows):
            which = order[at : at + batch_rows]
            batch = collate(tokenizer, [texts[i] for i in which], max_tokens)
            batch = {name: value.to(device) for name, value in batch.items()}
            out = model.features(**batch) if features else model(**batch)["logits"]
            found.append((which, out.float().cpu().numpy()))
    if not found:
        raise DataError("there is no text to classify")
    result = np.empty((len(texts), found[0][1].shape[1]), np.float32)
    for which, values in found:
        result[which] = values
    return result


def tensors_of(module: nn.Module) -> dict[str, npt.NDArray[Any]]:
    """A module's parameters and buffers, for an artifact."""
    return {name: value.detach().cpu().numpy() for name, value in module.state_dict().items()}


def load_tensors(module: nn.Module, tensors: Any) -> None:
    """Put an artifact's arrays back into a module."""
    module.load_state_dict({name: torch.from_numpy(np.asarray(value)) for name, value in tensors.items()})


def load_part(kind: Any) -> Callable[[Path], Any]:
    """How ``Artifact.part`` loads a part: by a class of transformers, from a folder, without telling of it."""

    def load(folder: Path) -> Any:
        with quiet():
            found = kind.from_pretrained(folder)
            return found.float() if isinstance(found, nn.Module) else found

    return load


@contextmanager
def quiet() -> Iterator[None]:
    """Silence transformers' reports of unused weights and of loading; here both are on purpose."""
    logger = logging.getLogger("transformers")
    level, bars = logger.level, _LOGGING.is_progress_bar_enabled()
    logger.setLevel(logging.ERROR)
    _LOGGING.disable_progress_bar()
    try:
        yield
    finally:
        logger.setLevel(level)
        if bars:
            _LOGGING.enable_progress_bar()


def end_tokens(model: Any, tokenizer: Any) -> list[int]:
    """What ends a response: the tokenizer's end token, and those that the model names, such as the end of a turn."""
    named = model.generation_config.eos_token_id
    return sorted({tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])} - {None})
