"""JSON lines: blocks of whole lines, records, and the reasons why a line has no record."""

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import msgspec

from seampack.errors import DataError
from seampack.io.sniffing import BOM, guess_holds
from seampack.io.sources import Source, listed, named_errors, place
from seampack.io.streams import reading

JSON_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""Errors that decoding a line may raise."""
SHOWN_BYTES = 1 << 10
"""Number of bytes of a document that is too long that are kept, to show it."""
HALF_PAIR = "a string with half a surrogate pair, which is not Unicode text"
LINE_FEED_WANTED = r"expected a line feed at the end of a line; got carriage returns; convert it: tr '\r' '\n'"
_JSON_NAMES = {list: "array", str: "str", int: "int", float: "float", bool: "bool", type(None): "null"}


class Ends(NamedTuple):
    """Functions that return where the first and the last whole document in some bytes ends, or 0 if none ends there."""

    first: Callable[[bytes], int]
    last: Callable[[bytes], int]


LINE_ENDS = Ends(lambda data: data.find(b"\n") + 1, lambda data: data.rfind(b"\n") + 1)


class TooLong(bytes):
    """The first bytes of a document that is longer than allowed."""


def blocks_of(
    source: Source,
    size: int,
    ends: Ends = LINE_ENDS,
    *,
    at_once: bool = False,
    keep_mark: bool = False,
    longest: int | None = None,
) -> Iterator[bytes]:
    """Cut a stream into blocks of about ``size`` bytes that end where a document ends.

    Args:
        source: The stream.
        size: Size of a block in bytes; a longer document makes its block longer.
        ends: Functions that find the ends of documents.
        at_once: Yield the bytes that a slow pipe has, instead of waiting until a block is full.
        keep_mark: Keep a byte order mark at the beginning.
        longest: Largest number of bytes that are held to find the end of a document. Of a longer one, only its
            beginning is yielded, as ``TooLong``, and then its newlines, so that lines can still be counted.

    Raises:
        DataError: If the stream is damaged, or a guessed plain text is in fact JSON lines.
    """
    parts: list[bytes] = []
    held = 0
    is_skipping = False
    rest = b""  # the last line of the bytes read so far, if it is blank: with the next bytes, a document may end there
    for data in reads_of(source, size, at_once=at_once, keep_mark=keep_mark):
        data = rest + data
        if is_skipping:
            end = ends.first(data)
            rest = b"" if end else _blank_end(data)
            if newlines := data.count(b"\n", 0, end or len(data) - len(rest)):
                yield b"\n" * newlines
            if not end:
                continue
            data, is_skipping = data[end:], False
        end = ends.last(data)
        if end:
            yield b"".join((*parts, memoryview(data)[:end]))
            parts, held = [], 0
        rest = _blank_end(data[end:])
        parts.append(data[end : len(data) - len(rest)])
        held += len(parts[-1])
        if longest is not None and held > longest:
            beginning = TooLong(b"".join(parts[:2])[:SHOWN_BYTES])
            newlines = sum(part.count(b"\n") for part in parts)
            parts, held, is_skipping = [], 0, True
            yield beginning
            if newlines:
                yield b"\n" * newlines
    if any(parts) or rest:
        yield b"".join((*parts, rest))


def reads_of(source: Source, size: int, *, at_once: bool = False, keep_mark: bool = False) -> Iterator[bytes]:
    """Iterate over the reads of a stream, and check at its beginning whether a guess of its format holds."""
    read = source.stream.read1 if at_once else source.stream.read
    first = source.part[0] == 0
    begin = b"" if source.guessed and first else None  # the first bytes, until they show whether the guess is right
    while True:
        with reading(source.name):
            data = read(size)
        if not data:
            return
        if first:
            data, first = data if keep_mark else data.removeprefix(BOM), False
        if begin is not None:
            begin += data
            with named_errors(source.name):
                begin = None if guess_holds(begin) else begin
        yield data


def _blank_end(data: bytes) -> bytes:
    """Return the last line of some bytes, with the newline before it, if it is blank."""
    last = data[max(0, data.rfind(b"\n")) :]
    return last if last.startswith(b"\n") and last.isspace() else b""


def too_long(longest: int) -> str:
    """Return the reason why a document is refused that is longer than allowed."""
    return f"expected a document of at most {longest:,} bytes; got a longer one; allow it with --max-document-bytes"


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
        reason, _, path = str(error).replace("`", "").partition(" - at $.")
        where = f"field {path!r}: " if path else ""
        return where + reason[:1].lower() + reason[1:]
    try:
        json.loads(line, parse_constant=_refuse_constant)
    except json.JSONDecodeError as json_error:
        if b"}\r{" in line:
            return f"several records on a line; {LINE_FEED_WANTED}"
        return f"broken JSON: {json_error.msg.removesuffix(' at')} at character {json_error.pos + 1}"
    except ValueError as json_error:
        return f"broken JSON: {json_error}"
    except RecursionError:
        return "broken JSON: nested too deep"
    return HALF_PAIR


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a value of JSON; write null")


def no_field(column: str, fields: list[str], option: str = "--text-column") -> str:
    """Return the message for a record that lacks a field, which ``option`` names."""
    return f"no field {column!r}; the record has {listed(fields)}; name another with {option}"


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
