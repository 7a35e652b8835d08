"""Remote files: what is at an address, and reading it.

remote_path(url) -> RemotePath: is_file, iterdir, open, ... as pathlib.Path
remote_matches(url) -> the files that match a glob
"""

import errno
import fnmatch
import io
import os
import shutil
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, Self

import pyarrow as pa
from pyarrow import fs

from seampack.errors import DataError, RemoteError
from seampack.io.file_systems import asking, file_system
from seampack.io.places import shown

_FIRST_PART, _PART, _PARTS_AHEAD = 1 << 18, 8 << 20, 4
"""Sizes of what is fetched at once: little to detect the format, then large parts, several at a time."""


class RemoteFile(str):
    """The address of an input file, with its size in bytes as it was listed."""

    size: int

    def __new__(cls, address: str, size: int) -> Self:  # noqa: D102
        file = super().__new__(cls, address)
        file.size = size
        return file

    def __reduce__(self) -> tuple[type[Self], tuple[str, int]]:
        return type(self), (str(self), self.size)


class _Status(NamedTuple):
    """The part of the result of ``os.stat`` that readers need."""

    st_size: int


def remote_path(url: str) -> "RemotePath":
    """Return the file or folder at an address; nothing is read. A RemoteFile must still have its size when it is."""
    address, _, query = url.partition("?")
    files, path = file_system(url)
    info = fs.FileInfo(path, fs.FileType.File, size=url.size) if isinstance(url, RemoteFile) else None
    return RemotePath(files, path, address.rstrip("/"), query, info)


class RemotePath:
    """A remote file or folder, with the part of the interface of ``pathlib.Path`` that readers need.

    ``str`` gives its address without credentials, ``os.fspath`` the one that opens it. What does not exist raises
    FileNotFoundError; other errors of the server raise RemoteError.
    """

    def __init__(
        self, files: fs.FileSystem, path: str, address: str, query: str = "", info: fs.FileInfo | None = None
    ) -> None:
        self.files = files
        self.path = path
        """The path in the file system of Arrow."""
        self._address = address
        self._query = query
        self._info = info

    def __str__(self) -> str:
        return shown(self._address)

    def __repr__(self) -> str:
        return f"RemotePath({str(self)!r})"

    def __fspath__(self) -> RemoteFile:
        url = f"{self._address}?{self._query}" if self._query else self._address
        return RemoteFile(url, self.info.size or 0)

    def __truediv__(self, name: str) -> "RemotePath":
        return self._child(name, None)

    def _child(self, name: str, info: fs.FileInfo | None) -> "RemotePath":
        return RemotePath(self.files, f"{self.path}/{name}", f"{self._address}/{name}", self._query, info)

    @property
    def name(self) -> str:
        """The last part of the address."""
        return self._address.rpartition("/")[2]

    @property
    def parent(self) -> "RemotePath":
        """The folder."""
        parent, address = (each.rpartition("/")[0] for each in (self.path, self._address))
        return RemotePath(self.files, parent, address, self._query)

    @property
    def info(self) -> fs.FileInfo:
        """The kind and size; the server is asked once."""
        if self._info is None:
            with asking(self):
                self._info = self.files.get_file_info(self.path)
        return self._info

    def is_file(self) -> bool:
        """Return whether there is a file."""
        return bool(self.info.type == fs.FileType.File)

    def is_dir(self) -> bool:
        """Return whether there is a folder, or files whose names begin with this one and a slash."""
        return bool(self.info.type == fs.FileType.Directory)

    def exists(self) -> bool:
        """Return whether there is a file or a folder."""
        return bool(self.info.type != fs.FileType.NotFound)

    def stat(self) -> _Status:
        """Return the size. Raise FileNotFoundError if there is no file."""
        if not self.is_file():
            raise self._not_found()
        return _Status(self.info.size or 0)

    def _not_found(self) -> FileNotFoundError:
        return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self))

    def iterdir(self, *, recursive: bool = False) -> Iterator["RemotePath"]:
        """Iterate over the entries of a folder, or over all below it, sorted."""
        with asking(self):
            entries = self.files.get_file_info(fs.FileSelector(self.path, recursive=recursive))
        first = len(self.path.strip("/")) + 1 if self.path.strip("/") else 0
        names = {info.path.strip("/")[first:]: info for info in entries}
        return (self._child(name, names[name]) for name in sorted(names))

    def random_access(self) -> pa.NativeFile:
        """Return the open file for readers that need parts of it only."""
        with asking(self):
            try:
                file = self.files.open_input_file(self.path)
            except FileNotFoundError as error:
                raise self._not_found() from error
            if self._info is not None and (size := file.size()) != self._info.size:
                file.close()
                raise RemoteError(f"{self}: expected {self._info.size:,} bytes; got {size:,}: the file has changed")
        return file

    def open(
        self, mode: str = "rb", buffering: int = 1 << 16, *, first: int = 0, end: int | None = None
    ) -> io.BufferedReader:
        """Open the bytes ``first`` to ``end`` of the file, by default all; up to 40 MiB are fetched ahead."""
        return io.BufferedReader(_Ahead(self.random_access(), str(self), first, end), max(1 << 16, buffering))

    def read_bytes(self) -> bytes:
        """Return the content of the file."""
        with self.open() as file:
            return file.read()

    def read_text(self, encoding: str = "utf-8") -> str:
        """Return the content of the file as text."""
        return self.read_bytes().decode(encoding)

    def copy_to(self, path: Path) -> None:
        """Copy the file to a local one."""
        with self.open() as source, path.open("wb") as file:
            shutil.copyfileobj(source, file, 1 << 20)


class _Ahead(io.RawIOBase):
    """The bytes ``first`` to ``end`` of a file, of which a few parts are fetched ahead.

    Raises RemoteError if there are fewer than its size: the connection broke, or the file has changed.
    """

    def __init__(self, file: pa.NativeFile, name: str, first: int, end: int | None) -> None:
        self._file = file
        self._name = name
        with asking(name):
            self._size: int = file.size()
        self._first = self._next = first  # where the next part begins
        self._end = self._size if end is None else end
        self._parts: deque[Future[bytes]] = deque()
        self._pool: ThreadPoolExecutor | None = None
        self._unread = memoryview(b"")

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read the next bytes into a buffer, and return their number; 0 only at the end."""
        if not self._unread:
            self._unread = memoryview(self._next_part())
        count = min(len(buffer), len(self._unread))
        buffer[:count], self._unread = self._unread[:count], self._unread[count:]
        return count

    def _next_part(self) -> bytes:
        if self._next == self._first:
            self._next = min(self._first + _FIRST_PART, self._end)
            return self._fetch(self._first, self._next)
        self._pool = self._pool or ThreadPoolExecutor(_PARTS_AHEAD, thread_name_prefix="fetch")
        while self._next < self._end and len(self._parts) < _PARTS_AHEAD:
            end = min(self._next + _PART, self._end)
            self._parts.append(self._pool.submit(self._fetch, self._next, end))
            self._next = end
        return self._parts.popleft().result() if self._parts else b""

    def _fetch(self, start: int, end: int) -> bytes:
        try:
            with asking(self._name):
                data: bytes = self._file.read_at(end - start, start)
        except FileNotFoundError as error:
            raise RemoteError(f"{self._name}: the file was removed while it was read") from error
        if len(data) != end - start:
            raise RemoteError(
                f"{self._name}: expected {self._size:,} bytes; got {start + len(data):,}: the connection broke, or the "
                "file has changed"
            )
        return data

    def close(self) -> None:
        """Close the file, and forget the parts that are fetched ahead."""
        if not self.closed:
            if self._pool is not None:
                self._pool.shutdown(cancel_futures=True)
            self._file.close()
        super().close()


def has_magic(url: str) -> bool:
    """Return whether an address is a glob: ``?`` begins its query, so only ``*`` and ``[`` make one."""
    return any(each in url.partition("?")[0] for each in "*[")


def remote_matches(url: str) -> list[RemotePath]:
    """Return the files that match a glob, sorted; ``**`` matches folders at any depth. Hidden names are skipped."""
    address, mark, query = url.partition("?")
    parts = address.split("/")
    first = next(number for number, part in enumerate(parts) if has_magic(part))
    if first < 3:
        raise DataError(f"{shown(url)}: expected a bucket before the first *; got none")
    base = remote_path("/".join(parts[:first]) + mark + query)
    if not base.is_dir():
        return []
    pattern = parts[first:]
    depth = len(str(base).split("/"))
    entries = base.iterdir(recursive=len(pattern) > 1 or pattern == ["**"])
    return [each for each in entries if each.is_file() and _matches(str(each).split("/")[depth:], pattern)]


def _matches(names: Sequence[str], pattern: Sequence[str]) -> bool:
    """Return whether the parts of a path match those of a glob, as ``glob.glob`` does."""
    if not pattern or not names:
        return not pattern and not names
    if pattern[0] == "**":
        is_shown = not names[0].startswith(".")
        return _matches(names, pattern[1:] or ["*"]) or (is_shown and _matches(names[1:], pattern))
    is_hidden = names[0].startswith(".") and not pattern[0].startswith(".")
    return not is_hidden and fnmatch.fnmatchcase(names[0], pattern[0]) and _matches(names[1:], pattern[1:])
