"""Text and JSONL: blocks of whole lines, read in one thread and decoded in others."""

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np
import pyarrow as pa

from seampack.errors import DataError
from seampack.io.bad_records import BadRecord
from seampack.io.formats import Format
from seampack.io.records import (
    LINE_ENDS,
    LINE_FEED_WANTED,
    SHOWN_BYTES,
    Ends,
    TooLong,
    blocks_of,
    invalid_utf8,
    too_long,
)
from seampack.io.sources import Source, place
from seampack.packer.chats import Chats
from seampack.packer.checksums import block_checksum
from seampack.packer.config import OnBad, PackConfig
from seampack.packer.documents import NO_NAMES, BadBlock, IdKinds, Texts, TokenBatch, no_ids_to_carry
from seampack.packer.json_blocks import JsonDecoder

BLOCK_BYTES = 8 << 20
_BLANK_LINES = re.compile(rb"^(?:[ \t\r]*\n)+", re.MULTILINE)  # in bytes that begin where a line does
_BLANK_LINES_INSIDE = re.compile(rb"\n(?:[ \t\r]*\n)+")  # in any bytes
_NEWLINE = re.compile(rb"\n")
_NOTHING = re.compile(rb"(?!)")
_PARAGRAPH_ENDS = Ends(
    lambda data: next((match.end() for match in _BLANK_LINES_INSIDE.finditer(data)), 0),
    lambda data: max((match.end() for match in _BLANK_LINES_INSIDE.finditer(data)), default=0),
)
_OF_LINES = (Format.LINES, Format.PARAGRAPHS)


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
    longest: int
    """Largest number of bytes of a document."""
    separator: re.Pattern[bytes]
    """Pattern of the bytes between two documents."""
    decoder: "Decoder"

    @property
    def size(self) -> int:
        """Bytes of the block."""
        return len(self.data)

    def checksum(self) -> bytes:
        """Return the checksum of the block."""
        return block_checksum(self.data)

    def decode(self) -> Texts | TokenBatch | Chats:
        """Return the documents of the block; records without a document are in ``bad``."""
        if len(self.data) <= self.longest:
            return self.decoder(self)
        kept: list[bytes] = []
        bad: list[BadRecord] = []
        for start, end, next_start, line in self.spans():
            if end - start <= self.longest:
                kept.append(self.data[start:next_start])
            else:
                bad.append(self.bad_record(line, too_long(self.longest), self.data[start : start + SHOWN_BYTES]))
                kept.append(b"\n" * self.data.count(b"\n", start, next_start))
        documents = self.decoder(dataclasses.replace(self, data=b"".join(kept), has_blank=True))
        documents.bad[:] = sorted([*documents.bad, *bad], key=lambda record: record.position)
        return documents

    def spans(self) -> Iterator[tuple[int, int, int, int]]:
        """Iterate over the documents: start, end, start of the next, and line counted from 0."""
        start = line = 0
        borders = ((match.start(), match.end()) for match in self.separator.finditer(self.data))
        for end, next_start in chain(borders, [(len(self.data), len(self.data))]):
            yield start, end, next_start, line
            line += self.data.count(b"\n", start, next_start)
            start = next_start

    def place(self, document: int, bad: Iterable[BadRecord]) -> str:
        """Return the place of a document for messages, given its number in the block and the bad records."""
        wrong = {record.position - self.first_line for record in bad}
        lines = (
            line
            for start, end, _, line in self.spans()
            if self.data[start:end].strip()
            and wrong.isdisjoint(range(line, line + 1 + self.data.count(b"\n", start, end)))
        )
        return place(self.source, self.first_line + next(islice(lines, document, None)), self.unit)

    def bad_record(self, index: int, reason: str, raw: bytes) -> BadRecord:
        """Return a bad record on the line ``index`` of the block, counted from 0."""
        text = raw.decode(errors="backslashreplace")
        return BadRecord(self.source, self.first_line + index, reason, text, self.unit)


Decoder = Callable[[TextBlock], Texts | TokenBatch | Chats]


def text_blocks(
    source: Source, config: PackConfig, vocab_size: int, id_kinds: IdKinds
) -> Iterator[TextBlock | BadBlock]:
    """Iterate over blocks of about BLOCK_BYTES that end where a document ends.

    If the config stops at bad records, nothing is read after a document that is too long.

    Raises DataError if the input is damaged, or is plain text and the config has an ``id_column``.
    """
    if config.id_column is not None and source.format in _OF_LINES:
        raise DataError(f"{source.name}: plain text has no field '{config.id_column}'; omit --id-column")
    if source.format in _PLAIN:
        for part, option in config.chat_options.items():
            raise DataError(f"{source.name}: plain text has no field '{config.chat_columns[part]}'; omit {option}")
        for column in config.carried:
            raise DataError(f"{source.name}: {no_ids_to_carry(column)}")
        for column, option in config.kept_options.items():
            raise DataError(f"{source.name}: plain text has no field '{column}'; omit {option}")
    separator, ends, decoder = _PLAIN.get(source.format, (_NEWLINE, LINE_ENDS, None))
    longest = config.max_document_bytes
    line = 1
    for data in blocks_of(source, min(BLOCK_BYTES, config.partition_bytes), ends, longest=longest):
        if isinstance(data, TooLong):
            raw = data.decode(errors="backslashreplace")
            yield BadBlock([BadRecord(source.name, line, too_long(longest), raw, source.unit)])
            if config.on_bad == OnBad.STOP or source.format == Format.FILE:  # the rest is not needed
                return
            continue
        if source.format != Format.FILE and data.isspace():
            line += data.count(b"\n")
            continue
        if decoder is None:
            decoder = _json_decoder(source.name, data, config, vocab_size, id_kinds)
        newlines_at = np.flatnonzero(
            np.frombuffer(data, np.uint8) == ord("\n")
        )  # finding two newlines in bytes is slow
        newlines = newlines_at.size
        has_blank = data.startswith((b"\n", b"\r\n")) or (b"\r" in data and b"\n\r\n" in data)
        has_blank = has_blank or bool((np.diff(newlines_at) == 1).any())
        lines = newlines + (not data.endswith(b"\n"))
        is_first = line == 1 and source.part[0] == 0
        if is_first and lines == 1 and source.format in _OF_LINES and not newlines and b"\r" in data.strip(b"\r"):
            raise DataError(f"{source.name}: {LINE_FEED_WANTED}, or give --input-format file")
        yield TextBlock(data, source.name, source.unit, line, lines, has_blank, longest, separator, decoder)
        line += newlines


def _json_decoder(name: str, first_block: bytes, config: PackConfig, vocab_size: int, id_kinds: IdKinds) -> Decoder:
    """Return the function that decodes blocks of JSON lines like the first one."""
    records = JsonDecoder(name, first_block, config, vocab_size, id_kinds)
    return lambda block: records.decode(block.data, block.lines, block.has_blank, block.bad_record)


def json_block(
    lines: list[bytes],
    name: str,
    unit: str,
    first: int,
    config: PackConfig,
    vocab_size: int,
    id_kinds: IdKinds,
    decoder: Decoder | None,
) -> TextBlock:
    """Return a block of records that are JSON, one a line; without ``decoder``, the block is the first."""
    data = b"\n".join(lines)
    decoder = decoder or _json_decoder(name, data, config, vocab_size, id_kinds)
    return TextBlock(data, name, unit, first, len(lines), False, config.max_document_bytes, _NEWLINE, decoder)


def _decode_lines(block: TextBlock) -> Texts:
    bad: list[BadRecord] = []
    try:
        lines = block.data.decode().split("\n")
    except UnicodeDecodeError:
        lines, bad = _decode_parts(block)
    return Texts([line.removesuffix("\r") for line in lines if line and not line.isspace()], None, bad)


def _decode_paragraphs(block: TextBlock) -> Texts:
    paragraphs, bad = _decode_parts(block)
    return Texts([text.strip("\r\n") for text in paragraphs if text and not text.isspace()], None, bad)


def _decode_parts(block: TextBlock) -> tuple[list[str], list[BadRecord]]:
    """Decode a block document by document, so that each invalid one is reported with its line."""
    texts: list[str] = []
    bad: list[BadRecord] = []
    for start, end, _, line in block.spans():
        part = block.data[start:end]
        try:
            texts.append(part.decode())
        except UnicodeDecodeError as error:
            bad.append(block.bad_record(line + part.count(b"\n", 0, error.start), invalid_utf8(error), part))
    return texts, bad


def _decode_file(block: TextBlock) -> Texts:
    try:
        return Texts([block.data.decode()], pa.array([block.source], pa.large_string()))
    except UnicodeDecodeError as error:
        line = block.data.count(b"\n", 0, error.start)
        bad = block.bad_record(line, invalid_utf8(error), block.data)
        return Texts([], NO_NAMES, [bad])


_PLAIN: dict[Format, tuple[re.Pattern[bytes], Ends, Decoder | None]] = {
    Format.LINES: (_NEWLINE, LINE_ENDS, _decode_lines),
    Format.PARAGRAPHS: (_BLANK_LINES, _PARAGRAPH_ENDS, _decode_paragraphs),
    Format.FILE: (_NOTHING, Ends(lambda data: 0, lambda data: 0), _decode_file),
}
