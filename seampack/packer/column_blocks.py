"""Tables: batches of the needed columns, read in one thread and decoded in others."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from seampack.errors import DataError
from seampack.io.ragged import offsets_of
from seampack.io.sources import Source
from seampack.io.tables import TableReader, as_texts, check_text_column, find_column
from seampack.packer.config import PackConfig
from seampack.packer.documents import BadRecord, Texts, TokenBatch
from seampack.packer.text_blocks import BLOCK_BYTES


@dataclass(frozen=True, slots=True)
class ColumnBlock:
    """Rows of a table: the texts or token ids, and the names of the documents if the config has an ``id_column``."""

    content: pa.Array
    names: pa.Array | None
    source: str
    first_row: int
    vocab_size: int

    def decode(self) -> Texts | TokenBatch:
        """Return the documents of the block; rows without a document are in ``bad``."""
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
    """Decode row by row, and add each row that is not UTF-8 to ``wrong``."""
    texts: list[str | None] = []
    for row, raw in enumerate(content.cast(pa.large_binary()).to_pylist()):
        try:
            texts.append(None if raw is None else raw.decode())
        except UnicodeDecodeError as error:
            texts.append(None)
            wrong[row] = f"invalid UTF-8 ({error.reason})"
    return texts


def _check_ids(content: pa.Array, vocab_size: int, wrong: dict[int, str]) -> None:
    """Add the rows with a token id outside the vocabulary to ``wrong``."""
    values = content.flatten()
    ids = values.fill_null(0).to_numpy() if values.null_count else values.to_numpy()
    if not values.null_count and (not ids.size or (ids.min() >= 0 and ids.max() < vocab_size)):
        return
    outside = np.flatnonzero((ids < 0) | (ids >= vocab_size) | pc.is_null(values).to_numpy(zero_copy_only=False))
    rows = np.searchsorted(_offsets(content)[1:], outside, side="right")
    for row, index in zip(rows.tolist(), outside.tolist(), strict=True):
        wrong.setdefault(row, f"token id {values[index]}: expected an id of the vocabulary, 0 to {vocab_size - 1}")


def _offsets(lists: pa.Array) -> npt.NDArray[np.int64]:
    return offsets_of(pc.list_value_length(lists).fill_null(0).to_numpy())


def column_blocks(source: Source, config: PackConfig, vocab_size: int) -> Iterator[ColumnBlock]:
    """Iterate over blocks of about BLOCK_BYTES of the text column, or of the column of token ids if there is no text.

    Raises DataError if the file is damaged, or has neither column.
    """
    table = TableReader(source)
    content = _content_column(source.name, table.schema, config)
    columns = [content]
    if config.id_column is not None:
        columns.append(find_column(source.name, table.schema, config.id_column))
    rows = max(16, min(1 << 16, BLOCK_BYTES // max(1, table.bytes_per_row)))
    row = 1
    for batch in table.batches(columns, rows):
        column = _normal(batch.column(content))
        names = batch.column(config.id_column).cast(pa.large_string()) if config.id_column else None
        step = max(1, batch.num_rows * BLOCK_BYTES // max(1, column.nbytes))
        for first in range(0, batch.num_rows, step):
            part = names.slice(first, step) if names is not None else None
            yield ColumnBlock(column.slice(first, step), part, source.name, row + first, vocab_size)
        row += batch.num_rows


def _content_column(name: str, schema: pa.Schema, config: PackConfig) -> str:
    """Return the name of the text column, or of the column of token ids if there is no text column."""
    column = find_column(name, schema, config.text_column, config.input_ids_column)
    if column == config.text_column:
        check_text_column(name, schema, column)
        return column
    kind = schema.field(column).type
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if not is_list or not pa.types.is_integer(kind.value_type):
        raise DataError(f"{name}: column {column!r}: expected lists of integers; got {kind}")
    return column


def _normal(column: pa.Array) -> pa.Array:
    """Return a column as large strings or large lists."""
    if hasattr(column.type, "value_type") and not pa.types.is_dictionary(column.type):
        return column.cast(pa.large_list(column.type.value_type))
    return as_texts(column)
