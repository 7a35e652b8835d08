"""Columns of rows as numpy arrays, and the file of those that a format cannot hold: ``NAME.segments.arrow``."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from seampack.io.arrow import arrow_of
from seampack.io.ragged import offsets_of
from seampack.packer.formats import arrow
from seampack.packer.rows import Int64

Array = npt.NDArray[Any]
Lists = tuple[Array, Int64]
"""The values of all rows, one row after another, and the offset of each row, shape (rows + 1,)."""

_SCHEMA = b"seampack schema"


def number_type(kind: pa.DataType) -> np.dtype[Any] | None:
    """Return the type of the numbers of a list column; None for other columns."""
    is_list = pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind)
    is_number = is_list and (pa.types.is_integer(kind.value_type) or pa.types.is_floating(kind.value_type))
    return np.dtype(kind.value_type.to_pandas_dtype()) if is_number else None


def offsets_in(column: pa.Array) -> Int64:
    """Return the offsets of the rows of a list column."""
    if pa.types.is_fixed_size_list(column.type):
        return np.arange(len(column) + 1, dtype=np.int64) * int(column.type.list_size)
    offsets: Int64 = column.offsets.to_numpy().astype(np.int64)
    offsets -= offsets[0]
    return offsets


def lists_of(column: pa.Array) -> Lists:
    """Return the values of a list column, which share its memory if they are numbers, and the offsets of its rows."""
    return column.flatten().to_numpy(zero_copy_only=False), offsets_in(column)


def with_schema(stored: pa.Schema, schema: pa.Schema) -> pa.Schema:
    """Return the schema of a file, which also tells the schema of the rows."""
    return stored.with_metadata({_SCHEMA: schema.serialize().to_pybytes()})


def schema_in(stored: pa.Schema) -> pa.Schema:
    """Return the schema of the rows that a file tells. Raise ValueError if it tells none."""
    metadata = stored.metadata or {}
    if _SCHEMA not in metadata:
        raise ValueError("expected the schema of the rows")
    return pa.ipc.read_schema(pa.py_buffer(metadata[_SCHEMA]))


class RestWriter:
    """Writes the columns other than ``held`` to an Arrow file, with the schema of all columns."""

    def __init__(self, path: Path, schema: pa.Schema, held: Collection[str]) -> None:
        self._names = [name for name in schema.names if name not in held]
        fields = [schema.field(name) for name in self._names]
        self._file = arrow.Writer(path, with_schema(pa.schema(fields), schema))

    def write_batch(self, batch: pa.RecordBatch) -> None:
        """Append rows."""
        self._file.write_batch(batch.select(self._names))

    def close(self) -> None:
        """Complete the file."""
        self._file.close()


def read_rest(path: Path) -> tuple[pa.Table, pa.Schema]:
    """Return the columns that the format does not hold, and the schema of all columns. Raise ValueError for damage."""
    table = arrow.read(path)
    table.validate(full=True)  # the places of other values are made from these
    schema = schema_in(table.schema)
    given = {field.name: field.type for field in schema}
    held = [kind for name, kind in given.items() if name not in table.column_names]
    if any(number_type(kind) is None for kind in held) or any(given.get(f.name) != f.type for f in table.schema):
        raise ValueError(f"{path.name}: expected columns of the rows")
    return table, schema


def row_offsets(rows: pa.Table) -> Int64:
    """Return the offsets of the rows among the ids of a shard: the sums of ``seq_lengths``."""
    lengths = [np.empty(0, np.int64)]
    for batch in rows.to_batches():
        values, offsets = lists_of(batch.column("seq_lengths"))
        lengths.append(np.diff(offsets_of(values)[offsets]))
    return offsets_of(np.concatenate(lengths))


def with_rest(held: Mapping[str, Lists], rest: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return the rows: the columns that a format holds, and the rest. Raise ValueError unless they belong together."""
    for name, (values, offsets) in held.items():
        has_rows = offsets.size == rest.num_rows + 1 and (np.diff(offsets) >= 0).all()
        if not has_rows or offsets[0] != 0 or offsets[-1] != values.size:
            raise ValueError(f"{name}: expected {rest.num_rows} rows of values")
    return pa.Table.from_batches(list(_batches(held, rest, schema)), schema)


def _batches(held: Mapping[str, Lists], rest: pa.Table, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Yield the rows in the batches of the rest: the offsets of a whole shard may exceed those of a list column."""
    first = 0
    for batch in rest.to_batches():
        last = first + batch.num_rows
        columns = []
        for field in schema:
            if field.name in held:
                values, offsets = held[field.name]
                bounds = offsets[first : last + 1]
                columns.append(_list_column(values[bounds[0] : bounds[-1]], bounds - bounds[0], field.type))
            else:
                columns.append(batch.column(field.name))
        yield pa.record_batch(columns, schema=schema)
        first = last


def _list_column(values: Array, offsets: Int64, kind: pa.DataType) -> pa.Array:
    """Return a list column, which shares the memory of the values if their size is that of its items."""
    dtype = np.dtype(kind.value_type.to_pandas_dtype())
    items = arrow_of(values.view(dtype) if values.dtype.itemsize == dtype.itemsize else values.astype(dtype))
    if not pa.types.is_fixed_size_list(kind):
        return pa.ListArray.from_arrays(arrow_of(offsets.astype(np.int32)), items, type=kind)
    if (np.diff(offsets) != kind.list_size).any():
        raise ValueError(f"expected rows of {kind.list_size} values")
    return pa.FixedSizeListArray.from_arrays(items, type=kind)
