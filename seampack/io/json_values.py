"""JSON arrays and JSON over several lines, converted to JSON lines, so that readers only handle JSON lines."""

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any, NoReturn

from seampack.errors import DataError

_READ_BYTES = 1 << 20
_LONG = 16
"""Number of reads that a value may need to be decoded as a whole. The end of a longer one is found in its bytes."""
_TAIL = 16
"""Characters at the end of the text read so far, whose meaning may depend on the next characters."""
# numbers stay text: only the ends of values matter here, and int() refuses very long numbers
DECODER = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str)
_SPACE = re.compile(r"[ \t\r\n]*")
_LINE_ENDS = re.compile(r"[\r\n]+")
_ON_ONE_LINE = bytes.maketrans(b"\r\n", b"  ")
_OUTSIDE_STRINGS = re.compile(rb'["\[\]{}]')


class JsonLines:
    """A stream of JSON values, or one array of them, read as lines: one value per line, spelled as in the text.

    Memory use depends on neither the input nor the longest value: long values are read part by part, and only their
    brackets and quotation marks are checked. Raises DataError for text that is not JSON; the message names the input,
    the line, and the number of the value, both from 1.
    """

    def __init__(self, stream: Any, name: str) -> None:
        self._stream = stream
        self._name = name
        # invalid UTF-8 passes through, so that the reader of the lines reports it
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape")
        self._text = ""
        self._place = 0
        self._ended = False
        self._count = 0
        self._lines_before = 0  # lines of the input before the text
        self._lines = self._values()
        self._unread = b""

    def read(self, size: int) -> bytes:
        """Return the next bytes, fewer only at the end."""
        parts = [self._unread]
        length = len(self._unread)
        while length < size and (line := next(self._lines, None)) is not None:
            parts.append(line)
            length += len(line)
        data = b"".join(parts)
        self._unread = data[size:]
        return data[:size]

    read1 = read  # values are converted in blocks: a slow pipe is not read value by value

    def _values(self) -> Iterator[bytes]:
        if self._next_character() != "[":
            while self._next_character():
                yield from self._value()
            return
        self._place += 1
        closed = self._next_character() == "]"
        while not closed:
            yield from self._value()
            separator = self._next_character()
            if separator not in (",", "]"):
                self._fail(f"expected , or ] after the value; got {separator or 'the end of the text'}")
            closed = separator == "]"
            if not closed:
                self._place += 1
        self._place += 1
        if rest := self._next_character():
            self._fail(f"expected the end of the text after the array; got {rest}")

    def _next_character(self) -> str:
        """Return the next character that is not white space, without consuming it; an empty text at the end."""
        while True:
            self._place = _SPACE.match(self._text, self._place).end()  # type: ignore[union-attr]  # matches anywhere
            if self._place < len(self._text) or self._ended:
                return self._text[self._place : self._place + 1]
            self._fill()

    def _value(self) -> Iterator[bytes]:
        """Read the next value and yield it as a line, in parts if it is long."""
        self._next_character()
        while True:
            try:
                _, end = DECODER.raw_decode(self._text, self._place)
            except json.JSONDecodeError as error:
                missing = error.msg.startswith("Unterminated") or error.pos >= len(self._text) - _TAIL
                if self._ended or not missing:
                    self._fail(error.msg, error.pos)
            except RecursionError:
                self._fail("nested too deep")
            else:
                # a number near the end of the text may continue
                if self._ended or self._text[end - 1] in '}]"' or end < len(self._text) - _TAIL:
                    break
            if len(self._text) - self._place >= _LONG * _READ_BYTES and self._text[self._place] in '{["':
                yield from self._long_value()
                return
            self._fill()
        value = self._text[self._place : end]
        self._place = end
        self._count += 1
        yield (_LINE_ENDS.sub(" ", value) + "\n").encode(errors="surrogateescape")

    def _long_value(self) -> Iterator[bytes]:
        """Yield the next value as a line, in parts: an array, object or string that may be longer than memory."""
        undecoded, _ = self._decoder.getstate()
        data = self._text[self._place :].encode(errors="surrogateescape") + undecoded
        self._lines_before += self._text.count("\n", 0, self._place)
        self._text, self._place = "", 0
        nesting = _Nesting()
        while not (end := nesting.end_in(data)):
            yield data.translate(_ON_ONE_LINE)
            self._lines_before += data.count(b"\n")
            data = self._stream.read(_READ_BYTES)
            if not data:
                self._fail("the text ends inside the value")
        yield data[:end].translate(_ON_ONE_LINE) + b"\n"
        self._lines_before += data.count(b"\n", 0, end)
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._text = self._decoder.decode(data[end:])
        self._count += 1

    def _fill(self) -> None:
        """Read more text: twice as much if a value exceeds the text, so that long values take linear time."""
        data = self._stream.read(max(_READ_BYTES, len(self._text) - self._place))
        self._lines_before += self._text.count("\n", 0, self._place)
        self._ended = not data
        self._text = self._text[self._place :] + self._decoder.decode(data, self._ended)
        self._place = 0

    def _fail(self, reason: str, position: int | None = None) -> NoReturn:
        """Raise DataError for a position in the text, by default the next character."""
        line = self._lines_before + self._text.count("\n", 0, self._place if position is None else position) + 1
        raise DataError(f"{self._name}:{line}: value {self._count + 1}: broken JSON: {reason}")


class _Nesting:
    """The nesting of brackets and strings, found part by part in the bytes of a JSON text."""

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = False
        self._is_escaped = False

    def end_in(self, data: bytes) -> int:
        """Return the end of the value in its next bytes, or 0 if it does not end there."""
        place = 0
        while place < len(data):
            place = self._after_string(data, place) if self._in_string else self._after_mark(data, place)
            if not self._depth and not self._in_string:
                return place
        return 0

    def _after_string(self, data: bytes, place: int) -> int:
        """Return the place after the next quotation mark in a string, or the end of the bytes."""
        place += self._is_escaped
        quote = data.find(b'"', place)
        text = data[place:quote] if quote >= 0 else data[place:]
        self._is_escaped = (len(text) - len(text.rstrip(b"\\"))) % 2 == 1
        if quote < 0:
            return len(data)
        self._in_string = self._is_escaped
        return quote + (not self._is_escaped)

    def _after_mark(self, data: bytes, place: int) -> int:
        """Return the place after the next bracket or quotation mark outside strings, or the end of the bytes."""
        match = _OUTSIDE_STRINGS.search(data, place)
        if match is None:
            return len(data)
        if match[0] == b'"':
            self._in_string = True
        else:
            self._depth += 1 if match[0] in b"[{" else -1
        return match.end()
