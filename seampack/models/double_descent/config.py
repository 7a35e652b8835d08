"""Options of the double descent method."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from seampack.config import option, seed_option
from seampack.errors import ConfigError
from seampack.models.options import SMALL, MethodConfig


class Noise(StrEnum):
    """Label assigned to a noisy row."""

    UNIFORM = "uniform"
    """Any label, including the true one, as in the paper: with C classes, 1 in C noisy rows keeps its label."""
    SYMMETRIC = "symmetric"
    """Any other label."""
    PAIRWISE = "pairwise"
    """The next class: 0 becomes 1, 1 becomes 2, the last becomes 0."""


class Scaling(StrEnum):
    """Scaling of the features before training; its constants come from the training rows."""

    LARGEST = "largest"
    """Division by the largest absolute value: pixels become 0 .. 1."""
    STANDARD = "standard"
    """Each feature to mean 0 and standard deviation 1."""
    NONE = "none"
    """No scaling."""


class Metric(StrEnum):
    """Distance of two rows' features."""

    COSINE = "cosine"
    EUCLIDEAN = "euclidean"


@dataclass(frozen=True, slots=True, kw_only=True)
class DoubleDescentConfig(MethodConfig):
    """The data and its noise, the widths and seeds of the networks, and how they are trained and measured."""

    columns: ClassVar[Mapping[str, str]] = {
        "features": "Vectors, images or nested lists of numbers, all rows of one size; or text.",
        "label": "Class of the row, as text, integer or ClassLabel.",
    }
    fixed: ClassVar[tuple[str, ...]] = (
        "noise",
        "noise_kind",
        "test_share",
        "scaling",
        "seed",
        "widths",
        "seeds",
        "epochs",
        "batch_rows",
        "learning_rate",
        "momentum",
        "decay_epochs",
    )

    features_column: str = option(
        "features", "Column of vectors, images, nested lists of numbers, or text.", empty=False
    )
    label_column: str = option("label", "Column of the labels.", empty=False)
    noise: float = option(0.2, "Share of the training rows whose label is redrawn.", low=0, high=1)
    noise_kind: str = option(
        Noise.UNIFORM.value,
        "Label of a noisy row: uniform: any label (as in the paper); symmetric: any other; pairwise: the next class.",
        choices=Noise,
    )
    test_share: float = option(
        0.2, "Share of the rows held out for testing, if the data has no column 'part'.", low=0.001, high=0.999
    )
    scaling: str = option(
        Scaling.LARGEST.value,
        "Scaling of the features: largest divides by the largest value; standard gives mean 0 and deviation 1.",
        choices=Scaling,
    )
    encoder: str = option(
        SMALL, "Encoder of text: small (random word vectors), a folder, or a name on the hub.", empty=False
    )
    max_tokens: int = option(128, "Length limit of a text for the encoder.", low=1, high=100_000, unit="tokens")
    seed: int = seed_option("Seed of the noise and of the held-out rows.")
    widths: tuple[int, ...] = option(
        (5, 7, 10, 12, 14, 16, 18, 20, 25, 30, 40, 60, 80, 120, 200, 400, 600),
        "Numbers of hidden units: at least three widths in increasing order.",
        low=1,
        high=1_000_000,
        unit="units",
        empty=False,
    )
    seeds: tuple[int, ...] = option(
        (0, 1, 2), "Seeds of the networks: one network for each seed and width.", low=0, high=1_000_000, empty=False
    )
    epochs: int = option(200, "Passes over the training rows.", low=1, high=1_000_000, unit="epochs")
    batch_rows: int = option(128, "Rows in a training batch.", low=1, high=1_000_000, unit="rows")
    learning_rate: float = option(0.05, "Learning rate of the first epochs.", low=1e-9, high=100)
    momentum: float = option(0.9, "Momentum of stochastic gradient descent.", low=0, high=0.9999)
    decay_epochs: int = option(
        50,
        "Epochs between decays: the learning rate is divided by sqrt(1 + epoch // decay_epochs).",
        low=1,
        high=1_000_000,
        unit="epochs",
    )
    neighbours: int = option(
        5, "Nearest clean training rows that vote for the class of a noisy row.", low=1, high=100_000, unit="rows"
    )
    metric: str = option(Metric.COSINE.value, "Distance of features in the vote of neighbours.", choices=Metric)
    peak_ratio: float = option(
        1.1, "Smallest ratio of a peak's loss to the least loss on either side.", low=1, high=1_000
    )

    def check_rules(self) -> None:
        """Check that widths and seeds are distinct, and that there are at least three increasing widths."""
        for name, numbers in (("widths", self.widths), ("seeds", self.seeds)):
            if len(set(numbers)) < len(numbers):
                raise ConfigError(f"{name}: expected each number once; got {list(numbers)}")
        if len(self.widths) < 3 or list(self.widths) != sorted(self.widths):
            raise ConfigError(f"widths: expected at least three in increasing order; got {list(self.widths)}")
