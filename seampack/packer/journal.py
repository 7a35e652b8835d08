"""The hidden folder of a packing run: the output so far, and receipts of what is finished.

    .NAME.partial/run.json                      what the run was given; other processes must be given the same
                  receipt-00003-00000.json      what section 0 of partition 3 left: shards, counts, checksum of input
                  tail-00003-00000.arrow        its documents that fill no row
                  quarantine-00003-00000.jsonl  its records that could not be read
                  output/                       the future folder NAME

A receipt is written when everything that it names is on the disk. So a run that is killed loses at most the sections
that it was working on.
"""

import dataclasses
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from seampack.errors import ConfigError, ShardError
from seampack.io.arrow import arrow_of
from seampack.io.output import sync, writing
from seampack.io.ragged import offsets_of
from seampack.packer.checksums import Checksum, checksum
from seampack.packer.documents import Origin
from seampack.packer.manifest import File, Input, Shard
from seampack.packer.windows import Parts, no_parts

OUTPUT = "output"
_RUN = "run.json"
_SHOWN = 300
_RECEIPT = "receipt-{}-{}.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What a finished section of a partition left."""

    partition: int
    section: int
    is_last: bool
    """Whether the partition ends with this section."""
    inputs: tuple[Input, ...]
    """The files of the partition, if it ends here."""
    blocks: int
    """Blocks of input."""
    checksum: str
    """Checksum of the blocks' checksums."""
    bytes: int
    documents: int
    tokens: int
    doubled: tuple[int, int, int, int]
    accounting: dict[str, int]
    shards: tuple[Shard, ...]
    trusts_fast: bool | None
    """Whether the partition uses the fast path of the tokenizer; None if that was not decided yet."""
    tail: File
    tail_tokens: int
    quarantine: File | None
    quarantined: int


@dataclass(frozen=True, slots=True)
class Tail:
    """The parts of documents that fill no row of a section."""

    parts: Parts
    ids: npt.NDArray[Any]
    """Tokens of the parts, one after another."""
    names: pa.Array | None
    """Names of the documents, if the run has an ``id_column``."""


class BlockDigest:
    """The number of blocks, their size, and the checksum of their checksums."""

    def __init__(self) -> None:
        self.blocks = 0
        self.bytes = 0
        self._state = Checksum()

    def add(self, origin: Origin) -> None:
        """Add a block."""
        self.blocks += 1
        self.bytes += origin.bytes
        self._state.update(origin.checksum)

    def __str__(self) -> str:
        return str(self._state)


class Journal:
    """The receipts of a run, by partition."""

    def __init__(self, folder: Path, out: Path) -> None:
        self._folder = folder
        self._out = out
        self.receipts: dict[int, list[Receipt]] = {}

    @property
    def in_order(self) -> list[Receipt]:
        """The receipts in the order of the input."""
        return [receipt for number in sorted(self.receipts) for receipt in self.receipts[number]]

    @staticmethod
    def has_receipts(folder: Path) -> bool:
        """Return whether a run has finished a partition."""
        return any(folder.glob(_RECEIPT.format("*", "*")))

    def begin(self, run: Mapping[str, Any]) -> None:
        """Write what the run was given, if no other process of it has done so."""
        partial = self._folder / f"run-{os.getpid()}.partial"
        with writing(self._out):
            partial.write_text(json.dumps(run, indent=1))
            sync(partial)
            try:
                with suppress(FileExistsError):
                    os.link(partial, self._folder / _RUN)
            finally:
                partial.unlink()
            sync(self._folder)

    def read_run(self) -> dict[str, Any]:
        """Return what the run was given. Raise ShardError if it is missing or damaged."""
        run = self._read(_RUN)
        entries = run if isinstance(run, dict) else {}
        if not all(isinstance(entries.get(name), dict) for name in ("given", "tokenizer", "modified")):
            raise self._damaged(_RUN, "expected what a run was given")
        return entries

    def check(self, run: Mapping[str, Any]) -> None:
        """Raise ConfigError if the earlier run was given something else."""
        if changed := list(changes(self.read_run()["given"], run["given"])):
            raise ConfigError(
                f"{self._out}: cannot resume: {'; '.join(changed)}; give the same, or remove {self._folder} to start "
                "again"
            )

    def load(self, partitions: Iterable[int]) -> None:
        """Read the receipts of partitions. Raise ShardError if a file that they name is damaged or missing."""
        self.receipts = {}
        for number in partitions:
            receipts: list[Receipt] = []
            while (self._folder / (name := _RECEIPT.format(f"{number:05d}", f"{len(receipts):05d}"))).is_file():
                try:
                    receipts.append(msgspec.convert(self._read(name), Receipt))
                except msgspec.ValidationError as error:
                    raise self._damaged(name, str(error)) from error
                self._check_files(receipts[-1])
            if receipts:
                self.receipts[number] = receipts

    def _check_files(self, receipt: Receipt) -> None:
        kept = [receipt.tail] if receipt.quarantine is None else [receipt.tail, receipt.quarantine]
        for path, size in [
            *((self._folder / OUTPUT / shard.file, shard.bytes) for shard in receipt.shards),
            *((self._folder / file.file, file.bytes) for file in kept),
        ]:
            if not path.is_file() or path.stat().st_size != size:
                raise self._damaged(path.name, f"expected a file of {size:,} bytes")
        for file in kept:
            if checksum(self._folder / file.file) != file.checksum:
                raise self._damaged(file.file, "its checksum is another")

    def is_complete(self, partition: int) -> bool:
        """Return whether a partition is finished."""
        receipts = self.receipts.get(partition)
        return bool(receipts and receipts[-1].is_last)

    def add(self, receipt: Receipt) -> None:
        """Write the receipt of the next section."""
        name = _RECEIPT.format(f"{receipt.partition:05d}", f"{receipt.section:05d}")
        self._write(name, dataclasses.asdict(receipt))
        self.receipts.setdefault(receipt.partition, []).append(receipt)

    def write_tail(self, tail: Tail, partition: int, section: int) -> File:
        """Write the tail of a section."""
        columns = {
            "document": arrow_of(tail.parts.document),
            "base": arrow_of(tail.parts.base),
            "ids": pa.LargeListArray.from_arrays(arrow_of(offsets_of(tail.parts.length)), arrow_of(tail.ids)),
        }
        if tail.names is not None:
            columns["name"] = tail.names
        path = self._folder / f"tail-{partition:05d}-{section:05d}.arrow"
        batch = pa.record_batch(columns)
        with writing(self._out):
            with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, batch.schema) as stream:
                stream.write_batch(batch)
            sync(path)
            return File(file=path.name, bytes=path.stat().st_size, checksum=checksum(path))

    def read_tail(self, receipt: Receipt) -> Tail:
        """Return the tail of a section. Raise ShardError if it is damaged."""
        path = self._folder / receipt.tail.file
        try:
            table = pa.ipc.open_stream(pa.memory_map(str(path))).read_all().combine_chunks()
        except (OSError, pa.ArrowException) as error:
            raise self._damaged(path.name, str(error)) from error
        columns = {name: table[name].chunk(0) if table.num_rows else table[name].type for name in table.column_names}
        if not table.num_rows:
            names = pa.nulls(0, columns["name"]) if "name" in columns else None
            return Tail(no_parts(), np.empty(0, columns["ids"].value_type.to_pandas_dtype()), names)
        ids = columns["ids"]
        lengths = np.diff(ids.offsets.to_numpy())
        parts = Parts(columns["document"].to_numpy(), columns["base"].to_numpy(), lengths)
        return Tail(parts, ids.flatten().to_numpy(), columns.get("name"))

    def _read(self, name: str) -> Any:
        try:
            return msgspec.json.decode((self._folder / name).read_bytes())
        except (OSError, msgspec.DecodeError) as error:
            raise self._damaged(name, str(error)) from error

    def _write(self, name: str, content: Mapping[str, Any]) -> None:
        path = self._folder / name
        with writing(self._out):
            partial = path.with_suffix(".partial")
            partial.write_text(json.dumps(content, indent=1))
            sync(partial)
            partial.replace(path)
            sync(self._folder)

    def _damaged(self, name: str, reason: str) -> ShardError:
        return ShardError(
            f"{self._out}: cannot go on: {self._folder / name} is damaged: {reason}; remove {self._folder} and pack "
            "again"
        )


def changes(before: Any, now: Mapping[str, Any], inside: str = "") -> Iterator[str]:
    """Yield in words what differs between two descriptions of a run."""
    before = before if isinstance(before, dict) else {}
    for name in sorted({*before, *now}):
        old, new = before.get(name), now.get(name)
        if isinstance(new, dict):
            yield from changes(old, new, f"{name} ")
        elif old != new:
            yield f"{inside}{name} was {_short(old)}, is now {_short(new)}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
