"""The entries of a manifest: the tokenizer, inputs, shards and other files."""

import dataclasses
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerFacts:
    """The tokenizer that a folder was packed with."""

    name: str
    fingerprint: str
    vocab_size: int
    pad_id: int | None = None
    """Id of the padding token; None for rows that are not padded."""
    bos: str | None = None
    """Token before each document; None for no token."""
    bos_id: int | None = None
    eos: str | None = None
    """Token after each document; None for no token."""
    eos_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """A file, or part of a file, that was packed, as it was stored."""

    path: str
    """The path, as given or as found in a folder; bytes that are not UTF-8 as ``\\xNN``. ``-`` for standard input.

    An address appears without its credentials and its query.
    """
    bytes: int
    checksum: str
    """Empty for a remote Parquet or Arrow file, of which only some parts were read."""
    part: int = 0
    """Number of the part, where parts of the file were packed as separate partitions."""
    parts: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file without rows: the quarantine, a further file of a shard, or one that the readers of a format need."""

    file: str
    bytes: int
    checksum: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """A file of rows."""

    file: str
    rows: int
    bytes: int
    checksum: str
    parts: tuple[File, ...] = ()
    """The further files, in formats that need several for a shard."""

    @property
    def files(self) -> "tuple[Shard | File, ...]":
        """All files of the shard."""
        return self, *self.parts

    def to_dict(self) -> dict[str, Any]:
        """Return the entry of ``manifest.json``; ``parts`` is absent if there are none."""
        entry = dataclasses.asdict(self)
        return entry if self.parts else {name: value for name, value in entry.items() if name != "parts"}
