"""MDS: shards of MosaicML's StreamingDataset, of at most 4 GiB, and ``index.json``.

uint32  number of samples
uint32  first byte of each sample, and the end of the last
JSON    the columns
the samples (mds_samples.py)
"""

import json
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from seampack.errors import ConfigError
from seampack.io.ragged import offsets_of
from seampack.packer.entries import Shard
from seampack.packer.formats.columns import RestWriter, read_rest, with_rest
from seampack.packer.formats.flat import mapped
from seampack.packer.formats.mds_samples import LENGTHS, columns_of, decoded, description_of, encoded
from seampack.packer.formats.registry import OutputFormat

IS_MAPPED = False
_LIMIT = (1 << 32) - (1 << 16)  # less than the largest place of a sample by more than the description


class Writer:
    """Writes samples to a temporary file: the table of their places comes first, and its size is known last."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._path, rest = OutputFormat.MDS.paths(path)
        self._columns = columns_of(schema)
        self._files = ExitStack()
        self._samples = self._files.enter_context(tempfile.TemporaryFile(dir=path.parent))  # noqa: SIM115
        held = {column.source for column in self._columns} - {LENGTHS}
        self._rest = self._files.enter_context(closing(RestWriter(rest, schema, held)))
        self._sizes = [np.empty(0, np.int64)]

    def write_batch(self, batch: pa.RecordBatch) -> None:
        """Append rows. Raise ConfigError if the shard exceeds 4 GiB."""
        samples, offsets = encoded(self._columns, batch)
        self._samples.write(samples.data)
        self._sizes.append(np.diff(offsets))
        self._rest.write_batch(batch)
        if self._samples.tell() + 4 * sum(map(len, self._sizes)) >= _LIMIT:
            raise ConfigError(
                "shard_tokens: expected shards of less than 4 GiB, because the format mds has no larger ones; "
                "give fewer tokens"
            )

    def close(self) -> None:
        """Complete the files."""
        with self._files:
            sizes = np.concatenate(self._sizes)
            description = json.dumps(description_of(self._columns), sort_keys=True).encode()
            first = 4 * (sizes.size + 2) + len(description)
            self._samples.seek(0)
            with self._path.open("wb") as file:
                file.write(np.append(sizes.size, first + offsets_of(sizes)).astype("<u4").tobytes() + description)
                shutil.copyfileobj(self._samples, file, 1 << 22)


def read(path: Path) -> pa.Table:
    """Return the rows of a shard. Raise ValueError if the files are damaged or contradict each other."""
    _, rest_path = OutputFormat.MDS.paths(path)
    rest, schema = read_rest(rest_path)
    data = mapped(path, np.uint8)
    table = data[: 4 * (rest.num_rows + 2)].view("<u4").astype(np.int64)
    if table.size != rest.num_rows + 2 or table[0] != rest.num_rows or table[-1] != data.size:
        raise ValueError(f"{path.name}: expected {rest.num_rows} samples")
    held = {column.source: lists for column, lists in decoded(columns_of(schema), data, table[1:])}
    del held[LENGTHS]
    return with_rest(held, rest, schema)


def folder_files(shards: Sequence[Shard], schema: pa.Schema) -> dict[str, Any]:
    """Return the content of the index."""
    description = description_of(columns_of(schema))
    entries = [
        {
            **description,
            "raw_data": {"basename": shard.file, "bytes": shard.bytes, "hashes": {}},
            "samples": shard.rows,
            "zip_data": None,
        }
        for shard in shards
    ]
    return {"index.json": {"shards": entries, "version": 2}}
