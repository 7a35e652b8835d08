"""Loading of datasets from files or the hub, and checks of columns and labels shared by the adapters."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from datasets import (
    ClassLabel,
    Dataset,
    DatasetDict,
    Features,
    Value,
    concatenate_datasets,
    load_dataset,
    load_from_disk,
)

from seampack.errors import DataError
from seampack.io.folders import is_saved_dataset
from seampack.io.formats import PLAIN_TEXT, TABLES
from seampack.io.hub import hub_problem, hub_reason
from seampack.io.output import FolderKind
from seampack.io.records import plain_lines
from seampack.io.sources import expand, open_source
from seampack.io.tables import read_table
from seampack.models.json_columns import read_records
from seampack.models.sources import check_source, is_hub_name

PREPARED = FolderKind(
    "a prepared dataset",
    "dataset_info.json",
    lambda entry: entry.name.endswith((".arrow", ".json")) and entry.is_file(),
)
"""The folder of ``Dataset.save_to_disk``."""


def load(source: str, split: str | None = None) -> Dataset:
    """Return a dataset from files, a folder of ``save_to_disk``, standard input or the hub.

    Files: a path, a glob, a folder or ``-``; JSON lines, JSON, CSV, TSV, Parquet, Arrow or plain text (column ``text``,
    one row per line), compressed or not. ``split`` names one of several splits; files have no splits.

    Raises DataError if the source cannot be read.
    """
    check_source(source)
    if is_saved_dataset(Path(source)):
        return _chosen(_saved(Path(source)), source, split)
    if is_hub_name(source):
        return _chosen(_from_hub(source), source, split)
    if split is not None:
        raise DataError(f"{source}: a file has no splits; omit --split")
    parts = [_from_file(name) for name in expand(source)]
    try:
        return parts[0] if len(parts) == 1 else concatenate_datasets(parts)
    except (ValueError, pa.ArrowException) as error:
        raise DataError(f"{source}: the files have different columns: {' '.join(str(error).split())}") from error


def _from_hub(name: str) -> Any:
    """Return a dataset of the hub or, if the hub is out of reach, of its cache."""
    problem = hub_problem(name, "dataset")
    was_offline = datasets.config.HF_HUB_OFFLINE
    try:
        datasets.config.HF_HUB_OFFLINE = was_offline or problem is not None
        return load_dataset(name)
    except Exception as error:  # the client of the hub raises many types of errors
        reason = " ".join(str(error).split()) if problem is None else hub_reason(problem)
        raise DataError(f"{name}: no such file or folder, and the hub does not provide it: {reason}") from error
    finally:
        datasets.config.HF_HUB_OFFLINE = was_offline


def _saved(folder: Path) -> Any:
    try:
        return load_from_disk(str(folder))
    except Exception as error:  # each format raises its own types of errors
        raise DataError(f"{folder}: not a folder of a saved dataset: {' '.join(str(error).split())}") from error


def _chosen(loaded: Any, source: str, split: str | None) -> Dataset:
    if not isinstance(loaded, DatasetDict):
        if split is not None:
            raise DataError(f"{source}: the dataset has no splits; omit --split")
        return loaded
    if split is None and len(loaded) > 1:
        raise DataError(f"{source}: has several splits; choose one of {', '.join(loaded)} with --split")
    name = split or next(iter(loaded))
    if name not in loaded:
        raise DataError(f"{source}: no split {name!r}; expected one of {', '.join(loaded)}")
    return loaded[name]


def _from_file(path: str) -> Dataset:
    with open_source(path) as source:
        try:
            if source.format in TABLES:
                return Dataset(read_table(source))
            if source.format in PLAIN_TEXT:
                return Dataset.from_dict({"text": list(plain_lines(source))}, Features({"text": Value("string")}))
            return Dataset(read_records(source))
        except DataError:
            raise
        except (pa.ArrowException, ValueError, TypeError, OverflowError, KeyError) as error:
            cause = "a column name appears twice: " if isinstance(error, KeyError) else ""
            raise DataError(f"{source.name}: cannot be read: {cause}{' '.join(str(error).split())}") from error


def require(
    dataset: Dataset, columns: Iterable[str], remedy: str = "rename your columns, or set their names in the options"
) -> None:
    """Raise DataError unless the dataset has rows and these columns, without nulls. ``remedy`` ends the message."""
    if not len(dataset):
        raise DataError("the dataset is empty; expected at least one row")
    for column in columns:
        if column not in dataset.column_names:
            names = ", ".join(dataset.column_names)
            raise DataError(f"the dataset has no column {column!r}; it has: {names}; {remedy}")
        if dataset.data.column(column).null_count:
            nulls = np.flatnonzero(dataset.with_format("arrow")[column][:].is_null())
            raise DataError(
                f"column {column!r}: {len(nulls):,} of {len(dataset):,} values are null, in {named_rows(nulls)}; drop "
                "those rows first"
            )


def named_rows(rows: Sequence[int] | npt.NDArray[np.int64]) -> str:
    """Return rows, given by their index, for a message that counts from 1: ``row 3``, ``rows 3, 5 and 120 others``."""
    shown = [f"{row + 1:,}" for row in rows[:5]]
    if len(rows) > len(shown):
        shown.append(f"{len(rows) - len(shown):,} others")
    return f"row {shown[0]}" if len(shown) == 1 else f"rows {', '.join(shown[:-1])} and {shown[-1]}"


def require_text(dataset: Dataset, column: str) -> None:
    """Raise DataError unless a column holds text."""
    require(dataset, [column])
    kind = dataset.data.column(column).type
    if pa.types.is_binary(kind):
        raise DataError(f"column {column!r}: expected text; got bytes that are not UTF-8; convert the file")
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise DataError(f"column {column!r}: expected text; got {kind}")


def set_aside(dataset: Dataset, names: Iterable[str]) -> Dataset:
    """Rename the dataset's columns with these names to ``NAME_given``, so that the names are free for new columns."""
    names = set(names)
    for name in [name for name in dataset.column_names if name in names]:
        free_name = f"{name}_given"
        while free_name in dataset.column_names or free_name in names:
            free_name += "_given"
        dataset = dataset.rename_column(name, free_name)
    return dataset


def classes_of(dataset: Dataset, column: str) -> list[str]:
    """Return the class names of a column of labels, in the order of their ids: as declared, or sorted by value.

    Raises DataError unless all labels are non-empty text or whole numbers.
    """
    feature = dataset.features[column]
    if isinstance(feature, ClassLabel):
        return list(feature.names)
    if not isinstance(feature, Value) or feature.dtype.startswith("float"):
        raise DataError(f"column {column!r}: expected labels as text or whole numbers; got {dataset[0][column]!r}")
    values = dataset.unique(column)
    if "" in values:
        empty = [row for row, value in enumerate(dataset[column][:]) if value == ""]
        raise DataError(f"column {column!r}: the label of {named_rows(empty)} is empty; drop those rows first")
    return [str(value) for value in sorted(values)]


def label_names(dataset: Dataset, column: str) -> list[str]:
    """Return each row's label as text. Raise DataError for -1, which datasets of the hub use for a missing label."""
    feature, values = dataset.features[column], dataset[column][:]
    if not isinstance(feature, ClassLabel):
        return list(map(str, values))
    if missing := [row for row, number in enumerate(values) if number < 0]:
        raise DataError(
            f"column {column!r}: {len(missing):,} of {len(values):,} labels are missing (-1), in "
            f"{named_rows(missing)}; drop those rows, or choose another split"
        )
    return [feature.names[number] for number in values]


def with_labels(dataset: Dataset, column: str, classes: Sequence[str]) -> Dataset:
    """Add the column ``label``, which holds the labels of ``column`` as ids of ``classes``.

    A ``column`` of another name is kept. An existing column ``label`` with other content is kept as ``label_given``.
    Raises DataError if a label is unknown.
    """
    label_feature = ClassLabel(names=list(classes))
    feature = dataset.features[column]
    names = label_names(dataset, column)
    if column == "label" and isinstance(feature, ClassLabel) and list(feature.names) == list(classes):
        return dataset
    ids_by_name = {name: number for number, name in enumerate(classes)}
    if unknown := sorted(set(names) - set(ids_by_name)):
        raise DataError(f"column {column!r}: unknown label {unknown[0]!r}; expected one of {', '.join(classes)}")
    ids = [ids_by_name[name] for name in names]
    if dataset.features.get("label") == label_feature and dataset["label"][:] == ids:
        return dataset
    if dataset.column_names == ["label"]:
        return Dataset.from_dict({"label": ids}, Features({"label": label_feature}))
    others = dataset.remove_columns("label") if column == "label" else set_aside(dataset, ["label"])
    return others.add_column("label", ids, feature=label_feature)


def with_names(dataset: Dataset) -> Dataset:
    """Return the dataset with class names, as text, instead of class ids; a row without a class becomes null."""
    for column, feature in dataset.features.items():
        if isinstance(feature, ClassLabel):
            names = [None if number is None or number < 0 else feature.names[number] for number in dataset[column][:]]
            place = dataset.column_names
            named = Dataset.from_dict({column: names}, Features({column: Value("string")}))
            rest = dataset.remove_columns(column)
            dataset = concatenate_datasets([rest, named], axis=1).select_columns(place) if rest.column_names else named
    return dataset
