"""CSV and TSV: rows of text, read by the standard library's ``csv``, as record batches of string columns."""

import codecs
import csv
import io
import re
import sys
from collections.abc import Iterator, Sequence
from itertools import chain

import pyarrow as pa

from seampack.errors import DataError
from seampack.io.bad_records import BadRecord, Report, refuse
from seampack.io.formats import Format
from seampack.io.records import LINE_FEED_WANTED, SHOWN_BYTES, reads_of, too_long
from seampack.io.sources import Source

_READ_BYTES = 1 << 18
_BATCH_CHARACTERS = 1 << 20
_LEADING_ZERO = r"^[+-]?0[0-9]"
_CONTENT = re.compile(r'[^",\t\n]+')
_OTHER_SEPARATORS = {
    "\t": "the separator looks like a tab: give --input-format tsv",
    ";": "the separator looks like a semicolon; expected a comma: write the file again with commas",
    ",": "the separator looks like a comma: give --input-format csv",
    "|": "the separator looks like a vertical bar; expected a comma: write the file again with commas",
}
csv.field_size_limit((1 << 31) - 1)  # the default, 128 KiB, is shorter than many documents


class CsvRows:
    """The rows of CSV with a header line; all columns are text. TSV is the same with tabs.

    Bytes that are not UTF-8 are kept: decoding them reports the row. ``report`` receives a row that has more or fewer
    fields than the header, or more characters than ``longest``; the batch before it ends there.

    Raises DataError, naming input and line, if the text is not CSV.
    """

    def __init__(self, source: Source, longest: int | None = None, report: Report = refuse) -> None:
        self._source = source
        self._longest = longest or sys.maxsize
        self._report = report
        self._delimiter = "\t" if source.format == Format.TSV else ","
        self._row_size = 0
        self._reader = csv.reader(self._lines(), delimiter=self._delimiter, strict=True)
        _, self.names = next(self._rows(), (1, []))
        if not self.names:
            raise DataError(f"{source.name}: cannot be read: no header line")
        if any("\udc80" <= character <= "\udcff" for name in self.names for character in name):
            raise DataError(f"{source.name}:1: invalid UTF-8 in the header line; convert the file to UTF-8")
        self.schema = pa.schema([(name, pa.string()) for name in self.names])

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        """Iterate over the rows that are not blank lines, with the numbers of their first lines."""
        try:
            while True:
                self._row_size = 0
                line = self._reader.line_num + 1
                row = next(self._reader, None)
                if row is None:
                    return
                if row:
                    yield line, row
        except csv.Error as error:
            reason = LINE_FEED_WANTED if "new-line" in str(error) else f"{error}; is a quotation mark not closed?"
            raise DataError(f"{self._source.name}:{self._reader.line_num}: cannot be read: {reason}") from error

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Iterate over record batches of about a million characters."""
        rows: list[list[str]] = []
        size = 0
        for line, row in self._rows():
            reason = self._fault(row)
            if not reason:
                rows.append(row)
                size += self._row_size
            if rows and (reason or size >= _BATCH_CHARACTERS):
                yield self._batch(rows)
                rows, size = [], 0
            if reason:
                raw = self._delimiter.join(row)[:SHOWN_BYTES].encode(errors="surrogateescape")
                self._report(BadRecord(self._source.name, line, reason, raw.decode(errors="backslashreplace")))
        if rows:
            yield self._batch(rows)

    def _fault(self, row: list[str]) -> str:
        """Return the reason why a row cannot be read, or an empty text."""
        if self._row_size > self._longest:
            return too_long(self._longest)
        if len(row) == len(self.names):
            return ""
        expected = f"expected {len(self.names)} fields, as in the header line"
        return f"cannot be read: {expected}; got {len(row)}{separator_hint(self.names)}"

    def _batch(self, rows: list[list[str]]) -> pa.RecordBatch:
        columns = [_string_array(list(cells)) for cells in zip(*rows, strict=True)]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)

    def _lines(self) -> Iterator[str]:
        """Iterate over the lines with their ends; only a line feed ends a line.

        Of a row that is too long, the beginning is kept, and then only the characters that show where it ends.
        """
        decode = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode
        texts = (decode(data) for data in reads_of(self._source, _READ_BYTES, at_once=True))
        parts: list[str] = []
        for part in chain.from_iterable(io.StringIO(text, newline="\n") for text in texts):
            self._row_size += len(part)
            if self._row_size > self._longest:
                kept = max(0, SHOWN_BYTES - self._row_size + len(part))
                part = part[:kept] + _CONTENT.sub("", part[kept:])
            if not part.endswith("\n"):
                parts.append(part)
                continue
            yield "".join((*parts, part)) if parts else part
            parts.clear()
        if parts:
            yield "".join(parts)


def separator_hint(names: Sequence[str]) -> str:
    """Return a remedy, after a semicolon, if the header of a table looks like columns with another separator."""
    for separator, remedy in _OTHER_SEPARATORS.items():
        if len(names) == 1 and separator in names[0]:
            return f"; {remedy}"
    return ""


def _string_array(cells: list[str]) -> pa.StringArray:
    try:
        return pa.array(cells, pa.string())
    except UnicodeEncodeError:  # bytes that are not UTF-8
        return pa.array([cell.encode(errors="surrogateescape") for cell in cells], pa.binary()).view(pa.string())


def typed(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column of text as booleans, integers or numbers if all its values are; empty fields are then null.

    Digits after a leading zero stay text: they are names, such as ``007``.
    """
    import pyarrow.compute as pc  # its import costs 50 ms, and other formats do not need it

    values = pc.if_else(pc.equal(column, ""), None, column)
    if values.null_count == len(values) or pc.any(pc.match_substring_regex(values, _LEADING_ZERO)).as_py():
        return column
    for kind in (pa.int64(), pa.float64()):
        try:
            return values.cast(kind)
        except pa.ArrowInvalid:
            continue
    words = pa.array(["true", "false", "True", "False"])
    return values.cast(pa.bool_()) if pc.all(pc.is_in(values.drop_null(), words)).as_py() else column
