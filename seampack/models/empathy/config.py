"""Options of the empathy adapter."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from seampack.config import option, seed_option
from seampack.errors import ConfigError
from seampack.models.options import SMALL, MethodConfig

HEADS = 4
"""Attention heads of the small model."""
POSITIONS = 512
"""Longest sequence of the small model, in tokens."""


class Selection(StrEnum):
    """Method that weights the pieces of knowledge."""

    SOFT = "soft"
    """By the cross-entropy to the emotions predicted from the context alone; needs no label."""
    LABEL = "label"
    """By the cross-entropy to the true emotion in training; like ``soft`` if there is no label."""
    MINIMAX = "minimax"
    """By the quadratic programme, for the true emotion in training, otherwise for the emotions of the context."""
    UNIFORM = "uniform"
    """Equal weights."""
    NONE = "none"
    """No knowledge: the baseline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmpathyConfig(MethodConfig):
    """Columns, selection of knowledge, model, training, and generation of responses."""

    columns: ClassVar[Mapping[str, str]] = {
        "context": "the dialogue so far: a list of utterances, the last one the speaker's; or one text",
        "emotion": "the speaker's emotion, as text, whole number or ClassLabel",
        "target": "the response",
        "knowledge": "mapping from relations, such as those of ATOMIC, to lists of texts; unused by selection=none",
    }
    fixed: ClassVar[tuple[str, ...]] = (
        *("relations", "selection", "temperature", "base_model", "hidden_size", "layers", "vocabulary"),
        *("epochs", "learning_rate", "emotion_weight", "seed"),
    )

    context_column: str = option(
        "context", "Column with the dialogue so far: a list of utterances, or one text.", empty=False
    )
    emotion_column: str = option("emotion", "Column with the speaker's emotion.", empty=False)
    target_column: str = option("target", "Column with the response to learn.", empty=False)
    knowledge_column: str = option(
        "knowledge", "Column with the knowledge: a mapping from each relation to a list of texts.", empty=False
    )
    relations: tuple[str, ...] = option(
        (),
        "Relations to use; an empty list uses all. If the dataset has no knowledge column, the text columns with these "
        "names hold the knowledge.",
    )
    selection: str = option(
        Selection.SOFT.value, "Method that weights the pieces of knowledge; none uses no knowledge.", choices=Selection
    )
    temperature: float = option(
        1.0,
        "Divisor of the cross-entropies for the selections soft and label; lower values concentrate the weights.",
        low=1e-3,
        high=1e3,
    )
    base_model: str = option(
        SMALL,
        "Model to start from: small trains one from scratch; otherwise a folder or hub name of a BART.",
        empty=False,
    )
    hidden_size: int = option(
        128, f"Hidden size of the small model, a multiple of {HEADS}.", low=8, high=4096, unit="dimensions"
    )
    layers: int = option(2, "Encoder layers, and decoder layers, of the small model.", low=1, high=48, unit="layers")
    vocabulary: int = option(
        8_000,
        "Maximum vocabulary size of the small model; the vocabulary is learned from the training rows.",
        low=300,
        high=200_000,
        unit="tokens",
    )
    epochs: float = option(5.0, "Passes over the training rows.", low=0.01, high=10_000, unit="epochs")
    batch_rows: int = option(16, "Rows per batch in training and evaluation.", low=1, high=4096, unit="rows")
    learning_rate: float = option(
        1e-3,
        "Learning rate at the start; it falls linearly to 0. Use about 5e-5 for a pretrained BART.",
        low=1e-8,
        high=1,
    )
    emotion_weight: float = option(
        0.3, "Weight of the emotion loss; the weight of the response loss is 1.", low=0, high=1e3
    )
    max_context_tokens: int = option(
        128,
        "Maximum length of the context; longer contexts lose their beginning.",
        low=4,
        high=POSITIONS,
        unit="tokens",
    )
    max_knowledge_tokens: int = option(
        32,
        "Maximum length of a relation's knowledge; longer knowledge loses its end.",
        low=4,
        high=POSITIONS,
        unit="tokens",
    )
    max_target_tokens: int = option(
        64,
        "Maximum length of a response, in training and in generation; longer targets lose their end.",
        low=4,
        high=POSITIONS,
        unit="tokens",
    )
    beams: int = option(5, "Beams of the beam search for a response.", low=1, high=100, unit="beams")
    repetition_penalty: float = option(
        1.5, "Divisor of the scores of tokens that the response already contains; 1: no penalty.", low=0.1, high=10
    )
    responses: int = option(
        1_000,
        "Number of rows, from the first, for which evaluation generates responses; all rows are scored.",
        low=0,
        high=10**9,
        unit="rows",
    )
    seed: int = seed_option("Seed of the initial weights, the dropout and the order of rows.")

    def check_rules(self) -> None:
        """Check that the heads divide the hidden size and that no relation is repeated."""
        if self.hidden_size % HEADS:
            raise ConfigError(
                f"hidden_size: expected a multiple of {HEADS}, the attention heads; got {self.hidden_size}"
            )
        if len(set(self.relations)) != len(self.relations):
            raise ConfigError(f"relations: expected each name once; got {', '.join(self.relations)}")
