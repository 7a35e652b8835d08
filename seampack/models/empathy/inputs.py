"""From a user's columns to the columns that the adapter trains on, and EmpatheticDialogues from its files."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset, Features, List, Value, concatenate_datasets

from seampack.errors import DataError
from seampack.models import data

CSV_COLUMNS = ("conv_id", "utterance_idx", "context", "prompt", "utterance")
COMMONSENSE = "CICERO_"
"""What the columns of generated commonsense begin with."""


def read_empathetic_dialogues(path: str | Path) -> Dataset:
    """EmpatheticDialogues as columns context, emotion, situation and target: one row for each turn of the listener.

    Reads the official CSV (``train.csv``), or JSON records that have these columns; columns ``CICERO_...`` of generated
    commonsense become the column ``knowledge``. Raises DataError for another layout. The data is CC BY-NC 4.0.
    """
    path = Path(path)
    if path.suffix == ".csv":
        return _read_csv(path)
    dataset = data.load(str(path))
    data.require(dataset, ["context", "emotion", "situation", "target"])
    found = {name.removeprefix(COMMONSENSE): name for name in dataset.column_names if name.startswith(COMMONSENSE)}
    return knowledge_from_columns(dataset, found) if found else dataset


def _read_csv(path: Path) -> Dataset:
    """The official files quote nothing and write a comma within a text as ``_comma_``."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file, quoting=csv.QUOTE_NONE))
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    if not lines:
        raise DataError(f"{path}: the file is empty; expected the columns {', '.join(CSV_COLUMNS)}")
    if missing := [name for name in CSV_COLUMNS if name not in lines[0]]:
        raise DataError(
            f"{path}: no column {missing[0]!r}; expected those of EmpatheticDialogues: {', '.join(CSV_COLUMNS)}"
        )
    rows: list[dict[str, Any]] = []
    said: list[str] = []
    current = None
    for number, line in enumerate(lines, 2):
        if any(line[name] is None for name in CSV_COLUMNS) or not line["utterance_idx"].isdecimal():
            raise DataError(f"{path}, line {number}: expected {', '.join(CSV_COLUMNS)}; got {line}")
        if line["conv_id"] != current:
            current, said = line["conv_id"], []
        utterance, situation = (line[name].replace("_comma_", ",").strip() for name in ("utterance", "prompt"))
        if said and int(line["utterance_idx"]) % 2 == 0:  # the speaker begins with 1
            rows.append(
                {"context": list(said), "emotion": line["context"], "situation": situation, "target": utterance}
            )
        said.append(utterance)
    if not rows:
        raise DataError(f"{path}: no turn of a listener; expected rows with an even utterance_idx behind others")
    return Dataset.from_list(rows)


def knowledge_from_columns(dataset: Dataset, columns: Mapping[str, str], name: str = "knowledge") -> Dataset:
    """Gather columns of texts, or of lists of texts, into one column of knowledge; ``columns``: relation: column.

    Raises DataError for a column that is missing.
    """
    for column in columns.values():
        if column not in dataset.column_names:
            raise DataError(f"the dataset has no column {column!r}; it has: {', '.join(dataset.column_names)}")
    values = {relation: dataset[column][:] for relation, column in columns.items()}
    rows = [{relation: _tails(values[relation][at], relation) for relation in columns} for at in range(len(dataset))]
    return with_knowledge(dataset.remove_columns(list(columns.values())), rows, list(columns), name)


def with_knowledge(
    dataset: Dataset, rows: Sequence[Mapping[str, Sequence[str]]], relations: Sequence[str], name: str = "knowledge"
) -> Dataset:
    """Put knowledge into a dataset, a row each, as relation: list of texts.

    A column in the way is kept as ``NAME_given``.
    """
    kind = {relation: List(Value("string")) for relation in relations}
    values = [{relation: list(row.get(relation, [])) for relation in relations} for row in rows]
    return beside(data.set_aside(dataset, [name]), Dataset.from_dict({name: values}, features=Features({name: kind})))


def beside(dataset: Dataset, made: Dataset) -> Dataset:
    """A dataset's columns, of which there may be none, and those of another with as many rows."""
    return concatenate_datasets([dataset, made], axis=1) if dataset.column_names else made


def relations_of(dataset: Dataset, column: str, wanted: Sequence[str]) -> list[str]:
    """The relations in a column of knowledge, or those that are wanted. Raises DataError where there is no such one."""
    kind = dataset.features[column]
    if not isinstance(kind, dict):
        raise DataError(f"column {column!r}: expected relation: list of texts in each row; got {kind}")
    if unknown := [name for name in wanted if name not in kind]:
        raise DataError(f"column {column!r}: no relation {unknown[0]!r}; it has: {', '.join(kind)}")
    return list(wanted) or list(kind)


def utterances(dataset: Dataset, column: str) -> list[list[str]]:
    """A column of contexts as lists of utterances. Raises DataError for an empty one or one that is no text."""
    found = []
    for number, value in enumerate(dataset[column][:], 1):
        context = [value] if isinstance(value, str) else value
        if not isinstance(context, list) or not all(isinstance(each, str) for each in context):
            raise DataError(f"column {column!r}, row {number}: expected a list of texts; got {value!r}")
        if not any(each.strip() for each in context):
            raise DataError(f"column {column!r}, row {number}: nothing has been said; drop such rows first")
        found.append(context)
    return found


def tails_by_row(dataset: Dataset, column: str, relations: Sequence[str]) -> list[dict[str, list[str]]]:
    """A column of knowledge, complete: each relation a list of texts, empty where it is null."""
    return [{name: _tails(row[name], name) for name in relations} for row in dataset[column][:]]


def _tails(value: object, relation: str) -> list[str]:
    if value is None:
        return []
    tails = [value] if isinstance(value, str) else value
    if not isinstance(tails, list) or not all(isinstance(tail, str) for tail in tails):
        raise DataError(f"knowledge {relation!r}: expected a list of texts; got {value!r}")
    return [tail for tail in tails if tail.strip()]
