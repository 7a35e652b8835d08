"""The folder of a run that several processes share at an address.

A process packs a section in a temporary folder, and uploads it when it is finished: shards to their final place, what
only the run needs to ``_run/``, the receipt last. Without ``manifest.json``, the folder is incomplete.
"""

import os
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from seampack.errors import ShardError
from seampack.io.places import shown
from seampack.io.store import store_of
from seampack.packer.config import PackConfig
from seampack.packer.entries import Shard
from seampack.packer.journal import RUN, Journal, Tail, receipt_name
from seampack.packer.manifest import Manifest
from seampack.packer.names import MANIFEST
from seampack.packer.run_folder import RunFolder
from seampack.packer.shards import ShardWriter

_RUN_FILES = "_run/"
_FEW = 100
"""Number of files that are looked for one by one, not in a list of all."""


def run_at(out: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Return what the run at an address was given; None if there is none that is not merged yet.

    The manifest is removed when a run begins, and written when it is merged, before the files of the run are removed.
    """
    store = store_of(out)
    if not store.exists(_RUN_FILES + RUN):
        return None
    if store.exists(MANIFEST):
        store.delete_folder(_RUN_FILES)  # merge was killed before it could
        return None
    with tempfile.TemporaryDirectory() as folder:
        store.download(_RUN_FILES + RUN, Path(folder) / RUN)
        journal = Journal(Path(folder), shown(out))
        journal.place = place_of_run(out)
        return journal.read_run()


def place_of_run(out: str | os.PathLike[str]) -> str:
    """Return the folder of a run at an address, for messages."""
    return f"{shown(out).rstrip('/')}/{_RUN_FILES}".rstrip("/")


class UploadedRun(RunFolder):
    """A shared run at an address. No process locks a partition: two that pack the same one write the same bytes.

    Raises ShardError if the address has other files, and ``overwrite`` is not set.
    """

    def __init__(
        self, out: str | os.PathLike[str], config: PackConfig, run: Mapping[str, Any], *, overwrite: bool
    ) -> None:
        self._store = store_of(out)
        self._allows_others = overwrite
        self._temporary = tempfile.TemporaryDirectory(prefix="seampack-")
        super().__init__(Path(self._temporary.name) / "out", config, run=run, shared=True)
        self.out = self.journal.out = shown(out)
        self.journal.place = place_of_run(out)

    def __enter__(self) -> Self:
        try:
            self._begin()
        except BaseException:
            self._temporary.cleanup()
            raise
        return self

    def _begin(self) -> None:
        has_begun = self._store.exists(_RUN_FILES + RUN)
        if not has_begun and not self._allows_others and (names := self._store.names()):
            raise ShardError(f"{self.out}: the folder is not empty ({names[0]}); use --overwrite or another folder")
        root = self._staging.root
        root.mkdir(parents=True)
        if has_begun:
            self._store.download(_RUN_FILES + RUN, root / RUN)
        super().__enter__()
        if not has_begun:
            self._store.delete(MANIFEST)  # the shards that it lists are replaced from now on
            self._store.upload(root / RUN, _RUN_FILES + RUN)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self._temporary.cleanup()

    def load(self, partitions: Iterable[int], *, tails: bool) -> None:
        """Download the receipts of partitions, and if they are needed, tails and quarantines; then read them."""
        wanted = set(partitions)
        for partition in wanted:  # the folder is not listed: it has the files of all partitions
            with suppress(FileNotFoundError):
                for section in count():
                    self._fetch(receipt_name(partition, section))
        if tails:
            self.journal.load(sorted(wanted))
            for receipt in self.journal.in_order:
                for file in receipt.kept_files:
                    self._fetch(file.file)
        super().load(sorted(wanted), tails=tails)

    def _fetch(self, name: str) -> None:
        path = self._staging.root / name
        if not path.exists():
            self._store.download(_RUN_FILES + name, path)

    def claim(self, partition: int) -> None:
        """Do nothing: object stores have no locks."""

    def end_section(self, partition: int, writer: ShardWriter, tail: Tail, **facts: Any) -> None:
        """End the section as ``RunFolder`` does, and upload it."""
        super().end_section(partition, writer, tail, **facts)
        receipt = self.journal.receipts[partition][-1]
        for file in (file for shard in receipt.shards for file in shard.files):
            self._store.upload(self._folder / file.file, file.file)
            (self._folder / file.file).unlink()
        for kept in receipt.kept_files:
            self._store.upload(self._staging.root / kept.file, _RUN_FILES + kept.file)
            (self._staging.root / kept.file).unlink()
        name = self.journal.name_of(receipt)
        self._store.upload(self._staging.root / name, _RUN_FILES + name)

    def _check_shards(self, shards: Iterable[Shard]) -> None:
        names = {file.file for shard in shards for file in shard.files} - {path.name for path in self._folder.iterdir()}
        listed = {*self._store.names("shard-")} if len(names) > _FEW else None
        for name in sorted(names):
            if not (self._store.exists(name) if listed is None else name in listed):
                raise ShardError(f"{self.out}/{name}: the shard is missing; something has removed it")

    def _publish(self, manifest: Manifest) -> None:
        """Write the other files to the address, the manifest last; remove those of the run and of an earlier folder."""
        new = {path.name for path in self._folder.iterdir()} - {MANIFEST}
        old = self._store.names()
        self._store.delete(MANIFEST)
        for name in sorted(new):
            self._store.upload(self._folder / name, name)
        kept = {*new, *(file.file for shard in manifest.shards for file in shard.files)}
        for name in old:
            if name not in kept and not name.startswith(_RUN_FILES):
                self._store.delete(name)
        self._store.upload(self._folder / MANIFEST, MANIFEST)
        self._store.delete_folder(_RUN_FILES)
