"""Options of the rope_scaling adapter."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from seampack.config import option, seed_option
from seampack.errors import ConfigError
from seampack.models.options import MethodConfig


class Base(StrEnum):
    """Effect of a factor ``s`` on a layer's frequencies."""

    PI = "pi"
    """Position interpolation: positions ``m / s``."""
    NTK = "ntk"
    """A larger base: ``b * s^(d / (d - 2))``, where ``d`` is the number of rotated dimensions of a head."""


class Gold(StrEnum):
    """Construction of prompts with the gold record at a position."""

    MOVED = "moved"
    """The gold record of a row is moved to each position: one context per position, as in lost-in-the-middle."""
    ASKED = "asked"
    """One context per row; each prompt asks for the record at a position. About four times as fast."""


class Fitness(StrEnum):
    """Quantity that the search maximises."""

    LOG_PROB = "log_prob"
    """Mean log-probability of the gold values, in nats."""
    ACCURACY = "accuracy"
    """Share of prompts that the model answers with the gold value; coarse with few rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RopeScalingConfig(MethodConfig):
    """The model, the retrieval prompts, and the search for the factors."""

    columns: ClassVar[Mapping[str, str]] = {
        "ordered_kv_records": "list of [key, value] in the order of the context, all text",
        "key": "the gold key, one of the records' keys",
        "value": "the value of the gold key",
    }
    # not position_weights: their number depends on positions, which evaluation may change
    fixed: ClassVar[tuple[str, ...]] = (
        *("base", "low", "high", "step", "control_points", "fitness"),
        *("population", "generations", "elite", "mutation_sigma"),
    )

    model: str = option("", "Causal language model with rotary positions: a folder or hub name. Required.")
    base: str = option(
        Base.PI.value, "Quantity that a factor scales: positions (pi) or base of the frequencies (ntk).", choices=Base
    )
    pairs: int = option(10, "Key-value pairs per prompt.", low=1, high=100_000, unit="pairs")
    positions: tuple[float, ...] = option(
        (0.0, 0.25, 0.5, 0.75, 1.0),
        "Positions of the gold record as a share of the context; each row gives one prompt per position.",
        low=0,
        high=1,
        empty=False,
    )
    position_weights: tuple[float, ...] = option(
        (), "Weights of the positions in the fitness; an empty list weights all equally.", low=0, high=1e6
    )
    gold: str = option(
        Gold.MOVED.value,
        "Gold record of a position: moved moves the row's gold record there; asked asks for the record that is already "
        "there, about four times as fast.",
        choices=Gold,
    )
    first_row: int = option(
        0, "Index of the first row to use; lets search and evaluation use parts of one file.", low=0, high=1 << 40
    )
    rows: int = option(0, "Number of rows to use; 0 uses all.", low=0, high=1 << 40, unit="rows")
    low: float = option(0.5, "Smallest factor of a control point.", low=0.05, high=1)
    high: float = option(2.0, "Largest factor of a control point.", low=1, high=100)
    step: float = option(0.05, "Distance between the candidate factors of a control point.", low=1e-3, high=10)
    control_points: int = option(
        4,
        "Control points of the Bezier curve over the layers: 4 for a cubic, 2 for a straight line, 1 for a constant.",
        low=1,
        high=16,
        unit="points",
    )
    fitness: str = option(
        Fitness.LOG_PROB.value, "Quantity that the search maximises; accuracy is coarse with few rows.", choices=Fitness
    )
    population: int = option(16, "Curves per generation.", low=2, high=10_000, unit="curves")
    generations: int = option(
        10,
        "Generations after the initial population; 0 takes the best initial curve.",
        low=0,
        high=100_000,
        unit="generations",
    )
    elite: int = option(
        4,
        "Number of best curves that survive a generation unchanged; less than the population.",
        low=1,
        high=9_999,
        unit="curves",
    )
    mutation_sigma: float = option(
        0.25, "Standard deviation of a mutation, as a share of the range of factors.", low=0, high=1
    )
    long_text: str = option(
        "", "File of plain text, whose perplexity evaluation measures with and without scaling. Empty: none."
    )
    long_tokens: int = option(
        2048, "Window length for the perplexity of the long text.", low=2, high=1 << 24, unit="tokens"
    )
    seed: int = seed_option("Seed of the search and of the bootstrap interval.")

    def check_rules(self) -> None:
        """Check positions against pairs and weights, and the elite against the population."""
        self._check_positions()
        if self.position_weights and len(self.position_weights) != len(self.positions):
            raise ConfigError(
                f"position_weights: expected {len(self.positions)}, one per position; got {len(self.position_weights)}"
            )
        if self.position_weights and not any(self.position_weights):
            raise ConfigError("position_weights: expected at least one above 0; got none")
        if self.elite >= self.population:
            raise ConfigError(f"elite: expected fewer than population, {self.population}; got {self.elite}")

    def _check_positions(self) -> None:
        """Raise ConfigError if two positions select the same record: identical prompts would count twice."""
        taken: dict[int, float] = {}
        for position in self.positions:
            record = round(position * (self.pairs - 1))
            if record in taken:
                raise ConfigError(
                    f"positions: expected distinct records; got {taken[record]:g} and {position:g}, both "
                    f"record {record + 1} of {self.pairs}; raise pairs, or remove one of the positions"
                )
            taken[record] = position
