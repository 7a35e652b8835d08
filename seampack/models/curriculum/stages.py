"""The questions in order, from easy to hard, in stages."""

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from datasets import Dataset, Value

from seampack.config import check_integer
from seampack.errors import DataError
from seampack.models.base import Draw, Row
from seampack.models.curriculum.difficulty import BINS, bins_of, take, with_columns
from seampack.models.data import require

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Rows = npt.NDArray[np.int64]


class Order(StrEnum):
    """What training sees when."""

    STAGES = "stages"
    """A run of the trainer for each stage, each with a fresh optimiser and schedule."""
    ORDERED = "ordered"
    """One run, the stages one after another in it."""
    UNIFORM = "uniform"
    """One run, all rows shuffled: what a curriculum is compared with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CurriculumBuilder:
    """Sorts by pass rate, the easiest first, and cuts into ``stages`` disjoint parts of equal size.

    Pass rates of a few samples tie often: ties are put in a random order, drawn from ``seed``.
    """

    stages: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        check_integer("stages", self.stages, 1, 1_000)

    def build(self, dataset: Dataset) -> Dataset:
        """The dataset sorted, with ``stage`` from 1; sizes differ by one row at most.

        Raises DataError where there is no column ``pass_rate``, or fewer rows than stages.
        """
        require(dataset, ["pass_rate"], "estimate it first")
        rows = len(dataset)
        if rows < self.stages:
            raise DataError(f"the dataset has {rows} rows; expected at least one for each of {self.stages} stages")
        ties = np.random.default_rng(self.seed).permutation(rows)
        order = np.lexsort((ties, -np.asarray(dataset["pass_rate"][:])))
        stage = np.arange(rows) * self.stages // rows + 1
        return with_columns(take(dataset, order), stage=(stage.tolist(), Value("int32")))


def in_order(dataset: Dataset, *, seed: int = 0) -> Dataset:
    """The rows stage by stage, shuffled within each: one epoch for any trainer that keeps the order."""
    require(dataset, ["stage"], "build it first")
    (rows,) = plan(dataset["stage"][:], order=Order.ORDERED, seed=seed)
    return take(dataset, rows)


def plan(
    stages: npt.ArrayLike, *, order: str = Order.STAGES, epochs: int = 1, replay: float = 0.0, seed: int = 0
) -> list[Rows]:
    """Row numbers of each run, in the order that they are trained on; ``stages`` is the stage of each row.

    A stage is gone through ``epochs`` times, shuffled anew each time. With ``replay``, so many rows as a share of the
    stage are drawn from earlier stages, mixed in, each time others.
    """
    stage, rng = np.asarray(stages), np.random.default_rng(seed)
    if order == Order.UNIFORM:
        return [np.concatenate([rng.permutation(stage.size) for _ in range(epochs)])]
    runs = []
    for number in np.unique(stage):
        own, earlier = np.flatnonzero(stage == number), np.flatnonzero(stage < number)
        again = min(round(replay * own.size), earlier.size)
        passes = [
            rng.permutation(np.concatenate([own, rng.choice(earlier, again, replace=False)])) for _ in range(epochs)
        ]
        runs.append(np.concatenate(passes))
    return runs if order == Order.STAGES else [np.concatenate(runs)]


def composition(dataset: Dataset) -> list[Row]:
    """One row a stage: how many questions, their mean pass rate, and how many lie in each bin of pass rates."""
    stage, rates = np.asarray(dataset["stage"][:]), np.asarray(dataset["pass_rate"][:])
    table = []
    for number in np.unique(stage):
        own = rates[stage == number]
        counts = np.bincount(bins_of(own), minlength=len(BINS))
        named = {f"pass rate {name}": int(count) for name, count in zip(BINS, counts, strict=True)}
        table.append({"stage": int(number), "questions": int(own.size), "mean_pass_rate": float(own.mean()), **named})
    return table


def draw_stages(table: list[Row]) -> Draw:
    """Stacked bars: what each stage is made of, from ``composition``."""

    def draw(axes: "Axes") -> None:
        bottom = np.zeros(len(table))
        names = [str(row["stage"]) for row in table]
        for at, name in enumerate(BINS):
            counts = np.array([row[f"pass rate {name}"] for row in table], np.float64)
            shade = (0.85 - 0.13 * at, 0.35 + 0.09 * at, 0.3 + 0.08 * at)
            axes.bar(names, counts, bottom=bottom, label=name, color=shade)
            bottom += counts
        axes.set_xlabel("stage")
        axes.set_ylabel("questions")
        axes.set_title("stages by pass rate")
        axes.legend(title="pass rate", fontsize="small")

    return draw
