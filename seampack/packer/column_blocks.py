"""Tables: batches of the needed columns, read in one thread and decoded in others."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
import pyarrow as pa

from seampack.errors import DataError
from seampack.io.bad_records import BadRecord
from seampack.io.records import SHOWN_BYTES, too_long
from seampack.io.sources import Source, place
from seampack.io.tables import TableReader, as_texts, check_text_column, decoded_sizes, find_column
from seampack.packer.chats import Chat, Chats
from seampack.packer.checksums import block_checksum
from seampack.packer.column_checks import (
    check_ids,
    check_labels,
    check_mask,
    check_names,
    decode_each,
    list_offsets,
    null_rows,
    values_of_each,
)
from seampack.packer.column_types import LABELS
from seampack.packer.config import PackConfig
from seampack.packer.documents import (
    WATCHED,
    BadBlock,
    IdKinds,
    Texts,
    TokenBatch,
    no_ids_to_carry,
    text_option,
)
from seampack.packer.table_columns import carried_lists, check_carried, check_kept, has_numbers, kept_values
from seampack.packer.text_blocks import BLOCK_BYTES

_PARTS = ("content", "names")


@dataclass(frozen=True, slots=True)
class ColumnBlock:
    """Rows of a table: the texts or token ids, and the names of the documents if the config has an ``id_column``."""

    content: pa.Array
    names: pa.Array | None
    watched: dict[str, pa.Array]
    """Columns of token ids that are not packed: labels, which must equal the ids, and masks, which must have no 0."""
    carried: dict[str, pa.Array]
    """Columns to pack with the token ids, not yet of the types in ``carried_types``."""
    kept: dict[str, pa.Array]
    """Columns of a value for each document, not yet of the types in ``kept_types``."""
    carried_types: dict[str, str]
    kept_types: dict[str, str]
    chats: dict[str, pa.Array]
    """Columns of conversations by the fields of ``Chat``; empty if documents are texts or token ids."""
    source: str
    first_row: int
    vocab_size: int
    long: dict[int, str]
    """Beginnings of the documents that are too long, by row. They are null in ``content``."""
    longest: int
    """Largest number of bytes of a document."""

    @property
    def size(self) -> int:
        """Bytes of the texts, token ids or conversations."""
        return int(sum(column.nbytes for column in (self.chats or {"content": self.content}).values()))

    def checksum(self) -> bytes:
        """Return the checksum of the block's columns."""
        columns = {part: getattr(self, part) for part in _PARTS if getattr(self, part) is not None}
        arrays = [*columns.values(), *self.watched.values(), *self.carried.values(), *self.kept.values()]
        arrays += self.chats.values()
        return block_checksum(pa.record_batch(arrays, list(map(str, range(len(arrays))))).serialize())

    def decode(self) -> Texts | TokenBatch | Chats:
        """Return the documents of the block; rows without a document are in ``bad``."""
        wrong: dict[int, str] = {}
        if self.names is not None:
            check_names(self.names, wrong)
        if self.content.null_count:
            wrong.update(dict.fromkeys(null_rows(self.content), "null instead of a document"))
            wrong.update(dict.fromkeys(self.long, too_long(self.longest)))
        fields = {name: kept_values(column, name, self.kept_types[name], wrong) for name, column in self.kept.items()}
        if self.chats:
            return self._decode_chats(fields, wrong)
        if pa.types.is_large_list(self.content.type):
            check_ids(self.content, self.vocab_size, wrong)
            for name, column in self.watched.items():
                if name == LABELS:
                    check_labels(column, self.content, wrong)
                else:
                    check_mask(name, column, wrong)
            lengths = np.diff(list_offsets(self.content))
            lists = {
                name: carried_lists(column, name, self.carried_types[name], lengths, wrong)
                for name, column in self.carried.items()
            }
            content = self._without(self.content, wrong)
            ids = content.flatten().to_numpy()
            return TokenBatch(
                ids,
                list_offsets(content),
                self._without(self.names, wrong),
                self._bad(wrong),
                columns={name: self._without(column, wrong).flatten().to_numpy() for name, column in lists.items()},
                fields={name: self._without(column, wrong) for name, column in fields.items()},
            )
        try:
            texts = self.content.to_numpy(zero_copy_only=False).tolist()
        except (UnicodeDecodeError, pa.ArrowException):
            texts = decode_each(self.content, wrong)
        if wrong:
            texts = [text for row, text in enumerate(texts) if row not in wrong]
        kept = {name: self._without(column, wrong) for name, column in fields.items()}
        return Texts(texts, self._without(self.names, wrong), self._bad(wrong), kept)

    def _decode_chats(self, fields: dict[str, pa.Array], wrong: dict[int, str]) -> Chats:
        parts = {}
        for part, column in self.chats.items():
            try:
                parts[part] = column.to_pylist()
            except UnicodeDecodeError:
                parts[part] = values_of_each(column, wrong)
        kept = [row for row in range(len(self.content)) if row not in wrong]
        chats = [
            Chat(**{part: values[row] for part, values in parts.items()}, is_pair="completion" in parts) for row in kept
        ]
        fields = {name: self._without(column, wrong) for name, column in fields.items()}

        def bad_record(index: int, reason: str) -> BadRecord:
            return self._bad({kept[index]: reason})[0]

        return Chats(chats, bad_record, self._without(self.names, wrong), self._bad(wrong), fields)

    def place(self, document: int, bad: Iterable[BadRecord]) -> str:
        """Return the place of a document for messages, given its number in the block and the bad rows."""
        wrong = [record.position - self.first_row for record in bad]
        row = np.setdiff1d(np.arange(len(self.content)), wrong)[document]
        return place(self.source, self.first_row + int(row), "row")

    def _without(self, column: Any, wrong: dict[int, str]) -> Any:
        if column is None or not wrong:
            return column
        return column.take(pa.array(np.setdiff1d(np.arange(len(column)), list(wrong))))

    def _bad(self, wrong: dict[int, str]) -> list[BadRecord]:
        return [
            BadRecord(self.source, self.first_row + row, wrong[row], self._raw(row), "row") for row in sorted(wrong)
        ]

    def _raw(self, row: int) -> str:
        if row in self.long:
            return self.long[row]
        if self.chats or pa.types.is_large_list(self.content.type):
            with suppress(UnicodeDecodeError):
                return str(self.content[row].as_py() or "")
            return ""
        raw: bytes = self.content.slice(row, 1).cast(pa.large_binary())[0].as_py() or b""
        return raw.decode(errors="backslashreplace")


def column_blocks(
    source: Source, config: PackConfig, vocab_size: int, id_kinds: IdKinds
) -> Iterator[ColumnBlock | BadBlock]:
    """Iterate over blocks of about BLOCK_BYTES of the text column, or of the column of token ids if there is no text.

    Raises DataError if the file is damaged, or has neither column.
    """
    unread: list[BadRecord] = []
    table = TableReader(source, config.max_document_bytes, unread.append)
    yield from table_blocks(table, config, vocab_size, id_kinds, unread)


def table_blocks(
    table: TableReader, config: PackConfig, vocab_size: int, id_kinds: IdKinds, unread: list[BadRecord]
) -> Iterator[ColumnBlock | BadBlock]:
    """Iterate over the blocks of an open table; its reader adds rows of CSV that are not rows of it to ``unread``."""
    content = _content_column(table.name, table.schema, config)
    columns = {"content": content}
    if config.id_column is not None:
        columns["names"] = find_column(table.name, table.schema, config.id_column, option="--id-column")
        is_number = pa.types.is_integer(table.schema.field(columns["names"]).type)
        id_kinds.add("a number" if is_number else "text", f"{table.name}, column {columns['names']!r}")
    carried = {} if config.reads_chats else config.carried
    chats = _chat_columns(table.name, table.schema, config)
    packed = [*carried, *config.kept]
    is_text = content == config.text_column
    has_ids = not is_text and not config.reads_chats
    watched = [name for name in WATCHED if has_ids and name not in packed and has_numbers(table.schema, name)]
    for name, kind in carried.items():
        if is_text:
            raise DataError(f"{table.name}: {no_ids_to_carry(name)}")
        check_carried(table.name, table.schema, find_column(table.name, table.schema, name, option="--carry"), kind)
    for name, kind in config.kept.items():
        option = config.kept_options[name]
        check_kept(table.name, table.schema, find_column(table.name, table.schema, name, option=option), kind, option)
    read = list(dict.fromkeys([*columns.values(), *watched, *packed, *chats.values()]))
    row = 1 + table.first_row
    for batch in table.slices(read, min(BLOCK_BYTES, config.partition_bytes)):
        if unread:
            row += len(unread)
            yield BadBlock(unread.copy())
            unread.clear()
        arrays = {kind: batch.column(name) for kind, name in columns.items()}
        arrays["content"], long = _without_long(arrays["content"], config.max_document_bytes)
        parts = {kind: _normal(arrays[kind]) if kind in arrays else None for kind in _PARTS}
        yield ColumnBlock(
            **parts,
            watched={name: _normal(batch.column(name)) for name in watched},
            carried={name: _normal(batch.column(name)) for name in carried},
            kept={name: batch.column(name) for name in config.kept},
            chats={part: batch.column(name) for part, name in chats.items()},
            carried_types=carried,
            kept_types=config.kept,
            source=table.name,
            first_row=row,
            vocab_size=vocab_size,
            long=long,
            longest=config.max_document_bytes,
        )
        row += batch.num_rows
    if unread:
        yield BadBlock(unread)


def _without_long(content: pa.Array, longest: int) -> tuple[pa.Array, dict[int, str]]:
    """Return the documents with null for each that is too long, and the beginnings of those by row."""
    long = np.flatnonzero(decoded_sizes(content) > longest).tolist()
    if not long:
        return content, {}
    starts = [0, *(row + 1 for row in long)]
    kept = [content.slice(start, end - start) for start, end in zip(starts, [*long, len(content)], strict=True)]
    nulls = [pa.nulls(1, content.type)] * len(long)
    parts = [part for pair in zip_longest(kept, nulls) for part in pair if part is not None]
    return pa.concat_arrays(parts), {row: _beginning(content.slice(row, 1)) for row in long}


def _beginning(document: pa.Array) -> str:
    """Return the beginning of the only document of a column, to show it."""
    normal = _normal(document)
    if pa.types.is_large_list(normal.type):
        return str(normal.flatten()[:SHOWN_BYTES].to_pylist())[:SHOWN_BYTES]
    import pyarrow.compute as pc

    raw: bytes = pc.binary_slice(normal.cast(pa.large_binary()), 0, SHOWN_BYTES)[0].as_py()
    return raw.decode(errors="backslashreplace")


def _content_column(name: str, schema: pa.Schema, config: PackConfig) -> str:
    """Return the name of the text column, or of the column of token ids if there is no text column."""
    if config.reads_chats:
        column = find_column(name, schema, config.chat_columns["messages"], option=config.chat_options["messages"])
        if not hasattr(schema.field(column).type, "value_type"):
            check_text_column(name, schema, column)  # JSON, or a prompt
        return column
    option = text_option(schema.names)
    column = find_column(name, schema, config.text_column, config.input_ids_column, option=option)
    if column == config.text_column:
        check_text_column(name, schema, column, f"; name another with {option}")
        return column
    kind = schema.field(column).type
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if not is_list or not (pa.types.is_integer(kind.value_type) or pa.types.is_null(kind.value_type)):
        raise DataError(f"{name}: column {column!r}: expected lists of integers; got {kind}")
    return column


def _chat_columns(name: str, schema: pa.Schema, config: PackConfig) -> dict[str, str]:
    """Return the columns of conversations that a table has, by the fields of ``Chat``."""
    for part, option in config.chat_options.items():
        find_column(name, schema, config.chat_columns[part], option=option)
    return {part: column for part, column in config.chat_columns.items() if column in schema.names}


def _normal(column: pa.Array) -> pa.Array:
    """Return a column as large strings or large lists."""
    if hasattr(column.type, "value_type") and not pa.types.is_dictionary(column.type):
        kind = column.type.value_type
        return column.cast(pa.large_list(pa.int64() if pa.types.is_null(kind) else kind))  # only empty lists
    return as_texts(column)
