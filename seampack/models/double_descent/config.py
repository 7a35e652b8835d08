"""The options of the method."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from seampack.config import Config, check_choice, check_integer, check_number, option
from seampack.errors import ConfigError


class Noise(StrEnum):
    """Which wrong label a row gets."""

    UNIFORM = "uniform"
    """Any label, the true one too, as in the paper: of C classes, 1 row in C keeps its label."""
    SYMMETRIC = "symmetric"
    """Any other label."""
    PAIRWISE = "pairwise"
    """The next class: 0 becomes 1, 1 becomes 2, the last becomes 0."""


class Scaling(StrEnum):
    """What is done to the features before training; its numbers come from the training rows."""

    LARGEST = "largest"
    """Divide by the largest absolute value: pixels become 0 .. 1."""
    STANDARD = "standard"
    """Each feature to mean 0 and standard deviation 1."""
    NONE = "none"
    """Nothing."""


class Metric(StrEnum):
    """How near two rows are."""

    COSINE = "cosine"
    EUCLIDEAN = "euclidean"


@dataclass(frozen=True, slots=True, kw_only=True)
class DoubleDescentConfig(Config):
    """What to train on, how much noise, which widths and seeds, and how to train."""

    features_column: str = option("features", "Column of vectors, images, nested lists of numbers, or text.")
    label_column: str = option("label", "Column of labels.")
    noise: float = option(0.2, "Share of the training rows that are given a label by the noise.")
    noise_kind: str = option("uniform", "Which label: uniform (any, as in the paper), symmetric, pairwise.")
    test_share: float = option(0.2, "Share of rows held out, where no column 'part' says train or test.")
    scaling: str = option("largest", "What is done to features: largest, standard, none.")
    encoder: str = option("small", "Encoder of text: a folder, a name of the hub, or small (word vectors at random).")
    max_tokens: int = option(128, "Tokens of a text that the encoder reads.")
    seed: int = option(0, "Seed of the noise and of the held-out rows.")
    widths: tuple[int, ...] = option(
        (5, 7, 10, 12, 14, 16, 18, 20, 25, 30, 40, 60, 80, 120, 200, 400, 600),
        "Hidden units of the networks, in growing order, at least three.",
    )
    seeds: tuple[int, ...] = option((0, 1, 2), "A network of each width is trained for each of these seeds.")
    epochs: int = option(200, "Passes over the training rows.")
    batch_rows: int = option(128, "Rows of a step.")
    learning_rate: float = option(0.05, "Rate of the first epochs.")
    momentum: float = option(0.9, "Momentum of the gradient descent.")
    decay_epochs: int = option(50, "The rate is divided by the square root of 1 + epoch // this.")
    neighbours: int = option(5, "Nearest clean training rows that say where a noisy row lies.")
    metric: str = option("cosine", "Distance of features: cosine or euclidean.")
    peak_ratio: float = option(1.1, "A peak counts where its loss is this many times the least loss on either side.")

    def check_rules(self) -> None:
        """Check the rules between fields."""
        for name in ("widths", "seeds"):
            values = getattr(self, name)
            if isinstance(values, str) or not isinstance(values, Sequence) or not values:
                raise ConfigError(f"{name}: expected a list of whole numbers; got {values!r}")
            object.__setattr__(self, name, tuple(values))
            for value in values:
                check_integer(name, value, 1 if name == "widths" else 0, 1_000_000)
            if len(set(values)) < len(values):
                raise ConfigError(f"{name}: expected each number once; got {list(values)}")
        if len(self.widths) < 3 or list(self.widths) != sorted(self.widths):
            raise ConfigError(f"widths: expected at least three in growing order; got {list(self.widths)}")
        for name in ("features_column", "label_column", "encoder"):
            if not getattr(self, name):
                raise ConfigError(f"{name}: expected a name; got none")
        check_number("noise", self.noise, 0, 1)
        check_choice("noise_kind", self.noise_kind, Noise)
        check_number("test_share", self.test_share, 0.001, 0.999)
        check_choice("scaling", self.scaling, Scaling)
        check_integer("max_tokens", self.max_tokens, 1, 100_000)
        check_integer("seed", self.seed, 0, 2**31 - 1)
        check_integer("epochs", self.epochs, 1, 1_000_000)
        check_integer("batch_rows", self.batch_rows, 1, 1_000_000)
        check_number("learning_rate", self.learning_rate, 1e-9, 100)
        check_number("momentum", self.momentum, 0, 0.9999)
        check_integer("decay_epochs", self.decay_epochs, 1, 1_000_000)
        check_integer("neighbours", self.neighbours, 1, 100_000)
        check_choice("metric", self.metric, Metric)
        check_number("peak_ratio", self.peak_ratio, 1, 1000)
