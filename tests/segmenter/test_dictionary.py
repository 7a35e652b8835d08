"""The user's dictionary against regular expressions, which are simple and slow."""

import dataclasses
import re
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from seampack.errors import DataError
from seampack.segmenter.dictionary import Dictionary
from seampack.segmenter.scripts import HanForm
from seampack.segmenter.units import Alphabet, Units

LETTERS = "研究生命12。a\u0301 ^-]\\["


def matches(dictionary: Dictionary, text: str) -> list[tuple[int, str]]:
    pattern = "|".join(re.escape(entry) for entry in sorted(dictionary.entries, key=len, reverse=True))
    return [(match.start(), match.group()) for match in re.finditer(pattern, text)]


def one_by_one(dictionary: Dictionary, texts: list[str], units: Units, starts: np.ndarray, ends: np.ndarray) -> None:
    """Apply entry by entry: remove all ends inside, then add ends before the entry, at its cuts, and after it."""
    for text, start in zip(texts, starts.tolist(), strict=False):
        for at, entry in matches(dictionary, text):
            stop = start + at + len(entry)
            ends[(units.begin >= start + at) & (units.begin < stop)] = 0
            for cut in [0, *dictionary.entries[entry], len(entry)]:
                before = np.flatnonzero(units.end <= start + at + cut)
                if before.size:
                    ends[before[-1]] = 1


@pytest.mark.filterwarnings("ignore:the dictionary has jieba's format")
@given(
    st.lists(st.text(LETTERS, min_size=1, max_size=5).filter(str.strip), min_size=1, max_size=8),
    st.lists(st.text(LETTERS, max_size=15), max_size=3),
    st.data(),
)
def test_entries_hold_as_regular_expressions_find_them(lines: list[str], texts: list[str], data: st.DataObject) -> None:
    try:
        dictionary = Dictionary.of(lines)
    except DataError:  # entries that contradict each other
        reject()
    for text in texts:
        assert list(dictionary.find(text)) == matches(dictionary, text)
    units, starts = Alphabet("zh").units(texts)
    size = units.key.size
    ends = np.array(data.draw(st.lists(st.integers(0, 1), min_size=size, max_size=size)), np.uint8)
    expected = ends.copy()
    one_by_one(dictionary, texts, units, starts, expected)
    dictionary.apply(texts, units, starts, ends)
    assert ends.tolist() == expected.tolist()


def test_entries_are_found_in_the_form_of_the_segmenter() -> None:
    dictionary = Dictionary.of(["语言 处理", "愛"])
    assert list(dictionary.in_form(HanForm.SIMPLIFIED).find("愛语言")) == []
    for form, text in (
        (HanForm.SIMPLIFIED, "我愛語言處理"),
        (HanForm.TRADITIONAL, "我爱语言处理"),
        (None, "我愛语言处理"),
    ):
        units, starts = Alphabet("zh").units(["好", text])
        ends = np.zeros(units.key.size, np.uint8)
        dictionary.apply(["好", text], units, starts, ends, form)
        assert ends.tolist() == [0, 1, 1, 0, 1, 0, 1]
    assert dictionary.in_form(HanForm.SIMPLIFIED) is dictionary.in_form(HanForm.SIMPLIFIED)
    with pytest.raises(DataError, match=r"cuts '語言處理' differently .* both in their simplified form; remove one"):
        Dictionary.of(["语言 处理", "語言處理"]).in_form(HanForm.SIMPLIFIED)


def test_many_entries_are_not_slow() -> None:
    rng = np.random.default_rng(0)
    characters = np.array([chr(0x4E00 + k) for k in range(3000)])
    dictionary = Dictionary.of(["".join(rng.choice(characters, 3)) for _ in range(50_000)])
    text = "".join(rng.choice(characters, 100_000))
    started = time.process_time()
    list(dictionary.find(text))
    assert time.process_time() - started < 2  # a search for each entry would take minutes


def test_few_entries_cost_little() -> None:
    """Only the places where an entry may begin are looked up."""

    class Lengths(dict[str, tuple[int, ...]]):
        looked_up = 0

        def get(self, *arguments: Any) -> Any:
            Lengths.looked_up += 1
            return super().get(*arguments)

    dictionary = Dictionary.of(["研究生"])
    dictionary = dataclasses.replace(dictionary, lengths=Lengths(dictionary.lengths))
    assert list(dictionary.find("生命的起源" * 1000 + "研究生" + "研究的" * 3)) == [(5000, "研究生")]
    assert Lengths.looked_up == 4


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_bytes("\ufeff研究生\r\n\r\n研究 生命\n".encode())
    assert Dictionary.load(path).entries == {"研究生": [], "研究生命": [2]}
    path.write_bytes(b"\n \n")
    with pytest.raises(DataError, match=r"words\.txt: the dictionary has no entry; expected one per line"):
        Dictionary.load(path)
    path.write_bytes(b"a\nb\xff\n")
    with pytest.raises(DataError, match=r"words\.txt:2: invalid UTF-8 at byte 2 \(0xff\); convert the text to UTF-8$"):
        Dictionary.load(path)
    path.write_text("研究生\n", "utf-16")
    with pytest.raises(DataError, match=r"words\.txt: UTF-16 text; expected UTF-8; convert it: iconv -f UTF-16"):
        Dictionary.load(path)
    with pytest.raises(DataError, match=r"none\.txt: no such file; expected a dictionary, one entry per line$"):
        Dictionary.load(tmp_path / "none.txt")


@pytest.mark.parametrize(
    "lines", [["云计算 5 n", "创新办 3", "台中"], ["云计算\t5\tnz"], ["", "创新办 3 i ", "easy_install 3 eng"]]
)
def test_jieba_lines_give_the_word_alone(lines: list[str]) -> None:
    with pytest.warns(UserWarning, match="jieba's format; frequencies and tags are ignored") as caught:
        dictionary = Dictionary.of(lines)
    assert len(caught) == 1
    assert dictionary.entries == {line.split()[0]: [] for line in lines if line}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            ["台中", "云计算 n"],
            r"line 2: '云计算 n' is either 2 words, or one word with its frequency or tag .*no freq",
        ),
        (["北京 大学", "云计算 5 n"], r"line 2: '云计算 5 n' is either 3 words, .*words with spaces"),
        (
            ["北京 大学", "", "北京大 学"],
            r"lines 1 and 3: two entries cut '北京大学' differently: '北京 大学' and '北京大 学'",
        ),
        (["北京大学", "北京 大学"], r"lines 1 and 2: .*remove one"),
    ],
)
def test_unclear_and_contradicting_entries_are_refused(lines: list[str], message: str, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("\n".join(lines), "utf-8")
    with pytest.raises(DataError, match=rf"words\.txt: {message}"):
        Dictionary.load(tmp_path / "words.txt")


def test_entries_with_numbers_and_repeated_entries() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Dictionary.of(["第 3 名", "北京 大学", "北京  大学"]).entries == {"第3名": [1, 2], "北京大学": [2]}
