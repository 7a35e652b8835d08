"""The writer of shards: rows in files of ``shard_rows`` rows, with checksums."""

import threading
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from seampack.errors import ShardError
from seampack.io.output import sync, writing
from seampack.packer.checksums import checksum
from seampack.packer.config import PackConfig
from seampack.packer.entries import File, Shard
from seampack.packer.formats.registry import OutputFormat
from seampack.packer.names import shard_name
from seampack.packer.rows import list_lengths

_NAMES_OF_FLOATS = {"float": "float32", "double": "float64"}
"""Names that ``datasets`` has for types of Arrow."""
_MANY_SHARDS, _SMALL_SHARD = 100, 1 << 20


class ShardWriter:
    """Writes record batches to the shards of a partition in a folder: ``shard-PPPPP-00000.arrow`` and so on.

    ``first`` is the number of the first shard. ``shown`` is the folder that messages name.
    """

    def __init__(self, folder: Path, config: PackConfig, partition: int = 0, first: int = 0, *, shown: str) -> None:
        self.out = shown
        self.shards: list[Shard] = []
        self.schema: Any = None  # pa.Schema, known with the first batch
        self.short_rows = 0
        """Rows that are not full, in formats whose trainers find rows by their length."""
        self._folder = folder
        self._config = config
        self._partition = partition
        self._first = first
        self._format = OutputFormat(config.output_format)
        self._writer: Any = None  # the writer of the format, of the open shard
        self._rows = 0
        self._lock = threading.Lock()
        self._is_closed = False

    def write(self, batch: pa.RecordBatch) -> None:
        """Append rows; a batch is cut where a shard is full."""
        with self._lock, writing(self.out):
            if self._is_closed:
                raise ShardError(f"{self.out}: the run has ended; nothing more can be written")
            self.schema = self.schema or batch.schema
            if self._format.is_flat and self._config.pad is None:
                self.short_rows += int(np.count_nonzero(list_lengths(batch, "input_ids") < self._config.seq_len))
            written = 0
            while written < batch.num_rows:
                if self._writer is None:
                    self._open()
                rows = min(batch.num_rows - written, self._config.shard_rows - self._rows)
                self._writer.write_batch(batch.slice(written, rows))
                self._rows += rows
                written += rows
                if self._rows == self._config.shard_rows:
                    self._close()

    def close(self, *, at_least_one: bool = False) -> list[Shard]:
        """Close the last shard, and return all. With ``at_least_one``, write one without rows if there are no rows."""
        with self._lock, writing(self.out):
            if self._writer is None and at_least_one and not self.shards:
                self._open()
            if self._writer is not None:
                self._close()
            self._is_closed = True
        return self.shards

    def abandon(self) -> None:
        """Close the files. A thread that is still writing (after a second Ctrl-C) fails from now on."""
        with self._lock:
            self._is_closed = True
            if self._writer is not None:
                with suppress(Exception):  # a full disk fails again here; no receipt names the file
                    self._writer.close()

    @property
    def _name(self) -> str:
        return shard_name(self._partition, self._first + len(self.shards), self._config.output_format)

    def _open(self) -> None:
        self._writer = self._format.load().Writer(self._folder / self._name, self.schema)

    def _close(self) -> None:
        self._writer.close()
        main, *parts = (described(self._folder / name) for name in self._format.files(self._name))
        size = main.bytes
        self.shards.append(
            Shard(file=main.file, rows=self._rows, bytes=size, checksum=main.checksum, parts=tuple(parts))
        )
        for file in (main, *parts):
            sync(self._folder / file.file)  # now, while the next shard is made, rather than all shards at the end
        self._writer = None
        self._rows = 0
        if self._first + len(self.shards) == _MANY_SHARDS and size < _SMALL_SHARD:
            warnings.warn(
                f"{self.out}: {_MANY_SHARDS} shards of about {size:,} bytes so far; a larger shard_tokens than "
                f"{self._config.shard_tokens:,} makes fewer files",
                stacklevel=2,
            )


def warn_of_short_rows(short: int, rows: int, config: PackConfig, *, shown: str) -> None:
    """Warn if trainers that cut the ids every ``seq_len`` tokens would not find the rows."""
    if short:
        is_idle = config.drop_last or "drop_last" in config.idle_options()
        remedy = "give pad, a token that fills them" + ("" if is_idle else ", or drop_last")
        warnings.warn(
            f"{shown}: {short:,} of {rows:,} rows have less than {config.seq_len:,} tokens; trainers that cut "
            f"{config.output_format} every {config.seq_len:,} tokens do not find the rows after these; {remedy}",
            stacklevel=2,
        )


def described(path: Path) -> File:
    """Return the description of a file in the manifest."""
    return File(file=path.name, bytes=path.stat().st_size, checksum=checksum(path))
