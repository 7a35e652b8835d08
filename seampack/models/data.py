"""Datasets from files or the hub, and the checks of columns and labels that adapters share."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.ipc as paipc
import pyarrow.parquet as pq
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value, load_dataset, load_from_disk

from seampack.errors import DataError

_COMPRESSED = (".gz", ".zst", ".bz2")
_READABLE = "CSV, TSV, JSON, JSON lines, Parquet, Arrow, a folder of a saved dataset, or a dataset of the hub"


def load(source: str, split: str | None = None) -> Dataset:
    """A dataset from a file (also .gz, .zst, .bz2), a folder of ``save_to_disk``, or the hub.

    ``split`` names one of several; files have none. Raises DataError for what cannot be read.
    """
    path = Path(source)
    if path.is_dir():
        return _chosen(_saved(path), source, split)
    if path.is_file():
        if split is not None:
            raise DataError(f"{source}: a file has no splits; leave --split out")
        return _from_file(path)
    if path.suffix or source.startswith((".", "/")):
        raise DataError(f"{source}: no such file or folder")
    try:
        return _chosen(load_dataset(source), source, split)
    except Exception as error:  # the hub's client raises many kinds
        reason = " ".join(str(error).split())
        raise DataError(f"{source}: no such file, and not to be had from the hub: {reason}") from error


def _saved(folder: Path) -> Any:
    try:
        return load_from_disk(str(folder))
    except Exception as error:  # as many kinds as formats inside
        raise DataError(f"{folder}: not a folder of a saved dataset: {' '.join(str(error).split())}") from error


def _chosen(found: Any, source: str, split: str | None) -> Dataset:
    if not isinstance(found, DatasetDict):
        if split is not None:
            raise DataError(f"{source}: the dataset has no splits; leave --split out")
        return found
    if split is None and len(found) > 1:
        raise DataError(f"{source}: has several splits; choose one of {', '.join(found)} with --split")
    name = split or next(iter(found))
    if name not in found:
        raise DataError(f"{source}: no split {name!r}; expected one of {', '.join(found)}")
    return found[name]


def _from_file(path: Path) -> Dataset:
    compressed = path.suffix.lower() in _COMPRESSED
    ending = (Path(path.stem).suffix if compressed else path.suffix).lower()
    try:
        with pa.input_stream(str(path), compression="detect") as stream:
            if ending in (".csv", ".tsv"):
                parse = pacsv.ParseOptions(delimiter="\t" if ending == ".tsv" else ",", newlines_in_values=True)
                return Dataset(pacsv.read_csv(stream, parse_options=parse))
            if ending in (".json", ".jsonl", ".ndjson"):
                return Dataset.from_list(_objects(stream.read(), path))
            if ending in (".parquet", ".pq"):
                return Dataset(pq.read_table(pa.BufferReader(stream.read())))
            if ending == ".arrow":
                return Dataset(_arrow(stream.read()))
    except DataError:
        raise
    except (pa.ArrowException, OSError, ValueError, TypeError, OverflowError, KeyError) as error:
        what = "a column name stands twice: " if isinstance(error, KeyError) else ""
        raise DataError(f"{path}: cannot be read: {what}{' '.join(str(error).split())}") from error
    raise DataError(f"{path}: unknown kind of file {ending or path.name!r}; expected {_READABLE}")


def _objects(content: bytes, path: Path) -> list[dict[str, Any]]:
    if content.lstrip()[:1] == b"[":
        found = msgspec.json.decode(content)
    else:
        found = []
        for number, line in enumerate(content.splitlines(), 1):
            if line.strip():
                try:
                    found.append(json.loads(line))
                except ValueError as error:
                    raise DataError(f"{path}, line {number}: not JSON: {error}") from error
    for number, item in enumerate(found, 1):
        if not isinstance(item, dict):
            raise DataError(f"{path}, record {number}: expected an object; got {type(item).__name__}")
    return list(found)


def _arrow(content: bytes) -> pa.Table:
    try:
        return paipc.open_file(content).read_all()
    except pa.ArrowInvalid:
        return paipc.open_stream(content).read_all()


def require(
    dataset: Dataset, columns: Iterable[str], remedy: str = "rename the columns, or name yours in the options"
) -> None:
    """Raise DataError unless the dataset has rows and these columns, without nulls. ``remedy`` ends the message."""
    if not len(dataset):
        raise DataError("the dataset is empty; expected at least one row")
    for column in columns:
        if column not in dataset.column_names:
            have = ", ".join(dataset.column_names)
            raise DataError(f"the dataset has no column {column!r}; it has: {have}; {remedy}")
        nulls = dataset.data.column(column).null_count
        if nulls:
            raise DataError(f"column {column!r}: {nulls:,} of {len(dataset):,} values are null; drop those rows first")


def require_text(dataset: Dataset, column: str) -> None:
    """Raise DataError unless a column holds text."""
    require(dataset, [column])
    kind = dataset.data.column(column).type
    if pa.types.is_binary(kind):
        raise DataError(f"column {column!r}: expected text; got bytes that are not UTF-8; convert the file")
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise DataError(f"column {column!r}: expected text; got {kind}")


def set_aside(dataset: Dataset, names: Iterable[str]) -> Dataset:
    """Rename the dataset's columns of these names to ``NAME_given``, so that the names are free for new columns."""
    names = set(names)
    for name in [name for name in dataset.column_names if name in names]:
        free_name = f"{name}_given"
        while free_name in dataset.column_names or free_name in names:
            free_name += "_given"
        dataset = dataset.rename_column(name, free_name)
    return dataset


def classes_of(dataset: Dataset, column: str) -> list[str]:
    """Return the class names of a column of labels, in the order of their ids: as declared, or sorted by value.

    Raises DataError unless labels are text or whole numbers, and none is empty.
    """
    feature = dataset.features[column]
    if isinstance(feature, ClassLabel):
        return list(feature.names)
    if not isinstance(feature, Value) or feature.dtype.startswith("float"):
        raise DataError(f"column {column!r}: expected labels as text or whole numbers; got {dataset[0][column]!r}")
    values = dataset.unique(column)
    if "" in values:
        raise DataError(f"column {column!r}: some rows have an empty label; drop those rows first")
    return [str(value) for value in sorted(values)]


def with_labels(dataset: Dataset, column: str, classes: Sequence[str]) -> Dataset:
    """Replace ``column`` by the column ``label``, which holds the labels as ids of ``classes``.

    Another existing column ``label`` is kept as ``label_given``. Raises DataError for an unknown label.
    """
    label_feature = ClassLabel(names=list(classes))
    feature = dataset.features[column]
    if column == "label" and isinstance(feature, ClassLabel) and list(feature.names) == list(classes):
        _check_labelled(dataset["label"][:], column)
        return dataset
    values = dataset[column][:]
    if isinstance(feature, ClassLabel):
        _check_labelled(values, column)
        values = [feature.int2str(value) for value in values]
    names = list(map(str, values))
    ids_by_name = {name: number for number, name in enumerate(classes)}
    if unknown := sorted(set(names) - set(ids_by_name)):
        raise DataError(f"column {column!r}: unknown label {unknown[0]!r}; expected one of {', '.join(classes)}")
    ids = [ids_by_name[name] for name in names]
    others = [name for name in dataset.column_names if name != column]
    if not others:
        return Dataset.from_dict({"label": ids}, Features({"label": label_feature}))
    return set_aside(dataset.select_columns(others), ["label"]).add_column("label", ids, feature=label_feature)


def _check_labelled(ids: Sequence[int], column: str) -> None:
    """Raise DataError for the label -1, which datasets of the hub use for rows without a label."""
    if missing := sum(number < 0 for number in ids):
        raise DataError(f"column {column!r}: {missing:,} rows have no label (-1); drop them or choose another split")
