"""Texts to segment: lines, records and table rows, in blocks that keep all the data needed to write them again.

A text line keeps all its characters except the newline, including white space at both ends, so that the input can be
restored.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import pyarrow as pa

from seampack.errors import DataError
from seampack.io.formats import COLUMNAR, PLAIN_TEXT, TABLES, Format
from seampack.io.records import JSON_ERRORS, blocks_of, invalid_utf8, no_field, problem
from seampack.io.sources import Inputs, Source, expand, open_source, place
from seampack.io.tables import TableReader, as_texts, check_text_column, find_column
from seampack.segmenter.apply_config import OnBad

BLOCK_BYTES = 1 << 18
TABLE_ROWS = 1024
"""Largest number of rows in a block."""


@dataclass(frozen=True, slots=True)
class Lines:
    """Whole lines of a text file. ``ended``: the last line ends with a newline."""

    texts: list[str]
    source: str
    first: int
    """Line number of the first text, from 1."""
    ended: bool


@dataclass(frozen=True, slots=True)
class Records:
    """JSON objects, one per line. A text is None if its line is blank or its field is null."""

    texts: list[str | None]
    records: list[dict[str, msgspec.Raw] | None]
    source: str
    first: int
    """Line number of the first record, from 1."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of a table. ``is_typed``: the columns have types (unlike the columns of CSV)."""

    texts: list[str | None]
    rows: pa.RecordBatch
    source: str
    first: int
    """Number of the first row, from 1."""
    is_typed: bool


Block = Lines | Records | Rows


def blocks(
    inputs: Inputs,
    *,
    text_column: str = "text",
    input_format: str = Format.AUTO,
    on_bad: str = OnBad.STOP,
) -> Iterator[Block]:
    """Iterate over the blocks of all inputs in order: about 256 KB of whole lines, or one longer line.

    If all inputs are empty, yield one block without texts, of the kind of the first input.

    Raises DataError, with file and line, if an input cannot be read or lacks the text column.
    """
    empty: Block | None = None
    nothing_read = True
    for path in expand(inputs):
        with open_source(path, Format(input_format)) as source:
            read = _rows if source.format in TABLES else _lines if source.format in PLAIN_TEXT else _records
            for block in read(source, text_column, on_bad):
                nothing_read = False
                yield block
            if empty is None:
                records = source.format == Format.JSONL
                empty = Records([], [], source.name, 1) if records else Lines([], source.name, 1, ended=False)
    if nothing_read and empty is not None:
        yield empty


def texts(inputs: Inputs, **options: Any) -> Iterator[list[str]]:
    """Iterate over batches of texts, for training and scoring; null texts become empty. Options: see ``blocks``."""
    for block in blocks(inputs, **options):
        batch = [text or "" for text in block.texts]
        if batch and isinstance(block, Lines) and block.first == 1:
            batch[0] = batch[0].removeprefix("\ufeff")
        if batch:
            yield batch


def _decoded(name: str, data: bytes, first: int, on_bad: str) -> str:
    try:
        return data.decode(errors="replace" if on_bad == OnBad.REPLACE else "strict")
    except UnicodeDecodeError as error:
        line = first + data.count(b"\n", 0, error.start)
        raise DataError(f"{name}:{line}: {invalid_utf8(error)}, or use --on-bad replace") from error


def _lines(source: Source, _: str, on_bad: str) -> Iterator[Lines]:
    first = 1
    for data in blocks_of(source, BLOCK_BYTES, at_once=True, keep_mark=True):
        lines = _decoded(source.name, data, first, on_bad).split("\n")
        ended = not lines[-1]
        if ended:
            lines.pop()
        yield Lines(lines, source.name, first, ended)
        first += len(lines)


def _records(source: Source, column: str, on_bad: str) -> Iterator[Records]:
    first = 1
    decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
    for data in blocks_of(source, BLOCK_BYTES, at_once=True):
        lines = _decoded(source.name, data, first, on_bad).removesuffix("\n").split("\n")
        read = [
            _record(place(source.name, number, source.unit), line, column, decoder)
            for number, line in enumerate(lines, first)
        ]
        yield Records([text for text, _ in read], [record for _, record in read], source.name, first)
        first += len(lines)


def _record(
    where: str, line: str, column: str, decoder: "msgspec.json.Decoder[dict[str, msgspec.Raw]]"
) -> tuple[str | None, dict[str, msgspec.Raw] | None]:
    """Return the text of a line and its record, both None for a blank line."""
    if not line or line.isspace():
        return None, None
    try:
        record = decoder.decode(line)
        if column in record:
            return msgspec.json.decode(record[column], type=str | None), record
        reason = f"{no_field(column, list(record))}; name it with --text-column"
    except JSON_ERRORS as error:
        reason = problem(line.encode(), error, column)
    raise DataError(f"{where}: {reason}")


def _rows(source: Source, column: str, on_bad: str) -> Iterator[Rows]:
    table = TableReader(source)
    name = source.name
    check_text_column(name, table.schema, find_column(name, table.schema, column))
    is_typed = source.format in COLUMNAR
    first_row = 1
    for batch in table.batches(rows=TABLE_ROWS):
        batch_texts, batch = _texts_of(batch, column, name, first_row, on_bad)
        start = 0
        while start < len(batch_texts):  # long texts: fewer rows per block
            end, size = start + 1, len(batch_texts[start] or "")
            while end < len(batch_texts) and (size := size + len(batch_texts[end] or "")) <= BLOCK_BYTES:
                end += 1
            yield Rows(batch_texts[start:end], batch.slice(start, end - start), name, first_row + start, is_typed)
            start = end
        first_row += len(batch_texts)
    if first_row == 1:  # a table without rows still has a schema
        yield Rows([], pa.RecordBatch.from_pylist([], table.schema), name, first_row, is_typed)


def _texts_of(
    batch: pa.RecordBatch, column: str, name: str, first_row: int, on_bad: str
) -> tuple[list[str | None], pa.RecordBatch]:
    """Return the texts of a column, and the batch with invalid UTF-8 in the column replaced.

    Raises DataError, with the row, if the column has invalid UTF-8 and ``on_bad`` is stop.
    """
    index = batch.schema.get_field_index(column)
    try:
        valid: list[str | None] = as_texts(batch.column(index)).to_pylist()
    except UnicodeDecodeError:
        pass
    else:
        return valid, batch
    errors = "replace" if on_bad == OnBad.REPLACE else "strict"
    repaired: list[str | None] = []
    for row, data in enumerate(as_texts(batch.column(index)).cast(pa.large_binary()).to_pylist(), first_row):
        try:
            repaired.append(data if data is None else data.decode(errors=errors))
        except UnicodeDecodeError as error:
            reason = f"column {column!r}: {invalid_utf8(error)}, or use --on-bad replace"
            raise DataError(f"{place(name, row, 'row')}: {reason}") from error
    field = batch.schema.field(index)
    return repaired, batch.set_column(index, field, pa.array(repaired, pa.large_string()).cast(field.type))
