"""Options of RanMASK."""

from dataclasses import dataclass
from enum import StrEnum

from seampack.config import Config, option, seed_option
from seampack.models.text import SMALL


class Beta(StrEnum):
    """Bound of a class's share among the masked copies that show a changed word."""

    ONE = "one"
    """1: the certificates hold against every change."""
    PAPER = "paper"
    """The share of votes, as in the paper. A heuristic: its radii are larger, and some can be broken."""


class Ensemble(StrEnum):
    """How the predictions on the masked copies are combined."""

    VOTES = "votes"
    """Each copy votes for its best class. Certificates are about this ensemble."""
    MEAN = "mean"
    """Mean of the probabilities."""
    REF_LOGIT = "ref_logit"
    """Mean of the logits, each copy's scaled to length 1."""


class Attacks(StrEnum):
    """Replacements of a word that an attack tries."""

    BUGS = "bugs"
    """The word with a typing mistake: swapped, dropped, doubled or look-alike characters."""
    NEIGHBOURS = "neighbours"
    """Words with the nearest embeddings."""
    STRONG = "strong"
    """Words that are the strongest evidence for another class, of any meaning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RanmaskConfig(Config):
    """How texts are masked, the classifier trained, the certificates made and attacked."""

    text_column: str = option("text", "Column of the texts; a column words (lists of words) overrides it.", empty=False)
    label_column: str = option("label", "Column of the labels.", empty=False)
    rate: float = option(
        0.7, "Share of a text's words that is masked; 0 masks none and certifies nothing.", low=0, high=1
    )
    min_keep: int = option(2, "Words of a text that stay at least.", low=1, high=1_000, unit="words")
    max_words: int = option(
        128, "Words of a text that are read; the rest is cut off before masking.", low=1, high=100_000, unit="words"
    )

    encoder: str = option(
        SMALL, "Encoder: small (made from the texts, untrained), a folder, or a name on the hub.", empty=False
    )
    layers: int = option(
        0, "Layers of the encoder to use: 0 is a bag of its word embeddings, -1 all.", low=-1, high=1_000, unit="layers"
    )
    max_tokens: int = option(
        256, "Tokens of a masked text that the classifier reads.", low=4, high=100_000, unit="tokens"
    )
    epochs: float = option(
        12.0, "Passes over the training texts, each with new masks.", low=0.01, high=10_000, unit="epochs"
    )
    batch_rows: int = option(64, "Texts in a training batch.", low=1, high=100_000, unit="texts")
    learning_rate: float = option(
        5e-3, "Peak learning rate; 5e-5 suits a pretrained encoder with its layers.", low=1e-8, high=1
    )
    weight_decay: float = option(1e-6, "Weight decay of AdamW.", low=0, high=1)
    seed: int = seed_option("Seed of the training and of all masks.")

    ensemble: str = option(
        Ensemble.VOTES.value, "How the predictions on the masked copies are combined.", choices=Ensemble
    )
    guess_masks: int = option(
        1000,
        "Masked copies that predict a text's class; with ensemble=votes, the class that is certified.",
        low=1,
        high=1_000_000,
        unit="masks",
    )
    masks: int = option(5000, "Further masked copies, which certify the class.", low=1, high=1_000_000, unit="masks")
    alpha: float = option(0.05, "Probability that the certificate of a text is wrong.", low=1e-12, high=0.5)
    beta: str = option(
        Beta.ONE.value, "Kind of certificate: one holds, paper is a heuristic of larger radii.", choices=Beta
    )

    attacks: tuple[str, ...] = option(
        ("bugs", "neighbours", "strong"), "Attacks to try, by their replacements of a word.", choices=Attacks
    )
    attack_rows: int = option(50, "Texts to attack, the first ones; 0 for none.", low=0, high=1_000_000, unit="texts")
    attack_share: float = option(
        0.2, "Share of a text's words that an attack may change, at least one word; 0 for none.", low=0, high=1
    )
    attack_masks: int = option(
        100, "Masked copies that score each text of an attack.", low=1, high=1_000_000, unit="masks"
    )
