"""Packed folders: shards that appear only when whole, and a manifest that is written last."""

import dataclasses
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from seampack.errors import ShardError
from seampack.packer.accounting import Accounting
from seampack.packer.config import OutputFormat, PackConfig
from seampack.packer.documents import BadRecord

MANIFEST = "manifest.json"
QUARANTINE = "quarantine.jsonl"
FORMAT_VERSION = 1
_DATASET_FILES = ("dataset_info.json", "state.json")  # what ``datasets.load_from_disk`` looks for


@dataclass(frozen=True, slots=True)
class Shard:
    """A shard as the manifest lists it."""

    file: str
    rows: int
    bytes: int
    checksum: str


def checksum(path: Path) -> str:
    """XXH3-128 of a file: finds damage, at the speed of memory; not a signature."""
    digest = xxhash.xxh3_128()
    with path.open("rb", buffering=0) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return f"xxh3_128:{digest.hexdigest()}"


def is_ours(name: str) -> bool:
    """Whether a file name is one that a packing run writes."""
    stem = name.removeprefix(".").removesuffix(".partial")
    shard = stem.startswith("shard-") and stem.endswith((".arrow", ".parquet"))
    return shard or stem in (MANIFEST, QUARANTINE, *_DATASET_FILES)


class ShardWriter:
    """Writes record batches to ``shard-00000.arrow``, ``shard-00001.arrow``, ... of ``shard_rows`` rows each.

    A context manager: leaving it by an error removes everything that was written. ``finish`` completes the folder.

    Raises ShardError when the folder is not empty and ``overwrite`` is not set, or holds files of others.
    """

    def __init__(self, out: str | os.PathLike[str], config: PackConfig, *, overwrite: bool = False) -> None:
        self.out = Path(out)
        self._config = config
        self._shards: list[Shard] = []
        self._schema: Any = None  # pa.Schema, known with the first batch
        self._sink: Any = None  # the open shard's file, and the Arrow or Parquet writer over it
        self._writer: Any = None
        self._rows = 0
        self._quarantine: Any = None
        self.quarantined = 0
        self._claim(overwrite)

    def _claim(self, overwrite: bool) -> None:
        if self.out.exists() and not self.out.is_dir():
            raise ShardError(f"{self.out}: expected a folder; it is a file")
        with _disk(self.out):
            self._made = not self.out.exists()
            self.out.mkdir(parents=True, exist_ok=True)
            found = sorted(os.listdir(self.out))
            foreign = [name for name in found if not is_ours(name)]
            if found and not overwrite:
                state = "holds packed shards" if MANIFEST in found else "is not empty"
                raise ShardError(f"{self.out}: the folder {state} ({found[0]}); use --overwrite or another folder")
            if foreign:
                raise ShardError(f"{self.out}: --overwrite replaces packed shards only; the folder has {foreign[0]}")
            for name in sorted(found, key=lambda name: name != MANIFEST):  # the manifest first: no longer whole
                (self.out / name).unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._abandon()

    def _abandon(self) -> None:
        """Remove what was written: an incomplete folder must not look whole."""
        for open_file in (self._writer, self._sink, self._quarantine):
            try:
                if open_file is not None:
                    open_file.close()
            except (OSError, pa.ArrowException):
                continue  # a full disk fails again here; the file goes away below
        for name in os.listdir(self.out):
            if is_ours(name):
                (self.out / name).unlink(missing_ok=True)
        if self._made:
            self.out.rmdir()

    def quarantine(self, records: list[BadRecord]) -> None:
        """Append records that could not be read."""
        with _disk(self.out):
            if records and self._quarantine is None:
                self._quarantine = (self.out / f".{QUARANTINE}.partial").open("w", encoding="utf-8")
            for record in records:
                self._quarantine.write(json.dumps(record.to_dict(), ensure_ascii=False) + "\n")
        self.quarantined += len(records)

    def write(self, batch: pa.RecordBatch) -> None:
        """Append rows; a batch is cut where a shard is full."""
        with _disk(self.out):
            self._schema = self._schema or batch.schema
            at = 0
            while at < batch.num_rows:
                if self._writer is None:
                    self._open()
                take = min(batch.num_rows - at, self._config.shard_rows - self._rows)
                self._writer.write_batch(batch.slice(at, take))
                self._rows += take
                at += take
                if self._rows == self._config.shard_rows:
                    self._close()

    @property
    def _name(self) -> str:
        return f"shard-{len(self._shards):05d}.{self._config.output_format}"

    def _open(self) -> None:
        self._sink = pa.OSFile(str(self.out / f".{self._name}.partial"), "wb")
        if self._config.output_format == OutputFormat.PARQUET:
            self._writer = pq.ParquetWriter(self._sink, self._schema, compression="zstd", use_dictionary=False)
        else:
            self._writer = pa.ipc.new_stream(self._sink, self._schema)

    def _close(self) -> None:
        name = self._name
        partial = self.out / f".{name}.partial"
        self._writer.close()
        self._sink.close()
        self._shards.append(Shard(name, self._rows, partial.stat().st_size, checksum(partial)))
        _settle(partial, self.out / name)
        self._writer = self._sink = None
        self._rows = 0

    def finish(self, accounting: Accounting, facts: dict[str, Any]) -> dict[str, Any]:
        """Close the last shard and write the manifest, last of all. Returns the manifest."""
        with _disk(self.out):
            if self._writer is None and not self._shards:
                self._open()
            if self._writer is not None:
                self._close()
            if self._quarantine is not None:
                self._quarantine.close()
                _settle(self.out / f".{QUARANTINE}.partial", self.out / QUARANTINE)
            if self._config.output_format == OutputFormat.ARROW:
                self._write_dataset_files()
            manifest = {
                "format": "seampack packed shards",
                "format_version": FORMAT_VERSION,
                **facts,
                "config": dataclasses.asdict(self._config),
                "columns": {field.name: str(field.type) for field in self._schema},
                "accounting": accounting.to_dict(),
                "quarantined": self.quarantined,
                "shards": [dataclasses.asdict(shard) for shard in self._shards],
            }
            self._write_json(MANIFEST, manifest)
        return manifest

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
        for name, content in zip(_DATASET_FILES, (info, state), strict=True):
            self._write_json(name, content)

    def _write_json(self, name: str, content: dict[str, Any]) -> None:
        partial = self.out / f".{name}.partial"
        partial.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        _settle(partial, self.out / name)


def _feature(kind: pa.DataType) -> dict[str, Any]:
    """A column's type as ``datasets`` writes it; ``Sequence`` is the name of lists that all its versions know."""
    if pa.types.is_fixed_size_list(kind):
        return {"feature": _feature(kind.value_type), "length": kind.list_size, "_type": "Sequence"}
    if pa.types.is_list(kind):
        return {"feature": _feature(kind.value_type), "length": -1, "_type": "Sequence"}
    return {"dtype": str(kind), "_type": "Value"}


def _settle(partial: Path, final: Path) -> None:
    """Sync a file, give it its name, and sync the folder: the name stands for whole content even after a crash."""
    _sync(partial)
    partial.rename(final)
    _sync(final.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _disk(out: Path) -> Iterator[None]:
    """Name the folder in errors of the file system."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise ShardError(f"{out}: cannot be written: {reason}; nothing was kept") from error
