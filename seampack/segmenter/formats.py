r"""Outputs built from the spans of words: spaced text that can be restored, offsets, Arrow columns.

Spaced text has one space between neighbouring items, which are the words and the runs of white space of the text:

    >>> spaced("研究生命 的起源", [0, 2, 5, 6], [2, 4, 6, 8])
    '研究 生命   的 起源'
    >>> unspaced('研究 生命   的 起源')
    '研究生命 的起源'
"""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from seampack.errors import DataError
from seampack.io.ragged import lengths_of, offsets_of
from seampack.segmenter.spans import Spans

Offsets = npt.NDArray[np.int64]
_SPACE = re.compile(r"\s+")  # the same characters as str.isspace
_RUNS = re.compile(r"\s+|\S+")


def spaced(text: str, begin: Sequence[int], end: Sequence[int]) -> str:
    """Return the text with its words and its runs of white space joined by single spaces.

    The words must be in order and cover all characters except white space and zero-width spaces. ``unspaced`` restores
    the text.
    """
    pieces = []
    position = 0
    for b, e in zip(begin, end, strict=True):
        if b > position:
            pieces += _RUNS.findall(text, position, b)
        pieces.append(text[b:e])
        position = e
    pieces += _RUNS.findall(text, position)
    return " ".join(pieces)


def unspaced(line: str) -> str:
    """Restore the text of a line written by ``spaced``.

    A single space between two words is removed; a longer run loses its first and last space. A run at the begin of the
    line loses its last space, a run at the end its first. Raises DataError if ``spaced`` cannot have written the line.
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
            f"character {run.start() + 1}: expected one space between two words, or white space of the text with one "
            f"space on each side; got {white!r}; only the output of seampack segment apply can be restored"
        )
    return inside


def spaced_texts(texts: Sequence[str], spans: Spans) -> list[str]:
    """Return each text as spaced text."""
    return [spaced(text, begin, end) for text, (begin, end) in zip(texts, spans.per_text(), strict=True)]


def character_offsets(spans: Spans) -> list[list[tuple[int, int]]]:
    """Return the begin and end of each text's words, in code points of the text."""
    return [list(zip(begin, end, strict=True)) for begin, end in spans.per_text()]


def byte_spans(texts: Sequence[str], spans: Spans) -> tuple[Offsets, Offsets]:
    """Return the begins and the ends of all words, in bytes of their text as UTF-8; same order as ``spans``."""
    starts, first_bytes = _utf8(texts)
    text_start = np.repeat(starts[:-1], np.diff(spans.offsets))  # shape (words,)
    text_byte = first_bytes[text_start]
    return first_bytes[text_start + spans.begin] - text_byte, first_bytes[text_start + spans.end] - text_byte


def byte_offsets(texts: Sequence[str], spans: Spans) -> list[list[tuple[int, int]]]:
    """Return the begin and end of each text's words, in bytes of the text as UTF-8."""
    begin, end = (column.tolist() for column in byte_spans(texts, spans))
    offsets = spans.offsets.tolist()
    return [list(zip(begin[a:b], end[a:b], strict=True)) for a, b in pairwise(offsets)]


def _utf8(texts: Sequence[str]) -> tuple[Offsets, Offsets]:
    """Return the first code point of each text, (texts + 1,), and the first byte of each code point, (points + 1,).

    Both count in the concatenated texts.
    """
    starts = offsets_of(lengths_of(texts))
    points = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), np.uint32)
    return starts, offsets_of(1 + (points >= 0x80) + (points >= 0x800) + (points >= 0x10000))


def words_array(texts: Sequence[str], spans: Spans, missing: npt.NDArray[np.bool_] | None = None) -> pa.ListArray:
    """Return an Arrow column: a list of words for each text, null where ``missing``."""
    starts, first_bytes = _utf8(texts)
    text_start = np.repeat(starts[:-1], np.diff(spans.offsets))  # shape (words,)
    begin, end = first_bytes[text_start + spans.begin], first_bytes[text_start + spans.end]
    inside = np.zeros(first_bytes[-1] + 1, np.int8)  # bytes of words are copied, white space is not
    np.add.at(inside, begin, 1)
    np.add.at(inside, end, -1)
    data = np.frombuffer("".join(texts).encode(), np.uint8)[np.cumsum(inside[:-1], dtype=np.int8).astype(np.bool_)]
    words = pa.LargeStringArray.from_buffers(begin.size, pa.py_buffer(offsets_of(end - begin)), pa.py_buffer(data))
    return _list_array(words.cast(pa.string()), spans.offsets, missing)


def offsets_array(
    begin: Offsets, end: Offsets, offsets: Offsets, missing: npt.NDArray[np.bool_] | None = None
) -> pa.ListArray:
    """Return an Arrow column: a list of ``{begin, end}`` for each text, null where ``missing``."""
    pairs = pa.StructArray.from_arrays([pa.array(begin), pa.array(end)], ["begin", "end"])
    return _list_array(pairs, offsets, missing)


def _list_array(values: Any, offsets: Offsets, missing: npt.NDArray[np.bool_] | None) -> pa.ListArray:
    mask = None if missing is None or not missing.any() else pa.array(missing)
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), values, mask=mask)
