"""Readers: all inputs as one stream of blocks; any thread can decode a block to documents."""

from collections.abc import Iterator, Sequence

from seampack.io.formats import TABLES, Format
from seampack.io.sources import open_source
from seampack.packer.column_blocks import ColumnBlock, column_blocks
from seampack.packer.config import PackConfig
from seampack.packer.text_blocks import TextBlock, text_blocks

Block = TextBlock | ColumnBlock


def read_blocks(paths: Sequence[str], config: PackConfig, vocab_size: int = 1 << 32) -> Iterator[Block]:
    """Iterate over the blocks of all files, in order. Their borders depend on the input alone, not on threads.

    The ids of tokenised documents must be below ``vocab_size``.

    Raises DataError if a file cannot be opened, is truncated or damaged, or lacks its columns.
    """
    for path in paths:
        with open_source(path, Format(config.input_format)) as source:
            blocks = column_blocks if source.format in TABLES else text_blocks
            yield from blocks(source, config, vocab_size)
