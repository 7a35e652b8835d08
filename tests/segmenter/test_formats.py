"""Outputs of words: any text is restored from spaced text, and offsets index the text."""

import doctest

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from seampack.errors import DataError
from seampack.segmenter import formats
from tests.segmenter.dummy import spans_of

# white space of all kinds, control characters, marks, joiners, emoji with skin tones and flags, several scripts
ODD = " \t\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\u00a0\u2028\u3000\x00\x07\u200b\u200d\ufeff\u0301\u0e48👩🏽🇹🇭研究ไทยab1。"
EVERY_LENGTH_IN_UTF8 = "\x7f\x80\u07ff\u0800\uffff\U00010000"
CHARACTERS = st.one_of(st.sampled_from(ODD), st.characters(exclude_categories=["Cs"], exclude_characters="\n"))
TEXT = st.text(CHARACTERS, max_size=40)
SIZES = st.lists(st.integers(1, 4), min_size=1, max_size=4)


@given(TEXT, SIZES)
@example(" ", [1])
@example("  a \t  b  ", [1])
@example("a\u3000b", [1])
@example("\r", [1])
def test_spaced_text_gives_the_text_back(text: str, sizes: list[int]) -> None:
    found = spans_of([text], sizes)
    line = formats.spaced(text, found.begin.tolist(), found.end.tolist())
    assert formats.unspaced(line) == text
    assert line.split() == found.words([text])[0]


def test_spaced_text_of_several_lines_comes_back_too() -> None:
    assert formats.spaced("ab\n\nc", [0, 1, 4], [1, 2, 5]) == "a b \n\n c"
    assert formats.unspaced("a b \n\n c") == "ab\n\nc"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", ""),
        ("ab", "a b"),
        ("a b", "a   b"),
        (" a", "  a"),
        ("a ", "a  "),
        ("a\r", "a \r"),
        ("   ", "   "),
        ("a\u3000b", "a \u3000 b"),
    ],
)
def test_format_of_spaced_text(text: str, line: str) -> None:
    found = spans_of([text], [1])
    assert formats.spaced(text, found.begin.tolist(), found.end.tolist()) == line


@pytest.mark.parametrize(
    ("line", "where"),
    [("a  b", 2), ("a\tb", 2), ("ab \tc", 3), ("a\t b", 2), (" a", 1), ("\ta", 1), ("a ", 2), ("a\t", 2)],
)
def test_text_that_is_not_spaced_output_is_rejected(line: str, where: int) -> None:
    with pytest.raises(DataError, match=rf"character {where}: expected one space .* got "):
        formats.unspaced(line)


@given(st.lists(TEXT, max_size=5), SIZES)
@example(["", EVERY_LENGTH_IN_UTF8, " a"], [1])
def test_offsets_index_the_text(texts: list[str], sizes: list[int]) -> None:
    found = spans_of(texts, sizes)
    words = found.words(texts)
    for text, its_words, characters, of_bytes in zip(
        texts, words, formats.character_offsets(found), formats.byte_offsets(texts, found), strict=True
    ):
        assert [text[b:e] for b, e in characters] == its_words
        assert [text.encode()[b:e].decode() for b, e in of_bytes] == its_words
        assert "".join(its_words) == "".join(text.split())


@given(st.lists(st.none() | TEXT, max_size=5), SIZES)
def test_arrow_columns_hold_the_same(texts: list[str | None], sizes: list[int]) -> None:
    known = [text or "" for text in texts]
    found = spans_of(known, sizes)
    missing = np.array([text is None for text in texts], np.bool_)

    def with_nulls(values: list[list[object]]) -> list[list[object] | None]:
        return [None if text is None else value for text, value in zip(texts, values, strict=True)]

    words = formats.words_array(known, found, missing)
    words.validate(full=True)
    assert words.type == pa.list_(pa.string())
    assert words.to_pylist() == with_nulls(found.words(known))  # type: ignore[arg-type]
    pairs = formats.offsets_array(found.begin, found.end, found.offsets, missing)
    pairs.validate(full=True)
    as_pairs = [None if row is None else [(pair["begin"], pair["end"]) for pair in row] for row in pairs.to_pylist()]
    assert as_pairs == with_nulls(formats.character_offsets(found))  # type: ignore[arg-type]


def test_docstrings() -> None:
    result = doctest.testmod(formats)
    assert result.attempted
    assert not result.failed
