"""CSV and TSV: rows of text, read by the standard library's ``csv``, as record batches of string columns."""

import csv
import io
from collections.abc import Iterator
from itertools import chain

import pyarrow as pa

from seampack.errors import DataError
from seampack.io.formats import Format
from seampack.io.records import blocks_of
from seampack.io.sources import Source

_READ_BYTES = 1 << 18
_BATCH_CHARACTERS = 1 << 20
_LEADING_ZERO = r"^[+-]?0[0-9]"
csv.field_size_limit((1 << 31) - 1)  # the default, 128 KiB, is shorter than many documents


class CsvRows:
    """The rows of CSV with a header line; all columns are text. TSV is the same with tabs.

    Bytes that are not UTF-8 are kept: decoding them reports the row. Raises DataError, naming input and line, if the
    text is not CSV or a row has more or fewer fields than the header.
    """

    def __init__(self, source: Source) -> None:
        self._name = source.name
        delimiter = "\t" if source.format == Format.TSV else ","
        self._reader = csv.reader(_lines(source), delimiter=delimiter, strict=True)
        self.names = next(self._rows(), [])
        if not self.names:
            raise DataError(f"{self._name}: cannot be read: no header line")
        if any("\udc80" <= character <= "\udcff" for name in self.names for character in name):
            raise DataError(f"{self._name}:1: invalid UTF-8 in the header line; convert the file to UTF-8")
        self.schema = pa.schema([(name, pa.string()) for name in self.names])

    def _rows(self) -> Iterator[list[str]]:
        """Iterate over the rows that are not blank lines."""
        try:
            for row in self._reader:
                if row:
                    yield row
        except csv.Error as error:
            raise DataError(
                f"{self._name}:{self._reader.line_num}: cannot be read: {error}; is a quotation mark not closed?"
            ) from error

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Iterate over record batches of about a million characters."""
        rows: list[list[str]] = []
        size = 0
        for row in self._rows():
            if len(row) != len(self.names):
                where = f"{self._name}:{self._reader.line_num}"
                expected = f"expected {len(self.names)} fields, as in the header line"
                raise DataError(f"{where}: cannot be read: {expected}; got {len(row)}")
            rows.append(row)
            size += sum(map(len, row))
            if size >= _BATCH_CHARACTERS:
                yield self._batch(rows)
                rows, size = [], 0
        if rows:
            yield self._batch(rows)

    def _batch(self, rows: list[list[str]]) -> pa.RecordBatch:
        columns = [_string_array(list(cells)) for cells in zip(*rows, strict=True)]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)


def _lines(source: Source) -> Iterator[str]:
    """Iterate over the lines with their ends; only a line feed ends a line."""
    blocks = blocks_of(source, _READ_BYTES, at_once=True)
    texts = (block.decode(errors="surrogateescape") for block in blocks)
    return chain.from_iterable(io.StringIO(text, newline="\n") for text in texts)


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
