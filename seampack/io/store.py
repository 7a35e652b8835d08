"""Stores: folders for output, local or remote, into which finished files are copied, each as a whole or not at all."""

import hashlib
import os
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from seampack.errors import SeampackError, ShardError
from seampack.io.file_systems import reason_of
from seampack.io.output import FolderKind, StagedFolder, sync
from seampack.io.places import Place, local_path, place_of
from seampack.io.remote import RemotePath

_BLOCK = 8 << 20
_AT_ONCE = 4
"""Number of files that are uploaded at the same time."""
_PROBE = ".probe"
_OBJECTS = ("s3", "gcs", "abfs")
"""File systems whose files appear when they are complete."""


class Store(ABC):
    """A folder of files, named by their paths in it, such as ``shard-00000.arrow`` or ``part/receipt.json``.

    A file appears when it is complete. Pickling a store gives one of the same folder, for another process.
    """

    def __init__(self, out: str | os.PathLike[str]) -> None:
        self.out = os.fspath(out)
        self.place: Place = place_of(out)

    def __reduce__(self) -> tuple[type["Store"], tuple[str]]:
        return type(self), (self.out,)

    def upload(self, path: Path, name: str) -> None:
        """Copy a local file into the store, and compare the copy with it, byte by byte.

        Raises ShardError if it cannot be written or differs; the store then has no file of this name, or the old one.
        """
        with self._writing(name):
            self._put(path, name)

    def download(self, name: str, path: Path) -> None:
        """Copy a file of the store to a local path, where it appears when it is complete.

        Raises FileNotFoundError if there is none, RemoteError if it cannot be read.
        """
        partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
        try:
            with (self.place / name).open("rb") as source, partial.open("wb") as file:
                shutil.copyfileobj(source, file, _BLOCK)
            sync(partial)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    def read(self, name: str) -> bytes:
        """Return the content of a file. Raise FileNotFoundError if there is none, RemoteError if it cannot be read."""
        return (self.place / name).read_bytes()

    def exists(self, name: str) -> bool:
        """Return whether there is a file of this name."""
        return (self.place / name).is_file()

    @abstractmethod
    def names(self, prefix: str = "") -> list[str]:
        """Return the sorted names of all files that begin with a prefix, also those in subfolders; not hidden ones."""

    @abstractmethod
    def delete(self, name: str) -> None:
        """Remove a file, if there is one. Raise ShardError if it cannot be removed."""

    @abstractmethod
    def delete_folder(self, name: str) -> None:
        """Remove a subfolder with its files, if there is one. Raise ShardError if it cannot be removed."""

    @abstractmethod
    def _put(self, path: Path, name: str) -> None:
        """Copy a file into the store."""

    def _compare(self, path: Path, copy: Place) -> None:
        """Raise ShardError unless a copy has the bytes of a file."""
        with path.open("rb") as file, copy.open("rb") as stored:
            while True:
                expected, got = file.read(_BLOCK), stored.read(_BLOCK)
                if expected != got:
                    raise ShardError(f"{copy}: expected the {path.stat().st_size:,} bytes of {path}; got other bytes")
                if not expected:
                    return

    @contextmanager
    def _writing(self, name: str) -> Iterator[None]:
        """Convert errors to a ShardError that names the file."""
        try:
            yield
        except SeampackError:
            raise
        except Exception as error:  # each library has its own
            reason = getattr(error, "strerror", None) or reason_of(error)
            raise ShardError(f"{self.place / name}: cannot be written: {reason}") from error


def _selected(names: Iterator[str], prefix: str) -> list[str]:
    return sorted(name for name in names if name.startswith(prefix) and not name.rpartition("/")[2].startswith("."))


class LocalStore(Store):
    """A local folder, which is made when it is needed."""

    place: Path

    def _put(self, path: Path, name: str) -> None:
        target = self.place / name
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.partial-{os.getpid()}")
        try:
            shutil.copyfile(path, partial)
            sync(partial)
            self._compare(path, partial)
            partial.replace(target)
            sync(target.parent)
        finally:
            partial.unlink(missing_ok=True)

    def names(self, prefix: str = "") -> list[str]:
        """Return the sorted names of all files that begin with a prefix, also those in subfolders; not hidden ones."""
        files = (path for path in self.place.rglob("*") if path.is_file())
        return _selected((path.relative_to(self.place).as_posix() for path in files), prefix)

    def delete(self, name: str) -> None:
        """Remove a file, if there is one. Raise ShardError if it cannot be removed."""
        with self._writing(name):
            (self.place / name).unlink(missing_ok=True)

    def delete_folder(self, name: str) -> None:
        """Remove a subfolder with its files, if there is one. Raise ShardError if it cannot be removed."""
        with self._writing(name), suppress(FileNotFoundError):
            shutil.rmtree(self.place / name)


class RemoteStore(Store):
    """A remote folder: a prefix of objects of S3 and the like, or a folder of another file system."""

    place: RemotePath

    def _put(self, path: Path, name: str) -> None:
        files, target = self.place.files, self.place / name
        # An object appears when it is complete; a file of another system is renamed then.
        partial = target if files.type_name in _OBJECTS else target.parent / f".{target.name}.partial-{os.getpid()}"
        if partial is not target:
            files.create_dir(target.parent.path, recursive=True)
        with path.open("rb") as file:
            sink = files.open_output_stream(partial.path, compression=None)  # not by the ending of the name
            try:
                with sink:
                    shutil.copyfileobj(file, sink, _BLOCK)
                self._compare(path, partial)
                if partial is not target:
                    files.move(partial.path, target.path)
            except BaseException:  # closing the stream has made an object of what was written
                with suppress(Exception):
                    files.delete_file(partial.path)
                raise

    def names(self, prefix: str = "") -> list[str]:
        """Return the sorted names of all files that begin with a prefix, also those in subfolders; not hidden ones."""
        place = place_of(self.out)  # asked anew
        if not place.is_dir():
            return []
        first = len(str(place)) + 1
        entries = self.place.iterdir(recursive=True)
        return _selected((str(entry)[first:] for entry in entries if entry.is_file()), prefix)

    def delete(self, name: str) -> None:
        """Remove a file, if there is one. Raise ShardError if it cannot be removed."""
        target = self.place / name
        with self._writing(name):
            if target.is_file():
                self.place.files.delete_file(target.path)

    def delete_folder(self, name: str) -> None:
        """Remove a subfolder with its files, if there is one. Raise ShardError if it cannot be removed."""
        target = self.place / name.rstrip("/")
        with self._writing(name):
            if target.is_dir():
                self.place.files.delete_dir(target.path)


def store_of(out: str | os.PathLike[str]) -> Store:
    """Return the store of a local folder or of an address."""
    return RemoteStore(out) if isinstance(place_of(out), RemotePath) else LocalStore(local_path(out))


class UploadedFolder(StagedFolder):
    """A local folder to write into; ``publish`` uploads its files to an address, the marker of its kind last.

    A folder without the marker is incomplete. An old one is removed only when the new one is complete locally. The
    local folder is in the folder for temporary files; every run of the same output uses its name, to be resumed.
    """

    def __init__(
        self, out: str | os.PathLike[str], kind: FolderKind, *, overwrite: bool, inside: str | None = None
    ) -> None:
        self._store = store_of(out)
        self._name = name = str(self._store.place)
        folder = Path(tempfile.gettempdir()) / f"seampack-{os.getuid()}"
        if os.path.lexists(folder) and (folder.is_symlink() or folder.stat().st_uid != os.getuid()):
            raise ShardError(f"{folder}: cannot be used: another user has made it; set TMPDIR to another folder")
        digest = hashlib.sha256(name.encode()).hexdigest()[:12]
        super().__init__(folder / f"{name.rpartition('/')[2]}-{digest}", kind, overwrite=overwrite, inside=inside)

    def _check(self) -> None:
        place = place_of(self._store.out)  # asked anew
        entries = place.iterdir() if place.is_dir() else ()
        self._check_entries(self._name, {entry.name: self._kind.owns(entry) for entry in entries}, place)

    def open(self, *, shared: bool = False) -> None:
        """Make the local folder, and write a file at the address: a run that may not write there ends at once."""
        self._target.parent.mkdir(mode=0o700, exist_ok=True)
        super().open(shared=shared)
        self._made = [self._target.parent]  # removed if no other run uses it
        probe = self.root / _PROBE
        probe.write_bytes(b"-")
        self._store.upload(probe, _PROBE)
        self._store.delete(_PROBE)
        probe.unlink()  # or it would be uploaded again if the folder is the root

    def publish(self) -> None:
        """Copy all files to the address, several at a time: the marker is last, and an old one is removed first."""
        self._check()
        marker = self._kind.marker
        old = self._store.names()
        new = sorted(path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if path.is_file())
        self._store.delete(marker)
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="upload") as pool:
            list(pool.map(lambda name: self._store.upload(self.folder / name, name), [n for n in new if n != marker]))
        for name in sorted(set(old) - set(new)):
            self._store.delete(name)
        self._store.upload(self.folder / marker, marker)
        self._is_placed = True
