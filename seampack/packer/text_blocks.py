"""Text and JSONL: blocks of whole lines, read in one thread and decoded in others."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import numpy as np
import pyarrow as pa

from seampack.errors import DataError
from seampack.io.formats import Format
from seampack.io.ragged import lengths_of, offsets_of
from seampack.io.records import JSON_ERRORS, blocks_of, end_of_lines, problem
from seampack.io.sources import Source
from seampack.packer.config import PackConfig
from seampack.packer.documents import BadRecord, Texts, TokenBatch

BLOCK_BYTES = 8 << 20
_BLANK_LINES = re.compile(rb"^(?:[ \t\r]*\n)+", re.MULTILINE)  # in bytes that begin where a line does
_BLANK_LINES_INSIDE = re.compile(rb"\n(?:[ \t\r]*\n)+")  # in any bytes
_NEWLINE = re.compile(rb"\n")


@dataclass(frozen=True, slots=True)
class TextBlock:
    """Whole lines, paragraphs or one whole file, not yet decoded."""

    data: bytes
    source: str
    first_line: int
    lines: int
    has_blank: bool
    decoder: Callable[["TextBlock"], Texts | TokenBatch]

    def decode(self) -> Texts | TokenBatch:
        """Return the documents of the block; records without a document are in ``bad``."""
        return self.decoder(self)


def text_blocks(source: Source, config: PackConfig, vocab_size: int) -> Iterator[TextBlock]:
    """Iterate over blocks of about BLOCK_BYTES that end where a document ends.

    Raises DataError if the input is damaged, or is plain text and the config has an ``id_column``.
    """
    if config.id_column is not None and source.format in (Format.LINES, Format.PARAGRAPHS):
        raise DataError(f"{source.name}: plain text has no field '{config.id_column}'; omit --id-column")
    decoder: Callable[[TextBlock], Texts | TokenBatch] | None = None
    if source.format == Format.LINES:
        decoder = _decode_lines
    elif source.format == Format.PARAGRAPHS:
        decoder = _decode_paragraphs
    elif source.format == Format.FILE:
        decoder = _decode_file
    line = 1
    for data in blocks_of(source, BLOCK_BYTES, _end_of(source.format)):
        if decoder is None:
            decoder = _JsonDecoder(data, config, vocab_size).decode
        ends = np.frombuffer(data, np.uint8) == ord("\n")  # in numpy: searching bytes for two newlines is slow
        newlines = int(np.count_nonzero(ends))
        has_blank = data.startswith((b"\n", b"\r\n")) or (b"\r" in data and b"\n\r\n" in data)
        has_blank = has_blank or bool((ends[1:] & ends[:-1]).any())
        yield TextBlock(data, source.name, line, newlines + (not data.endswith(b"\n")), has_blank, decoder)
        line += newlines


def _end_of(kind: Format) -> Callable[[bytes], int]:
    """Return the function that finds the end of the last whole document in some bytes."""
    if kind == Format.FILE:
        return lambda data: 0
    if kind == Format.PARAGRAPHS:
        return lambda data: max((match.end() for match in _BLANK_LINES_INSIDE.finditer(data)), default=0)
    return end_of_lines


class _JsonDecoder:
    """Decodes blocks of JSON lines; only the fields in use become Python objects."""

    def __init__(self, first_block: bytes, config: PackConfig, vocab_size: int) -> None:
        self.column = config.text_column
        self.tokens = _has_only_ids(first_block, config)
        if self.tokens:
            self.column = config.input_ids_column
        kind: Any = list[Annotated[int, msgspec.Meta(ge=0, lt=vocab_size)]] if self.tokens else str
        fields: list[tuple[str, Any, Any]] = [("content", kind, msgspec.field(name=self.column))]
        self.named = config.id_column is not None
        if config.id_column is not None:
            fields.append(("name", str | int, msgspec.field(name=config.id_column)))
        self.decoder = msgspec.json.Decoder(msgspec.defstruct("Record", fields, gc=False))

    def decode(self, block: TextBlock) -> Texts | TokenBatch:
        bad: list[BadRecord] = []
        try:
            records: list[Any] = self.decoder.decode_lines(block.data)
            if block.has_blank or len(records) != block.lines:  # there may be several objects on one line
                records = self._line_by_line(block, bad)
        except JSON_ERRORS:
            records = self._line_by_line(block, bad)
        content = [record.content for record in records]
        names = pa.array([str(record.name) for record in records], pa.large_string()) if self.named else None
        if not self.tokens:
            return Texts(content, names, bad)
        offsets = offsets_of(lengths_of(content))
        ids = np.fromiter((i for ids in content for i in ids), np.int64, int(offsets[-1]))
        return TokenBatch(ids, offsets, names, bad)  # type: ignore[arg-type]  # narrowed by the tokenizer

    def _line_by_line(self, block: TextBlock, bad: list[BadRecord]) -> list[Any]:
        records = []
        for number, line in enumerate(block.data.split(b"\n"), block.first_line):
            if not line.strip():
                continue
            try:
                records.append(self.decoder.decode(line))
            except JSON_ERRORS as error:
                bad.append(_bad(block.source, number, problem(line, error, self.column), line))
        return records


def _has_only_ids(first_block: bytes, config: PackConfig) -> bool:
    """Return whether the first record is tokenised: it has ids and no text."""
    try:
        record = msgspec.json.decode(first_block.lstrip().split(b"\n", 1)[0])
    except JSON_ERRORS:
        return False
    return isinstance(record, dict) and config.text_column not in record and config.input_ids_column in record


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
    line = block.first_line
    borders = [(match.start(), match.end()) for match in separator.finditer(block.data)]
    for end, next_start in [*borders, (len(block.data), len(block.data))]:
        part = block.data[start:end]
        try:
            texts.append(part.decode())
        except UnicodeDecodeError as error:
            bad.append(_bad(block.source, line + part.count(b"\n", 0, error.start), _invalid(error), part))
        line += block.data.count(b"\n", start, next_start)
        start = next_start
    return texts, bad


def _decode_file(block: TextBlock) -> Texts:
    try:
        return Texts([block.data.decode()], pa.array([block.source], pa.large_string()))
    except UnicodeDecodeError as error:
        line = block.first_line + block.data.count(b"\n", 0, error.start)
        return Texts([], pa.array([], pa.large_string()), [_bad(block.source, line, _invalid(error), block.data)])


def _invalid(error: UnicodeDecodeError) -> str:
    return f"invalid UTF-8 ({error.reason})"


def _bad(source: str, line: int, reason: str, raw: bytes) -> BadRecord:
    return BadRecord(source, line, reason, raw.decode(errors="backslashreplace"))
