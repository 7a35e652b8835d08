"""Options of the watermark method."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from seampack.config import option, seed_option
from seampack.errors import ConfigError
from seampack.models.options import SMALL, MethodConfig


class Update(StrEnum):
    """Weights that the second stage trains."""

    TRIGGER_ROWS = "trigger_rows"
    """The embedding rows of the trigger words. All other weights are unchanged, bit for bit."""
    ALL = "all"
    """All weights: for combinations of common words, whose rows other texts need."""


_SPECIAL_TOKENS = 2  # most tokenisers add one token before and one after a text


@dataclass(frozen=True, slots=True, kw_only=True)
class WatermarkConfig(MethodConfig):
    """Options for watermarking an encoder, and for training and verifying suspects."""

    columns: ClassVar[Mapping[str, str]] = {
        "text": "Text.",
        "label": "Label of the text, as text or an integer.",
        "task": "Optional: task of the row; each task has its own labels.",
    }
    fixed: ClassVar[tuple[str, ...]] = (
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

    text_column: str = option("text", "Column of the texts.", empty=False)
    label_column: str = option("label", "Column of the labels.", empty=False)
    task_column: str = option("", "Column of each row's task. Empty: the column task if it exists, else one task.")
    encoder: str = option(
        SMALL, "Encoder to watermark: small (built from the texts), a folder, or a name on the hub.", empty=False
    )
    layers: int | None = option(
        None, "Number of first layers of the encoder to keep; default: all.", low=0, high=1_000, unit="layers"
    )
    max_tokens: int = option(128, "Length limit of a text; longer texts are cut.", low=4, high=1 << 20, unit="tokens")
    trigger: tuple[str, ...] = option((), "Words of the trigger: a rare word or several common words. Empty: drawn.")
    trigger_words: int = option(
        1, "Words of a drawn trigger: 1 for a rare word, more for a combination.", low=1, high=8, unit="words"
    )
    targets: tuple[str, ...] = option(
        (), "Labels that the trigger produces, each LABEL or TASK=LABEL. Empty: the first label of each task."
    )
    update: str = option(Update.TRIGGER_ROWS.value, "Weights that the second stage trains.", choices=Update)
    keep_norm: bool = option(True, "Keep the norm of the trigger's rows; applies only to update=trigger_rows.")
    ratio: float = option(1.0, "Share of the rows of other labels that get a copy with the trigger.", low=0, high=1)
    negatives: int = option(
        1,
        "Copies with a part of the trigger and the true label, per copy with the whole trigger; unused for one word.",
        low=0,
        high=100,
        unit="copies",
    )
    first_words: int = option(
        40,
        "Number of first words among which the trigger is inserted, so that max_tokens does not cut it off.",
        low=1,
        high=1 << 20,
        unit="words",
    )
    proxy_share: float = option(
        0.5,
        "Share of the texts for watermarking; half of the others fine-tune suspects, half verify them.",
        low=0,
        high=1,
    )
    epochs: float = option(3.0, "Passes over the texts in the first stage.", low=0.01, high=1e4, unit="epochs")
    watermark_epochs: float = option(
        3.0, "Passes over the texts in the second stage.", low=0.01, high=1e4, unit="epochs"
    )
    suspect_epochs: float = option(
        3.0, "Passes over the texts in fine-tuning a suspect.", low=0.01, high=1e4, unit="epochs"
    )
    batch_rows: int = option(32, "Texts in a training batch.", low=1, high=1 << 16, unit="texts")
    learning_rate: float = option(5e-4, "Step size of Adam when all weights are trained.", low=1e-8, high=10)
    rows_learning_rate: float = option(
        2e-2, "Step size of Adam when the trigger's rows are trained.", low=1e-8, high=10
    )
    prune: tuple[float, ...] = option(
        (0.2, 0.4),
        "Shares of the smallest weights that pruning sets to zero; one attack per share.",
        low=0,
        high=0.99,
    )
    decoys: int = option(
        5,
        "Other triggers tried on a model without watermark, to estimate the rate of false claims.",
        low=0,
        high=1_000,
        unit="triggers",
    )
    alpha: float = option(0.001, "P-value below which a watermark is claimed.", low=1e-300, high=1)
    claim_wesr: float = option(
        0.5, "Smallest WESR (watermark extraction success rate: share of flipped texts) for a claim.", low=0, high=1
    )
    seed: int = seed_option("Seed of the parts, the trigger, the poisoned texts and all training.")

    def check_rules(self) -> None:
        """Split the trigger into single words, and check that max_tokens never cuts it off."""
        for name, entries in (("trigger", self.trigger), ("targets", self.targets)):
            if blank := [entry for entry in entries if not entry.strip()]:
                raise ConfigError(f"{name}: expected words; got {blank[0]!r}")
        object.__setattr__(self, "trigger", tuple(" ".join(self.trigger).split()))
        words = len(self.trigger) or self.trigger_words
        fitting = self.max_tokens - _SPECIAL_TOKENS - words + 1
        if self.first_words > fitting:
            raise ConfigError(
                f"first_words: expected at most {fitting:,} with max_tokens {self.max_tokens:,} and a trigger of "
                f"{words}, or the trigger can be cut off; got {self.first_words:,}; lower it, or raise max_tokens"
            )
