"""Arrow IPC streams, and the description by which ``datasets.load_from_disk`` reads their folder."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa
import xxhash

from seampack.packer.entries import Shard
from seampack.packer.formats.registry import OutputFormat

IS_MAPPED = True
_NAMES_OF_FLOATS = {"float": "float32", "double": "float64"}
"""Names that ``datasets`` has for types of Arrow."""


class Writer:
    """Writes rows to an Arrow IPC stream."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._files = ExitStack()
        file = self._files.enter_context(pa.OSFile(str(path), "wb"))
        self._stream = self._files.enter_context(pa.ipc.new_stream(file, schema))

    def write_batch(self, batch: pa.RecordBatch) -> None:
        """Append rows."""
        self._stream.write_batch(batch)

    def close(self) -> None:
        """Complete the file."""
        self._files.close()


def read(path: Path) -> pa.Table:
    """Return the rows of a shard, memory-mapped."""
    with pa.memory_map(str(path)) as mapped:  # closing it keeps the mapping of the columns
        return pa.ipc.open_stream(mapped).read_all()


def folder_files(shards: Sequence[Shard], schema: pa.Schema) -> dict[str, Any]:
    """Return the content of the files that ``datasets`` reads."""
    features = {field.name: _feature(field.type) for field in schema}
    info: dict[str, Any] = {"citation": "", "description": "", "features": features, "homepage": "", "license": ""}
    digest = xxhash.xxh3_64("".join(shard.checksum for shard in shards).encode()).hexdigest()
    state: dict[str, Any] = {
        "_data_files": [{"filename": shard.file} for shard in shards],
        "_fingerprint": digest,
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": None,
    }
    return dict(zip(OutputFormat.ARROW.folder_files, (info, state), strict=True))


def _feature(kind: pa.DataType) -> dict[str, Any]:
    """Return a column's type in the notation of ``datasets``; all its versions read lists as ``Sequence``."""
    if pa.types.is_fixed_size_list(kind):
        return {"feature": _feature(kind.value_type), "length": kind.list_size, "_type": "Sequence"}
    if pa.types.is_list(kind):
        return {"feature": _feature(kind.value_type), "length": -1, "_type": "Sequence"}
    return {"dtype": _NAMES_OF_FLOATS.get(str(kind), str(kind)), "_type": "Value"}
