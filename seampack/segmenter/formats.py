r"""From the words' offsets to outputs: spaced text that can be restored, lists of words, offsets, Arrow columns.

Spaced text has one space between two neighbours, where each run of white space of the text is a neighbour too:

    >>> spaced("研究生命 的起源", [0, 2, 5, 6], [2, 4, 6, 8])
    '研究 生命   的 起源'
    >>> unspaced('研究 生命   的 起源')
    '研究生命 的起源'
"""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from seampack.errors import DataError

Offsets = npt.NDArray[np.int64]
_SPACE = re.compile(r"\s+")  # the same characters as str.isspace


class Spans(Protocol):
    """Words of some texts, one text behind the other; see ``seampack.segmenter.model.Spans``."""

    @property
    def begin(self) -> Offsets: ...  # noqa: D102
    @property
    def end(self) -> Offsets: ...  # noqa: D102
    @property
    def offsets(self) -> Offsets: ...  # noqa: D102


def spaced(text: str, begin: Sequence[int], end: Sequence[int]) -> str:
    """A text with its words, and its runs of white space, joined by single spaces; ``unspaced`` gives it back.

    Takes words that hold no white space and leave out nothing else, in order.
    """
    pieces = []
    at = 0
    for b, e in zip(begin, end, strict=True):
        if b > at:
            pieces.append(text[at:b])
        pieces.append(text[b:e])
        at = e
    if at < len(text):
        pieces.append(text[at:])
    return " ".join(pieces)


def unspaced(line: str) -> str:
    """The text of which ``spaced`` made this line.

    Between two words one space alone stands for nothing, and a longer run for what is inside its first and last space;
    in front the last, at the end the first space goes away. Raises DataError for what ``spaced`` cannot have made.
    """
    return _SPACE.sub(_original, line)


def _original(run: re.Match[str]) -> str:
    white = run[0]
    if white == " " and run.start() > 0 and run.end() < len(run.string):
        return ""
    first = 0 if run.start() == 0 else 1
    last = len(white) - (run.end() < len(run.string))
    if first == 0 and last == len(white):
        return white
    inside = white[first:last]
    if not inside or (first == 1 and white[0] != " ") or (last < len(white) and white[-1] != " "):
        raise DataError(
            f"character {run.start() + 1}: expected one space between two words, or white space of the text with a "
            f"space between it and each word; got {white!r}; only text that seampack spaced can be restored"
        )
    return inside


def per_text(spans: Spans) -> Iterator[tuple[list[int], list[int]]]:
    """Begins and ends of each text's words."""
    begin, end, offsets = spans.begin.tolist(), spans.end.tolist(), spans.offsets.tolist()
    for first, last in pairwise(offsets):
        yield begin[first:last], end[first:last]


def spaced_texts(texts: Sequence[str], spans: Spans) -> list[str]:
    """``spaced`` of each text."""
    return [spaced(text, begin, end) for text, (begin, end) in zip(texts, per_text(spans), strict=True)]


def word_lists(texts: Sequence[str], spans: Spans) -> list[list[str]]:
    """The words of each text."""
    return [
        [text[b:e] for b, e in zip(begin, end, strict=True)]
        for text, (begin, end) in zip(texts, per_text(spans), strict=True)
    ]


def character_offsets(spans: Spans) -> list[list[tuple[int, int]]]:
    """Begin and end of each text's words, in code points of the text."""
    return [list(zip(begin, end, strict=True)) for begin, end in per_text(spans)]


def byte_spans(texts: Sequence[str], spans: Spans) -> tuple[Offsets, Offsets]:
    """Begin and end of all words in bytes of their own text as UTF-8; same order as ``spans``."""
    starts, at = _utf8(texts)
    base = np.repeat(starts[:-1], np.diff(spans.offsets))
    first = at[base]
    return at[base + spans.begin] - first, at[base + spans.end] - first


def byte_offsets(texts: Sequence[str], spans: Spans) -> list[list[tuple[int, int]]]:
    """Begin and end of each text's words, in bytes of the text as UTF-8."""
    begin, end = (column.tolist() for column in byte_spans(texts, spans))
    offsets = spans.offsets.tolist()
    return [list(zip(begin[a:b], end[a:b], strict=True)) for a, b in pairwise(offsets)]


def _utf8(texts: Sequence[str]) -> tuple[Offsets, Offsets]:
    """First code point of each text in all of them joined, and first byte of each code point; both with an end."""
    starts = np.zeros(len(texts) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)), out=starts[1:])
    points = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), np.uint32)
    at = np.zeros(points.size + 1, np.int64)
    np.cumsum(1 + (points >= 0x80) + (points >= 0x800) + (points >= 0x10000), out=at[1:])
    return starts, at


def words_array(texts: Sequence[str], spans: Spans, missing: npt.NDArray[np.bool_] | None = None) -> pa.ListArray:
    """An Arrow column: a list of words for each text, null where ``missing``."""
    starts, at = _utf8(texts)
    base = np.repeat(starts[:-1], np.diff(spans.offsets))
    begin, end = at[base + spans.begin], at[base + spans.end]
    inside = np.zeros(at[-1] + 1, np.int8)  # bytes of words are copied, white space is not
    np.add.at(inside, begin, 1)
    np.add.at(inside, end, -1)
    data = np.frombuffer("".join(texts).encode(), np.uint8)[np.cumsum(inside[:-1], dtype=np.int8).astype(np.bool_)]
    ends = np.zeros(begin.size + 1, np.int64)
    np.cumsum(end - begin, out=ends[1:])
    words = pa.LargeStringArray.from_buffers(begin.size, pa.py_buffer(ends), pa.py_buffer(data))
    return _lists(words.cast(pa.string()), spans.offsets, missing)


def offsets_array(
    begin: Offsets, end: Offsets, offsets: Offsets, missing: npt.NDArray[np.bool_] | None = None
) -> pa.ListArray:
    """An Arrow column: a list of ``{begin, end}`` for each text, null where ``missing``."""
    pairs = pa.StructArray.from_arrays([pa.array(begin), pa.array(end)], ["begin", "end"])
    return _lists(pairs, offsets, missing)


def _lists(values: Any, offsets: Offsets, missing: npt.NDArray[np.bool_] | None) -> pa.ListArray:
    mask = None if missing is None or not missing.any() else pa.array(missing)
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), values, mask=mask)
