"""JSON lines: blocks of whole lines, records, and what is wrong with a line that holds no record."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from seampack.errors import DataError
from seampack.io.sniffing import BOM, check_guessed_lines
from seampack.io.sources import Source, named_errors, reading
from seampack.io.tables import listed

JSON_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding a line may raise."""
_JSON_NAMES = {list: "array", str: "str", int: "int", float: "float", bool: "bool", type(None): "null"}


def end_of_lines(data: bytes) -> int:
    """Return where the last whole line of some bytes ends."""
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
        end_of: Function that returns where the last whole document of some bytes ends; 0 where none does.
        at_once: Hand on the bytes that a slow pipe has, instead of waiting until a block is full.
        keep_mark: Keep a byte order mark at the beginning.

    Raises:
        DataError: For a damaged stream, and for JSON lines that only look like text.
    """
    read = getattr(source.stream, "read1", source.stream.read) if at_once else source.stream.read
    begun: list[bytes | memoryview] = []
    first = True
    while True:
        with reading(source.name):
            data = read(size)
        if not data:
            break
        if first:
            data, first = data if keep_mark else data.removeprefix(BOM), False
            if source.guessed:
                with named_errors(source.name):
                    check_guessed_lines(data)
        end = end_of(data)
        if end:
            begun.append(memoryview(data)[:end])
            yield b"".join(begun)
            begun = []
        begun.append(data[end:])
    if any(begun):
        yield b"".join(begun)


def problem(line: bytes, error: Exception, column: str) -> str:
    """Return why a line of JSON lines holds no record with the field ``column``, from the error of decoding it."""
    if isinstance(error, UnicodeDecodeError):
        return f"invalid UTF-8 ({error.reason})"
    if isinstance(error, RecursionError):
        return "broken JSON: nested too deep"
    if isinstance(error, msgspec.ValidationError):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if isinstance(record, dict) and column not in record:
            return no_field(column, list(record))
        plain = str(error).replace("`", "").removesuffix(f" - at $.{column}")
        where = f"field {column!r}: " if isinstance(record, dict) else ""
        return where + plain[:1].lower() + plain[1:]
    try:
        json.loads(line)
    except ValueError as reason:
        return f"broken JSON: {reason}"
    except RecursionError:
        return "broken JSON: nested too deep"
    return "a string with half a surrogate pair, which is not Unicode text"


def no_field(column: str, fields: list[str]) -> str:
    """Return the message for a record that lacks a field."""
    return f"no field {column!r}; the record has {listed(fields)}"


def numbered_lines(source: Source) -> Iterator[tuple[int, bytes]]:
    """Iterate over the lines of a stream that are not blank, with their numbers from 1."""
    first = 1
    for block in blocks_of(source, 1 << 20):
        lines = block.removesuffix(b"\n").split(b"\n")
        for number, line in enumerate(lines, first):
            if line and not line.isspace():
                yield number, line
        first += len(lines)


def objects(source: Source) -> Iterator[dict[str, Any]]:
    """Iterate over the records of JSON lines. Raise DataError, naming input and line, for a line that is not one."""
    for number, line in numbered_lines(source):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{source.name}:{number}: broken JSON: {error}") from error
        if not isinstance(record, dict):
            raise DataError(f"{source.name}:{number}: expected object, got {_JSON_NAMES[type(record)]}")
        yield record


def plain_lines(source: Source) -> Iterator[str]:
    """Iterate over the lines of plain text that are not blank. Raise DataError for bytes that are not UTF-8."""
    for number, line in numbered_lines(source):
        try:
            text = line.decode().removesuffix("\r")
        except UnicodeDecodeError as error:
            raise DataError(f"{source.name}:{number}: invalid UTF-8 ({error.reason})") from error
        if text and not text.isspace():
            yield text
