"""Options of the empathy adapter."""

from dataclasses import dataclass

from seampack.config import Config, check_choice, check_integer, check_number, option
from seampack.errors import ConfigError
from seampack.models.empathy.selection import KnowledgeSelector, Selection
from seampack.models.text import SMALL

TRAINED = ("base_model", "selection", "temperature", "relations", "hidden_size", "layers", "vocabulary")
"""Options that a trained model cannot change any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmpathyConfig(Config):
    """Which knowledge is chosen and how, the model, its training, and its responses."""

    context_column: str = option("context", "Column of the utterances so far, a list of texts or one text.")
    emotion_column: str = option("emotion", "Column of the speaker's emotion.")
    target_column: str = option("target", "Column of the response to learn.")
    knowledge_column: str = option("knowledge", "Column of the knowledge, relation: list of texts.")
    relations: tuple[str, ...] = option(
        (), "Relations to use, all if empty; without a knowledge column, the columns of text that hold them."
    )
    selection: str = option(Selection.SOFT.value, "How knowledge is chosen: soft, label, minimax, uniform or none.")
    temperature: float = option(1.0, "Divides the cross-entropies of soft and label: lower is choosier.")
    base_model: str = option(SMALL, "small, or folder or hub name of a BART to go on from.")
    hidden_size: int = option(128, "Width of small.")
    layers: int = option(2, "Layers of small's encoder and of its decoder.")
    vocabulary: int = option(8_000, "Most tokens of small's vocabulary, learned from the training rows.")
    epochs: float = option(5.0, "Passes over the training rows.")
    batch_rows: int = option(16, "Rows of a batch.")
    learning_rate: float = option(1e-3, "Step size at the start; 5e-5 for a pretrained BART.")
    emotion_weight: float = option(0.3, "Weight of the emotion's loss beside the response's.")
    max_context_tokens: int = option(128, "Tokens of the context that are kept, the last ones.")
    max_knowledge_tokens: int = option(32, "Tokens of each relation's knowledge that are kept, the first ones.")
    max_target_tokens: int = option(64, "Tokens of a response.")
    beams: int = option(5, "Beams of the search for a response.")
    repetition_penalty: float = option(1.5, "Divides the scores of tokens that a response has already; 1 is none.")
    responses: int = option(1_000, "Rows that evaluation writes responses for, the first ones; all are scored.")
    seed: int = option(0, "Seed of the weights and of the order of rows.")

    def check_rules(self) -> None:
        """Check the rules between fields."""
        object.__setattr__(self, "relations", _names(self.relations))
        check_choice("selection", self.selection, Selection)
        check_number("temperature", self.temperature, 1e-3, 1e3)
        check_integer("hidden_size", self.hidden_size, 8, 4096)
        if self.hidden_size % HEADS:
            raise ConfigError(
                f"hidden_size: expected a multiple of {HEADS}, the attention heads; got {self.hidden_size}"
            )
        check_integer("layers", self.layers, 1, 48)
        check_integer("vocabulary", self.vocabulary, 300, 200_000)
        check_number("epochs", self.epochs, 0.01, 10_000)
        check_integer("batch_rows", self.batch_rows, 1, 4096)
        check_number("learning_rate", self.learning_rate, 1e-8, 1)
        check_number("emotion_weight", self.emotion_weight, 0, 1e3)
        for name in ("max_context_tokens", "max_knowledge_tokens", "max_target_tokens"):
            check_integer(name, getattr(self, name), 4, POSITIONS)
        check_integer("beams", self.beams, 1, 100)
        check_number("repetition_penalty", self.repetition_penalty, 0.1, 10)
        check_integer("responses", self.responses, 0, 10**9)
        check_integer("seed", self.seed, 0, 2**31 - 1)

    def selector(self) -> KnowledgeSelector | None:
        """What chooses the knowledge; None where none is used."""
        return None if self.selection == Selection.NONE else KnowledgeSelector(self.selection, self.temperature)


HEADS = 4
"""Attention heads of small."""
POSITIONS = 512
"""Most tokens of a sequence for small."""


def _names(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(name, str) and name for name in value):
        raise ConfigError(f"relations: expected a list of names; got {value!r}")
    if len(set(value)) != len(value):
        raise ConfigError(f"relations: expected each name once; got {', '.join(value)}")
    return tuple(value)
