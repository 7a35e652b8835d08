"""Readers: all inputs as one stream of blocks; any thread can decode a block to documents."""

import posixpath
import shlex
from collections.abc import Callable, Iterator, Sequence

from seampack.errors import DataError
from seampack.io.formats import TABLES, Format
from seampack.io.places import is_url, place_of, shown
from seampack.io.sources import STDIN, name_of, open_source, size_of
from seampack.packer.checksums import Checksum
from seampack.packer.column_blocks import ColumnBlock, column_blocks
from seampack.packer.config import PackConfig
from seampack.packer.documents import BadBlock, IdKinds
from seampack.packer.manifest import MANIFEST, Input, is_manifest, is_packed_name
from seampack.packer.text_blocks import TextBlock, text_blocks

Block = TextBlock | ColumnBlock | BadBlock


def _refuse_packed(path: str) -> None:
    """Raise DataError if a file is a shard of a packed folder: its rows are not documents."""
    if path == STDIN or not is_packed_name(posixpath.basename(shown(path))):
        return
    folder = place_of(path).parent
    if is_manifest(folder / MANIFEST):
        raise DataError(
            f"{folder}: packed rows, not documents; restore them with: seampack unpack {shlex.quote(str(folder))} "
            "-o documents.jsonl"
        )


def read_blocks(
    paths: Sequence[str],
    config: PackConfig,
    vocab_size: int = 1 << 32,
    on_input: Callable[[Input], None] | None = None,
) -> Iterator[Block]:
    """Iterate over the blocks of all files, in order. Their borders depend on the input alone, not on threads.

    The ids of tokenised documents must be below ``vocab_size``. ``on_input`` receives the description of each input
    when it has been read. Warns if ``config.id_column`` holds numbers and texts.

    Raises DataError if a file cannot be opened, is truncated or damaged, or lacks its columns.
    """
    id_kinds = IdKinds()
    for path in paths:
        _refuse_packed(path)
        stored = Checksum()
        watch = None if on_input is None else stored.update
        with open_source(path, Format(config.input_format), watch) as source:
            blocks = column_blocks if source.format in TABLES else text_blocks
            yield from blocks(source, config, vocab_size, id_kinds)
        if on_input is not None:
            name = path if path == STDIN else name_of(path)
            size = size_of(path) if is_url(path) else stored.bytes
            on_input(Input(path=name, bytes=size or 0, checksum=str(stored) if size == stored.bytes else ""))
