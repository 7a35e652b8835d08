"""Texts to segment: lines, records and table rows, in blocks that keep all the data needed to write them again.

A text line keeps all its characters except the newline, including white space at both ends, so that the input can be
restored.
"""

import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import pyarrow as pa

from seampack.errors import ConfigError, DataError
from seampack.io.bad_records import BadRecord
from seampack.io.formats import COLUMNAR, PLAIN_TEXT, TABLES, Format
from seampack.io.records import JSON_ERRORS, blocks_of, invalid_utf8, no_field, problem
from seampack.io.sources import Inputs, Source, expand, open_source
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
Report = Callable[[BadRecord, str], None]
"""Takes a bad record, and a remedy for the error that stops a run."""

_REPLACE = "; --on-bad replace repairs it"
_RECORD = msgspec.json.Decoder(dict[str, msgspec.Raw])
_NESTED = msgspec.json.Decoder(dict[str, msgspec.Raw] | None)
_TEXT = msgspec.json.Decoder(str | None)
_ESCAPES = re.compile(rb"\\u[dD][89abAB]\w\w\\u[dD][c-fC-F]\w\w|(\\u[dD][89a-fA-F]\w\w)|\\.")
"""Matches each escape of a JSON text; group 1 is half a surrogate pair."""


def blocks(
    inputs: Inputs,
    *,
    text_column: str = "text",
    input_format: str = Format.AUTO,
    on_bad: str = OnBad.STOP,
    quarantine: Callable[[BadRecord], None] | None = None,
    advice: str = "",
) -> Iterator[Block]:
    """Iterate over the blocks of all inputs in order: about 256 KB of whole lines, or one longer line.

    If all inputs are empty, yield one block without texts, of the kind of the first input. ``quarantine`` receives the
    bad records if ``on_bad`` is quarantine; they are not in the blocks. ``advice`` ends the error of a bad
    record.

    Raises DataError, with file and line, if an input cannot be read or lacks the text column, ConfigError if ``on_bad``
    is quarantine and there is none.
    """
    if on_bad == OnBad.QUARANTINE and quarantine is None:
        raise ConfigError("on_bad: quarantine is for apply only; use stop or replace")

    def report(record: BadRecord, remedy: str) -> None:
        if quarantine is None:
            raise record.error(remedy + advice)
        quarantine(record)

    empty: Block | None = None
    nothing_read = True
    for path in expand(inputs):
        with open_source(path, Format(input_format)) as source:
            read = _rows if source.format in TABLES else _lines if source.format in PLAIN_TEXT else _records
            for block in read(source, text_column, on_bad, report):
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


def _decoded(data: bytes, on_bad: str) -> str | None:
    """Return lines as text, or None if one of them is invalid UTF-8 that may not be replaced."""
    try:
        return data.decode(errors="replace" if on_bad == OnBad.REPLACE else "strict")
    except UnicodeDecodeError:
        return None


def _lines(source: Source, _: str, on_bad: str, report: Report) -> Iterator[Lines]:
    first = 1
    for data in blocks_of(source, BLOCK_BYTES, at_once=True, keep_mark=True):
        decoded = _decoded(data, on_bad)
        if decoded is None:
            for number, line in enumerate(io.BytesIO(data), first):  # only a line feed ends a line
                try:
                    yield Lines([line.removesuffix(b"\n").decode()], source.name, number, line.endswith(b"\n"))
                except UnicodeDecodeError as error:
                    report(BadRecord(source.name, number, invalid_utf8(error), _shown(line)), _REPLACE)
            first += data.count(b"\n")
            continue
        lines = decoded.split("\n")
        ended = not lines[-1]
        if ended:
            lines.pop()
        yield Lines(lines, source.name, first, ended)
        first += len(lines)


def _shown(data: bytes) -> str:
    """Return a bad line as text; invalid bytes appear as ``\\xNN``."""
    return data.removesuffix(b"\n").decode(errors="backslashreplace")


def _records(source: Source, column: str, on_bad: str, report: Report) -> Iterator[Records]:
    first = 1
    for data in blocks_of(source, BLOCK_BYTES, at_once=True):
        decoded = _decoded(data, on_bad)
        if decoded is not None and on_bad == OnBad.REPLACE:
            data = decoded.encode()
        block = Records([], [], source.name, first)
        for number, line in enumerate(data.removesuffix(b"\n").split(b"\n"), first):
            try:
                text, record = _record(line, column, on_bad, is_utf8=decoded is not None)
            except DataError as error:
                remedy = _REPLACE if _is_repairable(line, column) else ""
                report(BadRecord(source.name, number, str(error), _shown(line), source.unit), remedy)
                yield block  # the records of a block have consecutive numbers
                block = Records([], [], source.name, number + 1)
            else:
                block.texts.append(text)
                block.records.append(record)
        yield block
        first = block.first + len(block.texts)


def _record(
    line: bytes, column: str, on_bad: str, *, is_utf8: bool = True
) -> tuple[str | None, dict[str, msgspec.Raw] | None]:
    """Return the text of a line and its record, both None for a blank line. Raise DataError, with the reason."""
    if not line or line.isspace():
        return None, None
    try:
        if not is_utf8:
            line.decode()
        record = _RECORD.decode(line)
        return _text(record, column, column), record
    except JSON_ERRORS as error:
        if on_bad == OnBad.REPLACE:
            repaired = _ESCAPES.sub(lambda found: rb"\ufffd" if found[1] else found[0], line)
            if repaired != line:
                return _record(repaired, column, OnBad.STOP)
        raise DataError(problem(line, error, column)) from error


def _is_repairable(line: bytes, column: str) -> bool:
    """Return whether a bad line has a text once its invalid characters are replaced."""
    try:
        _record(line.decode(errors="replace").encode(), column, OnBad.REPLACE)
    except DataError:
        return False
    return True


def _text(record: dict[str, msgspec.Raw], column: str, whole: str) -> str | None:
    """Return the text of a field; ``column`` is the rest of the path ``whole``, such as ``text`` of ``meta.text``.

    The text is None if it is null, or an object on its path is, as in tables.
    """
    head, dot, rest = column.partition(".")
    if column not in record and dot and head in record:
        nested = _NESTED.decode(record[head])
        return None if nested is None else _text(nested, rest, whole)
    if column not in record:
        raise DataError(no_field(whole, list(record)))
    try:
        text: str | None = _TEXT.decode(record[column])
    except msgspec.ValidationError as error:
        reason = str(error).replace("`", "")
        raise DataError(f"field {whole!r}: {reason[:1].lower()}{reason[1:]}") from error
    return text


def _rows(source: Source, column: str, on_bad: str, report: Report) -> Iterator[Rows]:
    table = TableReader(source)
    name = source.name
    path = _path(name, table.schema, column)
    is_typed = source.format in COLUMNAR
    first_row = 1
    for batch in table.batches(rows=TABLE_ROWS):
        batch_texts, batch, bad = _texts_of(batch, path, name, first_row, on_bad)
        start = 0
        while start < len(batch_texts):  # long texts: fewer rows per block
            if start in bad:
                report(bad[start], _REPLACE)
                start += 1
                continue
            end, size = start + 1, len(batch_texts[start] or "")
            while (
                end < len(batch_texts)
                and end not in bad
                and (size := size + len(batch_texts[end] or "")) <= BLOCK_BYTES
            ):
                end += 1
            yield Rows(batch_texts[start:end], batch.slice(start, end - start), name, first_row + start, is_typed)
            start = end
        first_row += len(batch_texts)
    if first_row == 1:  # a table without rows still has a schema
        yield Rows([], pa.RecordBatch.from_pylist([], table.schema), name, first_row, is_typed)


def _path(name: str, schema: pa.Schema, column: str) -> list[str]:
    """Return the names that lead to a column of texts, such as ``meta`` and ``text`` for the column ``meta.text``.

    Raises DataError if the table has no such column of texts.
    """
    head, dot, rest = column.partition(".")
    if column not in schema.names and dot and head in schema.names and pa.types.is_struct(schema.field(head).type):
        return [head, *_path(name, pa.schema(list(schema.field(head).type)), rest)]
    check_text_column(name, schema, find_column(name, schema, column), "; name another with --text-column")
    return [column]


def _texts_of(
    batch: pa.RecordBatch, path: list[str], name: str, first_row: int, on_bad: str
) -> tuple[list[str | None], pa.RecordBatch, dict[int, BadRecord]]:
    """Return the texts of a column, the batch, and the rows with invalid UTF-8 by index.

    If ``on_bad`` is replace, the texts and the batch are repaired, and no row is bad.
    """
    column = batch.column(path[0])
    for field in path[1:]:
        column = column.flatten()[column.type.get_field_index(field)]
    try:
        valid: list[str | None] = as_texts(column).to_pylist()
    except UnicodeDecodeError:
        pass
    else:
        return valid, batch, {}
    repaired: list[str | None] = []
    bad: dict[int, BadRecord] = {}
    for index, data in enumerate(as_texts(column).cast(pa.large_binary()).to_pylist()):
        try:
            repaired.append(data if data is None else data.decode())
        except UnicodeDecodeError as error:
            repaired.append(data.decode(errors="replace"))
            reason = f"column {'.'.join(path)!r}: {invalid_utf8(error)}"
            bad[index] = BadRecord(name, first_row + index, reason, _shown(data), "row")
    if on_bad != OnBad.REPLACE:
        return repaired, batch, bad
    index = batch.schema.get_field_index(path[0])
    replaced = _replaced(batch.column(index), path[1:], pa.array(repaired, pa.large_string()))
    return repaired, batch.set_column(index, batch.schema.field(index), replaced), {}


def _replaced(column: pa.Array, path: list[str], texts: pa.Array) -> pa.Array:
    """Return a column with the texts in the nested column of a path."""
    if not path:
        return texts.cast(column.type)
    fields = list(column.type)
    children = [
        _replaced(child, path[1:], texts) if field.name == path[0] else child
        for field, child in zip(fields, column.flatten(), strict=True)
    ]
    return pa.StructArray.from_arrays(children, fields=fields, mask=column.is_null())
