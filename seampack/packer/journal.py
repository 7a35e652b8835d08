"""The hidden folder of a packing run: the output so far, and a receipt for each partition that is finished.

    .NAME.partial/run.json               what the run was given; another run goes on only if it is given the same
                  receipt-00000.json     what partition 0 left: shards, counts, and the checksum of its input
                  tail-00000.arrow       its documents that fill no row
                  output/                the future folder NAME

A receipt is written when everything that it names is on the disk. So a run that is killed loses at most the partition
that it was working on.
"""

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping
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
from seampack.packer.manifest import QUARANTINE, File, Shard
from seampack.packer.windows import Parts, no_parts

OUTPUT = "output"
_RUN = "run.json"
_RECEIPT = "receipt-{:05d}.json"
_TAIL = "tail-{:05d}.arrow"
_COLUMN, _FIELD = "column ", "field "
"""What the columns of a tail with a value for each token, and for each part, begin with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What a finished partition left."""

    blocks: int
    """Blocks of input."""
    checksum: str
    """Checksum of the blocks' checksums."""
    bytes: int
    documents: int
    tokens: int
    doubled: tuple[int, int, int, int, int]
    accounting: dict[str, int]
    shards: tuple[Shard, ...]
    uses_reference: bool
    """Whether the fast path of the tokenizer was found to be wrong, so that the rest must not use it either."""
    tail: File
    tail_tokens: int
    quarantined: int
    """Records in the quarantine after this partition."""
    quarantine_bytes: int


@dataclass(frozen=True, slots=True)
class Tail:
    """The parts of documents that fill no row of a partition."""

    parts: Parts
    columns: Mapping[str, npt.NDArray[Any]]
    """Values of the tokens of the parts, one after another: ``input_ids``, and the carried columns."""
    fields: Mapping[str, pa.Array]
    """A value for each part: the names of the documents, if the run has an ``id_column``, and the kept columns."""


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
    """The receipts of a run."""

    def __init__(self, folder: Path, out: Path) -> None:
        self._folder = folder
        self._out = out
        self.receipts: list[Receipt] = []

    @staticmethod
    def has_receipts(folder: Path) -> bool:
        """Return whether a run has finished a partition."""
        return (folder / _RECEIPT.format(0)).is_file()

    def begin(self, run: Mapping[str, Any]) -> None:
        """Write what the run was given."""
        self._write(_RUN, run)

    def resume(self, run: Mapping[str, Any]) -> None:
        """Read the receipts, and remove what is in none.

        Raises ConfigError if the earlier run was given something else, ShardError if a file is damaged or missing.
        """
        if changed := list(changes(self._read(_RUN), run)):
            raise ConfigError(
                f"{self._out}: cannot resume: {'; '.join(changed)}; give the same, or start again with --overwrite"
            )
        while (self._folder / (name := _RECEIPT.format(len(self.receipts)))).is_file():
            try:
                self.receipts.append(msgspec.convert(self._read(name), Receipt))
            except msgspec.ValidationError as error:
                raise self._damaged(name, str(error)) from error
        output = self._folder / OUTPUT
        shards = [shard for receipt in self.receipts for shard in receipt.shards]
        for path, size in [
            *((output / shard.file, shard.bytes) for shard in shards),
            *((self._folder / receipt.tail.file, receipt.tail.bytes) for receipt in self.receipts),
        ]:
            if not path.is_file() or path.stat().st_size != size:
                raise self._damaged(path.name, f"expected a file of {size:,} bytes")
        for receipt in self.receipts:
            if checksum(self._folder / receipt.tail.file) != receipt.tail.checksum:
                raise self._damaged(receipt.tail.file, "its checksum is another")
        kept = {QUARANTINE, *(shard.file for shard in shards)}
        with writing(self._out):
            for entry in os.scandir(output):
                if entry.name not in kept:
                    os.unlink(entry.path)

    def add(self, receipt: Receipt) -> None:
        """Write the receipt of the next partition."""
        self._write(_RECEIPT.format(len(self.receipts)), dataclasses.asdict(receipt))
        self.receipts.append(receipt)

    def write_tail(self, tail: Tail) -> File:
        """Write the tail of the next partition."""
        columns = {"document": arrow_of(tail.parts.document), "base": arrow_of(tail.parts.base)}
        offsets = arrow_of(offsets_of(tail.parts.length))
        for name, values in tail.columns.items():
            columns[_COLUMN + name] = pa.LargeListArray.from_arrays(offsets, arrow_of(values))
        columns |= {_FIELD + name: values for name, values in tail.fields.items()}
        path = self._folder / _TAIL.format(len(self.receipts))
        batch = pa.record_batch(columns)
        with writing(self._out):
            with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, batch.schema) as stream:
                stream.write_batch(batch)
            sync(path)
            return File(file=path.name, bytes=path.stat().st_size, checksum=checksum(path))

    def read_tail(self, number: int) -> Tail:
        """Return the tail of a partition. Raise ShardError if it is damaged."""
        path = self._folder / self.receipts[number].tail.file
        try:
            table = pa.ipc.open_stream(pa.memory_map(str(path))).read_all().combine_chunks()
        except (OSError, pa.ArrowException) as error:
            raise self._damaged(path.name, str(error)) from error
        lists = {name.removeprefix(_COLUMN): table[name] for name in table.column_names if name.startswith(_COLUMN)}
        fields = {name.removeprefix(_FIELD): table[name] for name in table.column_names if name.startswith(_FIELD)}
        parts = no_parts()
        if table.num_rows:
            lengths = np.diff(lists["input_ids"].chunk(0).offsets.to_numpy())
            parts = Parts(table["document"].to_numpy(), table["base"].to_numpy(), lengths)
        return Tail(
            parts,
            {name: column.combine_chunks().flatten().to_numpy() for name, column in lists.items()},
            {name: column.combine_chunks() for name, column in fields.items()},
        )

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
            f"{self._out}: cannot resume: {self._folder / name} is damaged: {reason}; start again with --overwrite"
        )


def changes(before: Any, now: Mapping[str, Any], inside: str = "") -> Iterator[str]:
    """Yield in words what differs between two descriptions of a run."""
    before = before if isinstance(before, dict) else {}
    for name in sorted({*before, *now}):
        old, new = before.get(name), now.get(name)
        if isinstance(new, dict):
            yield from changes(old, new, f"{name} ")
        elif old != new:
            yield f"{inside}{name} was {old!r}, is now {new!r}"
