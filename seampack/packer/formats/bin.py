"""Raw ids without a header: nanoGPT, OLMo-core and ``numpy.memmap`` read them."""

from pathlib import Path

import pyarrow as pa

from seampack.packer.formats.flat import FlatWriter, id_type, mapped, read_flat
from seampack.packer.formats.registry import OutputFormat

IS_MAPPED = True


class Writer(FlatWriter):
    """Writes ids as uint16, or as uint32 for vocabularies of more than 65,536 tokens."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        _, rest = OutputFormat.BIN.paths(path)
        super().__init__(path, rest, schema, id_type(schema))


def read(path: Path) -> pa.Table:
    """Return the rows of a shard, memory-mapped."""
    _, rest = OutputFormat.BIN.paths(path)
    return read_flat(rest, lambda schema: mapped(path, id_type(schema)))
