"""JSON arrays and JSON over several lines, converted to JSON lines, so that readers only handle JSON lines."""

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any, NoReturn

from seampack.errors import DataError

_READ_BYTES = 1 << 20
_TAIL = 16
"""Characters at the end of the text read so far, whose meaning may depend on the next characters."""
# numbers stay text: only the ends of values matter here, and int() refuses very long numbers
DECODER = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str)
_SPACE = re.compile(r"[ \t\r\n]*")
_LINE_ENDS = re.compile(r"[\r\n]+")


class JsonLines:
    """A stream of JSON values, or one array of them, read as lines: one value per line, spelled as in the text.

    Memory use depends on the longest value, not on the input. Raises DataError for text that is not JSON; the message
    names the input, the line, and the number of the value, both from 1.
    """

    def __init__(self, stream: Any, name: str) -> None:
        self._stream = stream
        self._name = name
        # invalid UTF-8 passes through, so that the reader of the lines reports it
        self._decode = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape").decode
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
                yield self._value()
            return
        self._place += 1
        closed = self._next_character() == "]"
        while not closed:
            yield self._value()
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

    def _value(self) -> bytes:
        """Read the next value and return it as a line."""
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
            self._fill()
        value = self._text[self._place : end]
        self._place = end
        self._count += 1
        return (_LINE_ENDS.sub(" ", value) + "\n").encode(errors="surrogateescape")

    def _fill(self) -> None:
        """Read more text: twice as much if a value exceeds the text, so that long values take linear time."""
        data = self._stream.read(max(_READ_BYTES, len(self._text) - self._place))
        self._lines_before += self._text.count("\n", 0, self._place)
        self._ended = not data
        self._text = self._text[self._place :] + self._decode(data, self._ended)
        self._place = 0

    def _fail(self, reason: str, position: int | None = None) -> NoReturn:
        """Raise DataError for a position in the text, by default the next character."""
        line = self._lines_before + self._text.count("\n", 0, self._place if position is None else position) + 1
        raise DataError(f"{self._name}:{line}: value {self._count + 1}: broken JSON: {reason}")
