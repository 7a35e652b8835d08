"""The writer of packed folders: shards with checksums, then the manifest; the folder appears when it is complete."""

import json
import os
import shutil
import sys
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
from seampack.config import check_flag
from seampack.errors import ShardError
from seampack.io._hidden import is_unlocked
from seampack.io.bad_records import BadRecord
from seampack.io.output import FolderKind, StagedFolder, sync, writing
from seampack.packer.accounting import Accounting
from seampack.packer.checksums import checksum
from seampack.packer.config import OutputFormat, PackConfig
from seampack.packer.journal import OUTPUT, Journal, Receipt, Tail
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


def discard_unfinished(out: Path) -> None:
    """Remove what a run that was killed at its very end has left next to its complete output."""
    root = StagedFolder(out, PACKED, overwrite=True, inside=OUTPUT).root
    if root.is_dir() and is_unlocked(root):
        with writing(out):
            shutil.rmtree(root)


_NAMES_OF_FLOATS = {"float": "float32", "double": "float64"}
"""Names that ``datasets`` has for types of Arrow."""
_MANY_SHARDS, _SMALL_SHARD = 100, 1 << 20


class ShardWriter:
    """Writes record batches to ``shard-00000.arrow``, ``shard-00001.arrow``, ... of ``shard_rows`` rows each.

    A context manager. Output is atomic: shards are written to a hidden folder, which ``finish`` renames to ``out``.
    Without ``finish``, ``out`` is unchanged, and the hidden folder is removed unless it has a finished partition.

    With ``resume``, what an earlier run left in the hidden folder is kept if it was given the same ``run``.

    Raises ShardError if ``out`` is not empty and ``overwrite`` is not set, or if ``out`` has files of another kind; if
    another run is writing there; or if one has left finished partitions, and neither is set. Raises ConfigError if the
    earlier run was given something else.
    """

    def __init__(
        self,
        out: str | os.PathLike[str],
        config: PackConfig,
        *,
        overwrite: bool = False,
        resume: bool = False,
        run: Mapping[str, Any] | None = None,
    ) -> None:
        self.out = Path(out)
        self._staging = StagedFolder(out, PACKED, overwrite=overwrite, inside=OUTPUT)
        self._folder = self._staging.folder
        self._overwrite = overwrite
        self._resume = check_flag("resume", resume)
        self._run = run or {}
        self.journal = Journal(self._staging.root, self.out)
        self._receipts_before = sys.maxsize  # until the run has begun
        self._is_published = False
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
        goes_on = self._goes_on()
        try:
            self._staging.open()
            if goes_on:
                self._staging.keeps_unfinished = True
                self.journal.resume(self._run)
                self._take_up()
            else:
                self.journal.begin(self._run)
                self._receipts_before = 0
        except BaseException:
            self._leave()
            raise
        return self

    def _goes_on(self) -> bool:
        """Return whether this run goes on after an earlier one; remove what another has left.

        Raises ShardError if that must not be removed.
        """
        root = self._staging.root
        if not root.is_dir():
            return False
        if not is_unlocked(root):
            raise ShardError(f"{self.out}: another run is writing there; wait for it, or choose another folder")
        has_receipts = Journal.has_receipts(root) and self._folder.is_dir()
        if has_receipts and self._resume:
            return True
        if has_receipts and not self._overwrite:
            raise ShardError(
                f"{self.out}: a run that did not finish has left partitions in {root}; go on with --resume, or start "
                "again with --overwrite"
            )
        with writing(self.out):
            shutil.rmtree(root)
        warnings.warn(f"{root}: removed; a run that did not finish had left it", stacklevel=3)
        return False

    def _take_up(self) -> None:
        """Go on after the last receipt."""
        self._shards = [shard for receipt in self.journal.receipts for shard in receipt.shards]
        self._receipts_before = len(self.journal.receipts)
        last = self.journal.receipts[-1]
        self.quarantined = last.quarantined
        path = self._folder / QUARANTINE
        with writing(self.out):
            if last.quarantined:
                os.truncate(path, last.quarantine_bytes)
                self._quarantine = path.open("a", encoding="utf-8")
            else:
                path.unlink(missing_ok=True)

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
        if len(self.journal.receipts) > self._receipts_before and not self._is_published:
            warnings.warn(
                f"{self.out}: {len(self.journal.receipts):,} finished partition(s) are kept in {self._staging.root}; "
                "--resume goes on after them",
                stacklevel=4,
            )

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

    def end_partition(self, tail: Tail, **facts: Any) -> None:
        """Close the shard, and write the tail and the receipt of a partition; ``facts`` are fields of the receipt."""
        with self._lock, writing(self.out):
            if self._writer is not None:
                self._close()
            quarantine_bytes = 0
            if self._quarantine is not None:
                self._quarantine.flush()
                os.fsync(self._quarantine.fileno())
                quarantine_bytes = self._quarantine.tell()
        before = sum(len(receipt.shards) for receipt in self.journal.receipts)
        self.journal.add(
            Receipt(
                **facts,
                shards=tuple(self._shards[before:]),
                tail=self.journal.write_tail(tail),
                quarantined=self.quarantined,
                quarantine_bytes=quarantine_bytes,
            )
        )
        self._staging.keeps_unfinished = True

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
            for shard in self._shards:
                if not (self._folder / shard.file).is_file():
                    raise ShardError(
                        f"{self._folder / shard.file}: the shard is missing; something has removed it during the run"
                    )
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
            self._is_published = True
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
    return {"dtype": _NAMES_OF_FLOATS.get(str(kind), str(kind)), "_type": "Value"}
