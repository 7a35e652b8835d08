"""The hidden folder of a packing run: the output so far, and receipts of what is finished.

    .NAME.partial/run.json                      what the run was given; other processes must be given the same
                  receipt-00003-00000.json      what section 0 of partition 3 left: shards, counts, checksum of input
                  tail-00003-00000.arrow        its documents that fill no row
                  quarantine-00003-00000.jsonl  its records that could not be read
                  output/                       the future folder NAME

Receipts and ``run.json`` have their own checksums. A receipt is written when everything that it names is on the
disk. So a run that is killed loses at most the sections
that it was working on.
"""

import dataclasses
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy.typing as npt
import pyarrow as pa

from seampack.errors import ConfigError, ShardError
from seampack.io.arrow import arrow_of
from seampack.io.output import sync, writing
from seampack.io.ragged import offsets_of
from seampack.packer.checksums import Checksum, checksum, digest
from seampack.packer.config import OnBad
from seampack.packer.documents import Origin
from seampack.packer.entries import File, Input, Shard
from seampack.packer.windows import Parts

OUTPUT = "output"
RUN = "run.json"
_SHOWN = 300
_OWN = "own_checksum"
"""The entry of a file of this module with the checksum of the others."""
_RECEIPT = "receipt-{}-{}.json"
_COLUMN, _FIELD = "column ", "field "
"""What the columns of a tail with a value for each token, and for each part, begin with."""


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
    doubled: tuple[int, int, int, int, int]
    accounting: dict[str, int]
    shards: tuple[Shard, ...]
    trusts_fast: bool | None
    """Whether the partition uses the fast path of the tokenizer; None if that was not decided yet."""
    tail: File
    tail_tokens: int
    quarantine: File | None
    quarantined: int
    short_rows: int = 0
    """Rows of its shards that are not full, in formats whose trainers find rows by their length."""

    @property
    def kept_files(self) -> tuple[File, ...]:
        """The files that only ``merge`` needs."""
        return (self.tail,) if self.quarantine is None else (self.tail, self.quarantine)


@dataclass(frozen=True, slots=True)
class Tail:
    """The parts of documents that fill no row of a section."""

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
    """The receipts of a run, by partition."""

    def __init__(self, folder: Path, out: str) -> None:
        self._folder = folder
        self.out = out
        self.place = str(folder)
        """The folder in messages."""
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
        # Processes of several containers or machines may have the same number.
        partial, path = self._folder / f"run-{os.urandom(8).hex()}.partial", self._folder / RUN
        with writing(self.out):
            partial.write_text(_with_checksum(run))
            sync(partial)
            try:
                os.link(partial, path)
            except FileExistsError:
                pass
            except OSError:  # a file system without links
                if not path.exists():
                    partial.replace(path)
            finally:
                partial.unlink(missing_ok=True)
            sync(self._folder)

    def read_run(self) -> dict[str, Any]:
        """Return what the run was given. Raise ShardError if it is missing or damaged."""
        return self._read(RUN)

    def check(self, run: Mapping[str, Any]) -> None:
        """Raise ConfigError if the earlier run was given something else.

        A run that stops at a bad record has finished nothing with one, so another may go on that puts them aside.
        """
        earlier = self.read_run()
        before, now = earlier["given"], run["given"]
        options = before.get("options", {})
        if options.get("on_bad") == OnBad.STOP and now["options"]["on_bad"] == OnBad.QUARANTINE:
            before = {**before, "options": {**options, "on_bad": OnBad.QUARANTINE.value}}
        if changed := list(changes(before, now)):
            raise ConfigError(
                f"{self.out}: cannot resume: {'; '.join(changed)}; give the same, or remove {self.place} to start again"
            )
        if before != earlier["given"]:
            self._write(RUN, {**earlier, "given": before})

    def load(self, partitions: Iterable[int]) -> None:
        """Read the receipts of partitions. Raise ShardError if one is damaged."""
        self.receipts = {}
        for number in partitions:
            receipts: list[Receipt] = []
            while (self._folder / (name := receipt_name(number, len(receipts)))).is_file():
                try:
                    receipt = msgspec.convert(self._read(name), Receipt)
                except msgspec.ValidationError as error:
                    raise self._damaged(name, str(error)) from error
                if self.name_of(receipt) != name:
                    raise self._damaged(name, f"it has the content of {self.name_of(receipt)}")
                receipts.append(receipt)
            if receipts:
                self.receipts[number] = receipts

    def check_files(self, receipt: Receipt) -> None:
        """Raise ShardError if the tail or the quarantine of a section is damaged or missing."""
        for file in receipt.kept_files:
            path = self._folder / file.file
            if not path.is_file() or path.stat().st_size != file.bytes:
                raise self._damaged(path.name, f"expected a file of {file.bytes:,} bytes")
            if checksum(path) != file.checksum:
                raise self._damaged(file.file, "its checksum is another")

    def is_complete(self, partition: int) -> bool:
        """Return whether a partition is finished."""
        receipts = self.receipts.get(partition)
        return bool(receipts and receipts[-1].is_last)

    def state(self, partition: int) -> tuple[tuple[int, str, bool], ...]:
        """Return what is finished of a partition, to compare it with that of another run."""
        receipts = self.receipts.get(partition, ())
        return tuple((receipt.blocks, receipt.checksum, receipt.is_last) for receipt in receipts)

    def add(self, receipt: Receipt) -> None:
        """Write the receipt of the next section."""
        self._write(self.name_of(receipt), dataclasses.asdict(receipt))
        self.receipts.setdefault(receipt.partition, []).append(receipt)

    @staticmethod
    def name_of(receipt: Receipt) -> str:
        """Return the name of the file of a receipt."""
        return receipt_name(receipt.partition, receipt.section)

    def write_tail(self, tail: Tail, partition: int, section: int) -> File:
        """Write the tail of a section."""
        columns = {name: arrow_of(values) for name, values in tail.parts._asdict().items()}
        offsets = arrow_of(offsets_of(tail.parts.length))
        for name, values in tail.columns.items():
            columns[_COLUMN + name] = pa.LargeListArray.from_arrays(offsets, arrow_of(values))
        columns |= {_FIELD + name: values for name, values in tail.fields.items()}
        path = self._folder / f"tail-{partition:05d}-{section:05d}.arrow"
        batch = pa.record_batch(columns)
        with writing(self.out):
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
        lists = {name.removeprefix(_COLUMN): table[name] for name in table.column_names if name.startswith(_COLUMN)}
        fields = {name.removeprefix(_FIELD): table[name] for name in table.column_names if name.startswith(_FIELD)}
        parts = Parts(*(table[name].combine_chunks().to_numpy() for name in Parts._fields))
        return Tail(
            parts,
            {name: column.combine_chunks().flatten().to_numpy() for name, column in lists.items()},
            {name: column.combine_chunks() for name, column in fields.items()},
        )

    def _read(self, name: str) -> dict[str, Any]:
        try:
            content: Any = msgspec.json.decode((self._folder / name).read_bytes())
        except (OSError, msgspec.DecodeError) as error:
            raise self._damaged(name, str(error)) from error
        if not isinstance(content, dict) or content.pop(_OWN, None) != digest(content):
            raise self._damaged(name, "its checksum is another")
        return content

    def _write(self, name: str, content: Mapping[str, Any]) -> None:
        path = self._folder / name
        with writing(self.out):
            partial = path.with_suffix(".partial")
            partial.write_text(_with_checksum(content))
            sync(partial)
            partial.replace(path)
            sync(self._folder)

    def _damaged(self, name: str, reason: str) -> ShardError:
        return ShardError(
            f"{self.out}: cannot go on: {self.place}/{name} is damaged: {reason}; remove {self.place} and pack again"
        )


def receipt_name(partition: int, section: int) -> str:
    """Return the name of the file of a receipt."""
    return _RECEIPT.format(f"{partition:05d}", f"{section:05d}")


def _with_checksum(content: Mapping[str, Any]) -> str:
    return json.dumps({**content, _OWN: digest(content)}, indent=1)


def changes(before: Any, now: Mapping[str, Any], inside: str = "") -> Iterator[str]:
    """Yield in words what differs between two descriptions of a run."""
    before = before if isinstance(before, dict) else {}
    for name in sorted({*before, *now}):
        old, new = before.get(name), now.get(name)
        if isinstance(new, dict):
            yield from changes(old, new, f"{name} ")
        elif old != new:
            yield f"{inside}{name} was {_short(old)}, is now {_short(new)}"


def _short(value: Any) -> str:
    text = _sources(value) or repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _sources(value: Any) -> str:
    """Return the sources of a mix, of which these entries decide the others; nothing of another value."""
    try:
        return ", ".join("{name}={weight} of {fingerprint}".format(**each) for each in value)
    except (TypeError, KeyError):
        return ""
