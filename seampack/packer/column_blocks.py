"""Parquet and Arrow: batches of the columns that are needed, read in one thread and decoded in others."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from seampack.errors import DataError
from seampack.io.ragged import offsets_of
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
    vocab_size: int

    def decode(self) -> Texts | TokenBatch:
        """The documents of the block; rows that are none are in ``bad``."""
        wrong: dict[int, str] = {}
        if self.names is not None and self.names.null_count:
            wrong.update(dict.fromkeys(_nulls(self.names), "null instead of a document's name"))
        if self.content.null_count:
            wrong.update(dict.fromkeys(_nulls(self.content), "null instead of a document"))
        if pa.types.is_large_list(self.content.type):
            _check_ids(self.content, self.vocab_size, wrong)
            content = self._kept(self.content, wrong)
            ids = content.flatten().to_numpy()
            return TokenBatch(ids, _offsets(content), self._kept(self.names, wrong), self._bad(wrong))
        try:
            texts = self.content.to_numpy(zero_copy_only=False).tolist()
        except (UnicodeDecodeError, pa.ArrowException):
            texts = _decode_each(self.content, wrong)
        if wrong:
            texts = [text for row, text in enumerate(texts) if row not in wrong]
        return Texts(texts, self._kept(self.names, wrong), self._bad(wrong))

    def _kept(self, column: Any, wrong: dict[int, str]) -> Any:
        if column is None or not wrong:
            return column
        return column.take(pa.array(np.setdiff1d(np.arange(len(column)), list(wrong))))

    def _bad(self, wrong: dict[int, str]) -> list[BadRecord]:
        return [BadRecord(self.source, self.first_row + row, wrong[row], self._raw(row)) for row in sorted(wrong)]

    def _raw(self, row: int) -> str:
        if pa.types.is_large_list(self.content.type):
            return str(self.content[row].as_py() or "")
        raw: bytes = self.content.slice(row, 1).cast(pa.large_binary())[0].as_py() or b""
        return raw.decode(errors="backslashreplace")


def _nulls(column: pa.Array) -> list[int]:
    rows: list[int] = np.flatnonzero(pc.is_null(column).to_numpy(zero_copy_only=False)).tolist()
    return rows


def _decode_each(content: pa.Array, wrong: dict[int, str]) -> list[str | None]:
    """Decode row by row, so that a broken one is known with its number."""
    texts: list[str | None] = []
    for row, raw in enumerate(content.cast(pa.large_binary()).to_pylist()):
        try:
            texts.append(None if raw is None else raw.decode())
        except UnicodeDecodeError as error:
            texts.append(None)
            wrong[row] = f"invalid UTF-8 ({error.reason})"
    return texts


def _check_ids(content: pa.Array, vocab_size: int, wrong: dict[int, str]) -> None:
    """Find the rows with a token id that is none of the vocabulary."""
    values = content.flatten()
    ids = values.fill_null(0).to_numpy() if values.null_count else values.to_numpy()
    if not values.null_count and (not ids.size or (ids.min() >= 0 and ids.max() < vocab_size)):
        return
    outside = np.flatnonzero((ids < 0) | (ids >= vocab_size) | pc.is_null(values).to_numpy(zero_copy_only=False))
    rows = np.searchsorted(_offsets(content)[1:], outside, side="right")
    for row, at in zip(rows.tolist(), outside.tolist(), strict=True):
        wrong.setdefault(row, f"token id {values[at]}: expected 0 to {vocab_size - 1}, the vocabulary's")


def _offsets(lists: pa.Array) -> npt.NDArray[np.int64]:
    return offsets_of(pc.list_value_length(lists).fill_null(0).to_numpy())


def column_blocks(source: Source, config: PackConfig, vocab_size: int) -> Iterator[ColumnBlock]:
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
            names = batch.column(config.id_column).cast(pa.large_string()) if config.id_column else None
            step = max(1, batch.num_rows * BLOCK_BYTES // max(1, column.nbytes))
            for at in range(0, batch.num_rows, step):
                part = names.slice(at, step) if names is not None else None
                yield ColumnBlock(column.slice(at, step), part, source.name, row + at, vocab_size)
            row += batch.num_rows


def _open(source: Source, config: PackConfig) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    if source.format == InputFormat.PARQUET:
        if source.path is None:  # told by --input-format; the first bytes are none of Parquet's
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
            raise DataError(f"{name}: no column '{expected}'; the file has {', '.join(schema.names) or 'none'}")
        if schema.names.count(column) > 1:
            raise DataError(f"{name}: column '{column}': expected one of that name; got {schema.names.count(column)}")
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
