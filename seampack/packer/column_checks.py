"""Checks of the columns of a table: rows without a document are collected, each with the reason."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from seampack.io.ragged import offsets_of
from seampack.io.records import invalid_utf8
from seampack.packer.column_types import LABELS
from seampack.packer.documents import lost, outside_vocabulary

Wrong = dict[int, str]
"""The reason why a row has no document, by row."""


def true_rows(mask: pa.Array) -> list[int]:
    """Return the rows in which a mask is true."""
    rows: list[int] = np.flatnonzero(mask.to_numpy(zero_copy_only=False)).tolist()
    return rows


def null_rows(column: pa.Array) -> list[int]:
    """Return the rows of a column that are null."""
    return true_rows(column.is_null())


def decode_each(content: pa.Array, wrong: Wrong) -> list[str | None]:
    """Decode row by row, and add each row that is not UTF-8 to ``wrong``."""
    texts: list[str | None] = []
    for row, raw in enumerate(content.cast(pa.large_binary()).to_pylist()):
        try:
            texts.append(None if raw is None else raw.decode())
        except UnicodeDecodeError as error:
            texts.append(None)
            wrong[row] = invalid_utf8(error)
    return texts


def values_of_each(column: pa.Array, wrong: Wrong) -> list[Any]:
    """Return the values of a column row by row, and add each row that has a text that is not UTF-8 to ``wrong``."""
    values: list[Any] = []
    for row in range(len(column)):
        try:
            values.append(column[row].as_py())
        except UnicodeDecodeError as error:
            values.append(None)
            wrong[row] = invalid_utf8(error)
    return values


def check_names(names: pa.Array, wrong: Wrong) -> None:
    """Add the rows with a null or invalid UTF-8 as the document's name to ``wrong``."""
    wrong.update(dict.fromkeys(null_rows(names), "null instead of a document's name") if names.null_count else {})
    try:
        names.validate(full=True)
    except pa.ArrowInvalid:
        faults: dict[int, str] = {}
        decode_each(names, faults)
        wrong.update({row: f"the document's name: {reason}" for row, reason in faults.items()})


def check_labels(labels: pa.Array, content: pa.Array, wrong: Wrong) -> None:
    """Add the rows whose labels differ from their token ids to ``wrong``."""
    if labels.equals(content.cast(labels.type)):
        return
    for row, (wanted, ids) in enumerate(zip(labels, content, strict=True)):
        if wanted.as_py() not in (None, ids.as_py()):
            wrong.setdefault(row, lost(LABELS))


def check_mask(name: str, mask: pa.Array, wrong: Wrong) -> None:
    """Add the rows whose mask has a 0 to ``wrong``."""
    values = mask.flatten()
    values = values.cast(pa.uint8()) if pa.types.is_boolean(values.type) else values
    zeros = np.flatnonzero(values.fill_null(1).to_numpy(zero_copy_only=False) == 0)
    for row in np.searchsorted(list_offsets(mask)[1:], zeros, side="right").tolist():
        wrong.setdefault(row, lost(name))


def check_ids(content: pa.Array, vocab_size: int, wrong: Wrong) -> None:
    """Add the rows with a token id outside the vocabulary to ``wrong``."""
    values = content.flatten()
    ids = values.fill_null(0).to_numpy() if values.null_count else values.to_numpy()
    if not values.null_count and (not ids.size or (ids.min() >= 0 and ids.max() < vocab_size)):
        return
    outside = np.flatnonzero((ids < 0) | (ids >= vocab_size) | values.is_null().to_numpy(zero_copy_only=False))
    rows = np.searchsorted(list_offsets(content)[1:], outside, side="right")
    for row, index in zip(rows.tolist(), outside.tolist(), strict=True):
        wrong.setdefault(row, outside_vocabulary(values[index], vocab_size))


def list_offsets(lists: pa.Array) -> npt.NDArray[np.int64]:
    """Return the offsets of the lists of a column among all its values, with empty lists for nulls."""
    import pyarrow.compute as pc  # slow, and texts do not need it

    return offsets_of(pc.list_value_length(lists).fill_null(0).to_numpy())
