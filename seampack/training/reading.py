"""Single rows of a packed folder, by their number."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from seampack.errors import ConfigError
from seampack.io.ragged import offsets_of
from seampack.packer.folder import PackedFolder
from seampack.packer.formats.registry import OutputFormat
from seampack.packer.noted_stores import Stores
from seampack.packer.rows import row_reader

Row = dict[str, Any]


class RowReader:
    """Reads rows of a packed folder by their number, without the rows around them.

    Arrow shards are memory-mapped: all stay open, and only the pages of a row are read. Of other formats, one shard at
    a time is held in memory.
    """

    def __init__(
        self, folder: str | os.PathLike[str], columns: Sequence[str] | None, store: Stores | None = None
    ) -> None:
        self.folder = PackedFolder(folder, store)
        known = list(self.folder.manifest.columns)
        if isinstance(columns, str):
            raise ConfigError(f"columns: expected a list, such as [{columns!r}]; got {columns!r}")
        if missing := [name for name in columns or () if name not in known]:
            raise ConfigError(f"columns: expected some of {', '.join(known)}; got {missing[0]!r}")
        self.columns = list(columns or known)
        self.shard_rows = [shard.rows for shard in self.folder.shards]
        self.is_mapped: bool = OutputFormat(self.folder.manifest.config["output_format"]).load().IS_MAPPED
        self._shard_offsets = offsets_of(self.shard_rows)
        self._shards: dict[int, _Shard] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without open shards; another process opens them again."""
        return {**self.__dict__, "_shards": {}}

    def shard_of(self, number: int) -> int:
        """Return the shard that has a row."""
        return int(np.searchsorted(self._shard_offsets, number, side="right")) - 1

    def row(self, number: int) -> Row:
        """Return one row. Raise ShardError if its shard is damaged."""
        shard = self.shard_of(number)
        if shard not in self._shards:
            if not self.is_mapped:
                self._shards.clear()
            self._shards[shard] = _Shard(self.folder.table(shard), self.columns)
        return self._shards[shard].row(number - int(self._shard_offsets[shard]))


class _Shard:
    """The columns of a shard, batch by batch."""

    def __init__(self, table: pa.Table, columns: Sequence[str]) -> None:
        batches = table.select(columns).to_batches()
        self._offsets = offsets_of([batch.num_rows for batch in batches])
        self._readers = [row_reader(batch) for batch in batches]

    def row(self, place: int) -> Row:
        batch = int(np.searchsorted(self._offsets, place, side="right")) - 1
        return self._readers[batch](place - int(self._offsets[batch]))
