"""JSON lines to documents: only the fields in use are decoded; a faulty field that is not in use does no harm."""

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Any

import msgspec
import numpy as np
import pyarrow as pa

from seampack.io.bad_records import BadRecord
from seampack.io.ragged import lengths_of, offsets_of
from seampack.io.records import JSON_ERRORS, no_field, problem
from seampack.io.sources import place
from seampack.packer.config import PackConfig
from seampack.packer.documents import (
    LABELS,
    LOST_LABELS,
    LOST_MASK,
    MASK,
    IdKinds,
    Texts,
    TokenBatch,
    outside_vocabulary,
)

_ID_KINDS = {int: "a number", str: "text"}


class JsonDecoder:
    """Decodes blocks of JSON lines. The first record decides whether documents are text or token ids."""

    def __init__(self, first_block: bytes, config: PackConfig, vocab_size: int, id_kinds: IdKinds) -> None:
        self._vocab_size = vocab_size
        self._id_kinds = id_kinds
        self._id_column = config.id_column
        self._is_tokens = _has_only_ids(first_block, config)
        self._column = config.input_ids_column if self._is_tokens else config.text_column
        kind: Any = list[Annotated[int, msgspec.Meta(ge=0, lt=vocab_size)]] if self._is_tokens else str
        fields: list[tuple[str, Any, Any]] = [("content", kind, msgspec.field(name=self._column))]
        if config.id_column is not None:
            fields.append(("name", str | int, msgspec.field(name=config.id_column)))
        if self._is_tokens:  # decoded only where a record has them
            fields += [(name, list[int] | None, msgspec.field(name=name, default=None)) for name in (LABELS, MASK)]
        self._decoder = msgspec.json.Decoder(msgspec.defstruct("Record", fields, gc=False))

    def decode(self, data: bytes, lines: int, has_blank: bool, bad: Callable[[int, str, bytes], BadRecord]) -> Any:
        """Return the documents of a block of ``lines`` lines; ``bad(index, reason, line)`` makes a bad record."""
        wrong: list[BadRecord] = []
        try:
            records: list[Any] = self._decoder.decode_lines(data)
            if (
                has_blank or len(records) != lines or (self._is_tokens and any(map(_lost, records)))
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
        if not self._is_tokens:
            return Texts(content, names, wrong)
        offsets = offsets_of(lengths_of(content))
        ids = np.fromiter((i for ids in content for i in ids), np.int64, int(offsets[-1]))
        return TokenBatch(ids, offsets, names, wrong)  # type: ignore[arg-type]  # narrowed by the tokenizer

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
            if reason := self._is_tokens and _lost(record):
                wrong.append(bad(index, str(reason), line))
            else:
                records.append(record)
        return records

    def _fields_in_use(self, line: bytes) -> Any:
        """Return the fields in use of a line whose other fields are not strict JSON, such as NaN; None if they fail."""
        try:
            values = json.loads(line)
            used = {name: values[name] for name in (self._column, self._id_column, LABELS, MASK) if name in values}
            return self._decoder.decode(msgspec.json.encode(used))
        except (*JSON_ERRORS, ValueError, TypeError):
            return None

    def _reason(self, line: bytes, error: Exception) -> str:
        """Return the reason why a line is not a document."""
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if not isinstance(record, dict) or self._column not in record:
            return problem(line, error, self._column)
        if self._id_column is not None and self._id_column not in record:
            return no_field(self._id_column, list(record), "--id-column")
        ids = record[self._column] if self._is_tokens else []
        for value in ids if isinstance(ids, list) else []:
            if isinstance(value, int) and not isinstance(value, bool) and not 0 <= value < self._vocab_size:
                return outside_vocabulary(value, self._vocab_size)
        return problem(line, error, self._column)


def _lost(record: Any) -> str:
    """Return the reason why packing would lose the loss mask or attention mask of token ids, or an empty text."""
    if record.labels is not None and record.labels != record.content:
        return LOST_LABELS
    return LOST_MASK if record.attention_mask is not None and 0 in record.attention_mask else ""


def _has_only_ids(first_block: bytes, config: PackConfig) -> bool:
    """Return whether the first record is tokenised: it has ids and no text."""
    try:
        record = msgspec.json.decode(first_block.lstrip().split(b"\n", 1)[0])
    except JSON_ERRORS:
        return False
    return isinstance(record, dict) and config.text_column not in record and config.input_ids_column in record
