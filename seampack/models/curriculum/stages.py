"""Stages: the questions sorted from easy to hard and split into parts."""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from datasets import Dataset, Value

from seampack.errors import DataError
from seampack.models.base import Draw, Row
from seampack.models.curriculum.config import CurriculumConfig, Order
from seampack.models.curriculum.difficulty import BINS, bins_of, take, with_columns
from seampack.models.data import require

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Rows = npt.NDArray[np.int64]


class CurriculumBuilder:
    """Sorts rows by pass rate, easiest first, and splits them into ``stages`` parts of equal size.

    Rows with equal pass rates, which are common with few samples, are in random order, drawn from ``seed``.
    """

    def __init__(self, config: CurriculumConfig) -> None:
        self.config = config

    def build(self, dataset: Dataset) -> Dataset:
        """Return the dataset sorted, with ``stage`` from 1; sizes of stages differ by at most one row.

        Raises DataError if the column ``pass_rate`` is missing or there are fewer rows than stages.
        """
        require(dataset, ["pass_rate"], "estimate it first")
        rows, stages = len(dataset), self.config.stages
        if rows < stages:
            raise DataError(f"the dataset has {rows} rows; expected at least one for each of {stages} stages")
        ties = np.random.default_rng(self.config.seed).permutation(rows)
        order = np.lexsort((ties, -np.asarray(dataset["pass_rate"][:])))
        stage = np.arange(rows) * stages // rows + 1
        return with_columns(take(dataset, order), stage=(stage.tolist(), Value("int32")))


def in_order(dataset: Dataset, *, seed: int = 0) -> Dataset:
    """Return the rows stage by stage, shuffled within each stage: one epoch for any trainer that keeps the order."""
    require(dataset, ["stage"], "build it first")
    (rows,) = plan(dataset["stage"][:], CurriculumConfig(order=Order.ORDERED, replay=0.0, seed=seed))
    return take(dataset, rows)


def plan(stages: npt.ArrayLike, config: CurriculumConfig) -> list[Rows]:
    """Return the row numbers of each run, in training order; ``stages`` is the stage of each row.

    Each stage is repeated ``epochs`` times and shuffled anew each time. Each pass mixes in newly drawn rows of
    earlier stages; ``replay`` is their number as a share of the stage's size.
    """
    stage, rng = np.asarray(stages), np.random.default_rng(config.seed)
    if config.order == Order.UNIFORM:
        return [np.concatenate([rng.permutation(stage.size) for _ in range(config.epochs)])]
    runs = []
    for number in np.unique(stage):
        own, earlier = np.flatnonzero(stage == number), np.flatnonzero(stage < number)
        replayed = min(round(config.replay * own.size), earlier.size)
        passes = [
            rng.permutation(np.concatenate([own, rng.choice(earlier, replayed, replace=False)]))
            for _ in range(config.epochs)
        ]
        runs.append(np.concatenate(passes))
    return runs if config.order == Order.STAGES else [np.concatenate(runs)]


def composition(dataset: Dataset) -> list[Row]:
    """Return one row per stage: number of questions, mean pass rate, and number of questions in each bin."""
    stage, rates = np.asarray(dataset["stage"][:]), np.asarray(dataset["pass_rate"][:])
    table = []
    for number in np.unique(stage):
        own = rates[stage == number]
        counts = np.bincount(bins_of(own), minlength=len(BINS))
        named = {f"pass rate {name}": int(count) for name, count in zip(BINS, counts, strict=True)}
        table.append({"stage": int(number), "questions": int(own.size), "mean_pass_rate": float(own.mean()), **named})
    return table


def draw_stages(table: list[Row]) -> Draw:
    """Return a function that draws a table of ``composition`` as one stacked bar per stage."""

    def draw(axes: "Axes") -> None:
        bottom = np.zeros(len(table))
        names = [str(row["stage"]) for row in table]
        for index, name in enumerate(BINS):
            counts = np.array([row[f"pass rate {name}"] for row in table], np.float64)
            shade = (0.85 - 0.13 * index, 0.35 + 0.09 * index, 0.3 + 0.08 * index)
            axes.bar(names, counts, bottom=bottom, label=name, color=shade)
            bottom += counts
        axes.set_xlabel("stage")
        axes.set_ylabel("questions")
        axes.set_title("stages by pass rate")
        axes.legend(title="pass rate", fontsize="small")

    return draw
