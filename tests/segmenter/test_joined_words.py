"""Neighbouring words that a lexicon counts as one."""

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from seampack.segmenter.config import LexiconConfig
from seampack.segmenter.joined_words import association, joined_counts, sequences
from seampack.segmenter.lexicon_counts import build_lexicon
from seampack.segmenter.model import Segmenter
from seampack.segmenter.spans import Spans
from seampack.segmenter.units import Alphabet
from tests.segmenter import tiny

ALPHABET = Alphabet("zh")


@given(st.lists(st.text("研究生命a1， ", max_size=10), max_size=4), st.data())
def test_sequences_are_words_in_a_row(texts: list[str], data: st.DataObject) -> None:
    units, starts = ALPHABET.units(texts)
    ends = np.array(data.draw(st.lists(st.integers(0, 1), min_size=units.key.size, max_size=units.key.size)), np.uint8)
    ends[units.forced_ends] = 1
    spans = Spans.of_ends(ends, units, starts)
    expected: list[tuple[str, ...]] = []
    for text, (begins, stops) in zip(texts, spans.per_text(), strict=True):
        for first in range(len(begins)):
            for count in (2, 3):
                last = first + count
                if last <= len(begins) and begins[first + 1 : last] == stops[first : last - 1]:
                    words = [text[begins[word] : stops[word]] for word in range(first, last)]
                    if all(word[0] in "研究生命" for word in words):
                        expected.append(tuple(words))
    assert list(sequences(texts, spans, ALPHABET)) == expected


def slow_joined(words: list[str], least: float) -> Counter[str]:
    """The joined words of a text, by the definition."""

    def share(row: tuple[str, ...]) -> float:
        size = len(row)
        return sum(tuple(words[at : at + size]) == row for at in range(len(words) - size + 1)) / len(words)

    def is_one(row: tuple[str, ...]) -> bool:
        cuts = [(row[:at], row[at:]) for at in range(1, len(row))]
        return all(math.log(share(row) / share(a) / share(b)) / -math.log(share(row)) >= least for a, b in cuts)

    rows = [tuple(words[at : at + size]) for size in (2, 3) for at in range(len(words) - size + 1)]
    return Counter("".join(row) for row in rows if share(row) * len(words) > 4.5 and is_one(row))


@given(st.lists(st.sampled_from(["a b c", "d e", "a", "b", "c", "f"]), min_size=9, max_size=40), st.floats(-0.5, 0.95))
def test_words_are_joined_by_the_definition(parts: list[str], least: float) -> None:
    words = " ".join(parts).split()
    rows = Counter(row for size in (2, 3) for row in zip(*(words[at:] for at in range(size)), strict=False))
    assert joined_counts(Counter(words), rows, least) == slow_joined(words, least + 1e-12) or (
        joined_counts(Counter(words), rows, least) == slow_joined(words, least - 1e-12)
    )


def test_words_that_only_occur_together_are_joined() -> None:
    found = {"แค": 10, "ปิ": 10, "ตอล": 10, "ใน": 500, "การ": 480}
    rows = {("แค", "ปิ"): 10, ("ปิ", "ตอล"): 10, ("แค", "ปิ", "ตอล"): 10, ("ใน", "การ"): 240, ("ปิ", "ใน"): 4}
    assert association(10, 10, 10, 1010) == pytest.approx(1)
    assert joined_counts(found, rows, 0.5) == {"แคปิ": 10, "ปิตอล": 10, "แคปิตอล": 10}
    assert joined_counts(found, rows, 0) == {"แคปิ": 10, "ปิตอล": 10, "แคปิตอล": 10, "ในการ": 240}


def test_a_lexicon_with_joined_words_finds_them(tmp_path: Path) -> None:
    cutting = Segmenter.load(tiny.save(tmp_path / "m", end_bias=1e4))
    words = np.random.default_rng(0).choice(["学习", "机器", "的", "是", "在", "我"], 600)
    texts = ["".join(words)]
    for join, count, found in ((None, 8, ["学", "习", "机", "器"]), (0.5, 10, ["学习", "机器"])):
        folder = tmp_path / f"join {join}"
        assert build_lexicon(cutting, [texts], folder, LexiconConfig(join=join))["lexicon"]["words"] == count
        arrays = load_file(folder / "student.safetensors")
        undecided = {**arrays, "output": np.zeros_like(arrays["output"])}
        save_file(undecided, folder / "student.safetensors")
        assert Segmenter.load(folder).segment(["学习机器"]) == [found]
