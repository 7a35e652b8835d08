"""Streams over open inputs: watched, with a head that can be inspected, and parts of files."""

import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from seampack.errors import DataError
from seampack.io.sniffing import SNIFF_BYTES

Watch = Callable[[bytes], object]
"""A function that receives the stored bytes of an input, as they are read."""


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Convert errors of a damaged or truncated input to a DataError that names the input."""
    try:
        yield
    except (OSError, EOFError, UnicodeDecodeError, lzma.LZMAError, zlib.error, pa.ArrowException) as error:
        raise DataError(f"{name}: cannot be read: {' '.join(str(error).split())}") from error


class Watched:
    """A stream that passes the bytes that are read to a function."""

    closed = False

    def __init__(self, stream: Any, watch: Watch) -> None:
        self._stream = stream
        self._watch = watch

    def read(self, size: int) -> bytes:
        """Return the next bytes, fewer only at the end."""
        return self._watched(self._stream.read(size))

    def read1(self, size: int) -> bytes:
        """Return the bytes that are available, at least one before the end."""
        return self._watched(available(self._stream, size))

    def _watched(self, data: bytes) -> bytes:
        self._watch(data)
        return data


class Head:
    """A stream whose first bytes can be inspected before it is read; reading still begins with them."""

    closed = False

    def __init__(self, stream: Any, name: str) -> None:
        self._stream = stream
        self._name = name
        self.head = b""
        self._unread = b""

    def detect(self, decide: Any) -> Any:
        """Call ``decide(head, ended) -> (decided, result)`` with more bytes until it decides; return the result."""
        ended = False
        while not (decision := decide(self.head, ended))[0] and not ended:
            with reading(self._name):
                part = available(self._stream, SNIFF_BYTES - len(self.head))
            self.head += part
            ended = not part or len(self.head) >= SNIFF_BYTES
        self._unread = self.head
        return decision[1]

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes, fewer only at the end."""
        if size < 0:
            parts = []
            while part := self.read(1 << 24):
                parts.append(part)
            return b"".join(parts)
        part, self._unread = self._unread[:size], self._unread[size:]
        parts = [part] if part else []
        room = size - len(part)
        while room > 0 and (part := self._stream.read(room)):
            parts.append(part)
            room -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)  # joining a single part would copy it

    def read1(self, size: int) -> bytes:
        """Return the bytes that are available, at least one before the end."""
        if self._unread:
            part, self._unread = self._unread[:size], self._unread[size:]
            return part
        return available(self._stream, size)

    def close(self) -> None:
        """Do nothing: the opener of the stream closes it. Arrow calls this."""


def available(stream: Any, size: int) -> bytes:
    """Return the bytes that a stream has available, at least one before its end."""
    data: bytes = getattr(stream, "read1", stream.read)(size)
    return data


class Range:
    """The bytes ``start`` to ``stop`` of an open file."""

    closed = False

    def __init__(self, file: Any, start: int, stop: int) -> None:
        self.start = start
        self._file = file
        self._left = stop - start

    def read(self, size: int) -> bytes:
        """Return the next bytes, fewer only at the end."""
        data: bytes = self._file.read(min(size, self._left))
        self._left -= len(data)
        return data
