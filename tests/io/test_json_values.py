"""JSON of any layout as lines, against ``json.loads`` of the whole text."""

import io
import json
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seampack.errors import DataError
from seampack.io import json_values
from seampack.io.json_values import JsonLines

scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=9))
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner))


def read(text: bytes, size: int = 1 << 20, block: int = 1 << 20, long: int = 16) -> bytes:
    with mock.patch.object(json_values, "_READ_BYTES", block), mock.patch.object(json_values, "_LONG", long):
        stream = JsonLines(io.BytesIO(text), "a.json")
        parts = []
        while part := stream.read(size):
            assert len(part) <= size
            parts.append(part)
    return b"".join(parts)


@given(
    st.lists(values, max_size=6),
    st.sampled_from([None, 1]),
    st.booleans(),
    st.booleans(),
    st.integers(1, 20),
    st.integers(1, 9),
    st.sampled_from([1, 16]),
)
def test_each_value_is_a_line(
    items: list[Any], indent: int | None, ascii_only: bool, in_array: bool, size: int, block: int, long: int
) -> None:
    written = [json.dumps(item, indent=indent, ensure_ascii=ascii_only) for item in items]
    if in_array:
        text = f"\n[{' ,'.join(written)} ]\n"
    else:
        text = "\n".join(written)
        if written and written[0].startswith("["):  # a leading array would be read as the list of values
            return
    lines = read(text.encode(errors="surrogatepass"), size, block, long)
    assert lines.count(b"\n") == len(items)
    assert [json.loads(line) for line in lines.splitlines()] == items


def test_long_numbers_and_invalid_utf8_pass_unchanged() -> None:
    digits = b"9" * 10_000
    assert read(b"[" + digits + b"]") == digits + b"\n"
    assert read(b'{"a":\n"\xff"}') == b'{"a": "\xff"}\n'
    assert read(b"\xef\xbb\xbf[1]") == b"1\n"


@given(st.lists(st.sampled_from(['"', "\\", "[", "}", "a", "é", "😀"]), max_size=12), st.integers(1, 5))
def test_strings_of_long_values_hide_brackets_and_escapes(characters: list[str], block: int) -> None:
    items = ["".join(characters), {"".join(characters): [{}]}, 1]
    text = json.dumps(items, ensure_ascii=False, indent=1).encode()
    assert [json.loads(line) for line in read(text, 7, block, 1).splitlines()] == items


def test_a_long_value_that_does_not_end() -> None:
    with pytest.raises(DataError, match="value 1: broken JSON: the text ends inside the value"):
        read(b'[{"a": "' + b"b" * 100, block=4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'[{"a": 1}', "1: value 2: broken JSON: expected , or ] after the value; got the end of the text"),
        (b'[{"a": 1} {"a": 2}]', "1: value 2: broken JSON: expected , or ] after the value; got {"),
        (b'[{"a": 1},]', "1: value 2: broken JSON: Expecting value"),
        (b'[\n {"a":\n  1},\n {"b" 2}\n]', "4: value 2: broken JSON: Expecting ':' delimiter"),
        (b"[1] x", "1: value 2: broken JSON: expected the end of the text after the array; got x"),
        (b'{"a": 1}\n{"a": ', "2: value 2: broken JSON: Expecting value"),
        (b'{\n"a": "b', "2: value 1: broken JSON: Unterminated string starting at"),
        (b'{\n"a": ' + b"[" * 200_000, "1: value 1: broken JSON: nested too deep"),
    ],
)
def test_broken_text_names_the_line_and_the_value(text: bytes, message: str) -> None:
    for size in (1, 5, 1 << 20):
        with mock.patch.object(json_values, "_READ_BYTES", size), pytest.raises(DataError) as error:
            read(text)
        assert str(error.value) == f"a.json:{message}"


def test_an_error_is_found_without_reading_the_rest() -> None:
    stream = io.BytesIO(b'{"a" 1}' + b" " * 10_000)
    with mock.patch.object(json_values, "_READ_BYTES", 100), pytest.raises(DataError):
        JsonLines(stream, "a.json").read(1)
    assert stream.tell() == 100
