"""Parquet and Arrow: batches of the columns that are needed, read in one thread and decoded in others."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from seampack.errors import DataError
from seampack.packer.config import InputFormat, PackConfig
from seampack.packer.documents import BadRecord, Texts, TokenBatch
from seampack.packer.sources import Source, reading
from seampack.packer.text_blocks import BLOCK_BYTES


@dataclass(frozen=True, slots=True)
class ColumnBlock:
    """Some rows of a columnar file: the content, and the documents' names where asked for."""

    content: pa.Array
    names: pa.Array | None
    source: str
    first_row: int

    def decode(self) -> Texts | TokenBatch:
        """The documents of the block; rows that are none are in ``bad``."""
        bad: list[BadRecord] = []
        content, names = self.content, self.names
        if content.null_count:
            keep = pc.is_valid(content)
            rows = np.flatnonzero(~keep.to_numpy(zero_copy_only=False)) + self.first_row
            bad.extend(BadRecord(self.source, int(row), "null instead of a document", "") for row in rows)
            content = content.filter(keep)
            names = names.filter(keep) if names is not None else None
        if pa.types.is_large_list(content.type):
            return _token_batch(content, names, bad)
        try:
            return Texts(content.to_numpy(zero_copy_only=False).tolist(), names, bad)
        except UnicodeDecodeError:
            return self._row_by_row(content, names, bad)

    def _row_by_row(self, content: pa.Array, names: pa.Array | None, bad: list[BadRecord]) -> Texts:
        texts, kept = [], []
        for row, raw in enumerate(content.cast(pa.large_binary()).to_pylist()):
            try:
                texts.append(raw.decode())
                kept.append(row)
            except UnicodeDecodeError as error:
                text = raw.decode(errors="backslashreplace")
                bad.append(BadRecord(self.source, self.first_row + row, f"invalid UTF-8 ({error.reason})", text))
        return Texts(texts, names.take(pa.array(kept, pa.int64())) if names is not None else None, bad)


def _token_batch(content: pa.Array, names: pa.Array | None, bad: list[BadRecord]) -> TokenBatch:
    lengths = pc.list_value_length(content).to_numpy(zero_copy_only=False)
    offsets = np.zeros(lengths.size + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    values = content.flatten()
    if values.null_count:
        raise DataError("a null among the token ids; expected integers only")
    return TokenBatch(values.to_numpy(), offsets, names, bad)


def column_blocks(source: Source, config: PackConfig) -> Iterator[ColumnBlock]:
    """Blocks of about BLOCK_BYTES of the text (or token) column.

    Raises DataError when the file is damaged, or has neither column.
    """
    row = 1
    with reading(source.name):
        schema, batches = _open(source, config)
        content = _content_column(source.name, schema, config)
        for batch in batches:
            if batch.num_rows == 0:
                continue
            column = _normal(batch.column(content))
            names = batch.column(config.id_column).cast(pa.string()) if config.id_column else None
            step = max(1, batch.num_rows * BLOCK_BYTES // max(1, column.nbytes))
            for at in range(0, batch.num_rows, step):
                part = names.slice(at, step) if names is not None else None
                yield ColumnBlock(column.slice(at, step), part, source.name, row + at)
            row += batch.num_rows


def _open(source: Source, config: PackConfig) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    if source.format == InputFormat.PARQUET:
        if source.path is None:
            raise DataError(f"{source.name}: Parquet cannot be read from a pipe; give the file's path")
        file = pq.ParquetFile(source.path)
        schema = file.schema_arrow
        columns = [_content_column(source.name, schema, config)] + ([config.id_column] if config.id_column else [])
        bytes_per_row = sum(file.metadata.row_group(g).total_byte_size for g in range(file.num_row_groups))
        bytes_per_row = max(1, bytes_per_row // max(1, file.metadata.num_rows))
        rows = max(16, min(1 << 16, BLOCK_BYTES // bytes_per_row))
        return schema, file.iter_batches(batch_size=rows, columns=columns, use_threads=False)
    if source.path is not None:
        mapped = pa.memory_map(source.path)
        if mapped.read(6) == b"ARROW1":
            reader = pa.ipc.open_file(mapped)
            return reader.schema, (reader.get_batch(i) for i in range(reader.num_record_batches))
    stream = pa.ipc.open_stream(source.stream)
    return stream.schema, iter(stream)


def _content_column(name: str, schema: pa.Schema, config: PackConfig) -> str:
    """The text column, or the one of token ids where there is no text."""
    wanted = config.text_column if config.text_column in schema.names else config.input_ids_column
    for column in (wanted, config.id_column):
        if column is not None and column not in schema.names:
            expected = column if column == config.id_column else f"{config.text_column}' or '{config.input_ids_column}"
            raise DataError(f"{name}: no column '{expected}'; the file has {', '.join(schema.names)}")
    kind = schema.field(wanted).type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if wanted == config.text_column:
        expected, right = (
            "strings",
            pa.types.is_string(kind) or pa.types.is_large_string(kind) or kind == pa.string_view(),
        )
    else:
        listed = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
        expected, right = "lists of integers", listed and pa.types.is_integer(kind.value_type)
    if not right:
        raise DataError(f"{name}: column '{wanted}': expected {expected}; got {kind}")
    return wanted


def _normal(column: pa.Array) -> pa.Array:
    """One type for each kind of column: large strings, large lists."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if hasattr(column.type, "value_type"):
        return column.cast(pa.large_list(column.type.value_type))
    return column.cast(pa.large_string())
