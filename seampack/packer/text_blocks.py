"""Text and JSONL: blocks of whole lines, read in one thread and decoded in others."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from seampack.errors import DataError
from seampack.io.bad_records import BadRecord
from seampack.io.formats import Format
from seampack.io.records import blocks_of, end_of_lines, invalid_utf8
from seampack.io.sources import Source
from seampack.packer.config import PackConfig
from seampack.packer.documents import Texts, TokenBatch
from seampack.packer.json_blocks import JsonDecoder

BLOCK_BYTES = 8 << 20
_BLANK_LINES = re.compile(rb"^(?:[ \t\r]*\n)+", re.MULTILINE)  # in bytes that begin where a line does
_BLANK_LINES_INSIDE = re.compile(rb"\n(?:[ \t\r]*\n)+")  # in any bytes
_NEWLINE = re.compile(rb"\n")


@dataclass(frozen=True, slots=True)
class TextBlock:
    """Whole lines, paragraphs or one whole file, not yet decoded."""

    data: bytes
    source: str
    unit: str
    """Unit of the positions, see ``Source``."""
    first_line: int
    lines: int
    has_blank: bool
    decoder: "Decoder"

    @property
    def size(self) -> int:
        """Bytes of the block."""
        return len(self.data)

    def decode(self) -> Texts | TokenBatch:
        """Return the documents of the block; records without a document are in ``bad``."""
        return self.decoder(self)

    def bad_record(self, index: int, reason: str, raw: bytes) -> BadRecord:
        """Return a bad record on the line ``index`` of the block, counted from 0."""
        text = raw.decode(errors="backslashreplace")
        return BadRecord(self.source, self.first_line + index, reason, text, self.unit)


Decoder = Callable[[TextBlock], Texts | TokenBatch]


def text_blocks(source: Source, config: PackConfig, vocab_size: int) -> Iterator[TextBlock]:
    """Iterate over blocks of about BLOCK_BYTES that end where a document ends.

    Raises DataError if the input is damaged, or is plain text and the config has an ``id_column``.
    """
    if config.id_column is not None and source.format in (Format.LINES, Format.PARAGRAPHS):
        raise DataError(f"{source.name}: plain text has no field '{config.id_column}'; omit --id-column")
    decoder: Decoder | None = None
    if source.format == Format.LINES:
        decoder = _decode_lines
    elif source.format == Format.PARAGRAPHS:
        decoder = _decode_paragraphs
    elif source.format == Format.FILE:
        decoder = _decode_file
    line = 1
    for data in blocks_of(source, BLOCK_BYTES, _end_of(source.format)):
        if decoder is None:
            decoder = _json_decoder(data, config, vocab_size)
        ends = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n"))  # searching bytes for two newlines is slow
        has_blank = data.startswith((b"\n", b"\r\n")) or (b"\r" in data and b"\n\r\n" in data)
        has_blank = has_blank or bool((np.diff(ends) == 1).any())
        lines = ends.size + (not data.endswith(b"\n"))
        yield TextBlock(data, source.name, source.unit, line, lines, has_blank, decoder)
        line += ends.size


def _end_of(kind: Format) -> Callable[[bytes], int]:
    """Return the function that finds the end of the last whole document in some bytes."""
    if kind == Format.FILE:
        return lambda data: 0
    if kind == Format.PARAGRAPHS:
        return lambda data: max((match.end() for match in _BLANK_LINES_INSIDE.finditer(data)), default=0)
    return end_of_lines


def _json_decoder(first_block: bytes, config: PackConfig, vocab_size: int) -> Decoder:
    """Return the function that decodes blocks of JSON lines like the first one."""
    records = JsonDecoder(first_block, config, vocab_size)
    return lambda block: records.decode(block.data, block.lines, block.has_blank, block.bad_record)


def _decode_lines(block: TextBlock) -> Texts:
    bad: list[BadRecord] = []
    try:
        lines = block.data.decode().split("\n")
    except UnicodeDecodeError:
        lines, bad = _decode_parts(block, _NEWLINE)
    return Texts([line.removesuffix("\r") for line in lines if line and not line.isspace()], None, bad)


def _decode_paragraphs(block: TextBlock) -> Texts:
    paragraphs, bad = _decode_parts(block, _BLANK_LINES)
    return Texts([text.strip("\r\n") for text in paragraphs if text and not text.isspace()], None, bad)


def _decode_parts(block: TextBlock, separator: re.Pattern[bytes]) -> tuple[list[str], list[BadRecord]]:
    """Split a block and decode part by part, so that each invalid part is reported with its line."""
    texts: list[str] = []
    bad: list[BadRecord] = []
    start = 0
    line = 0
    borders = [(match.start(), match.end()) for match in separator.finditer(block.data)]
    for end, next_start in [*borders, (len(block.data), len(block.data))]:
        part = block.data[start:end]
        try:
            texts.append(part.decode())
        except UnicodeDecodeError as error:
            bad.append(block.bad_record(line + part.count(b"\n", 0, error.start), invalid_utf8(error), part))
        line += block.data.count(b"\n", start, next_start)
        start = next_start
    return texts, bad


def _decode_file(block: TextBlock) -> Texts:
    try:
        return Texts([block.data.decode()], pa.array([block.source], pa.large_string()))
    except UnicodeDecodeError as error:
        line = block.data.count(b"\n", 0, error.start)
        bad = block.bad_record(line, invalid_utf8(error), block.data)
        return Texts([], pa.array([], pa.large_string()), [bad])
