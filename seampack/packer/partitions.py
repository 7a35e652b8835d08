"""Partitions: the shares of a run's input that are packed by themselves, on any machine.

The input alone decides them: its files in reading order, their stored sizes, and ``partition_bytes``. A large file of
lines is divided at lines, a large Parquet or Arrow file between row groups or batches; compressed files, pipes, CSV
and JSON documents cannot be divided before they are read, and files with groups of documents are not. Small files share
a partition.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from seampack.io.formats import COLUMNAR, Format
from seampack.io.sources import open_source, size_of
from seampack.io.tables import TableReader
from seampack.packer.config import PackConfig
from seampack.packer.memory_sources import MEMORY, MemorySource


class Piece(NamedTuple):
    """A file, or part ``part`` of ``parts`` of a file."""

    path: str
    part: int = 0
    parts: int = 1
    size: int | None = None
    """Bytes of a file that is divided."""


Partition = tuple[Piece, ...]


def partitions_of(paths: Sequence[str] | MemorySource, config: PackConfig) -> list[Partition]:
    """Return the partitions of the inputs, in reading order. Documents in memory are one.

    Raises DataError if a file cannot be opened.
    """
    if isinstance(paths, MemorySource):
        return [(Piece(MEMORY),)]
    partitions: list[Partition] = []
    small: list[Piece] = []
    room = config.partition_bytes
    for path, size in zip(paths, map(size_of, paths), strict=True):
        if small and (size is None or size > room):
            partitions.append(tuple(small))
            small, room = [], config.partition_bytes
        if size is not None and size <= room:
            small.append(Piece(path))
            room -= size
        else:
            partitions += [(piece,) for piece in _pieces(path, size, config)]
    return [*partitions, tuple(small)] if small else partitions


def _pieces(path: str, size: int | None, config: PackConfig) -> Iterator[Piece]:
    """Divide a file into equal parts of less than ``partition_bytes``, if it can be divided."""
    parts = 1
    if size is not None and config.group_column is None:
        with open_source(path, Format(config.input_format)) as source:
            if source.divisible:
                most = TableReader(source).groups if source.format in COLUMNAR else size
                parts = max(1, min(most, size // config.partition_bytes + 1))
    return (Piece(path, part, parts, size) if parts > 1 else Piece(path) for part in range(parts))


def stored_bytes(partition: Partition) -> int | None:
    """Return the bytes of a partition as they are stored; None if they are not known before it is read."""
    if any(piece.path == MEMORY for piece in partition):
        return None
    sizes = [size_of(path) if size is None else _share(size, part, parts) for path, part, parts, size in partition]
    return None if None in sizes else sum(size for size in sizes if size is not None)


def _share(size: int, part: int, parts: int) -> int:
    return (part + 1) * size // parts - part * size // parts


def total_bytes(partitions: Iterable[Partition]) -> int | None:
    """Return the stored bytes of several partitions; None if those of one are not known."""
    sizes = [stored_bytes(partition) for partition in partitions]
    return None if None in sizes else sum(size for size in sizes if size is not None)
