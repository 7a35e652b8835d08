"""The writer of packed folders: shards with checksums, then the manifest; the folder appears when it is complete."""

import json
import os
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import xxhash

from seampack._signals import uninterrupted
from seampack.errors import ShardError
from seampack.io.bad_records import BadRecord
from seampack.io.output import FolderKind, StagedFolder, sync, writing
from seampack.packer.accounting import Accounting
from seampack.packer.checksums import checksum
from seampack.packer.config import OutputFormat, PackConfig
from seampack.packer.manifest import (
    DATASET_FILES,
    MANIFEST,
    QUARANTINE,
    File,
    Input,
    Manifest,
    Shard,
    TokenizerFacts,
    is_manifest,
    is_packed_name,
    shard_name,
)

PACKED = FolderKind(
    "packed shards",
    MANIFEST,
    owns=lambda entry: is_packed_name(entry.name) and entry.is_file(),
    is_marker=is_manifest,
    needs_marker=False,  # an unfinished run may have left shards without a manifest
)

_MANY_SHARDS, _SMALL_SHARD = 100, 1 << 20


class ShardWriter:
    """Writes record batches to ``shard-00000.arrow``, ``shard-00001.arrow``, ... of ``shard_rows`` rows each.

    A context manager. Output is atomic: shards are written to a hidden temporary folder, which ``finish`` renames to
    ``out``. Without ``finish``, the temporary folder is removed and ``out`` is unchanged.

    Raises ShardError if ``out`` is not empty and ``overwrite`` is not set, or if ``out`` has files of another kind.
    """

    def __init__(self, out: str | os.PathLike[str], config: PackConfig, *, overwrite: bool = False) -> None:
        self.out = Path(out)
        self._staging = StagedFolder(out, PACKED, overwrite=overwrite)
        self._folder = self._staging.folder
        self._config = config
        self._shards: list[Shard] = []
        self._schema: Any = None  # pa.Schema, known with the first batch
        self._sink: Any = None  # the open shard's file, and the Arrow or Parquet writer over it
        self._writer: Any = None
        self._rows = 0
        self._quarantine: Any = None
        self.quarantined = 0
        self._lock = threading.Lock()
        self._is_closed = False

    def __enter__(self) -> Self:
        try:
            self._staging.open()
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    def _leave(self) -> None:
        """Remove the temporary folder. A thread that is still writing (after a second Ctrl-C) fails from now on."""
        with uninterrupted(), self._lock:
            self._is_closed = True
            for open_file in (self._writer, self._sink, self._quarantine):
                if open_file is not None:
                    with suppress(Exception):  # a full disk fails again here; the file is removed below
                        open_file.close()
            self._staging.abandon()

    def quarantine(self, records: list[BadRecord]) -> None:
        """Append records that could not be read."""
        with writing(self.out):
            if records and self._quarantine is None:
                self._quarantine = (self._folder / QUARANTINE).open("w", encoding="utf-8")
            for record in records:
                self._quarantine.write(json.dumps(record.to_dict(), ensure_ascii=False) + "\n")
        self.quarantined += len(records)

    def write(self, batch: pa.RecordBatch) -> None:
        """Append rows; a batch is cut where a shard is full."""
        with self._lock, writing(self.out):
            if self._is_closed:
                raise ShardError(f"{self.out}: the run has ended; nothing more can be written")
            self._schema = self._schema or batch.schema
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

    @property
    def _name(self) -> str:
        return shard_name(len(self._shards), self._config.output_format)

    def _open(self) -> None:
        self._sink = pa.OSFile(str(self._folder / self._name), "wb")
        if self._config.output_format == OutputFormat.PARQUET:
            import pyarrow.parquet as pq

            self._writer = pq.ParquetWriter(self._sink, self._schema, compression="zstd", use_dictionary=False)
        else:
            self._writer = pa.ipc.new_stream(self._sink, self._schema)

    def _close(self) -> None:
        path = self._folder / self._name
        self._writer.close()
        self._sink.close()
        size = path.stat().st_size
        self._shards.append(Shard(file=path.name, rows=self._rows, bytes=size, checksum=checksum(path)))
        sync(path)  # now, while the next shard is made, rather than all shards at the end
        self._writer = self._sink = None
        self._rows = 0
        if len(self._shards) == _MANY_SHARDS and size < _SMALL_SHARD:
            warnings.warn(
                f"{self.out}: {_MANY_SHARDS} shards of about {size:,} bytes so far; a larger shard_tokens than "
                f"{self._config.shard_tokens:,} makes fewer files",
                stacklevel=2,
            )

    def finish(
        self,
        accounting: Accounting,
        tokenizer: TokenizerFacts,
        inputs: Sequence[Input],
        notes: Mapping[str, Any] | None = None,
    ) -> Manifest:
        """Close the last shard, write the manifest and publish the folder as ``out``. Return the manifest."""
        with writing(self.out):
            if self._writer is None and not self._shards:
                self._open()
            if self._writer is not None:
                self._close()
            if self._quarantine is not None:
                self._quarantine.close()
            if self._config.output_format == OutputFormat.ARROW:
                self._write_dataset_files()
            manifest = Manifest(
                tokenizer=tokenizer,
                config=self._config.to_dict(),
                columns={field.name: str(field.type) for field in self._schema},
                accounting=accounting,
                quarantined=self.quarantined,
                shards=tuple(self._shards),
                inputs=tuple(inputs),
                files=tuple(self._files()),
                notes=notes or {},
            )
            self._write_json(MANIFEST, manifest.to_dict())
            self._staging.publish()
        return manifest

    def _files(self) -> Iterator[File]:
        """Describe the files without rows."""
        for name in (*DATASET_FILES, QUARANTINE):
            path = self._folder / name
            if path.exists():
                yield File(file=name, bytes=path.stat().st_size, checksum=checksum(path))

    def _write_dataset_files(self) -> None:
        features = {field.name: _feature(field.type) for field in self._schema}
        info: dict[str, Any] = {"citation": "", "description": "", "features": features, "homepage": "", "license": ""}
        digest = xxhash.xxh3_64("".join(shard.checksum for shard in self._shards).encode()).hexdigest()
        state: dict[str, Any] = {
            "_data_files": [{"filename": shard.file} for shard in self._shards],
            "_fingerprint": digest,
            "_format_columns": None,
            "_format_kwargs": {},
            "_format_type": None,
            "_output_all_columns": False,
            "_split": None,
        }
        for name, content in zip(DATASET_FILES, (info, state), strict=True):
            self._write_json(name, content)

    def _write_json(self, name: str, content: dict[str, Any]) -> None:
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        (self._folder / name).write_text(text, encoding="utf-8")


def _feature(kind: pa.DataType) -> dict[str, Any]:
    """Return a column's type in the notation of ``datasets``; all its versions read lists as ``Sequence``."""
    if pa.types.is_fixed_size_list(kind):
        return {"feature": _feature(kind.value_type), "length": kind.list_size, "_type": "Sequence"}
    if pa.types.is_list(kind):
        return {"feature": _feature(kind.value_type), "length": -1, "_type": "Sequence"}
    return {"dtype": str(kind), "_type": "Value"}
