"""Readers: all inputs as one stream of blocks; any thread can decode a block to documents."""

import posixpath
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from seampack.errors import DataError
from seampack.io.formats import TABLES, Format
from seampack.io.places import is_url, place_of, shown
from seampack.io.sources import STDIN, name_of, open_source, size_of
from seampack.io.streams import Watch
from seampack.packer.checksums import Checksum
from seampack.packer.column_blocks import ColumnBlock, column_blocks
from seampack.packer.config import PackConfig
from seampack.packer.documents import BadBlock, IdKinds
from seampack.packer.entries import Input
from seampack.packer.manifest import is_manifest
from seampack.packer.memory_sources import MEMORY, MemorySource
from seampack.packer.names import MANIFEST, is_packed_name
from seampack.packer.partitions import Partition, Piece
from seampack.packer.store_manifest import holds_tokens, is_stored_name
from seampack.packer.text_blocks import TextBlock, text_blocks

Block = TextBlock | ColumnBlock | BadBlock


def _refuse_packed(path: str) -> None:
    """Raise DataError for a shard of a packed folder, whose rows are not documents, or a file of a token store."""
    if path != STDIN and is_stored_name(posixpath.basename(shown(path))) and holds_tokens(place_of(path).parent):
        raise DataError(f"{place_of(path).parent}: a token store; pack it alone, by the name of its folder")
    if path == STDIN or not is_packed_name(posixpath.basename(shown(path))):
        return
    folder = place_of(path).parent
    if is_manifest(folder / MANIFEST):
        raise DataError(
            f"{folder}: packed rows, not documents; restore them with: seampack unpack {shlex.quote(str(folder))} "
            "-o documents.jsonl"
        )


class Ended(NamedTuple):
    """The end of a partition."""

    inputs: tuple[Input, ...]
    """The pieces that were read."""


def read_partitions(
    source: Sequence[str] | MemorySource,
    partitions: Iterable[tuple[int, Partition]],
    config: PackConfig,
    vocab_size: int = 1 << 32,
    on_read: Callable[[int], object] | None = None,
) -> Iterator[tuple[int, Block | Ended]]:
    """Iterate over the blocks of partitions, in order, each with the number of its partition, and over their ends.

    The borders of blocks depend on the input alone, not on threads. The ids of tokenised documents must be below
    ``vocab_size``. ``on_read`` receives the numbers of stored bytes that are read. Warns if ``config.id_column`` holds
    numbers and texts.

    Raises DataError if a file cannot be opened, is truncated or damaged, or lacks its columns.
    """
    id_kinds = IdKinds()
    for number, pieces in partitions:
        inputs = []
        for piece in pieces:
            stored, size = Checksum(on_read), 0
            if isinstance(source, MemorySource):
                for block in source.blocks(config, vocab_size, id_kinds):
                    stored.update(block.checksum())
                    size += block.size
                    yield number, block
            else:
                for block in _piece_blocks(piece, config, vocab_size, id_kinds, stored.update):
                    yield number, block
            inputs.append(_described(piece, size or stored.bytes, str(stored)))
        yield number, Ended(tuple(inputs))


def _described(piece: Piece, size: int, checksum: str) -> Input:
    path, part, parts, _ = piece
    if is_url(path) and parts == 1 and (whole := size_of(path)) != size:  # a table, of which only some parts were read
        size, checksum = whole or 0, ""
    name = path if path in (STDIN, MEMORY) else name_of(path)
    return Input(path=name, bytes=size, checksum=checksum, part=part, parts=parts)


def read_blocks(source: Sequence[str] | MemorySource, config: PackConfig, vocab_size: int = 1 << 32) -> Iterator[Block]:
    """Iterate over the blocks of whole files, or of documents in memory; see ``read_partitions``."""
    id_kinds = IdKinds()
    if isinstance(source, MemorySource):
        yield from source.blocks(config, vocab_size, id_kinds)
        return
    for path in source:
        yield from _piece_blocks(Piece(path), config, vocab_size, id_kinds)


def _piece_blocks(
    piece: Piece, config: PackConfig, vocab_size: int, id_kinds: IdKinds, watch: Watch | None = None
) -> Iterator[Block]:
    _refuse_packed(piece.path)
    path, part, parts, size = piece
    with open_source(path, Format(config.input_format), watch, (part, parts), size) as source:
        blocks = column_blocks if source.format in TABLES else text_blocks
        yield from blocks(source, config, vocab_size, id_kinds)
