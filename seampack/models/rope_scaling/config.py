"""The options of rope_scaling."""

from dataclasses import dataclass
from enum import StrEnum

from seampack.config import Config, check_choice, check_integer, check_number, option
from seampack.errors import ConfigError


class Base(StrEnum):
    """What a factor ``s`` does to a layer's frequencies."""

    PI = "pi"
    """Position interpolation: positions ``m / s``."""
    NTK = "ntk"
    """A larger base: ``b * s^(d / (d - 2))``, where ``d`` is the number of rotated dimensions of a head."""


class Gold(StrEnum):
    """How the record that is asked for comes to its position."""

    MOVED = "moved"
    """A row's own record is moved to each position: one context a position, as in lost-in-the-middle."""
    ASKED = "asked"
    """One context a row; the records that stand at the positions are asked for. About four times as fast."""


class Fitness(StrEnum):
    """What the search makes as large as it can."""

    LOG_PROB = "log_prob"
    """Mean log-probability of the gold values, in nats."""
    ACCURACY = "accuracy"
    """Share of prompts that the model answers with the gold value: coarse on few rows."""


def check_factors(name: str, factors: object) -> None:
    """Raise ConfigError unless ``factors`` is a tuple of numbers that can scale positions."""
    if not isinstance(factors, tuple) or not factors:
        raise ConfigError(f"{name}: expected one number for each layer; got {factors!r}")
    for at, factor in enumerate(factors):
        check_number(f"{name}, layer {at}", factor, 1e-3, 1e3)


@dataclass(frozen=True, slots=True, kw_only=True)
class RopeScalingConfig(Config):
    """How to build the retrieval prompts and how to search for the factors."""

    model: str = option("", "Causal language model with rotary positions: a folder, or a name of the hub.")
    base: str = option("pi", "What a factor scales: pi (positions) or ntk (the base of the frequencies).")
    pairs: int = option(10, "Key-value pairs in each prompt.")
    positions: tuple[float, ...] = option(
        (0.0, 0.25, 0.5, 0.75, 1.0), "Where the gold stands in the context, 0 to 1; each row is asked at all of them."
    )
    position_weights: tuple[float, ...] = option(
        (), "Weight of each position in the fitness; none: all weigh the same."
    )
    gold: str = option(
        "moved", "moved: the row's gold to each position; asked: for the record at each; 4 times as fast."
    )
    first_row: int = option(0, "First row that is used, to search and measure on parts of one file.")
    rows: int = option(0, "Rows that are used; 0: all.")
    low: float = option(0.5, "Smallest factor of a control point, at most 1.")
    high: float = option(2.0, "Largest factor of a control point, at least 1.")
    step: float = option(0.05, "Step between the factors that a control point may have.")
    control_points: int = option(4, "Control points of the curve over the layers: 4 a cubic, 2 a line, 1 a constant.")
    fitness: str = option("log_prob", "What the search maximises: log_prob or accuracy.")
    population: int = option(16, "Curves in each generation.")
    generations: int = option(10, "Generations after the first.")
    elite: int = option(4, "Best curves that live on unchanged.")
    mutation_sigma: float = option(0.25, "Standard deviation of a mutation, as a share of the range of factors.")
    long_text: str = option("", "File of plain text whose perplexity evaluate measures with and without scaling.")
    long_tokens: int = option(2048, "Tokens in each window of the long text.")
    seed: int = option(0, "Seed of the search and of the confidence interval.")

    def check_rules(self) -> None:
        """Check the rules between fields."""
        for name in ("positions", "position_weights"):
            value = getattr(self, name)
            if not isinstance(value, tuple | list):
                raise ConfigError(f"{name}: expected a list of numbers; got {value!r}")
            object.__setattr__(self, name, tuple(value))
        check_choice("base", self.base, Base)
        check_choice("gold", self.gold, Gold)
        check_choice("fitness", self.fitness, Fitness)
        check_integer("pairs", self.pairs, 1, 100_000)
        if not self.positions:
            raise ConfigError("positions: expected at least one number from 0 to 1; got none")
        for position in self.positions:
            check_number("positions", position, 0, 1)
        if len(set(self.positions)) < len(self.positions):
            raise ConfigError(f"positions: each may stand once; got {list(self.positions)}")
        check_places(self.pairs, self.positions)
        for weight in self.position_weights:
            check_number("position_weights", weight, 0, 1e6)
        if self.position_weights and len(self.position_weights) != len(self.positions):
            expected = len(self.positions)
            raise ConfigError(
                f"position_weights: expected {expected}, one a position; got {len(self.position_weights)}"
            )
        if self.position_weights and not any(self.position_weights):
            raise ConfigError("position_weights: expected at least one above 0; got none")
        check_integer("first_row", self.first_row, 0, 1 << 40)
        check_integer("rows", self.rows, 0, 1 << 40)
        check_search(self)
        check_integer("long_tokens", self.long_tokens, 2, 1 << 24)


def check_places(pairs: int, positions: tuple[float, ...]) -> None:
    """Raise ConfigError for positions that fall on the same record: their prompts would be the same, counted twice."""
    taken: dict[int, float] = {}
    for position in positions:
        at = round(position * (pairs - 1))
        if at in taken:
            raise ConfigError(
                f"positions: expected each on a record of its own; got {taken[at]:g} and {position:g}, both record "
                f"{at + 1} of {pairs}; raise pairs, or leave one of the positions out"
            )
        taken[at] = position


def check_search(options: "RopeScalingConfig") -> None:
    """Raise ConfigError for options of the search that cannot work."""
    check_number("low", options.low, 0.05, 1)
    check_number("high", options.high, 1, 100)
    check_number("step", options.step, 1e-3, 10)
    check_integer("control_points", options.control_points, 1, 16)
    check_integer("population", options.population, 2, 10_000)
    check_integer("generations", options.generations, 0, 100_000)
    check_integer("elite", options.elite, 1, options.population - 1)
    check_number("mutation_sigma", options.mutation_sigma, 0, 1)
    check_integer("seed", options.seed, 0, 2**32 - 1)
