"""Reading of the columns of packed rows."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from seampack.io.ragged import offsets_of
from seampack.packer.column_types import PADDING

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]


def flat(table: pa.Table, name: str) -> Int64:
    """Return all values of a list column."""
    values: Int64 = pc.list_flatten(table[name]).to_numpy().astype(np.int64)
    return values


def list_lengths(table: pa.Table, name: str) -> Int64:
    """Return the length of each row's list, shape (rows,)."""
    lengths: Int64 = pc.list_value_length(table[name]).to_numpy().astype(np.int64)
    return lengths


def segment_lengths(table: pa.Table) -> Int64:
    """Return the tokens of each segment, shape (segments,), without padding."""
    spaces = _spaces(table)
    return spaces - flat(table, PADDING) if PADDING in table.column_names else spaces


def _spaces(table: pa.Table) -> Int64:
    """Return the tokens and padding of each segment: ``seq_lengths`` without the padding of a row, its last length."""
    lengths, counts = flat(table, "seq_lengths"), list_lengths(table, "seq_lengths")
    is_padded = counts > list_lengths(table, "doc_ids")
    return np.delete(lengths, np.cumsum(counts)[is_padded] - 1)


def segment_starts(table: pa.Table) -> Int64:
    """Return the index of each segment's first token among all tokens of the rows and their padding."""
    ends = offsets_of(_spaces(table))
    counts = list_lengths(table, "doc_ids")
    row_starts = offsets_of(list_lengths(table, "input_ids"))[:-1]
    starts: Int64 = ends[:-1] + np.repeat(row_starts - ends[offsets_of(counts)[:-1]], counts)
    return starts


def row_reader(batch: pa.RecordBatch) -> Callable[[int], dict[str, Any]]:
    """Return the function that reads one row of a batch.

    Lists of numbers are arrays, int64 if they are integers. Other values are plain Python.
    """
    readers = {name: _reader(batch.column(name)) for name in batch.schema.names}
    return lambda place: {name: read(place) for name, read in readers.items()}


def _reader(column: pa.Array) -> Callable[[int], Any]:
    kind = column.type
    is_fixed = pa.types.is_fixed_size_list(kind)
    if not (is_fixed or pa.types.is_list(kind) or pa.types.is_large_list(kind)) or not _is_number(kind.value_type):
        return lambda place: column[place].as_py()
    values = column.values.to_numpy(zero_copy_only=False)
    dtype = np.dtype(np.int64) if values.dtype.kind in "iub" else values.dtype
    starts = np.arange(column.offset, column.offset + len(column) + 1)
    offsets = starts * kind.list_size if is_fixed else column.offsets.to_numpy()
    return lambda place: values[offsets[place] : offsets[place + 1]].astype(dtype)


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))
