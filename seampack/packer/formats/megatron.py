"""The IndexedDataset of Megatron-Core: ids in ``.bin``, and their index in ``.idx``. Each row is one document.

.idx    header, type of the ids, number of rows, number of rows + 1
        int32  number of ids of each row
        int64  first byte of each row in .bin
        int64  0 1 2 ..: the first row of each document, and the end
"""

import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from seampack.io.ragged import offsets_of
from seampack.packer.formats.columns import row_offsets
from seampack.packer.formats.flat import FlatWriter, id_type, mapped, read_flat
from seampack.packer.formats.registry import OutputFormat
from seampack.packer.rows import Int64

IS_MAPPED = True
_HEADER = struct.Struct("<9sQBQQ")
_MAGIC, _VERSION = b"MMIDIDX\0\0", 1
_CODES = {np.dtype(np.int32): 4, np.dtype(np.uint16): 8}


class Writer(FlatWriter):
    """Writes ids as uint16, or as int32 for vocabularies of more than 65,536 tokens."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        _, self._index, rest = OutputFormat.MEGATRON.paths(path)
        super().__init__(path, rest, schema, _type(schema))

    def close(self) -> None:
        """Complete the files."""
        with self.files:
            self._index.write_bytes(_index(self.lengths, self.dtype))


def _type(schema: pa.Schema) -> np.dtype[np.integer]:
    """Return the type of the ids; the format has no uint32."""
    kind = id_type(schema)
    return kind if kind in _CODES else np.dtype(np.int32)


def _index(lengths: Int64, kind: npt.DTypeLike) -> bytes:
    """Return the content of the index."""
    dtype = np.dtype(kind)
    header = _HEADER.pack(_MAGIC, _VERSION, _CODES[dtype], lengths.size, lengths.size + 1)
    first_bytes = offsets_of(lengths)[:-1] * dtype.itemsize
    arrays = (lengths.astype(np.int32), first_bytes, np.arange(lengths.size + 1))
    return header + b"".join(array.tobytes() for array in arrays)


def read(path: Path) -> pa.Table:
    """Return the rows of a shard, memory-mapped. Raise ValueError if the files contradict each other."""
    _, index, rest = OutputFormat.MEGATRON.paths(path)
    table = read_flat(rest, lambda schema: mapped(path, _type(schema)))
    if index.read_bytes() != _index(np.diff(row_offsets(table)), _type(table.schema)):
        raise ValueError(f"{index.name}: expected an index of {table.num_rows} rows")
    return table
