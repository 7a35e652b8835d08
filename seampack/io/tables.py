"""Tables: Parquet, Arrow, CSV and TSV as record batches, and their columns of text."""

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from seampack.errors import DataError
from seampack.io.formats import Format
from seampack.io.sources import Source, reading

_ROWS = 1 << 16
_BINARY = ("binary", "large_binary", "binary_view")
_TEXT = ("string", "large_string", "string_view", *_BINARY, "null")


class TableReader:
    """A table that is read batch by batch.

    CSV has no types: every column is text, and an empty field is an empty text.

    Raises DataError, naming the input, if it is damaged.
    """

    schema: pa.Schema
    bytes_per_row: int
    """Mean decoded size of a row in bytes, or 0 if the file does not report it."""

    def __init__(self, source: Source) -> None:
        self.name = source.name
        self.bytes_per_row = 0
        self._parquet: Any = None
        with reading(self.name):
            if source.format == Format.PARQUET:
                self._parquet = pq.ParquetFile(source.file)
                self.schema = self._parquet.schema_arrow
                metadata = self._parquet.metadata
                size = sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))
                self.bytes_per_row = max(1, size // max(1, metadata.num_rows))
            elif source.format == Format.ARROW:
                self._batches = self._open_arrow(source)
            else:
                self._batches = self._open_csv(source)

    def _open_arrow(self, source: Source) -> Iterator[pa.RecordBatch]:
        file = source.stream if source.file is None else source.file
        if isinstance(file, str):
            file = pa.memory_map(file)
        if source.stream.head.startswith(b"ARROW1"):
            reader = pa.ipc.open_file(file)
            self.schema = reader.schema
            return (reader.get_batch(number) for number in range(reader.num_record_batches))
        stream = pa.ipc.open_stream(file)
        self.schema = stream.schema
        return iter(stream)

    def _open_csv(self, source: Source) -> Iterator[pa.RecordBatch]:
        parse = _csv_layout(source.format)
        # the header is read first: without it, Arrow would infer types that a later batch may contradict
        header = source.stream.head.decode("utf-8-sig", errors="replace")
        names = next(csv.reader(io.StringIO(header), delimiter=parse.delimiter), [])
        convert = pacsv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), check_utf8=False)
        stream = pacsv.open_csv(pa.PythonFile(source.stream, mode="r"), parse_options=parse, convert_options=convert)
        self.schema = stream.schema
        return iter(stream)

    def batches(self, columns: Sequence[str] | None = None, rows: int = _ROWS) -> Iterator[pa.RecordBatch]:
        """Iterate over record batches of at most ``rows`` rows, with the named columns or all."""
        with reading(self.name):
            if self._parquet is not None:
                yield from self._parquet.iter_batches(batch_size=rows, columns=columns, use_threads=False)
                return
            for batch in self._batches:
                chosen = batch if columns is None else batch.select(columns)
                for start in range(0, chosen.num_rows, rows):
                    yield chosen.slice(start, rows)


def read_table(source: Source) -> pa.Table:
    """Return a whole table in memory. The types of the columns of CSV are inferred from all rows.

    Raises DataError, naming the input, if it is damaged.
    """
    if source.format in (Format.CSV, Format.TSV):
        with reading(source.name):
            return pacsv.read_csv(pa.PythonFile(source.stream, mode="r"), parse_options=_csv_layout(source.format))
    table = TableReader(source)
    return pa.Table.from_batches(table.batches(), table.schema)


def _csv_layout(kind: Format) -> pacsv.ParseOptions:
    """Return the parse options of CSV or TSV; a quoted field may contain line ends."""
    return pacsv.ParseOptions(delimiter="\t" if kind == Format.TSV else ",", newlines_in_values=True)


def find_column(name: str, schema: pa.Schema, *candidates: str) -> str:
    """Return the first candidate that the table has. Raise DataError if it has none, or has a candidate twice."""
    for column in candidates:
        if (count := schema.names.count(column)) == 1:
            return column
        if count > 1:
            raise DataError(f"{name}: column {column!r}: expected one of that name; got {count}")
    wanted = " or ".join(map(repr, candidates))
    raise DataError(f"{name}: no column {wanted}; the table has {listed(schema.names)}")


def listed(names: Sequence[str]) -> str:
    """Return names as text for a message, at most the first eight."""
    return ", ".join(map(repr, names[:8])) + (", ..." if len(names) > 8 else "") if names else "none"


def check_text_column(name: str, schema: pa.Schema, column: str) -> None:
    """Raise DataError unless a column holds texts: strings, or bytes, which are read as UTF-8."""
    kind = schema.field(column).type
    stored = kind.value_type if pa.types.is_dictionary(kind) else kind
    if str(stored) not in _TEXT:
        raise DataError(f"{name}: column {column!r}: expected texts; got {kind}")


def as_texts(column: pa.Array) -> pa.LargeStringArray:
    """Return a column of texts as large strings. Bytes are not checked for UTF-8 here: decoding reports the row."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if str(column.type) in _BINARY:
        return column.cast(pa.large_binary()).view(pa.large_string())
    return column.cast(pa.large_string())
