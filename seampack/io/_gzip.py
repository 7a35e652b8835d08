"""Decompression of gzip as the program ``gzip`` does it: members one after another, with zero bytes after them."""

import zlib
from typing import Any

_READ_BYTES = 1 << 20
_GZIP = 31
"""The window size that makes zlib expect the header and checksum of gzip."""


class GzipStream:
    """A stream of decompressed bytes. Raises EOFError or zlib.error for data that is cut or damaged."""

    def __init__(self, stream: Any) -> None:
        self._read = getattr(stream, "read1", stream.read)
        self._member: Any = zlib.decompressobj(_GZIP)
        self._compressed = b""

    def read(self, size: int) -> bytes:
        """Return the next bytes, at most ``size``; none only at the end."""
        while True:
            if self._member is None:
                self._compressed = self._compressed.lstrip(b"\0") or self._read(_READ_BYTES)
                if not self._compressed:
                    return b""
                if not self._compressed.startswith(b"\0"):
                    self._member = zlib.decompressobj(_GZIP)
                continue
            data: bytes = self._member.decompress(self._compressed, size)
            self._compressed = self._member.unconsumed_tail
            if self._member.eof:
                self._compressed, self._member = self._member.unused_data, None
            elif not data and not self._compressed:
                self._compressed = self._read(_READ_BYTES)
                if not self._compressed:
                    raise EOFError("the compressed data ends too early")
            if data:
                return data
