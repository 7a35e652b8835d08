"""JSON lines to documents: only the fields in use are decoded; a faulty field that is not in use does no harm."""

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Any

import msgspec
import numpy as np
import pyarrow as pa

from seampack.errors import DataError
from seampack.io.bad_records import BadRecord
from seampack.io.ragged import lengths_of, offsets_of
from seampack.io.records import JSON_ERRORS, no_field, problem
from seampack.io.sources import place
from seampack.packer.chats import Chat, Chats
from seampack.packer.column_types import LABELS, MASKS
from seampack.packer.config import PackConfig
from seampack.packer.documents import (
    WATCHED,
    IdKinds,
    Texts,
    TokenBatch,
    lost,
    no_ids_to_carry,
    other_length,
    outside_vocabulary,
    text_option,
)

_ID_KINDS = {int: "a number", str: "text"}
_ARROW = {"string": pa.large_string(), "int64": pa.int64(), "float64": pa.float64()}
_KEPT = {"string": str, "int64": Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)], "float64": float}


def _carried_kind(name: str, kind: str) -> Any:
    """Return the type of a value of a carried column."""
    if name in MASKS:
        return Annotated[int, msgspec.Meta(ge=0, le=1)] | bool
    is_integer = "int" in kind
    limits: Any = np.iinfo(kind) if is_integer else np.finfo(kind)
    plain = int if is_integer else float
    return Annotated[plain, msgspec.Meta(ge=plain(limits.min), le=plain(limits.max))]


class JsonDecoder:
    """Decodes blocks of JSON lines. If they are not conversations, the first record says whether they are text or ids.

    Raises DataError if documents are texts, and the config has columns to carry.
    """

    def __init__(self, name: str, first_block: bytes, config: PackConfig, vocab_size: int, id_kinds: IdKinds) -> None:
        self._vocab_size = vocab_size
        self._id_kinds = id_kinds
        self._id_column = config.id_column
        self._is_chats = config.reads_chats
        self._is_tokens = not self._is_chats and _has_only_ids(first_block, config)
        self._column = config.input_ids_column if self._is_tokens else config.text_column
        kind: Any = list[Annotated[int, msgspec.Meta(ge=0, lt=vocab_size)]] if self._is_tokens else str
        if self._is_chats:
            self._column, kind = config.chat_columns["messages"], Any
        fields: list[tuple[str, Any, Any]] = [("content", kind, msgspec.field(name=self._column))]
        self._parts = {part: name for part, name in config.chat_columns.items() if part != "messages"}
        self._is_pair = config.prompt_column is not None
        for part, name in self._parts.items():
            field = msgspec.field(name=name, default=None) if part == "tools" else msgspec.field(name=name)
            fields.append((part, Any, field))
        if config.id_column is not None:
            fields.append(("name", str | int, msgspec.field(name=config.id_column)))
        self._carried = {} if self._is_chats else config.carried
        self._kept = config.kept
        if self._carried and not self._is_tokens:
            raise DataError(f"{name}: {no_ids_to_carry(next(iter(self._carried)))}")
        self._options = {**dict.fromkeys(self._carried, "--carry"), **config.kept_options}
        self._options |= {config.chat_columns[part]: option for part, option in config.chat_options.items()}
        self._slots = {column: f"carried{number}" for number, column in enumerate(self._carried)}
        self._kept_slots = {column: f"kept{number}" for number, column in enumerate(self._kept)}
        for column, slot in self._slots.items():
            carried: Any = list[_carried_kind(column, self._carried[column])]  # type: ignore[misc]
            fields.append((slot, carried, msgspec.field(name=column)))
        fields += [
            (slot, _KEPT[self._kept[column]], msgspec.field(name=column)) for column, slot in self._kept_slots.items()
        ]
        # decoded only where a record has them, to find what packing would lose
        self._watched = [column for column in WATCHED if self._is_tokens and column not in self._options]
        fields += [
            (column, list[int | bool] | None, msgspec.field(name=column, default=None)) for column in self._watched
        ]
        self._used = (self._column, *self._parts.values(), self._id_column, *self._options, *self._watched)
        self._decoder = msgspec.json.Decoder(msgspec.defstruct("Record", fields, kw_only=True, gc=False))

    def decode(self, data: bytes, lines: int, has_blank: bool, bad: Callable[[int, str, bytes], BadRecord]) -> Any:
        """Return the documents of a block of ``lines`` lines; ``bad(index, reason, line)`` makes a bad record."""
        wrong: list[BadRecord] = []
        try:
            records: list[Any] = self._decoder.decode_lines(data)
            if (
                has_blank or len(records) != lines or (self._is_tokens and any(map(self._fault, records)))
            ):  # there may be several objects on one line
                records = self._line_by_line(data, wrong, bad)
        except JSON_ERRORS:
            records = self._line_by_line(data, wrong, bad)
        content = [record.content for record in records]
        names = None
        if self._id_column is not None:
            for kind in {type(record.name) for record in records}:
                if _ID_KINDS[kind] not in self._id_kinds:
                    record = bad(self._line_of(kind, data), "", b"")
                    self._id_kinds.add(_ID_KINDS[kind], place(record.source, record.position, record.unit))
            names = pa.array([str(record.name) for record in records], pa.large_string())
        kept: dict[str, pa.Array] = {
            column: pa.array([getattr(record, slot) for record in records], _ARROW[self._kept[column]])
            for column, slot in self._kept_slots.items()
        }
        if self._is_chats:
            chats = [
                Chat(record.content, **{part: getattr(record, part) for part in self._parts}, is_pair=self._is_pair)
                for record in records
            ]
            return Chats(chats, lambda index, reason: self._bad_chat(index, reason, data, bad), names, wrong, kept)
        if not self._is_tokens:
            return Texts(content, names, wrong, kept)
        offsets = offsets_of(lengths_of(content))
        ids = np.fromiter((i for ids in content for i in ids), np.int64, int(offsets[-1]))
        carried = {
            column: np.fromiter(
                (v for record in records for v in getattr(record, slot)), self._carried[column], ids.size
            )
            for column, slot in self._slots.items()
        }
        # the ids are narrowed by the tokenizer
        return TokenBatch(ids, offsets, names, wrong, columns=carried, fields=kept)  # type: ignore[arg-type]

    def _bad_chat(self, index: int, reason: str, data: bytes, bad: Callable[[int, str, bytes], BadRecord]) -> BadRecord:
        """Return the bad record of a conversation of a block, given its index among those that were decoded."""
        for line, content in enumerate(data.split(b"\n")):
            if content.strip() and self._line_by_line(content, [], bad):
                if not index:
                    return bad(line, reason, content)
                index -= 1
        raise IndexError(f"expected a conversation of the block; got one {index + 1} after the last")

    def _line_of(self, kind: type, data: bytes) -> int:
        """Return the line of the first id of a kind in a block that has one."""
        for index, line in enumerate(data.split(b"\n")):
            with suppress(*JSON_ERRORS):
                record: Any = self._decoder.decode(line)
                if isinstance(record.name, kind):
                    return index
        return 0

    def _line_by_line(
        self, data: bytes, wrong: list[BadRecord], bad: Callable[[int, str, bytes], BadRecord]
    ) -> list[Any]:
        records = []
        for index, line in enumerate(data.split(b"\n")):
            if not line.strip():
                continue
            try:
                record: Any = self._decoder.decode(line)
            except JSON_ERRORS as error:
                record = None if isinstance(error, msgspec.ValidationError) else self._fields_in_use(line)
                if record is None:
                    wrong.append(bad(index, self._reason(line, error), line))
                    continue
            if reason := self._is_tokens and self._fault(record):
                wrong.append(bad(index, str(reason), line))
            else:
                records.append(record)
        return records

    def _fields_in_use(self, line: bytes) -> Any:
        """Return the fields in use of a line whose other fields are not strict JSON, such as NaN; None if they fail."""
        try:
            values = json.loads(line)
            used = {name: values[name] for name in self._used if name in values}
            return self._decoder.decode(msgspec.json.encode(used))
        except (*JSON_ERRORS, ValueError, TypeError):
            return None

    def _fault(self, record: Any) -> str:
        """Return the reason why token ids cannot be packed with their columns, or would lose one, or an empty text."""
        for column, slot in self._slots.items():
            if len(values := getattr(record, slot)) != len(record.content):
                return other_length(column, len(record.content), len(values))
        for column in self._watched:
            values = getattr(record, column)
            if values is not None and (values != record.content if column == LABELS else 0 in values):
                return lost(column)
        return ""

    def _reason(self, line: bytes, error: Exception) -> str:
        """Return the reason why a line is not a document."""
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if not isinstance(record, dict):
            return problem(line, error, self._column)
        if self._column not in record and not self._is_chats:
            return no_field(self._column, list(record), text_option(record))
        if self._id_column is not None and self._id_column not in record:
            return no_field(self._id_column, list(record), "--id-column")
        for column, option in self._options.items():
            if column not in record:
                return no_field(column, list(record), option)
        ids = record[self._column] if self._is_tokens else []
        for value in ids if isinstance(ids, list) else []:
            if isinstance(value, int) and not isinstance(value, bool) and not 0 <= value < self._vocab_size:
                return outside_vocabulary(value, self._vocab_size)
        reason = problem(line, error, self._column)
        for column, option in self._options.items():
            if reason.startswith((f"field '{column}'", f"field '{column}[")) and column not in MASKS:
                if reason.endswith("got null"):
                    return reason  # no type has it
                return f"{reason}; name another type with {option} {column}:TYPE"
        return reason


def _has_only_ids(first_block: bytes, config: PackConfig) -> bool:
    """Return whether the first record is tokenised: it has ids and no text."""
    try:
        record = msgspec.json.decode(first_block.lstrip().split(b"\n", 1)[0])
    except JSON_ERRORS:
        return False
    return isinstance(record, dict) and config.text_column not in record and config.input_ids_column in record
