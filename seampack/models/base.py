"""What every adapter does: prepare a dataset, train on it, evaluate what was trained."""

import csv
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from datasets import Dataset

from seampack.config import Config
from seampack.models.artifact import Artifact
from seampack.models.data import set_aside
from seampack.models.progress import no_bars_in_files

if TYPE_CHECKING:
    from matplotlib.axes import Axes

C = TypeVar("C", bound=Config)
Row = dict[str, Any]
Draw = Callable[["Axes"], None]


class Adapter(ABC, Generic[C]):
    """One method. Adapters hold no state: all there is to know is in the config, the dataset and the artifact."""

    name: ClassVar[str]
    config: type[C]
    """The frozen dataclass of the method's options; its defaults run on the columns that ``columns`` names."""
    columns: ClassVar[Mapping[str, str]]
    """What a dataset must have, as column: meaning; ``NAME_column`` options of the config rename columns."""
    per_run: ClassVar[tuple[str, ...]] = ()
    """Options of one run, such as the folder of its checkpoints: evaluation does not take them over from training."""

    @abstractmethod
    def prepare(self, dataset: Dataset, config: C) -> Dataset:
        """The dataset as ``train`` and ``evaluate`` want it, checked. What was prepared already is returned as it is.

        A column in the way of one that is written, and not named as an input, is kept as ``NAME_given``.
        Raises DataError for an empty dataset, a missing column or a value that cannot be used.
        """

    @abstractmethod
    def train(self, dataset: Dataset, config: C) -> Artifact:
        """Train on a prepared dataset. The same dataset, config and machine give the same artifact."""

    @abstractmethod
    def evaluate(self, dataset: Dataset, artifact: Artifact, config: C) -> "Evaluation":
        """Measure an artifact on a prepared dataset. Raises DataError for labels that it was not trained on."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What an evaluation found."""

    metrics: dict[str, Any]
    """Single numbers; None where one is not defined."""
    rows: Dataset
    """The dataset's rows with what the method says of each; see ``with_results``."""
    tables: dict[str, list[Row]] = field(default_factory=dict)
    """Small tables for people, as name: rows."""
    pictures: dict[str, Draw] = field(default_factory=dict)
    """Pictures, as name: a function that draws on matplotlib axes."""

    @no_bars_in_files()
    def save(self, folder: Path) -> None:
        """Write ``metrics.json``, ``rows.parquet``, and each table as CSV and each picture as PNG and SVG."""
        (folder / "metrics.json").write_text(json.dumps(self.metrics, indent=2, ensure_ascii=False) + "\n", "utf-8")
        self.rows.to_parquet(str(folder / "rows.parquet"))
        for name, rows in self.tables.items():
            with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, list(rows[0]) if rows else [])
                writer.writeheader()
                writer.writerows(rows)
        for name, draw in self.pictures.items():
            save_picture(folder / name, draw)


def with_results(dataset: Dataset, results: Mapping[str, Any]) -> Dataset:
    """The dataset with a column for each result, as name: values, or name: (values, their feature).

    A column of the dataset's own that has such a name is kept as ``NAME_given``: nothing that was given is lost.
    """
    dataset = set_aside(dataset, results)
    for name, found in results.items():
        values, feature = found if isinstance(found, tuple) else (found, None)
        dataset = dataset.add_column(name, values, feature=feature)
    return dataset


def save_picture(path: Path, draw: Draw) -> None:
    """Draw on empty axes and write ``path`` with the endings .png and .svg, the same bytes for the same drawing."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "seampack"}):
        figure = Figure(figsize=(6, 4), layout="constrained")
        draw(figure.subplots())
        figure.savefig(path.with_name(f"{path.name}.png"), dpi=150)
        figure.savefig(path.with_name(f"{path.name}.svg"), metadata={"Date": None})
