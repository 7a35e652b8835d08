"""Text classifiers: an encoder of transformers, mean pooling and a linear head, trained with transformers' Trainer.

With ``layers = 0`` only the encoder's embeddings are used: a bag of words that trains in seconds.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from datasets import Dataset
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor, nn
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertModel,
    PreTrainedTokenizerFast,
    set_seed,
)

from seampack.errors import ConfigError, DataError
from seampack.models.options import SMALL
from seampack.models.progress import progress
from seampack.models.training import load_encoder, loading, place, train_model

_PREDICTED_ROWS = 128  # texts per batch in prediction; the batch has no effect on the results beyond rounding
_POSITIONS = ("position_embeddings", "embed_positions", "wpe")  # names of the position table, by family of encoders

Texts = Sequence[str] | Sequence[list[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class FitOptions:
    """Length and rates of a classifier's training."""

    epochs: float
    batch_rows: int
    learning_rate: float
    seed: int
    weight_decay: float = 0.0


class TextClassifier(nn.Module):
    """Linear classifier on the mean of an encoder's last states. The head is on the encoder's device."""

    def __init__(self, encoder: Any, classes: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.encoder: Any = encoder
        self.dropout = nn.Dropout(dropout)
        device = next(encoder.parameters()).device
        self.head = nn.Linear(encoder.config.hidden_size, classes).to(device)

    def features(self, input_ids: Tensor, attention_mask: Tensor, **_: Any) -> Tensor:
        """Return the mean state of each text's tokens, shape (texts, hidden)."""
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        weights = attention_mask.unsqueeze(-1).to(states.dtype)
        mean: Tensor = (states * weights).sum(1) / weights.sum(1).clamp(min=1)
        return mean

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor | None = None, **_: Any
    ) -> dict[str, Tensor]:
        """Return ``logits``, shape (texts, classes), and, if ``labels`` are given, the mean cross-entropy ``loss``."""
        logits = self.head(self.dropout(self.features(input_ids, attention_mask)))
        if labels is None:
            return {"logits": logits}
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


def encoder_and_tokenizer(
    source: str, texts: Sequence[str], *, layers: int | None = None, seed: int = 0
) -> tuple[Any, Any]:
    """Return an encoder, in evaluation mode on the shared device, and its tokenizer.

    Args:
        source: ``small``, a folder, or a name on the hub.
        texts: Texts for the vocabulary of ``small``.
        layers: Number of first layers to keep; None keeps all layers, or creates 2 for ``small``.
        seed: Seed of new weights.

    Raises:
        DataError: The encoder cannot be loaded.
    """
    set_seed(seed)
    if source == SMALL:
        tokenizer = word_tokenizer(texts)
        shape = BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=128,
            num_hidden_layers=2 if layers is None else layers,
            num_attention_heads=4,
            intermediate_size=256,
            pad_token_id=tokenizer.pad_token_id,
        )
        return place(BertModel(shape, add_pooling_layer=False)), tokenizer
    with loading(source, "encoder") as found:
        tokenizer = AutoTokenizer.from_pretrained(found)
    return load_encoder(source, **({} if layers is None else {"num_hidden_layers": layers})), tokenizer


def word_tokenizer(texts: Sequence[str], most: int = 20_000) -> Any:
    """Return a tokenizer of lower-case words: the ``most`` frequent words that occur at least twice in ``texts``."""
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
    """Return a classifier's batch of texts or lists of words, with ``labels`` if given."""
    are_words = bool(len(texts)) and not isinstance(texts[0], str)
    encoded = tokenizer(
        list(texts),
        is_split_into_words=are_words,
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
    """Raise ConfigError if the model's table of positions has fewer than ``max_tokens`` usable positions."""
    for name, table in model.named_modules():
        if isinstance(table, nn.Embedding) and name.rpartition(".")[2] in _POSITIONS:
            # some families number positions from the padding id + 1, others reserve the first positions
            unused = 0 if table.padding_idx is None else table.padding_idx + 1
            most = table.num_embeddings - max(unused, getattr(table, "offset", 0))
            if max_tokens > most:
                raise ConfigError(
                    f"max_tokens: expected at most {most:,}, the encoder's number of positions; got {max_tokens:,}; "
                    "lower it, or use another encoder"
                )


def fit(
    model: nn.Module,
    tokenizer: Any,
    dataset: Dataset,
    options: FitOptions,
    *,
    column: str = "text",
    max_tokens: int,
    change: Callable[[list[Any]], list[Any]] | None = None,
) -> list[float]:
    """Train a classifier in place and return the logged losses, one for every 20 steps.

    Args:
        model: The classifier.
        tokenizer: Its tokenizer.
        dataset: Rows with texts or lists of words in ``column`` and class ids in ``label``.
        options: Length and rates of the training.
        column: Column of the texts.
        max_tokens: Largest number of tokens of a text; longer texts are cut.
        change: Applied to the texts of each batch when it is drawn, so that each epoch has fresh noise.

    Raises:
        ConfigError: ``max_tokens`` exceeds the encoder's number of positions.
    """
    check_max_tokens(model, max_tokens)
    set_seed(options.seed)

    def batch(rows: list[dict[str, Any]]) -> dict[str, Tensor]:
        texts = [row[column] for row in rows]
        return collate(tokenizer, change(texts) if change else texts, max_tokens, [row["label"] for row in rows])

    return train_model(
        model,
        dataset,
        batch,
        seed=options.seed,
        num_train_epochs=options.epochs,
        per_device_train_batch_size=options.batch_rows,
        learning_rate=options.learning_rate,
        weight_decay=options.weight_decay,
        lr_scheduler_type="cosine",
        max_grad_norm=1.0,
        logging_steps=20,
    )


def predict(
    model: TextClassifier,
    tokenizer: Any,
    texts: Texts,
    *,
    max_tokens: int,
    features: bool = False,
) -> npt.NDArray[np.float32]:
    """Return the logits of each text, shape (texts, classes), or its features, shape (texts, hidden).

    Each batch has texts of similar length. Raises ConfigError if ``max_tokens`` exceeds the encoder's number of
    positions, DataError if there are no texts.
    """
    check_max_tokens(model, max_tokens)
    if not len(texts):
        raise DataError("there are no texts to classify; expected at least one")
    device = next(model.parameters()).device
    order = np.argsort([len(text) for text in texts], kind="stable")
    batches: list[npt.NDArray[np.float32]] = []
    model.eval()
    with torch.inference_mode(), progress("prediction", len(texts), "text") as advance:
        for start in range(0, len(texts), _PREDICTED_ROWS):
            rows = order[start : start + _PREDICTED_ROWS]
            batch = collate(tokenizer, [texts[row] for row in rows], max_tokens)
            batch = {name: value.to(device) for name, value in batch.items()}
            outputs = model.features(**batch) if features else model(**batch)["logits"]
            batches.append(outputs.float().cpu().numpy())
            advance(len(rows))
    result = np.empty((len(texts), batches[0].shape[1]), np.float32)
    result[order] = np.concatenate(batches)
    return result


def tensors_of(module: nn.Module) -> dict[str, npt.NDArray[Any]]:
    """Return the parameters and buffers of a module as arrays, for an artifact."""
    return {name: value.detach().cpu().numpy() for name, value in module.state_dict().items()}


def load_tensors(module: nn.Module, tensors: Mapping[str, npt.NDArray[Any]]) -> None:
    """Copy the arrays of an artifact into a module."""
    module.load_state_dict({name: torch.from_numpy(np.asarray(value)) for name, value in tensors.items()})
