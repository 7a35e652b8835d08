"""Options of RanMASK."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from seampack.config import option, seed_option
from seampack.models.options import SMALL, MethodConfig


class Beta(StrEnum):
    """Bound on a class's share among the masked copies that show a changed word."""

    ONE = "one"
    """1: the certificates hold against every change."""
    PAPER = "paper"
    """The share of votes, as in the paper. A heuristic: its radii are larger, and some can be broken."""


class Ensemble(StrEnum):
    """Combination of the predictions on the masked copies."""

    VOTES = "votes"
    """Each copy votes for its best class. Certificates apply to this ensemble."""
    MEAN = "mean"
    """Mean of the probabilities."""
    REF_LOGIT = "ref_logit"
    """Mean of the logits; the logits of each copy are scaled to length 1."""


class Attacks(StrEnum):
    """Replacements of a word that an attack tries."""

    BUGS = "bugs"
    """The word with a typing mistake: swapped, dropped, doubled or look-alike characters."""
    NEIGHBOURS = "neighbours"
    """Words with the nearest embeddings."""
    STRONG = "strong"
    """Words of any meaning that are the strongest evidence for another class."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RanmaskConfig(MethodConfig):
    """Options of the masks, the training, the certificates and the attacks."""

    columns: ClassVar[Mapping[str, str]] = {
        "text": "Text; its words are separated by white space.",
        "label": "Class of the text, a name or an integer.",
    }
    fixed: ClassVar[tuple[str, ...]] = ("encoder", "layers", "epochs", "batch_rows", "learning_rate", "weight_decay")

    text_column: str = option("text", "Column of the texts; a column words (lists of words) overrides it.", empty=False)
    label_column: str = option("label", "Column of the labels.", empty=False)
    rate: float = option(0.7, "Share of a text's words to mask; 0 masks no words and certifies nothing.", low=0, high=1)
    min_keep: int = option(2, "Minimum number of words that stay unmasked.", low=1, high=1_000, unit="words")
    max_words: int = option(
        128, "Maximum number of words of a text; the rest is cut before masking.", low=1, high=100_000, unit="words"
    )

    encoder: str = option(
        SMALL, "Encoder: small (built from the texts, untrained), a folder, or a name on the hub.", empty=False
    )
    layers: int = option(
        0,
        "Layers of the encoder to use: 0: a bag of word embeddings, -1: all layers.",
        low=-1,
        high=1_000,
        unit="layers",
    )
    max_tokens: int = option(
        256, "Length limit of a masked text for the classifier.", low=4, high=100_000, unit="tokens"
    )
    epochs: float = option(
        12.0, "Passes over the training texts, each with new masks.", low=0.01, high=10_000, unit="epochs"
    )
    batch_rows: int = option(64, "Texts in a training batch.", low=1, high=100_000, unit="texts")
    learning_rate: float = option(
        5e-3, "Peak learning rate; 5e-5 suits a pretrained encoder with layers.", low=1e-8, high=1
    )
    weight_decay: float = option(1e-6, "Weight decay of AdamW.", low=0, high=1)
    seed: int = seed_option("Seed of the training and of all masks.")

    ensemble: str = option(
        Ensemble.VOTES.value, "Combination of the predictions on the masked copies.", choices=Ensemble
    )
    guess_masks: int = option(
        1000,
        "Masked copies that predict the class of a text; with ensemble=votes, this class is certified.",
        low=1,
        high=1_000_000,
        unit="masks",
    )
    masks: int = option(5000, "Further masked copies, which certify the class.", low=1, high=1_000_000, unit="masks")
    alpha: float = option(0.05, "Probability that the certificate of a text is wrong.", low=1e-12, high=0.5)
    beta: str = option(
        Beta.ONE.value, "Kind of certificate: one (proven) or paper (a heuristic with larger radii).", choices=Beta
    )

    attacks: tuple[str, ...] = option(
        ("bugs", "neighbours", "strong"), "Attacks to try, named by the kind of replacement.", choices=Attacks
    )
    attack_rows: int = option(50, "Number of first texts to attack; 0: none.", low=0, high=1_000_000, unit="texts")
    attack_share: float = option(
        0.2, "Share of a text's words that an attack may change, at least one word; 0: none.", low=0, high=1
    )
    attack_masks: int = option(
        100, "Masked copies that score each text of an attack.", low=1, high=1_000_000, unit="masks"
    )
