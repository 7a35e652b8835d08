"""Samples of MDS: the columns of a row, one after another. ``tokens`` are the ids; also other lists of numbers.

sample   uint32 sizes of the columns of variable size, then the columns
column   1 byte (dimensions << 2 | 2: their sizes are uint32), uint32 length, values; or values alone, of fixed size
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from seampack.io.ragged import offsets_of
from seampack.packer import _copy_kernels as kernels
from seampack.packer.column_types import ADDED_COLUMNS
from seampack.packer.formats.columns import Array, Lists, lists_of, number_type
from seampack.packer.rows import Int64
from seampack.packer.segments import gathered

LENGTHS = "seq_lengths"
"""Also in the file of the other columns: the trainer needs it here, the reader there."""
_LEFT_OUT = {"tokens", *ADDED_COLUMNS} - {LENGTHS}  # a column "tokens" of the rows gives way to the ids
_PREFIX = np.dtype([("code", "u1"), ("length", "<u4")])
_CODE = 1 << 2 | 2


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the samples."""

    name: str
    source: str
    """Name of the column of the rows."""
    dtype: np.dtype[Any]
    width: int | None
    """Number of values, if all rows have the same."""

    @property
    def encoding(self) -> str:
        """The type of the values, and their number if it is fixed."""
        return f"ndarray:{self.dtype}" + ("" if self.width is None else f":{self.width}")

    @property
    def size(self) -> int | None:
        """Bytes of the column in each sample, if it is fixed."""
        return None if self.width is None else self.width * self.dtype.itemsize


def columns_of(schema: pa.Schema) -> list[Column]:
    """Return the columns of the samples, which the format sorts by name."""
    columns = []
    for field in schema:
        dtype = number_type(field.type)
        if dtype is not None and field.name not in _LEFT_OUT:
            width = field.type.list_size if pa.types.is_fixed_size_list(field.type) else None
            columns.append(Column("tokens" if field.name == "input_ids" else field.name, field.name, dtype, width))
    return sorted(columns, key=lambda column: column.name)


def description_of(columns: Sequence[Column]) -> dict[str, Any]:
    """Return the description of a shard's columns, in the shard and in the index."""
    return {
        "column_encodings": [column.encoding for column in columns],
        "column_names": [column.name for column in columns],
        "column_sizes": [column.size for column in columns],
        "compression": None,
        "format": "mds",
        "hashes": [],
        "size_limit": None,
        "version": 2,
    }


def encoded(columns: Sequence[Column], batch: pa.RecordBatch) -> Lists:
    """Return the samples of rows: their bytes, and the offset of each."""
    parts: list[tuple[Int64, Int64]] = []  # addresses and sizes of what each sample has, part by part
    sizes = []  # of the columns of variable size
    alive = []
    for column in columns:
        values, offsets = lists_of(batch.column(column.source))
        lengths = np.diff(offsets)
        if column.size is None:
            prefixes = np.empty(lengths.size, _PREFIX)
            prefixes["code"], prefixes["length"] = _CODE, lengths
            parts.append(_items(prefixes))
            sizes.append(_PREFIX.itemsize + lengths * column.dtype.itemsize)
            alive.append(prefixes)
        parts.append((values.ctypes.data + offsets[:-1] * values.itemsize, lengths * values.itemsize))
        alive.append(values)
    heads = np.stack(sizes, axis=1).astype("<u4")
    parts.insert(0, _items(heads))
    offsets = offsets_of(sum(size for _, size in parts))
    out = np.empty(offsets[-1], np.uint8)
    place = offsets[:-1].copy()
    for addresses, size in parts:
        kernels.copy_segments(addresses, size.astype(np.int32), place, 1, out.ctypes.data)
        place += size
    return out, offsets


def _items(array: Array) -> tuple[Int64, Int64]:
    """Return the address and the size of each item of the first axis."""
    size = array.nbytes // max(1, len(array))
    return array.ctypes.data + np.arange(len(array)) * size, np.full(len(array), size)


def decoded(columns: Sequence[Column], data: Array, bounds: Int64) -> Iterator[tuple[Column, Lists]]:
    """Yield the columns of samples, which are at ``bounds`` in ``data``. Raise ValueError if they are damaged."""
    places = bounds[:-1].copy()
    head = 4 * sum(column.size is None for column in columns)
    if (np.diff(bounds) < head).any():
        raise ValueError("expected samples with sizes of columns")
    sizes = iter(data[places[:, None] + np.arange(head)].view("<u4").astype(np.int64).T)
    places += head
    for column in columns:
        size = next(sizes) if column.size is None else np.full(places.size, column.size)
        prefix = _PREFIX.itemsize if column.size is None else 0
        lengths = (size - prefix) // column.dtype.itemsize
        if ((lengths < 0) | (lengths >> 31) | (places + size > bounds[1:])).any():
            raise ValueError(f"{column.name}: expected values of other sizes")
        values = gathered(data.ctypes.data + places + prefix, lengths.astype(np.int32), column.dtype)
        yield column, (values, offsets_of(lengths))
        places += size
