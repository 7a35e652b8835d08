"""Difficulty of questions for a model: the share of right responses among its samples."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from datasets import Dataset, DatasetInfo, List, Value
from scipy.stats import hypergeom

from seampack.errors import DataError
from seampack.models.base import Draw
from seampack.models.curriculum.answers import Checker
from seampack.models.curriculum.sampling import Examiner
from seampack.models.data import named_rows, require, set_aside

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Float = npt.NDArray[np.float64]

BINS = ("0", "to 1/4", "to 1/2", "to 3/4", "below 1", "1")
"""Names of the bins of pass rates: none right, at most a quarter, ... , not all, all right."""
COUNT = Value("int32")
"""Type of ``n_samples`` and ``n_correct``, by which ``prepare`` recognises an estimate from this module."""


class DifficultyEstimator(Examiner):
    """Samples ``n_samples`` responses per question and counts right responses (arXiv 2506.04065: 16 at T = 0.7)."""

    def estimate(self, dataset: Dataset) -> Dataset:
        """Return the dataset (``question, final``) with ``responses, n_samples, n_correct, pass_rate``.

        An earlier estimate is replaced. Columns ``responses`` and ``pass_rate`` without ``n_samples`` belong to the
        user and are kept as ``NAME_given``. Raises DataError if the dataset is empty or a column is missing; also
        raises the errors of ``sample_all``.
        """
        require(dataset, ["question", "final"])
        responses = self.responses([self.prompt(question) for question in dataset["question"]], "difficulty")
        dataset = _set_own_aside(dataset, "responses", "pass_rate")
        return grade(with_columns(dataset, responses=(responses, List(Value("string")))), self.correct)


def grade(dataset: Dataset, correct: Checker) -> Dataset:
    """Return the dataset (``responses, final``) with ``n_samples, n_correct, pass_rate``.

    ``responses`` are lists of text from any engine. Earlier grades are replaced. A column ``pass_rate`` without
    ``n_samples`` belongs to the user and is kept as ``pass_rate_given``. Raises DataError if a row has no response.
    """
    require(dataset, ["responses", "final"])
    responses = dataset["responses"][:]
    if empty := [row for row, texts in enumerate(responses) if not texts]:
        raise DataError(f"column 'responses': {named_rows(empty)}: no responses; drop rows without responses first")
    counts = [len(texts) for texts in responses]
    right = [count_correct(texts, final, correct) for texts, final in zip(responses, dataset["final"], strict=True)]
    return with_columns(
        _set_own_aside(dataset, "pass_rate"),
        n_samples=(counts, COUNT),
        n_correct=(right, COUNT),
        pass_rate=([c / n for c, n in zip(right, counts, strict=True)], Value("float64")),
    )


def _set_own_aside(dataset: Dataset, *names: str) -> Dataset:
    """Rename the user's columns with these names; columns of an estimate are recognised by ``n_samples``."""
    return dataset if "n_samples" in dataset.column_names else set_aside(dataset, names)


def count_correct(responses: Sequence[str], final: str, correct: Checker) -> int:
    """Return the number of right responses; a repeated text is checked once."""
    return sum(responses.count(text) for text in set(responses) if correct(text, final))


def with_columns(dataset: Dataset, **columns: tuple[Sequence[Any], Any]) -> Dataset:
    """Return the dataset with new columns, given as name=(values, feature); existing columns are replaced."""
    dataset = take(dataset, range(len(dataset)))
    dataset = dataset.remove_columns([name for name in columns if name in dataset.column_names])
    for name, (values, feature) in columns.items():
        dataset = dataset.add_column(name, list(values), feature=feature)
    return dataset


def take(dataset: Dataset, rows: Iterable[int]) -> Dataset:
    """Return the rows as a new dataset in memory: adding columns to the view that ``select`` returns is slow."""
    return Dataset(dataset.with_format("arrow")[list(rows)], info=DatasetInfo(features=dataset.features))


def pass_at_k(n_samples: npt.ArrayLike, n_correct: npt.ArrayLike, k: int) -> Float:
    """Return the unbiased estimate of pass@k, ``1 - C(n - c, k) / C(n, k)`` (arXiv 2107.03374).

    Pass@k is the probability that at least one of k responses is right. ``n_samples`` and ``n_correct`` have the same
    shape. Raises DataError unless k is from 1 to n.
    """
    n, c = np.asarray(n_samples), np.asarray(n_correct)
    if k < 1 or (n.size and k > n.min()):
        raise DataError(f"pass@k: k is {k}; expected 1 to the number of samples, {n.min() if n.size else 0}")
    return np.asarray(1 - hypergeom.pmf(0, n, c, k), np.float64)


def bins_of(pass_rates: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Return each pass rate's index into ``BINS``."""
    rates = np.asarray(pass_rates, np.float64)
    return np.where(rates <= 0, 0, np.where(rates >= 1, 5, np.ceil(rates * 4).astype(np.int64)))


def draw_difficulty(pass_rates: npt.ArrayLike, title: str = "pass rate of the questions") -> Draw:
    """Return a function that draws a histogram of pass rates."""

    def draw(axes: "Axes") -> None:
        axes.hist(np.asarray(pass_rates, np.float64), bins=np.linspace(-1 / 32, 33 / 32, 18).tolist(), color="#4477aa")
        axes.set_xlabel("share of right responses")
        axes.set_ylabel("questions")
        axes.set_title(title)

    return draw
