"""The protocol of all methods: prepare a dataset, train on it, evaluate the trained artifact.

prepare(dataset, config) -> dataset
train(dataset, config) -> artifact                     by the method's ``fit``
evaluate(dataset, artifact, config) -> evaluation      by the method's ``measure``
"""

import csv
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import numpy.typing as npt
from datasets import Dataset

from seampack.errors import ConfigError
from seampack.io.output import FolderKind
from seampack.models.artifact import Artifact, fingerprint
from seampack.models.data import set_aside, with_names
from seampack.models.options import MethodConfig
from seampack.models.progress import no_bars_in_files

if TYPE_CHECKING:
    from matplotlib.axes import Axes

EVALUATION = FolderKind(
    "an evaluation", "metrics.json", lambda entry: entry.name.endswith((".json", ".parquet", ".csv", ".png", ".svg"))
)
"""The folder that ``Evaluation.save`` fills."""

C = TypeVar("C", bound=MethodConfig)
Row = dict[str, Any]
Draw = Callable[["Axes"], None]


@dataclass(frozen=True, slots=True)
class Fitted:
    """The result of a method's training, from which ``Adapter.train`` makes the artifact."""

    tensors: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    """Arrays by name."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Facts as JSON types, such as classes and losses; a dict ``data`` is merged into the facts about the dataset."""
    parts: Mapping[str, Any] = field(default_factory=dict)
    """Objects with ``save_pretrained``: models and tokenizers of transformers, by name."""
    notes: Sequence[str] = ()
    """Why the training may mean nothing, and what to do; see ``models/notes.py``. They become the fact ``notes``."""


class Adapter(ABC, Generic[C]):
    """One method. Adapters have no state: config, dataset and artifact hold all data."""

    name: ClassVar[str]
    config: type[C]

    @abstractmethod
    def prepare(self, dataset: Dataset, config: C) -> Dataset:
        """Return the checked dataset in the form that ``train`` and ``evaluate`` expect.

        A prepared dataset is returned unchanged. If a prepared column needs the name of a column that is not an input,
        that column is kept as ``NAME_given``. Raises DataError for an empty dataset, a missing column or an unusable
        value.
        """

    @abstractmethod
    def fit(self, dataset: Dataset, config: C) -> Fitted:
        """Train on a prepared dataset. On a CPU, the same dataset, config and machine give the same result."""

    @abstractmethod
    def measure(self, dataset: Dataset, artifact: Artifact, config: C) -> "Evaluation":
        """Measure an artifact on a prepared dataset. Raises DataError if a label is unknown from training."""

    def train(self, dataset: Dataset, config: C) -> Artifact:
        """Fit the method to a prepared dataset and return the artifact.

        The artifact holds the config of the run, the facts of the method, ``notes``, and ``data``: the ``fingerprint``
        and number of ``rows`` of the dataset.
        """
        fitted = self.fit(dataset, config)
        data = {"fingerprint": fingerprint(dataset), "rows": len(dataset), **fitted.facts.get("data", {})}
        facts = {**fitted.facts, "data": data, "notes": list(fitted.notes)}
        return Artifact(self.name, config.to_dict(), fitted.tensors, facts, fitted.parts)

    def evaluate(self, dataset: Dataset, artifact: Artifact, config: C) -> "Evaluation":
        """Measure an artifact on a prepared dataset. The notes of the training precede those of the evaluation.

        Raises ConfigError if a ``fixed`` option has another value.
        """
        self._check_fixed(artifact, config)
        evaluation = self.measure(dataset, artifact, config)
        trained = [f"in training: {note}" for note in artifact.facts.get("notes", [])]
        return replace(evaluation, notes=(*trained, *evaluation.notes))

    def _check_fixed(self, artifact: Artifact, config: C) -> None:
        """Raise ConfigError if a ``fixed`` option differs from its value in the artifact."""
        given, trained = config.to_dict(), self.config().to_dict() | artifact.config
        for name in self.config.fixed:
            if given[name] != trained[name]:
                raise ConfigError(
                    f"{name}: fixed by training; expected {trained[name]!r}, as in the artifact; got {given[name]!r}; "
                    "omit the option, or train again with it"
                )


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The result of an evaluation."""

    metrics: dict[str, Any]
    """Single numbers by name; None where a number is undefined."""
    rows: Dataset
    """The rows of the dataset with the method's results as further columns; see ``with_results``."""
    tables: dict[str, list[Row]] = field(default_factory=dict)
    """Small tables for the reader, as lists of rows by name."""
    pictures: dict[str, Draw] = field(default_factory=dict)
    """Pictures by name, as functions that draw on matplotlib axes."""
    notes: Sequence[str] = ()
    """Why results may mean nothing, and what to do; see ``models/notes.py``."""

    @no_bars_in_files()
    def save(self, folder: Path) -> None:
        """Write ``metrics.json`` with the notes, ``rows.parquet``, each table as CSV, each picture as PNG and SVG.

        The rows have the names of classes, not their ids.
        """
        metrics = self.metrics | {"notes": list(self.notes)}
        (folder / "metrics.json").write_text(json.dumps(metrics, indent=2, ensure_ascii=False) + "\n", "utf-8")
        with_names(self.rows).to_parquet(str(folder / "rows.parquet"))
        for name, rows in self.tables.items():
            with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, list(rows[0]) if rows else [])
                writer.writeheader()
                writer.writerows(rows)
        for name, draw in self.pictures.items():
            save_picture(folder / name, draw)


def with_results(dataset: Dataset, results: Mapping[str, Any]) -> Dataset:
    """Add a column to the dataset for each result, which is a list of values or a tuple of values and their feature.

    An existing column of the same name is kept as ``NAME_given``, so that no input is lost.
    """
    dataset = set_aside(dataset, results)
    for name, result in results.items():
        values, feature = result if isinstance(result, tuple) else (result, None)
        dataset = dataset.add_column(name, values, feature=feature)
    return dataset


def save_picture(path: Path, draw: Draw) -> None:
    """Draw on empty axes and save the figure as ``path.png`` and ``path.svg``. Equal drawings give equal bytes."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "seampack"}):
        figure = Figure(figsize=(6, 4), layout="constrained")
        draw(figure.subplots())
        figure.savefig(path.with_name(f"{path.name}.png"), dpi=150)
        figure.savefig(path.with_name(f"{path.name}.svg"), metadata={"Date": None})
