"""Readers: all inputs as one stream of blocks; any thread can decode a block to documents."""

import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from seampack.errors import DataError
from seampack.io.formats import TABLES, Format
from seampack.io.sources import STDIN, name_of, open_source
from seampack.packer.checksums import Checksum
from seampack.packer.column_blocks import ColumnBlock, column_blocks
from seampack.packer.config import PackConfig
from seampack.packer.documents import BadBlock, IdKinds
from seampack.packer.manifest import MANIFEST, Input, is_manifest, is_packed_name
from seampack.packer.memory_sources import MEMORY, MemorySource
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


def read_blocks(
    paths: Sequence[str] | MemorySource,
    config: PackConfig,
    vocab_size: int = 1 << 32,
    on_input: Callable[[Input], None] | None = None,
) -> Iterator[Block]:
    """Iterate over the blocks of all files, or of documents in memory, in order.

    Their borders depend on the input alone, not on threads.

    The ids of tokenised documents must be below ``vocab_size``. ``on_input`` receives the description of each input
    when it has been read. Warns if ``config.id_column`` holds numbers and texts.

    Raises DataError if a file cannot be opened, is truncated or damaged, or lacks its columns.
    """
    id_kinds = IdKinds()
    if isinstance(paths, MemorySource):
        read, size = Checksum(), 0
        for block in paths.blocks(config, vocab_size, id_kinds):
            read.update(block.checksum())
            size += block.size
            yield block
        if on_input is not None:
            on_input(Input(path=MEMORY, bytes=size, checksum=str(read)))
        return
    for path in paths:
        _refuse_packed(path)
        stored = Checksum()
        watch = None if on_input is None else stored.update
        with open_source(path, Format(config.input_format), watch) as source:
            blocks = column_blocks if source.format in TABLES else text_blocks
            yield from blocks(source, config, vocab_size, id_kinds)
        if on_input is not None:
            name = path if path == STDIN else name_of(path)
            on_input(Input(path=name, bytes=stored.bytes, checksum=str(stored)))
