"""Words that a lexicon counts as their two parts."""

import math
from collections import Counter
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from seampack.segmenter.config import LexiconConfig
from seampack.segmenter.lexicon_counts import build_lexicon
from seampack.segmenter.model import Segmenter
from seampack.segmenter.split_words import split_counts
from seampack.segmenter.units import Alphabet
from tests.segmenter import tiny


def slow_split(found: dict[str, int], least: float) -> Counter[str]:
    """The counts by the definition, for words whose characters are their units."""
    running = [word for word, count in found.items() for _ in range(count)]
    counts = Counter(running)
    for length in range(max(map(len, running)), 1, -1):
        for word in [word for word in found if len(word) == length]:
            apart = []
            for at in range(1, length):
                one, other = word[:at], word[at:]
                if one in found and other in found:
                    share = running.count(word) / len(running)
                    begins = sum(each.startswith(one) for each in running) / len(running)
                    ends = sum(each.endswith(other) for each in running) / len(running)
                    apart.append((math.log(share / begins / ends) / -math.log(share), one, other))
            if apart and min(apart)[0] < least:
                count = counts.pop(word)
                for part in min(apart)[1:]:
                    counts[part] += count
    return counts


@given(st.dictionaries(st.text("研究生", min_size=1, max_size=4), st.integers(1, 6), min_size=1), st.floats(-1, 1))
def test_words_are_split_by_the_definition(found: dict[str, int], least: float) -> None:
    counts = split_counts(found, Alphabet("zh"), least)
    assert counts in [slow_split(found, least + 1e-9), slow_split(found, least - 1e-9)]
    assert sum(len(word) * count for word, count in counts.items()) == sum(
        len(word) * count for word, count in found.items()
    )


def test_frequent_neighbours_are_split_and_words_are_not() -> None:
    found = {"で": 300, "は": 300, "では": 100, "に": 200, "には": 60, "学": 2, "校": 2, "学校": 50}
    assert split_counts(found, Alphabet("ja-runs"), 0.2) == {
        "で": 400,
        "は": 460,
        "に": 260,
        "学": 2,
        "校": 2,
        "学校": 50,
    }


def test_words_are_cut_between_units_only() -> None:
    found = {"しょ": 5, "し": 50, "ょ": 50, "しょう": 9, "う": 50}
    assert split_counts(found, Alphabet("ja-runs"), 1) == {"し": 50, "ょ": 50, "しょ": 14, "う": 59}


def test_a_lexicon_with_split_words_lacks_them(tmp_path: Path) -> None:
    joining = Segmenter.load(tiny.save(tmp_path / "m", end_bias=-1e4))
    words = np.random.default_rng(0).choice(["学", "习", "学习", "机", "机学"], 600)
    texts = ["。".join(words)]
    for split, left in ((None, 5), (1, 3)):
        folder = tmp_path / f"split {split}"
        config = LexiconConfig(split=split, lexicon=False)
        assert build_lexicon(joining, [texts], folder, config)["lexicon"]["words"] == left
