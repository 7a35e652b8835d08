"""What the formats with all ids of a shard in one file share: the writer, and the reader."""

from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from seampack.packer.formats.columns import Array, RestWriter, lists_of, read_rest, row_offsets, with_rest
from seampack.packer.rows import Int64

_HELD = "input_ids"


def id_type(schema: pa.Schema) -> np.dtype[np.unsignedinteger]:
    """Return the type of the ids: uint16, or uint32 for vocabularies of more than 65,536 tokens."""
    return np.promote_types(schema.field(_HELD).type.value_type.to_pandas_dtype(), np.uint16)


class FlatWriter:
    """Writes the ids of all rows one after another, in the type ``dtype``, and the other columns to another file."""

    def __init__(self, path: Path, rest: Path, schema: pa.Schema, dtype: npt.DTypeLike) -> None:
        self.dtype = np.dtype(dtype)
        self.files = ExitStack()
        self.file = self.files.enter_context(path.open("wb"))
        self._rest = self.files.enter_context(closing(RestWriter(rest, schema, {_HELD})))
        self._lengths = [np.empty(0, np.int64)]

    def write_batch(self, batch: pa.RecordBatch) -> None:
        """Append rows."""
        values, offsets = lists_of(batch.column(_HELD))
        self.file.write(np.ascontiguousarray(values.astype(self.dtype, copy=False)).data)
        self._lengths.append(np.diff(offsets))
        self._rest.write_batch(batch)

    @property
    def lengths(self) -> Int64:
        """The number of ids of each row."""
        return np.concatenate(self._lengths)

    def close(self) -> None:
        """Complete the files."""
        self.files.close()


def mapped(path: Path, dtype: npt.DTypeLike, start: int = 0) -> Array:
    """Return the values of a file from byte ``start`` on, memory-mapped."""
    kind = np.dtype(dtype)
    size = path.stat().st_size - start
    if size < 0 or size % kind.itemsize:
        raise ValueError(f"{path.name}: expected values of {kind.itemsize} bytes; got {size} bytes")
    return np.memmap(path, kind, "r", start) if size else np.empty(0, kind)


def read_flat(rest: Path, ids: Callable[[pa.Schema], Array]) -> pa.Table:
    """Return the rows of a shard, given the file of the other columns; ``ids`` reads all ids."""
    table, schema = read_rest(rest)
    return with_rest({_HELD: (ids(schema), row_offsets(table))}, table, schema)
