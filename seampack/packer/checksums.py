"""Checksums by XXH3-128: they detect damage and careless edits at the speed of memory, but are no signatures."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import xxhash

from seampack.io.places import Place


class Checksum:
    """The checksum and number of bytes that are given part by part. ``on_bytes`` receives the size of each part."""

    def __init__(self, on_bytes: Callable[[int], object] | None = None) -> None:
        self._state = xxhash.xxh3_128()
        self._on_bytes = on_bytes
        self.bytes = 0

    def update(self, data: bytes) -> None:
        """Add the next bytes."""
        self._state.update(data)
        self.bytes += len(data)
        if self._on_bytes is not None:
            self._on_bytes(len(data))

    def __str__(self) -> str:
        return f"xxh3_128:{self._state.hexdigest()}"


def block_checksum(*parts: Any) -> bytes:
    """Return the checksum of a block of input: bytes, or buffers of Arrow."""
    state = xxhash.xxh3_128()
    for part in parts:
        state.update(part)
    return state.digest()


def checksum(path: Place) -> str:
    """Return the checksum of a file."""
    state = Checksum()
    with path.open("rb", buffering=0) as file:
        while block := file.read(1 << 20):
            state.update(block)
    return str(state)


def digest(content: Mapping[str, Any]) -> str:
    """Return the checksum of a JSON object. White space and the order of the names do not matter."""
    return f"xxh3_128:{xxhash.xxh3_128_hexdigest(json.dumps(content, sort_keys=True).encode())}"
