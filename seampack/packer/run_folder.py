"""The folder of a packing run: hidden while processes work on it; when it is complete, it becomes the packed folder."""

import fcntl
import json
import os
import shutil
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from seampack._signals import uninterrupted
from seampack.config import check_flag
from seampack.errors import ShardError
from seampack.io._hidden import is_unlocked
from seampack.io.bad_records import BadRecord
from seampack.io.output import FolderKind, staging_of, sync, writing
from seampack.io.places import place_of
from seampack.packer.accounting import Accounting
from seampack.packer.config import PackConfig
from seampack.packer.entries import File, Shard, TokenizerFacts
from seampack.packer.formats.registry import OutputFormat
from seampack.packer.journal import OUTPUT, Journal, Receipt, Tail
from seampack.packer.manifest import Manifest, is_manifest
from seampack.packer.names import MANIFEST, QUARANTINE, is_packed_name, shards_of_partition
from seampack.packer.shards import ShardWriter, described, warn_of_short_rows
from seampack.packer.shared_ids import warn_of_shared_ids

PACKED = FolderKind(
    "packed shards",
    MANIFEST,
    owns=lambda entry: is_packed_name(entry.name) and entry.is_file(),
    is_marker=is_manifest,
    needs_marker=False,  # an unfinished run may have left shards without a manifest
)


def refuse_output(out: str | os.PathLike[str], *, overwrite: bool) -> None:
    """Raise ShardError for an output that a run would not replace, before it has done anything."""
    staging = staging_of(out, PACKED, overwrite=overwrite, inside=OUTPUT)
    if not overwrite and staging.folder.is_dir() and Journal.has_receipts(staging.root):
        raise _unfinished(str(place_of(out)), staging.root)


def _unfinished(out: str, root: Path) -> ShardError:
    return ShardError(
        f"{out}: a run that did not finish has left partitions in {root}; go on with --resume, or start again with "
        "--overwrite"
    )


def discard_finished(out: str | os.PathLike[str]) -> None:
    """Remove what a run that was killed at its very end has left next to its complete output.

    What another run has left, which did not finish, stays.
    """
    root = staging_of(out, PACKED, overwrite=True, inside=OUTPUT).root
    if root.is_dir() and not (root / OUTPUT).exists() and is_unlocked(root):
        with writing(out):
            shutil.rmtree(root)


class RunFolder:
    """The hidden folder of a run, in which partitions are packed; ``finish`` renames it to ``out``.

    A context manager. Without ``finish``, ``out`` is unchanged, and the hidden folder is removed unless it has a
    finished section. With ``resume``, what an earlier run left is kept if it was given the same ``run``. If it is
    ``shared``, other processes work on other partitions at the same time, and the folder is never removed.

    Raises ShardError if ``out`` is not empty and ``overwrite`` is not set, or if ``out`` has files of another kind; if
    another run is writing there; or if one has left finished partitions, and neither is set. Raises ConfigError if the
    earlier run was given something else.
    """

    def __init__(
        self,
        out: str | os.PathLike[str],
        config: PackConfig,
        *,
        run: Mapping[str, Any] | None = None,
        overwrite: bool = False,
        resume: bool = False,
        shared: bool = False,
    ) -> None:
        self.out = str(place_of(out))
        self._staging = staging_of(out, PACKED, overwrite=overwrite, inside=OUTPUT)
        self._folder = self._staging.folder
        self._overwrite = overwrite
        self._resume = check_flag("resume", resume)
        self._run = run or {"given": {}, "tokenizer": {}, "modified": {}}
        self._is_shared = shared
        self.config = config
        self._format = OutputFormat(config.output_format)
        self.journal = Journal(self._staging.root, self.out)
        self._added = 0  # receipts
        self._is_published = False
        self._writer: ShardWriter | None = None
        self._quarantine: Any = None
        self._quarantined = 0
        self._locks = ExitStack()

    @property
    def run(self) -> Mapping[str, Any]:
        """What the run was given, as in ``run.json``."""
        return self._run

    def __enter__(self) -> Self:
        goes_on = self._is_shared or self._goes_on()
        try:
            self._staging.open(shared=self._is_shared)
            self._staging.keeps_unfinished = goes_on
            if not goes_on or self._is_shared:
                self.journal.begin(self._run)
            if goes_on:
                self.journal.check(self._run)
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
            raise _unfinished(self.out, root)
        with writing(self.out):
            shutil.rmtree(root)
        warnings.warn(f"{root}: removed; a run that did not finish had left it", stacklevel=3)
        return False

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    def _leave(self) -> None:
        """Remove the temporary folder, unless it is needed. A thread that is still writing fails from now on."""
        with uninterrupted():
            if self._writer is not None:
                self._writer.abandon()
            if self._quarantine is not None:
                with suppress(Exception):  # as in ShardWriter.abandon
                    self._quarantine.close()
            self._locks.close()
            self._staging.abandon()
        if self._added and not self._is_published and not self._is_shared:
            warnings.warn(
                f"{self.out}: finished sections of {len(self.journal.receipts):,} partition(s) are kept in "
                f"{self._staging.root}; --resume goes on after them",
                stacklevel=4,
            )

    def load(self, partitions: Iterable[int], *, tails: bool) -> None:
        """Read the receipts of partitions; ``tails``: whether their tails are needed.

        Raises ShardError if a file that is needed is damaged or missing.
        """
        self.journal.load(partitions)
        for receipt in self.journal.in_order if tails else ():
            self.journal.check_files(receipt)
        self._check_shards(shard for receipt in self.journal.in_order for shard in receipt.shards)

    def _check_shards(self, shards: Iterable[Shard]) -> None:
        for file in (file for shard in shards for file in shard.files):
            path = self._folder / file.file
            if not path.is_file():
                raise ShardError(f"{path}: the shard is missing; something has removed it during the run")
            if path.stat().st_size != file.bytes:
                raise ShardError(
                    f"{self.out}: cannot go on: {path} is damaged: expected a file of {file.bytes:,} bytes; remove "
                    f"{self.journal.place} and pack again"
                )

    def claim(self, partition: int) -> None:
        """Lock a partition against other processes, and read its receipts again.

        Raises ShardError if another process works on it.
        """
        lock = self._staging.root / f"partition-{partition:05d}.lock"
        with writing(self.out):
            file = self._locks.enter_context(lock.open("w"))
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ShardError(
                f"{self.out}: another process is packing partition {partition}; wait for it, or stop it"
            ) from error
        except OSError:
            pass  # a file system without locks

    def begin(self, partition: int) -> ShardWriter:
        """Return the writer of the next section of a partition; what no receipt names is removed."""
        shards = [shard for receipt in self.journal.receipts.get(partition, ()) for shard in receipt.shards]
        kept = {file.file for shard in shards for file in shard.files}
        with writing(self.out):
            for path in self._folder.glob(shards_of_partition(partition)):
                if path.name not in kept:
                    path.unlink()
        self._writer = ShardWriter(self._folder, self.config, partition, len(shards), shown=self.out)
        return self._writer

    def quarantine(self, partition: int, records: list[BadRecord]) -> None:
        """Append records of the section that could not be read."""
        with writing(self.out):
            if records and self._quarantine is None:
                name = f"quarantine-{partition:05d}-{len(self.journal.receipts.get(partition, ())):05d}.jsonl"
                self._quarantine = (self._staging.root / name).open("w", encoding="utf-8")
            for record in records:
                self._quarantine.write(json.dumps(record.to_dict(), ensure_ascii=False) + "\n")
        self._quarantined += len(records)

    def end_section(self, partition: int, writer: ShardWriter, tail: Tail, **facts: Any) -> None:
        """Close the shard, and write the tail and the receipt of a section; ``facts`` are fields of the receipt."""
        section = len(self.journal.receipts.get(partition, ()))
        shards = tuple(writer.close())
        quarantine = None
        with writing(self.out):
            if self._quarantine is not None:
                self._quarantine.close()
                quarantine = described(Path(self._quarantine.name))
                sync(Path(self._quarantine.name))
        self.journal.add(
            Receipt(
                **facts,
                partition=partition,
                section=section,
                shards=shards,
                tail=self.journal.write_tail(tail, partition, section),
                quarantine=quarantine,
                quarantined=self._quarantined,
                short_rows=writer.short_rows,
            )
        )
        self._writer = self._quarantine = None
        self._quarantined = 0
        self._added += 1
        self._staging.keeps_unfinished = True

    def finish(
        self,
        writer: ShardWriter,
        schema: pa.Schema,
        accounting: Accounting,
        tokenizer: TokenizerFacts,
        notes: Mapping[str, Any],
    ) -> Manifest:
        """Close the shards of the tails, write the manifest and publish the folder as ``out``. Return the manifest.

        ``schema``: the columns of the rows.
        """
        receipts = self.journal.in_order
        shards = [shard for receipt in receipts for shard in receipt.shards]
        shards += writer.close(at_least_one=not shards)
        self._check_shards(shards)
        short = sum(receipt.short_rows for receipt in receipts) + writer.short_rows
        warn_of_short_rows(short, accounting.rows, self.config, shown=self.out)
        warn_of_shared_ids(self._folder, shards, self.config, accounting.documents, shown=self.out)
        with writing(self.out):
            self._join_quarantines(receipts)
            if self._format.folder_files:
                for name, content in self._format.load().folder_files(shards, schema).items():
                    self._write_json(name, content)
            manifest = Manifest(
                tokenizer=tokenizer,
                config=self.config.to_dict(),
                columns={field.name: str(field.type) for field in schema},
                accounting=accounting,
                quarantined=sum(receipt.quarantined for receipt in receipts),
                shards=tuple(shards),
                inputs=tuple(given for receipt in receipts for given in receipt.inputs),
                partitions=tuple(
                    sum(receipt.documents for receipt in self.journal.receipts[number])
                    for number in sorted(self.journal.receipts)
                ),
                files=tuple(self._files()),
                notes=notes,
            )
            self._write_json(MANIFEST, manifest.to_dict())
            self._publish(manifest)
            self._is_published = True
        return manifest

    def _publish(self, manifest: Manifest) -> None:
        self._staging.publish()

    def _join_quarantines(self, receipts: Sequence[Receipt]) -> None:
        parts = [receipt.quarantine.file for receipt in receipts if receipt.quarantine is not None]
        if not parts:
            return
        with (self._folder / QUARANTINE).open("wb") as joined:
            for name in parts:
                with (self._staging.root / name).open("rb") as part:
                    shutil.copyfileobj(part, joined)

    def _files(self) -> Iterator[File]:
        """Describe the files without rows."""
        for name in (*self._format.folder_files, QUARANTINE):
            path = self._folder / name
            if path.exists():
                yield described(path)

    def _write_json(self, name: str, content: dict[str, Any]) -> None:
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        (self._folder / name).write_text(text, encoding="utf-8")
