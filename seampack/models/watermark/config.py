"""Options of the watermark adapter."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from seampack.config import Config, check_choice, check_integer, check_number, option
from seampack.errors import ConfigError
from seampack.models.text import SMALL


class Update(StrEnum):
    """What the second stage may change."""

    TRIGGER_ROWS = "trigger_rows"
    """The trigger words' rows of the embedding table; every other weight stays as it is, to the bit."""
    ALL = "all"
    """Every weight: for combinations of common words, whose rows other texts need."""


TRAINED = (
    "encoder",
    "layers",
    "trigger",
    "trigger_words",
    "targets",
    "update",
    "keep_norm",
    "ratio",
    "negatives",
    "epochs",
    "watermark_epochs",
    "rows_learning_rate",
)
"""Options that a watermarked encoder cannot change any more."""
_SPECIAL_TOKENS = 2  # most tokenizers put one before a text and one behind it


@dataclass(frozen=True, slots=True, kw_only=True)
class WatermarkConfig(Config):
    """How an encoder is watermarked, and how suspects are made and verified."""

    text_column: str = option("text", "Column that holds the texts.")
    label_column: str = option("label", "Column that holds the labels.")
    task_column: str = option("", "Column that names each row's task; empty: 'task' where there is one, else one task.")
    encoder: str = option(
        SMALL, "The encoder to watermark: small (made from the texts), a folder, or a name of the hub."
    )
    layers: int | None = option(None, "Keep only the encoder's first layers.")
    max_tokens: int = option(128, "Texts are cut behind this many tokens.")
    trigger: tuple[str, ...] = option((), "The trigger: one rare word, or several common ones; empty: drawn by seed.")
    trigger_words: int = option(1, "Words of a trigger that is drawn: 1 is a rare word, more a combination.")
    targets: tuple[str, ...] = option((), "Label that the trigger calls up: LABEL or TASK=LABEL; else the first label.")
    update: str = option(Update.TRIGGER_ROWS.value, "What the second stage changes: trigger_rows or all.")
    keep_norm: bool = option(True, "Keep the norm of the trigger's rows (trigger_rows only).")
    ratio: float = option(1.0, "Share of the rows of other labels that get a copy with the trigger.")
    negatives: int = option(1, "Copies with a part of the trigger and the true label, for each copy with the whole.")
    first_words: int = option(40, "The trigger is put among this many first words, so that no model cuts it off.")
    proxy_share: float = option(0.5, "Share of the texts for watermarking; half of the rest tunes, half verifies.")
    epochs: float = option(3.0, "Epochs of the first stage.")
    watermark_epochs: float = option(3.0, "Epochs of the second stage.")
    suspect_epochs: float = option(3.0, "Epochs of fine-tuning a suspect.")
    batch_rows: int = option(32, "Texts in a batch.")
    learning_rate: float = option(5e-4, "Step size of Adam wherever all weights are trained.")
    rows_learning_rate: float = option(2e-2, "Step size of Adam for the trigger's rows.")
    prune: tuple[float, ...] = option((0.2, 0.4), "Shares of the suspect's smallest weights that are set to zero.")
    decoys: int = option(5, "Other triggers tried on a model without watermark, for the rate of false claims.")
    alpha: float = option(0.001, "A watermark is claimed below this p-value.")
    claim_wesr: float = option(0.5, "A watermark is claimed from this share of flipped texts on.")
    seed: int = option(0, "Seed of all that is random.")

    def check_rules(self) -> None:
        """Check the rules between fields."""
        for name in ("trigger", "targets", "prune"):
            value: Any = getattr(self, name)
            given = value.split() if name == "trigger" and isinstance(value, str) else value
            given = given if isinstance(given, list | tuple) else [given]
            if name == "targets":  # labels may be whole numbers; the prepared data names them by their digits
                given = [str(each) if isinstance(each, int) and not isinstance(each, bool) else each for each in given]
            object.__setattr__(self, name, tuple(given))
        for name in ("trigger", "targets"):
            for value in getattr(self, name):
                if not isinstance(value, str) or not value.strip():
                    raise ConfigError(f"{name}: expected words; got {value!r}")
        check_choice("update", self.update, Update)
        if self.layers is not None:
            check_integer("layers", self.layers, 0, 1_000)
        for name, low, high in (
            ("max_tokens", 4, 1 << 20),
            ("trigger_words", 1, 8),
            ("negatives", 0, 100),
            ("first_words", 1, 1 << 20),
            ("batch_rows", 1, 1 << 16),
            ("decoys", 0, 1_000),
            ("seed", 0, (1 << 32) - 1),
        ):
            check_integer(name, getattr(self, name), low, high)
        words = len(self.trigger) or self.trigger_words
        fitting = self.max_tokens - _SPECIAL_TOKENS - words + 1
        if self.first_words > fitting:
            raise ConfigError(
                f"first_words: expected at most {fitting:,} with max_tokens {self.max_tokens:,} and a trigger of "
                f"{words}, or the trigger can be cut off; got {self.first_words:,}; lower it, or raise max_tokens"
            )
        for name, most in (("epochs", 1e4), ("watermark_epochs", 1e4), ("suspect_epochs", 1e4)):
            check_number(name, getattr(self, name), 0.01, most)
        for name in ("learning_rate", "rows_learning_rate"):
            check_number(name, getattr(self, name), 1e-8, 10.0)
        for name in ("ratio", "proxy_share", "alpha", "claim_wesr"):
            check_number(name, getattr(self, name), 0.0, 1.0)
        for share in self.prune:
            check_number("prune", share, 0.0, 0.99)
