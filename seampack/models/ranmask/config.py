"""The options of RanMASK."""

from dataclasses import dataclass
from enum import StrEnum

from seampack.config import Config, check_choice, check_integer, check_number, option
from seampack.errors import ConfigError
from seampack.models.text import SMALL


class Beta(StrEnum):
    """How much of the chance to meet a changed word is taken off the probability."""

    ONE = "one"
    """All of it: a certificate that no change of so many words can break."""
    PAPER = "paper"
    """The share of votes, as the paper has it. A heuristic: its radii are larger, and some can be broken."""


class Ensemble(StrEnum):
    """How the predictions on the masked copies become one."""

    VOTES = "votes"
    """Each copy votes for its best class. Certificates are about this one."""
    MEAN = "mean"
    """The mean of the probabilities."""
    REF_LOGIT = "ref_logit"
    """The mean of the logits, each copy's scaled to length 1."""


class Attacks(StrEnum):
    """What a word may be replaced by, in an attack."""

    BUGS = "bugs"
    """Itself with a typing mistake: swapped, dropped, doubled or look-alike characters."""
    NEIGHBOURS = "neighbours"
    """The words whose embeddings are nearest to its own."""
    STRONG = "strong"
    """The words that speak most for another class, whatever they mean."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RanmaskConfig(Config):
    """How texts are masked, the classifier trained, and the certificates made. Raises ConfigError for bad values."""

    text_column: str = option("text", "Column of the texts; a column words, lists of words, goes before it.")
    label_column: str = option("label", "Column of the labels.")
    rate: float = option(0.7, "Share of a text's words that is masked; 0 masks none and certifies nothing.")
    min_keep: int = option(2, "At least so many words of a text stay.")
    max_words: int = option(128, "Words of a text that are looked at; the rest is cut off before masking.")

    encoder: str = option(SMALL, "Encoder: small (of our own, untrained), a folder, or a name of the hub.")
    layers: int = option(0, "How many of its layers to use: 0 is a bag of its word embeddings, -1 all.")
    max_tokens: int = option(256, "Tokens of a masked text that the classifier sees.")
    epochs: float = option(12.0, "Passes over the training data, each with new masks.")
    batch_rows: int = option(64, "Texts in a training step.")
    learning_rate: float = option(5e-3, "Peak learning rate; 5e-5 suits a pretrained encoder with its layers.")
    weight_decay: float = option(1e-6, "Weight decay of AdamW.")
    seed: int = option(0, "Seed of the training and of all masks.")

    ensemble: str = option(Ensemble.VOTES.value, "How the masked copies decide: votes, mean or ref_logit.")
    guess_masks: int = option(1000, "Masked copies that predict a text's class; by votes, the one that is certified.")
    masks: int = option(5000, "Other masked copies, which certify.")
    alpha: float = option(0.05, "Chance that the certificate of a text is wrong.")
    beta: str = option(
        Beta.ONE.value, "one: certificates that hold; paper: a heuristic, larger radii that can be broken."
    )

    attacks: tuple[str, ...] = option(("bugs", "neighbours", "strong"), "Attacks to try: bugs, neighbours, strong.")
    attack_rows: int = option(50, "Texts to attack, the first ones; 0 for none.")
    attack_share: float = option(0.2, "Share of a text's words that an attack may change, at least one; 0 for none.")
    attack_masks: int = option(100, "Masked copies that an attack sees its way by.")

    def check_rules(self) -> None:
        """Check the rules between fields."""
        check_number("rate", self.rate, 0, 1)
        check_integer("min_keep", self.min_keep, 1, 1000)
        check_integer("max_words", self.max_words, 1, 100_000)
        check_integer("layers", self.layers, -1, 1000)
        check_integer("max_tokens", self.max_tokens, 4, 100_000)
        check_number("epochs", self.epochs, 0.01, 10_000)
        check_integer("batch_rows", self.batch_rows, 1, 100_000)
        check_number("learning_rate", self.learning_rate, 1e-8, 1)
        check_number("weight_decay", self.weight_decay, 0, 1)
        check_integer("seed", self.seed, 0, 2**31)
        check_choice("ensemble", self.ensemble, Ensemble)
        check_integer("guess_masks", self.guess_masks, 1, 10**6)
        check_integer("masks", self.masks, 1, 10**6)
        check_number("alpha", self.alpha, 1e-12, 0.5)
        check_choice("beta", self.beta, Beta)
        if isinstance(self.attacks, str) or not isinstance(self.attacks, list | tuple):
            raise ConfigError(f"attacks: expected a list of names; got {self.attacks!r}")
        object.__setattr__(self, "attacks", tuple(self.attacks))
        for name in self.attacks:
            check_choice("attacks", name, Attacks)
        check_integer("attack_rows", self.attack_rows, 0, 10**6)
        check_number("attack_share", self.attack_share, 0, 1)
        check_integer("attack_masks", self.attack_masks, 1, 10**6)
