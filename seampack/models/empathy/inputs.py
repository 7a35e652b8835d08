"""Readers and checks of dialogues and knowledge, and the reader of EmpatheticDialogues."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset, Features, List, Value, concatenate_datasets

from seampack.errors import DataError
from seampack.models import data

CSV_COLUMNS = ("conv_id", "utterance_idx", "context", "prompt", "utterance")
COMMONSENSE = "CICERO_"
"""Prefix of the columns of generated commonsense."""


def read_empathetic_dialogues(path: str | Path) -> Dataset:
    """Read EmpatheticDialogues: one row per listener turn, with columns context, emotion, situation and target.

    ``path`` is an official CSV file (``train.csv``), or JSON records with these columns; columns ``CICERO_...`` of
    generated commonsense become the column ``knowledge``. Raises DataError for any other layout. The licence of the
    data is CC BY-NC 4.0.
    """
    path = Path(path)
    if path.suffix == ".csv":
        return _read_csv(path)
    dataset = data.load(str(path))
    data.require(dataset, ["context", "emotion", "situation", "target"])
    columns = {name.removeprefix(COMMONSENSE): name for name in dataset.column_names if name.startswith(COMMONSENSE)}
    return knowledge_from_columns(dataset, columns) if columns else dataset


def _read_csv(path: Path) -> Dataset:
    """Read an official file, in which texts are not quoted and a comma in a text is written as ``_comma_``."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file, quoting=csv.QUOTE_NONE))
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    if not lines:
        raise DataError(f"{path}: the file is empty; expected the columns {', '.join(CSV_COLUMNS)}")
    if missing := [name for name in CSV_COLUMNS if name not in lines[0]]:
        raise DataError(
            f"{path}: no column {missing[0]!r}; expected the columns of EmpatheticDialogues: {', '.join(CSV_COLUMNS)}"
        )
    rows: list[dict[str, Any]] = []
    utterances_so_far: list[str] = []
    dialogue = None
    for number, line in enumerate(lines, 2):
        if any(line[name] is None for name in CSV_COLUMNS) or not line["utterance_idx"].isdecimal():
            raise DataError(f"{path}, line {number}: expected {', '.join(CSV_COLUMNS)}; got {line}")
        if line["conv_id"] != dialogue:
            dialogue, utterances_so_far = line["conv_id"], []
        utterance, situation = (line[name].replace("_comma_", ",").strip() for name in ("utterance", "prompt"))
        if utterances_so_far and int(line["utterance_idx"]) % 2 == 0:  # a listener turn: the speaker begins with 1
            row = {"context": list(utterances_so_far), "emotion": line["context"]}
            rows.append(row | {"situation": situation, "target": utterance})
        utterances_so_far.append(utterance)
    if not rows:
        raise DataError(f"{path}: no turn of a listener; expected rows with an even utterance_idx after the speaker's")
    return Dataset.from_list(rows)


def knowledge_from_columns(dataset: Dataset, columns: Mapping[str, str], name: str = "knowledge") -> Dataset:
    """Gather columns of texts, or of lists of texts, into one column of knowledge.

    ``columns`` maps each relation to its column. Raises DataError if a column is missing.
    """
    for column in columns.values():
        if column not in dataset.column_names:
            raise DataError(f"the dataset has no column {column!r}; it has: {', '.join(dataset.column_names)}")
    values = {relation: dataset[column][:] for relation, column in columns.items()}
    rows = [{relation: _tails(values[relation][row], relation) for relation in columns} for row in range(len(dataset))]
    return with_knowledge(dataset.remove_columns(list(columns.values())), rows, list(columns), name)


def with_knowledge(
    dataset: Dataset, rows: Sequence[Mapping[str, Sequence[str]]], relations: Sequence[str], name: str = "knowledge"
) -> Dataset:
    """Add a column of knowledge: in each row, a mapping from the relations to lists of texts.

    An existing column of that name is kept as ``NAME_given``.
    """
    kind = {relation: List(Value("string")) for relation in relations}
    values = [{relation: list(row.get(relation, [])) for relation in relations} for row in rows]
    knowledge = Dataset.from_dict({name: values}, features=Features({name: kind}))
    return join_columns(data.set_aside(dataset, [name]), knowledge)


def join_columns(left: Dataset, right: Dataset) -> Dataset:
    """Return the columns of two datasets with the same number of rows; ``left`` may have no columns."""
    return concatenate_datasets([left, right], axis=1) if left.column_names else right


def relations_of(dataset: Dataset, column: str, wanted: Sequence[str]) -> list[str]:
    """Return the wanted relations of a column of knowledge, or all relations. Raise DataError if one is missing."""
    kind = dataset.features[column]
    if not isinstance(kind, dict):
        raise DataError(
            f"column {column!r}: expected a mapping from relations to lists of texts in each row; got {kind}"
        )
    if unknown := [name for name in wanted if name not in kind]:
        raise DataError(f"column {column!r}: no relation {unknown[0]!r}; it has: {', '.join(kind)}")
    return list(wanted) or list(kind)


def utterances(dataset: Dataset, column: str) -> list[list[str]]:
    """Return a column of contexts as lists of utterances. Raise DataError if a context is empty or not text."""
    contexts = []
    for number, value in enumerate(dataset[column][:], 1):
        context = [value] if isinstance(value, str) else value
        if not isinstance(context, list) or not all(isinstance(utterance, str) for utterance in context):
            raise DataError(f"column {column!r}, row {number}: expected a list of texts; got {value!r}")
        if not any(utterance.strip() for utterance in context):
            raise DataError(f"column {column!r}, row {number}: all utterances are empty; drop such rows first")
        contexts.append(context)
    return contexts


def tails_by_row(dataset: Dataset, column: str, relations: Sequence[str]) -> list[dict[str, list[str]]]:
    """Return a column of knowledge with a list of texts for each relation, empty for null."""
    return [{name: _tails(row[name], name) for name in relations} for row in dataset[column][:]]


def _tails(value: object, relation: str) -> list[str]:
    if value is None:
        return []
    tails = [value] if isinstance(value, str) else value
    if not isinstance(tails, list) or not all(isinstance(tail, str) for tail in tails):
        raise DataError(f"knowledge {relation!r}: expected a list of texts; got {value!r}")
    return [tail for tail in tails if tail.strip()]
