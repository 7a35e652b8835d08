"""How hard each question is for a model: the share of its own sampled responses that are right."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from datasets import Dataset, DatasetInfo, List, Value
from scipy.stats import hypergeom

from seampack.config import check_integer
from seampack.errors import DataError
from seampack.models.base import Draw
from seampack.models.curriculum.answers import Checker
from seampack.models.curriculum.prompts import PromptFormat
from seampack.models.curriculum.sampling import Sampler, sample_all
from seampack.models.data import require, set_aside

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Float = npt.NDArray[np.float64]

BINS = ("0", "to 1/4", "to 1/2", "to 3/4", "below 1", "1")
"""Names of the bins of pass rates: none right, at most a quarter, ... , not all, all right."""
COUNT = Value("int32")
"""Type of ``n_samples`` and ``n_correct``, by which ``prepare`` knows an estimate of ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DifficultyEstimator:
    """Samples ``n_samples`` responses to each question and counts the right ones (arXiv 2506.04065: 16 at T = 0.7)."""

    sample: Sampler
    correct: Checker
    prompt: PromptFormat = field(default_factory=PromptFormat)
    n_samples: int = 16
    batch_rows: int = 64
    checkpoint: Path | None = None
    """File of the responses so far; see ``sample_all``."""

    def __post_init__(self) -> None:
        check_integer("n_samples", self.n_samples, 1, 10_000)
        check_integer("batch_rows", self.batch_rows, 1, 1_000_000)

    def estimate(self, dataset: Dataset) -> Dataset:
        """The dataset (``question, final``) with ``responses, n_samples, n_correct, pass_rate``.

        An earlier estimate is replaced; without one, ``responses`` and ``pass_rate`` are yours, kept as ``NAME_given``.
        Raises DataError for an empty dataset or a missing column, and what ``sample_all`` raises.
        """
        require(dataset, ["question", "final"])
        prompts = [self.prompt(question) for question in dataset["question"]]
        responses = sample_all(
            self.sample,
            prompts,
            self.n_samples,
            batch_rows=self.batch_rows,
            checkpoint=self.checkpoint,
            title="difficulty",
        )
        dataset = _own_aside(dataset, "responses", "pass_rate")
        return grade(with_columns(dataset, responses=(responses, List(Value("string")))), self.correct)


def grade(dataset: Dataset, correct: Checker) -> Dataset:
    """``n_samples, n_correct, pass_rate`` of responses that are there already, from whatever engine.

    Takes the columns ``responses`` (lists of text) and ``final``. Earlier grades are replaced; without them,
    ``pass_rate`` is yours, kept as ``pass_rate_given``. Raises DataError where a row has no response.
    """
    require(dataset, ["responses", "final"])
    responses = dataset["responses"][:]
    if empty := [row for row, texts in enumerate(responses) if not texts]:
        raise DataError(f"column 'responses', row {empty[0]}: no responses; drop the rows that have none")
    counts = [len(texts) for texts in responses]
    right = [count_correct(texts, final, correct) for texts, final in zip(responses, dataset["final"], strict=True)]
    return with_columns(
        _own_aside(dataset, "pass_rate"),
        n_samples=(counts, COUNT),
        n_correct=(right, COUNT),
        pass_rate=([c / n for c, n in zip(right, counts, strict=True)], Value("float64")),
    )


def _own_aside(dataset: Dataset, *names: str) -> Dataset:
    """The dataset without the user's columns of these names in the way; ours came with ``n_samples``."""
    return dataset if "n_samples" in dataset.column_names else set_aside(dataset, names)


def count_correct(responses: Sequence[str], final: str, correct: Checker) -> int:
    """How many responses are right; each text that repeats is checked once."""
    return sum(responses.count(text) for text in set(responses) if correct(text, final))


def with_columns(dataset: Dataset, **columns: tuple[Sequence[Any], Any]) -> Dataset:
    """The dataset with columns set, as name: (values, feature); those of the same name are replaced."""
    dataset = take(dataset, range(len(dataset)))
    dataset = dataset.remove_columns([name for name in columns if name in dataset.column_names])
    for name, (values, feature) in columns.items():
        dataset = dataset.add_column(name, list(values), feature=feature)
    return dataset


def take(dataset: Dataset, rows: Iterable[int]) -> Dataset:
    """Some rows as a dataset of its own, in memory; ``select`` keeps the whole and an index, slow to add columns to."""
    return Dataset(dataset.with_format("arrow")[list(rows)], info=DatasetInfo(features=dataset.features))


def pass_at_k(n_samples: npt.ArrayLike, n_correct: npt.ArrayLike, k: int) -> Float:
    """Chance that one of k responses is right, unbiased from n: ``1 - C(n - c, k) / C(n, k)`` (arXiv 2107.03374).

    Arrays of any one shape. Raises DataError where k is not from 1 to n.
    """
    n, c = np.asarray(n_samples), np.asarray(n_correct)
    if k < 1 or (n.size and k > n.min()):
        raise DataError(f"pass@k: k is {k}; expected 1 to the number of samples, {n.min() if n.size else 0}")
    return np.asarray(1 - hypergeom.pmf(0, n, c, k), np.float64)


def bins_of(pass_rates: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Index into ``BINS`` of each pass rate."""
    rates = np.asarray(pass_rates, np.float64)
    return np.where(rates <= 0, 0, np.where(rates >= 1, 5, np.ceil(rates * 4).astype(np.int64)))


def draw_difficulty(pass_rates: npt.ArrayLike, title: str = "pass rate of the questions") -> Draw:
    """A histogram of pass rates."""

    def draw(axes: "Axes") -> None:
        axes.hist(np.asarray(pass_rates, np.float64), bins=np.linspace(-1 / 32, 33 / 32, 18).tolist(), color="#4477aa")
        axes.set_xlabel("share of right responses")
        axes.set_ylabel("questions")
        axes.set_title(title)

    return draw
