"""Numpy arrays: the ids, and the offsets of the rows.

shard-00000-00000.npy         shape (rows, length) if all rows have one length, else (ids,)
shard-00000-00000.rows.npy    row r has the ids offsets[r]:offsets[r + 1] of the flat array
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

IS_MAPPED = True
_HEADER_BYTES = 128


class Writer(FlatWriter):
    """Writes ids as uint16, or as uint32 for vocabularies of more than 65,536 tokens."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        _, self._rows, rest = OutputFormat.NPY.paths(path)
        super().__init__(path, rest, schema, id_type(schema))
        self.file.write(bytes(_HEADER_BYTES))

    def close(self) -> None:
        """Complete the files: the shape is known now."""
        with self.files:
            lengths = self.lengths
            has_one_length = lengths.size > 0 and (lengths == lengths[0]).all()
            shape = (lengths.size, int(lengths[0])) if has_one_length else (int(lengths.sum()),)
            self.file.seek(0)
            self.file.write(_header(self.dtype, shape))
            offsets = offsets_of(lengths)
            self._rows.write_bytes(_header(offsets.dtype, offsets.shape) + offsets.tobytes())


def _header(dtype: npt.DTypeLike, shape: tuple[int, ...]) -> bytes:
    """Return the header of an array, of a size that holds any shape; numpy's own varies with its version."""
    content = f"{{'descr': '{np.dtype(dtype).str}', 'fortran_order': False, 'shape': {shape}, }}"
    start = b"\x93NUMPY\1\0" + struct.pack("<H", _HEADER_BYTES - 10)
    return start + content.encode().ljust(_HEADER_BYTES - 11) + b"\n"


def read(path: Path) -> pa.Table:
    """Return the rows of a shard, memory-mapped. Raise ValueError if the files contradict each other."""
    _, rows, rest = OutputFormat.NPY.paths(path)
    table = read_flat(rest, lambda schema: mapped(path, id_type(schema), _HEADER_BYTES))
    if not np.array_equal(mapped(rows, np.int64, _HEADER_BYTES), row_offsets(table)):
        raise ValueError(f"{rows.name}: expected the offsets of {table.num_rows} rows")
    return table
