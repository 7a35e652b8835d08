"""JSON lines: blocks of whole lines, records, and the reasons why a line has no record."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from seampack.errors import DataError
from seampack.io.sniffing import BOM, guess_holds
from seampack.io.sources import Source, listed, named_errors, place, reading

JSON_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""Errors that decoding a line may raise."""
_JSON_NAMES = {list: "array", str: "str", int: "int", float: "float", bool: "bool", type(None): "null"}


def end_of_lines(data: bytes) -> int:
    """Return the end of the last whole line in some bytes."""
    return data.rfind(b"\n") + 1


def blocks_of(
    source: Source,
    size: int,
    end_of: Callable[[bytes], int] = end_of_lines,
    *,
    at_once: bool = False,
    keep_mark: bool = False,
) -> Iterator[bytes]:
    """Cut a stream into blocks of about ``size`` bytes that end where a document ends.

    Args:
        source: The stream.
        size: Size of a block in bytes; a longer document makes its block longer.
        end_of: Function that returns the end of the last whole document in some bytes, or 0 if none ends there.
        at_once: Yield the bytes that a slow pipe has, instead of waiting until a block is full.
        keep_mark: Keep a byte order mark at the beginning.

    Raises:
        DataError: If the stream is damaged, or a guessed plain text is in fact JSON lines.
    """
    read = source.stream.read1 if at_once else source.stream.read
    parts: list[bytes | memoryview] = []
    begin = b"" if source.guessed else None  # the first bytes, until they show whether the guess is right
    first = True
    while True:
        with reading(source.name):
            data = read(size)
        if not data:
            break
        if first:
            data, first = data if keep_mark else data.removeprefix(BOM), False
        if begin is not None:
            begin += data
            with named_errors(source.name):
                begin = None if guess_holds(begin) else begin
        end = end_of(data)
        if end:
            parts.append(memoryview(data)[:end])
            yield b"".join(parts)
            parts = []
        parts.append(data[end:])
    if any(parts):
        yield b"".join(parts)


def invalid_utf8(error: UnicodeDecodeError) -> str:
    """Return the reason why bytes are not text. Positions count from 1, from the beginning of the line."""
    data: bytes = error.object
    position = error.start - data.rfind(b"\n", 0, error.start)
    return f"invalid UTF-8 at byte {position} (0x{data[error.start]:02x}); convert the text to UTF-8"


def problem(line: bytes, error: Exception, column: str) -> str:
    """Return the reason why a line has no record with the field ``column``, given the error of decoding it."""
    try:
        line.decode()
    except UnicodeDecodeError as decode_error:
        return invalid_utf8(decode_error)
    if isinstance(error, RecursionError):
        return "broken JSON: nested too deep"
    if isinstance(error, msgspec.ValidationError):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if isinstance(record, dict) and column not in record:
            return no_field(column, list(record))
        reason = str(error).replace("`", "").removesuffix(f" - at $.{column}")
        where = f"field {column!r}: " if isinstance(record, dict) else ""
        return where + reason[:1].lower() + reason[1:]
    try:
        json.loads(line, parse_constant=_refuse_constant)
    except ValueError as json_error:
        return f"broken JSON: {json_error}"
    except RecursionError:
        return "broken JSON: nested too deep"
    return "a string with half a surrogate pair, which is not Unicode text"


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a value of JSON; write null")


def no_field(column: str, fields: list[str]) -> str:
    """Return the message for a record that lacks a field."""
    return f"no field {column!r}; the record has {listed(fields)}"


def numbered_lines(source: Source) -> Iterator[tuple[int, bytes]]:
    """Iterate over the non-blank lines of a stream, with their numbers from 1."""
    first = 1
    for block in blocks_of(source, 1 << 20):
        lines = block.removesuffix(b"\n").split(b"\n")
        for number, line in enumerate(lines, first):
            if line and not line.isspace():
                yield number, line
        first += len(lines)


def numbered_objects(source: Source) -> Iterator[tuple[int, dict[str, Any]]]:
    """Iterate over the records of JSON lines, with the numbers of their lines.

    Raises DataError, naming input and line, for any other line.
    """
    for number, line in numbered_lines(source):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            reason = problem(line, error, "")
            raise DataError(f"{place(source.name, number, source.unit)}: {reason}") from error
        if not isinstance(record, dict):
            where = place(source.name, number, source.unit)
            raise DataError(f"{where}: expected object, got {_JSON_NAMES[type(record)]}")
        yield number, record


def plain_lines(source: Source) -> Iterator[str]:
    """Iterate over the non-blank lines of plain text. Raise DataError for invalid UTF-8."""
    for number, line in numbered_lines(source):
        try:
            text = line.decode().removesuffix("\r")
        except UnicodeDecodeError as error:
            raise DataError(f"{source.name}:{number}: {invalid_utf8(error)}") from error
        if text and not text.isspace():
            yield text
