"""Readers: all inputs as one stream of blocks; any thread can decode a block to documents."""

import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from seampack.errors import DataError
from seampack.io.formats import TABLES, Format
from seampack.io.sources import STDIN, Watch, name_of, open_source
from seampack.packer.checksums import Checksum
from seampack.packer.column_blocks import ColumnBlock, column_blocks
from seampack.packer.config import PackConfig
from seampack.packer.documents import BadBlock, IdKinds
from seampack.packer.manifest import MANIFEST, Input, is_manifest, is_packed_name
from seampack.packer.partitions import Partition, Piece
from seampack.packer.text_blocks import TextBlock, text_blocks

Block = TextBlock | ColumnBlock | BadBlock


def _refuse_packed(path: str) -> None:
    """Raise DataError if a file is a shard of a packed folder: its rows are not documents."""
    folder = Path(path).parent
    if path != STDIN and is_packed_name(Path(path).name) and is_manifest(folder / MANIFEST):
        raise DataError(
            f"{folder}: packed rows, not documents; restore them with: seampack unpack {shlex.quote(str(folder))} "
            "-o documents.jsonl"
        )


class Ended(NamedTuple):
    """The end of a partition."""

    inputs: tuple[Input, ...]
    """The pieces that were read."""


def read_partitions(
    partitions: Iterable[tuple[int, Partition]], config: PackConfig, vocab_size: int = 1 << 32
) -> Iterator[tuple[int, Block | Ended]]:
    """Iterate over the blocks of partitions, in order, each with the number of its partition, and over their ends.

    The borders of blocks depend on the input alone, not on threads. The ids of tokenised documents must be below
    ``vocab_size``. Warns if ``config.id_column`` holds numbers and texts.

    Raises DataError if a file cannot be opened, is truncated or damaged, or lacks its columns.
    """
    id_kinds = IdKinds()
    for number, pieces in partitions:
        inputs = []
        for piece in pieces:
            stored = Checksum()
            for block in _piece_blocks(piece, config, vocab_size, id_kinds, stored.update):
                yield number, block
            name = piece.path if piece.path == STDIN else name_of(piece.path)
            inputs.append(
                Input(path=name, bytes=stored.bytes, checksum=str(stored), part=piece.part, parts=piece.parts)
            )
        yield number, Ended(tuple(inputs))


def read_blocks(paths: Sequence[str], config: PackConfig, vocab_size: int = 1 << 32) -> Iterator[Block]:
    """Iterate over the blocks of whole files; see ``read_partitions``."""
    id_kinds = IdKinds()
    for path in paths:
        yield from _piece_blocks(Piece(path), config, vocab_size, id_kinds)


def _piece_blocks(
    piece: Piece, config: PackConfig, vocab_size: int, id_kinds: IdKinds, watch: Watch | None = None
) -> Iterator[Block]:
    _refuse_packed(piece.path)
    path, part, parts, size = piece
    with open_source(path, Format(config.input_format), watch, (part, parts), size) as source:
        blocks = column_blocks if source.format in TABLES else text_blocks
        yield from blocks(source, config, vocab_size, id_kinds)
