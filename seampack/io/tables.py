"""Tables: Parquet, Arrow, CSV and TSV as record batches, and their columns of text."""

import mmap
import os
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from itertools import chain, islice
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from seampack.errors import DataError
from seampack.io.bad_records import Report, refuse
from seampack.io.csv_rows import CsvRows, separator_hint, typed
from seampack.io.formats import COLUMNAR, Format
from seampack.io.sources import Source, listed
from seampack.io.streams import reading

_ROWS = 1 << 16
_FEW_ROWS = 16
_BYTES = {pa.string(): pa.binary(), pa.large_string(): pa.large_binary(), pa.string_view(): pa.binary_view()}
_MAGICS = {Format.PARQUET: (b"PAR1",), Format.ARROW: (b"ARROW1", b"\xff\xff\xff\xff")}
"""First bytes of a file; of Arrow, also those of a stream."""
_INDEX_BYTES = 4
"""Size of an index into a dictionary as stored; indices usually take less."""
_OTHER_BYTES = 8
"""Size of a value of another type than texts, lists and numbers; such columns are not packed."""
_END_MARK = b"\xff\xff\xff\xff\0\0\0\0"
"""The end of an Arrow stream: a message of length 0."""
_BINARY = ("binary", "large_binary", "binary_view")
_VIEWS = ("string_view", "binary_view")
_TEXT = ("string", "large_string", "string_view", *_BINARY, "null")


class TableReader:
    """A table that is read batch by batch.

    CSV has no types: every column is text, and an empty field is an empty text. ``longest`` and ``report``: see
    ``CsvRows``.

    Raises DataError, naming the input, if it is damaged.
    """

    schema: pa.Schema
    groups = 1
    """Groups of rows that can be read by themselves."""
    _is_arrow = False
    first_row = 0
    """Number of rows of the file before those of the part."""

    def __init__(self, source: Source, longest: int | None = None, report: Report = refuse) -> None:
        self.name = source.name
        self._file = source.file
        self._parquet: Any = None
        self._is_arrow = source.format == Format.ARROW
        if source.format in COLUMNAR and not source.stream.head.startswith(_MAGICS[source.format]):
            raise DataError(
                f"{self.name}: cannot be read: expected {source.format}, which begins with "
                f"{_MAGICS[source.format][0]!r}; got {source.stream.head[:8]!r}; name its format with --input-format"
            )
        with reading(self.name):
            if source.format == Format.PARQUET:
                import pyarrow.parquet as pq  # slow, and other formats do not need it

                self._parquet = pq.ParquetFile(_mapped(self._file))
                self.schema = self._parquet.schema_arrow
                self.groups = self._parquet.num_row_groups
                self._chosen = list(_share(self.groups, source.part))
                group = self._parquet.metadata.row_group
                self.first_row = sum(group(number).num_rows for number in range(min(self._chosen, default=0)))
            elif source.format == Format.ARROW:
                self._batches = self._open_arrow(source)
            else:
                rows = CsvRows(source, longest, report)
                self.schema, self._batches = rows.schema, rows.batches()
            _ = self.schema.names  # raises UnicodeDecodeError if the schema is damaged

    @classmethod
    def of_batches(cls, name: str, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> Self:
        """Return the reader of a table in memory."""
        table = cls.__new__(cls)
        table.name, table.schema, table._batches, table._parquet = name, schema, batches, None
        return table

    def _open_arrow(self, source: Source) -> Iterator[pa.RecordBatch]:
        if source.stream.head.startswith(b"ARROW1"):
            reader = pa.ipc.open_file(_mapped(source.file))
            self.schema = reader.schema
            self.groups = reader.num_record_batches
            chosen = _share(self.groups, source.part)
            self.first_row = sum(reader.get_batch(number).num_rows for number in range(chosen.start))
            return (reader.get_batch(number) for number in chosen)
        stream = _Marked(source.stream) if source.file is None else _mapped(source.file)
        reader = pa.ipc.open_stream(stream)
        self.schema = reader.schema
        return self._until_end_mark(reader, stream)

    def _until_end_mark(self, reader: Any, stream: Any) -> Iterator[pa.RecordBatch]:
        """Iterate over the batches of a stream. Raise DataError if it ends without the mark of its end."""
        yield from reader
        if not isinstance(stream, _Marked):
            stream.seek(max(0, stream.tell() - len(_END_MARK)))
        tail = stream.tail if isinstance(stream, _Marked) else stream.read(len(_END_MARK))
        if tail != _END_MARK:
            raise DataError(
                f"{self.name}: cannot be read: the Arrow stream ends without its end mark, so rows may be missing; "
                "write it again, and close its writer"
            )

    def batches(self, columns: Sequence[str] | None = None, rows: int = _ROWS) -> Iterator[pa.RecordBatch]:
        """Iterate over record batches of at most ``rows`` rows, with the named columns or all."""
        with reading(self.name):
            if self._parquet is not None:
                yield from self._parquet.iter_batches(rows, self._chosen, columns, use_threads=False)
                return
            for batch in self._batches:
                chosen = batch if columns is None else batch.select(columns)
                if self._is_arrow:
                    _check_places(chosen)
                for start in range(0, chosen.num_rows, rows):
                    yield chosen.slice(start, rows)

    def slices(self, columns: Sequence[str], size: int) -> Iterator[pa.RecordBatch]:
        """Iterate over record batches of about ``size`` bytes when decoded, with the named columns.

        Columns of few different texts may come as dictionaries: decoded, they would be far larger than the file.
        """
        with reading(self.name):
            batches = self.batches(columns) if self._parquet is None else self._growing_batches(columns, size)
            for batch in batches:
                ends = np.cumsum(sum(decoded_sizes(column) for column in batch.columns))
                start = 0
                while start < batch.num_rows:
                    limit = size + (ends[start - 1] if start else 0)
                    end = max(start + 1, int(np.searchsorted(ends, limit, side="right")))
                    yield batch.slice(start, end - start)
                    start = end

    def _growing_batches(self, columns: Sequence[str], size: int) -> Iterator[pa.RecordBatch]:
        """Iterate over batches of a few rows, then of as many as have about ``size`` bytes.

        The metadata of Parquet report the size of rows as stored, which may be a thousandth of their decoded size.
        """
        rows = _FEW_ROWS
        for group in self._chosen:
            file, batches = self._opened_group(group, columns)
            for batch in batches:
                yield batch
                per_row = sum(map(_size_in_memory, batch.columns)) / max(1, batch.num_rows)
                rows = int(max(1, min(4 * rows, size / max(1, per_row), _ROWS)))
                file.reader.set_batch_size(rows)

    def _opened_group(self, group: int, columns: Sequence[str]) -> tuple[Any, Iterator[pa.RecordBatch]]:
        """Return the reader of a row group, and its batches, of which the first has one row."""
        import pyarrow.parquet as pq

        batches = self._parquet.iter_batches(1, [group], columns, use_threads=False)
        # The first row is read before the metadata of its columns: where they are damaged, reading raises an error, but
        # pyarrow's access to them would end the process.
        first = list(islice(batches, 1))
        repeated = _repeated_texts(self._parquet.metadata, group, columns) if first else []
        if not repeated:
            return self._parquet, chain(first, batches)
        file = pq.ParquetFile(_mapped(self._file), metadata=self._parquet.metadata, read_dictionary=repeated)
        return file, file.iter_batches(1, [group], columns, use_threads=False)


def _check_places(batch: pa.RecordBatch) -> None:
    """Raise ArrowInvalid if values of a batch are outside of its buffers: Arrow reads them as they are stored."""
    for column in batch.columns:
        column.view(_as_bytes(column.type)).validate(full=True)


def _as_bytes(kind: pa.DataType) -> pa.DataType:
    """Return the type with bytes instead of text: decoding checks UTF-8, and names the row."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        of = kind.value_field.with_type(_as_bytes(kind.value_type))
        if pa.types.is_fixed_size_list(kind):
            return pa.list_(of, kind.list_size)
        return pa.large_list(of) if pa.types.is_large_list(kind) else pa.list_(of)
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_as_bytes(field.type)) for field in kind])
    if pa.types.is_dictionary(kind):
        return pa.dictionary(kind.index_type, _as_bytes(kind.value_type), kind.ordered)
    return _BYTES.get(kind, kind)


def _share(groups: int, part: tuple[int, int]) -> range:
    """Return the groups of a part, given its number and the number of parts."""
    number, parts = part
    return range(groups * number // parts, groups * (number + 1) // parts)


def _repeated_texts(metadata: Any, group: int, columns: Sequence[str]) -> list[str]:
    """Return the columns of a row group that have a dictionary, and after it little more than indices into it."""
    repeated = []
    for index in range(metadata.num_columns):
        if metadata.schema.column(index).path not in columns:
            continue
        chunk = metadata.row_group(group).column(index)
        if chunk.has_dictionary_page and chunk.physical_type == "BYTE_ARRAY":
            indices = chunk.total_compressed_size - (chunk.data_page_offset - chunk.dictionary_page_offset)
            if indices <= _INDEX_BYTES * chunk.num_values:
                repeated.append(chunk.path_in_schema)
    return sorted(repeated)


def _size_in_memory(column: pa.Array) -> int:
    return int((column.indices if pa.types.is_dictionary(column.type) else column).nbytes)


def decoded_sizes(column: pa.Array) -> npt.NDArray[np.int64]:
    """Return the size in bytes of each value of a column of texts, lists or numbers, shape (rows,)."""
    import pyarrow.compute as pc  # slow, and other formats do not need it

    kind = column.type
    lengths: npt.NDArray[Any]
    if pa.types.is_dictionary(kind):
        lengths = np.append(decoded_sizes(column.dictionary), 0)[column.indices.fill_null(-1).to_numpy()]
    elif hasattr(kind, "value_type") and pa.types.is_nested(kind.value_type):
        ends = pc.list_value_length(column).fill_null(0).to_numpy().cumsum()
        lengths = np.diff(np.concatenate([[0], decoded_sizes(column.flatten()).cumsum()])[ends], prepend=0)
    elif pa.types.is_struct(kind):
        lengths = np.sum([decoded_sizes(field) for field in column.flatten()], axis=0, initial=0) + np.zeros(
            len(column)
        )
    elif hasattr(kind, "value_type"):
        lengths = pc.list_value_length(column).fill_null(0).to_numpy() * np.int64(_width(kind.value_type))
    elif str(kind) in _VIEWS:  # of 16 bytes, which begin with the length
        lengths = np.frombuffer(column.buffers()[1], np.int32)[::4][column.offset : column.offset + len(column)]
        lengths = np.where(column.is_valid().to_numpy(zero_copy_only=False), lengths, 0)
    elif str(kind) in _TEXT and not pa.types.is_null(kind):
        lengths = pc.binary_length(column).fill_null(0).to_numpy()
    else:
        lengths = np.full(len(column), _width(kind))
    return lengths.astype(np.int64)


def _width(kind: pa.DataType) -> int:
    try:
        return max(1, int(kind.bit_width) // 8)
    except ValueError:  # not of a fixed width
        return _OTHER_BYTES


class _Marked:
    """A stream that keeps its last bytes."""

    closed = False

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.tail = b""

    def read(self, size: int) -> bytes:
        """Return the next bytes, fewer only at the end."""
        data: bytes = self._stream.read(size)
        self.tail = (self.tail + data[-len(_END_MARK) :])[-len(_END_MARK) :]
        return data

    def close(self) -> None:
        """Do nothing: the opener of the stream closes it. Arrow calls this."""


def _mapped(file: Any) -> Any:
    """Return a path, or a temporary file, as a memory-mapped Arrow file; Arrow itself opens UTF-8 names only.

    A remote file is read where the reader asks.
    """
    if isinstance(file, pa.NativeFile):
        return file
    if isinstance(file, str) and file == file.encode(errors="replace").decode():
        return pa.memory_map(file)
    with open(file, "rb") if isinstance(file, str) else nullcontext(file) as opened:
        if not os.fstat(opened.fileno()).st_size:  # cannot be mapped
            return pa.BufferReader(b"")
        return pa.BufferReader(pa.py_buffer(mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)))


def read_table(source: Source) -> pa.Table:
    """Return a whole table in memory. The types of the columns of CSV are inferred from all rows, see ``typed``.

    Raises DataError, naming the input, if it is damaged.
    """
    reader = TableReader(source)
    table = pa.Table.from_batches(reader.batches(), reader.schema)
    if source.format in COLUMNAR:
        return table
    try:
        table.validate(full=True)
    except pa.ArrowInvalid as error:
        raise DataError(f"{source.name}: cannot be read: {error}; convert the file to UTF-8") from error
    return pa.Table.from_arrays([typed(column) for column in table.columns], table.schema.names)


def find_column(name: str, schema: pa.Schema, *candidates: str, option: str = "--text-column") -> str:
    """Return the first candidate that the table has; ``option`` names the column.

    Raises DataError if it has none, or has a candidate twice.
    """
    for column in candidates:
        if (count := schema.names.count(column)) == 1:
            return column
        if count > 1:
            raise DataError(f"{name}: column {column!r}: expected one of that name; got {count}")
    wanted = " or ".join(map(repr, candidates))
    remedy = separator_hint(schema.names) or f"; name another with {option}"
    raise DataError(f"{name}: no column {wanted}; the table has {listed(schema.names)}{remedy}")


def check_text_column(name: str, schema: pa.Schema, column: str, remedy: str = "") -> None:
    """Raise DataError unless a column holds texts: strings, or bytes, which are read as UTF-8.

    ``remedy``: end of the message.
    """
    kind = schema.field(column).type
    stored = kind.value_type if pa.types.is_dictionary(kind) else kind
    if str(stored) not in _TEXT:
        raise DataError(f"{name}: column {column!r}: expected texts; got {kind}{remedy}")


def as_texts(column: pa.Array) -> pa.LargeStringArray:
    """Return a column of texts as large strings. Bytes are not checked for UTF-8 here: decoding reports the row."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if str(column.type) in _BINARY:
        return column.cast(pa.large_binary()).view(pa.large_string())
    return column.cast(pa.large_string())
