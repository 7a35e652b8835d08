"""Atomic output: a file or folder appears complete or not at all.

Files and folders are written under a hidden name in the same place, synced, and renamed when they are complete. If a
run fails or is stopped, or the last rename fails, the old content is unchanged.
"""

import errno
import lzma
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from seampack._signals import uninterrupted
from seampack.config import check_flag
from seampack.errors import DataError, ShardError, reason_of_os
from seampack.io._hidden import PARTIAL, REPLACED, claimed, clear_abandoned, hidden_path
from seampack.io.formats import codec_of_name
from seampack.io.places import Place, check_path, is_url, local_path, shown
from seampack.io.sources import STDIN

_REMOTE = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)  # a Path has one slash; a drive has one letter
_FULL = (errno.ENOSPC, errno.EDQUOT)
_DISK_ERRORS = (*_FULL, errno.EFBIG, errno.EROFS, errno.EIO)


@contextmanager
def writing(out: str | os.PathLike[str]) -> Iterator[None]:
    """Convert errors of the file system to a ShardError that names the output."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise _cannot_be_written(out, error) from error


def _cannot_be_written(out: str | os.PathLike[str], error: Exception) -> ShardError:
    full = isinstance(error, OSError) and error.errno in _FULL
    remedy = "; make room there, or choose another disk" if full else ""
    return ShardError(f"{os.fspath(out)}: cannot be written: {reason_of_os(error)}; the output is unchanged{remedy}")


def sync(path: Path) -> None:
    """Flush a file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_name(path: Path) -> None:
    """Sync the folder of a new name. A failure does not matter: the content is complete, unless the power fails now."""
    with suppress(OSError):
        sync(path.parent)


def _refuse_remote(out: str | os.PathLike[str]) -> None:
    """Raise ShardError for an address such as ``s3://bucket/folder``, which would become a local folder ``s3:``."""
    if match := _REMOTE.match(os.fspath(out)):
        address = shown(f"{match[0]}/{os.fspath(out)[match.end() :].lstrip('/')}")
        raise ShardError(f"{address}: cannot be written: expected a local path; copy the output there afterwards")


@contextmanager
def staged_path(out: Path) -> Iterator[Path]:
    """Yield a hidden path for a file; the file is synced and renamed to ``out`` when the block succeeds.

    If ``out`` is a link, its target is written. An existing file keeps its mode. Devices and named pipes are written
    directly.

    Raises ShardError, naming ``out``, if it cannot be written.
    """
    _refuse_remote(out)
    target = Path(os.path.realpath(out))
    if target.is_dir():
        raise ShardError(f"{out}: cannot be written: it is a folder; name a file")
    if target.exists() and not target.is_file():
        yield target
        return
    if not target.parent.exists():
        missing = target.parent if out.is_symlink() else out.parent
        raise ShardError(f"{out}: cannot be written: no such folder; create the folder {missing}")
    with writing(out):
        clear_abandoned(target)
        partial = hidden_path(target, PARTIAL)
        partial.touch()
    try:
        with claimed(partial):
            yield partial
        with writing(out):
            if target.exists():
                partial.chmod(target.stat().st_mode)
            sync(partial)
            with uninterrupted():
                partial.replace(target)
                _sync_name(target)
    finally:
        with uninterrupted(), suppress(OSError):
            partial.unlink(missing_ok=True)


def write_file(path: Path, data: bytes) -> None:
    """Write a file atomically. Raise ShardError, naming the file, if it cannot be written."""
    with staged_path(path) as partial, writing(path):
        partial.write_bytes(data)


def refuse_existing(out: Path, *, overwrite: bool) -> None:
    """Raise ShardError if the output is an existing file, unless it may be replaced."""
    if not check_flag("overwrite", overwrite) and out.is_file():
        raise ShardError(f"{out}: the file exists; use --overwrite or another name")


@contextmanager
def output_stream(out: str | os.PathLike[str]) -> Iterator[Any]:
    """Yield a binary stream to a file that appears when the block succeeds, or to standard output for ``-``.

    The output is compressed if its name ends in ``.gz``, ``.zst``, ``.bz2``, ``.xz`` or ``.lz4``.

    Raises ShardError, naming ``out``, if it cannot be written.
    """
    if os.fspath(out) == STDIN:
        if sys.stdout is None:
            raise DataError("standard output: cannot be written: it is closed")
        try:
            yield sys.stdout.buffer
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise ShardError(f"standard output: cannot be written: {reason_of_os(error)}") from error
        return
    with staged_path(Path(out)) as partial, writing(out), partial.open("wb") as file:
        codec = codec_of_name(out)
        if codec is None:
            yield file
        elif codec == "xz":
            with lzma.open(file, "wb") as compressed:
                yield compressed
        else:
            # a second descriptor, because the compressed stream closes its file
            with pa.CompressedOutputStream(os.fdopen(os.dup(file.fileno()), "wb"), codec) as compressed:
                yield compressed


@dataclass(frozen=True, slots=True)
class FolderKind:
    """A kind of folder that seampack writes and may therefore replace with ``overwrite``."""

    content: str
    """Content of the folder in words, such as ``packed shards``."""
    marker: str
    """File that only a complete folder of this kind has."""
    owns: Callable[["os.DirEntry[str] | Place"], bool] = lambda entry: True
    """Whether an entry of the folder is of this kind; a folder with other entries is not replaced."""
    is_marker: Callable[[Place], bool] = lambda path: True
    """Whether the content of the marker is of this kind."""
    needs_marker: bool = True
    """Whether a folder without the marker, such as that of an unfinished run, must not be replaced."""


class StagedFolder:
    """A hidden folder next to ``out`` to write into; ``publish`` renames it to ``out``.

    With ``inside``, the hidden folder has a name that every run of the same output uses, and the folder to write into
    is in it. If ``keeps_unfinished`` is set, ``abandon`` leaves both to the next run.

    Raises ShardError if ``out`` must not be replaced; this is checked before a run starts, and again at its end.
    """

    def __init__(
        self, out: str | os.PathLike[str], kind: FolderKind, *, overwrite: bool, inside: str | None = None
    ) -> None:
        check_path(out, "out")
        self.out = Path(out)
        self._kind = kind
        self._overwrite = check_flag("overwrite", overwrite)
        _refuse_remote(out)
        try:
            os.fspath(self.out).encode()
        except UnicodeEncodeError as error:
            raise ShardError(
                f"{os.fspath(self.out)!r}: cannot be written: the name is not UTF-8; choose another"
            ) from error
        with writing(out):
            self._target = Path(os.path.realpath(out))
            clear_abandoned(self._target)
            self._check()
        if inside is None:
            self.root = self.folder = hidden_path(self._target, PARTIAL)
        else:
            self.root = self._target.with_name(f".{self._target.name}.{PARTIAL}")
            self.folder = self.root / inside
        self.keeps_unfinished = False
        self._claims = ExitStack()
        self._is_placed = False
        self._aside: Path | None = None  # the replaced folder, until the new one is in place
        self._made: list[Path] = []  # parents that were missing, the innermost first

    def _check(self) -> None:
        if not self._target.exists():
            return
        if not self._target.is_dir():
            raise ShardError(f"{self.out}: expected a folder; it is a file")
        if os.path.ismount(self._target):
            raise ShardError(f"{self.out}: a mount point, which cannot be replaced; choose a folder inside it")
        with os.scandir(self._target) as entries:
            owned = {entry.name: self._kind.owns(entry) for entry in sorted(entries, key=lambda entry: entry.name)}
        self._check_entries(self.out, owned, self._target)

    def _check_entries(self, out: Path | str, owned: dict[str, bool], folder: Place) -> None:
        """Raise ShardError if a folder must not be replaced, given whether its entries are of the right kind."""
        kind = self._kind
        if not owned:
            return
        other = self._other(owned, folder)
        if not self._overwrite:
            state = f"holds {kind.content}" if kind.marker in owned else "is not empty"
            remedy = "use --overwrite or another folder"
            if other is not None:
                remedy = f"--overwrite replaces {kind.content} only; choose another folder"
            raise ShardError(f"{out}: the folder {state} ({next(iter(owned))}); {remedy}")
        if other is not None:
            raise ShardError(
                f"{out}: --overwrite replaces {kind.content} only; the folder has {other}; choose another folder"
            )

    def _other(self, owned: dict[str, bool], folder: Place) -> str | None:
        """Return what a folder has, or lacks, so that it is not of the right kind; None if it may be replaced."""
        kind = self._kind
        for name, is_owned in owned.items():
            if not is_owned:
                return name
        if kind.marker in owned and not kind.is_marker(folder / kind.marker):
            return f"a {kind.marker} of another kind"
        return f"no {kind.marker}" if kind.marker not in owned and kind.needs_marker else None

    def open(self, *, shared: bool = False) -> None:
        """Make and lock the hidden folder. If it is ``shared``, other processes may have made it, and open it too."""
        self._made = [parent for parent in self._target.parents if not parent.exists()]
        with writing(self.out):
            self._target.parent.mkdir(parents=True, exist_ok=True)
            self.folder.mkdir(parents=True, exist_ok=self.folder != self.root)
            self._claims.enter_context(claimed(self.root, shared=shared))

    def publish(self) -> None:
        """Sync the hidden folder and rename it to ``out``; the old folder is removed last."""
        with writing(self.out):
            for path in [*self.folder.rglob("*"), self.folder]:
                sync(path)
            with uninterrupted():
                self._place()
                for path in (self._target, *self._made):
                    _sync_name(path)

    def _place(self) -> None:
        """Rename the old folder to a hidden name, and the hidden folder to ``out``."""
        self._check()
        if self._target.exists():
            self._claims.enter_context(claimed(self._target))
            self._aside = hidden_path(self._target, REPLACED)
            self._target.rename(self._aside)
        self.folder.rename(self._target)
        self._is_placed = True

    def abandon(self) -> None:
        """Restore the old content and remove the hidden folders. After ``publish``, remove the old content instead.

        Raises ShardError if the old content cannot be restored; the message names the hidden folder that has it.
        """
        self._claims.close()
        if self._is_placed or not self.keeps_unfinished:
            shutil.rmtree(self.root, ignore_errors=True)
        if self._aside is not None and self._is_placed:
            shutil.rmtree(self._aside, ignore_errors=True)
        elif self._aside is not None and self._aside.exists():
            try:
                if self._target.exists():  # made by another program between the two renames
                    raise FileExistsError(errno.EEXIST, "another program has written there")
                self._aside.rename(self._target)
            except OSError as error:
                raise ShardError(
                    f"{self.out}: the old content cannot be put back: {error.strerror}; it is in {self._aside}"
                ) from error
        with suppress(OSError):  # not empty: it has the result or other files
            for parent in self._made:
                parent.rmdir()


def staging_of(
    out: str | os.PathLike[str], kind: FolderKind, *, overwrite: bool, inside: str | None = None
) -> StagedFolder:
    """Return the folder to write into, for an output that may be at an address."""
    check_path(out, "out")
    if not is_url(out):
        return StagedFolder(local_path(out), kind, overwrite=overwrite, inside=inside)
    from seampack.io.store import UploadedFolder

    return UploadedFolder(out, kind, overwrite=overwrite, inside=inside)


@contextmanager
def staged_folder(
    out: str | os.PathLike[str], kind: FolderKind, *, overwrite: bool, uploads: bool = False
) -> Iterator[Path]:
    """Yield a hidden folder to write into; it is renamed to ``out`` when the block succeeds.

    ``uploads``: whether ``out`` may be an address, to which the folder is then uploaded.

    Raises ShardError if ``out`` must not be replaced or cannot be written; ``out`` is then unchanged.
    """
    staging = (staging_of if uploads else StagedFolder)(out, kind, overwrite=overwrite)
    try:
        staging.open()
        try:
            yield staging.folder
        except OSError as error:
            if error.errno in _DISK_ERRORS:
                raise _cannot_be_written(out, error) from error
            raise
        staging.publish()
    finally:
        with uninterrupted():
            staging.abandon()
