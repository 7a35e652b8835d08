"""Units cover every character except white space, in order."""

import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seampack.errors import ConfigError
from seampack.segmenter import _unit_kernels as kernels
from seampack.segmenter._unit_kernels import KIND_LETTERS, KIND_NUMBER, KIND_OTHER, KIND_SCRIPT
from seampack.segmenter.units import Alphabet, Units

ALPHABETS = {script: Alphabet(script) for script in ("zh", "ja", "th", "latin", "symbols", "a-cß")}
TEXT = st.text(
    st.one_of(st.characters(), st.sampled_from("研究生命abc 12.3ก็้ำ\u200d\u200b\ufeff👩👍🏽🇩🇪é\u0301\t\n。，")),
    max_size=30,
)


def is_space(character: str) -> bool:
    return character.isspace() or character in "\u200b\ufeff"


def pieces(text: str, script: str = "zh") -> list[tuple[str, int]]:
    units, _ = ALPHABETS[script].units([text])
    return [(text[b:e], int(k)) for b, e, k in zip(units.begin, units.end, units.kind, strict=True)]


@given(st.lists(TEXT, max_size=4), st.sampled_from(sorted(ALPHABETS)))
def test_units_cover_all_but_white_space(texts: list[str], script: str) -> None:
    units, starts = ALPHABETS[script].units(texts)
    joined = "".join(texts)
    covered = np.zeros(len(joined), int)
    for begin, end in zip(units.begin, units.end, strict=True):
        assert begin < end
        covered[begin:end] += 1
    assert covered.tolist() == [int(not is_space(c)) for c in joined]
    assert np.all(units.begin[1:] >= units.end[:-1])
    for t, text in enumerate(texts):
        mine = slice(units.offsets[t], units.offsets[t + 1])
        assert all(
            starts[t] <= b and e <= starts[t + 1] for b, e in zip(units.begin[mine], units.end[mine], strict=True)
        )
        for unit in range(mine.start, mine.stop):
            at = int(units.begin[unit] - starts[t])
            assert units.spaced[unit] == (at == 0 or is_space(text[at - 1]))


def test_kinds() -> None:
    assert pieces("研究12.5米A座 ok?") == [
        ("研", KIND_SCRIPT),
        ("究", KIND_SCRIPT),
        ("12.5", KIND_NUMBER),
        ("米", KIND_SCRIPT),
        ("A", KIND_LETTERS),
        ("座", KIND_SCRIPT),
        ("ok", KIND_LETTERS),
        ("?", KIND_OTHER),
    ]
    assert pieces("12. 5") == [("12", KIND_NUMBER), (".", KIND_OTHER), ("5", KIND_NUMBER)]


def test_marks_stay_with_their_character() -> None:
    assert [text for text, _ in pieces("น้ำที่", "th")] == ["น้", "ำ", "ที่"]
    assert [text for text, _ in pieces("e\u0301a", "latin")] == ["e\u0301", "a"]
    assert [text for text, _ in pieces("👩\u200d👧👍🏽🇩🇪❤\ufe0f")] == ["👩\u200d👧", "👍🏽", "🇩🇪", "❤\ufe0f"]


def bonded(texts: list[str]) -> list[list[str]]:
    """The texts, cut after each unit at which a word may end."""
    units, starts = ALPHABETS["th"].units(texts)
    begin, end, offsets = kernels.find_words(
        1 - units.bonds, units.begin, units.end, units.spaced, units.offsets, starts
    )
    spans = list(zip(begin.tolist(), end.tolist(), strict=True))
    return [[t[b:e] for b, e in spans[a:z]] for t, a, z in zip(texts, offsets[:-1], offsets[1:], strict=True)]


def test_thai_spelling_bonds_units() -> None:
    assert bonded(["มานะ", "เงิน", "ศุกร์", "สัตว์", "มือ", "พันธุ์"]) == [
        ["มา", "นะ"],
        ["เงิ", "น"],
        ["ศุ", "กร์"],
        ["สัตว์"],
        ["มือ"],
        ["พันธุ์"],
    ]
    assert bonded(["ไ ป", "แ", "2า", "กa์", "", "า"]) == [["ไ", "ป"], ["แ"], ["2", "า"], ["ก", "a์"], [], ["า"]]


@given(st.lists(st.text("กขเไะาำๅัืิุ่้์ 2a", max_size=12), max_size=3))
def test_bonds_are_as_a_pattern_finds_them(texts: list[str]) -> None:
    units, starts = ALPHABETS["th"].units(texts)
    joined = "".join(texts)
    at = np.searchsorted(starts, units.begin, side="right") - 1
    for unit in range(units.key.size - 1):
        inside = at[unit] == at[unit + 1] and not units.spaced[unit + 1]
        of_script = units.kind[unit] == units.kind[unit + 1] == KIND_SCRIPT
        one, other = (joined[units.begin[u] : units.end[u]] for u in (unit, unit + 1))
        bound = one[0] in "เแโใไ" or other[0] in "ะาำๅ" or "์" in other[1:] or {*one[1:]} & {"ั", "ื"}
        assert units.bonds[unit] == (inside and of_script and bool(bound))


def test_keys_tell_equal_units() -> None:
    units, _ = ALPHABETS["zh"].units(["研究研12研7"])
    keys = units.key.tolist()
    assert keys[0] == keys[2] == keys[4] != keys[1]
    assert keys[3] == keys[5]


def test_words() -> None:
    text = "研究 生命"
    units, starts = ALPHABETS["zh"].units([text, "", "起源"])
    ends = np.array([1, 0, 0, 1, 0, 1], np.uint8)
    begin, end, offsets = kernels.find_words(ends, units.begin, units.end, units.spaced, units.offsets, starts)
    assert offsets.tolist() == [0, 3, 3, 4]
    assert [text[b:e] for b, e in zip(begin[:3], end[:3], strict=True)] == ["研", "究", "生命"]
    assert isinstance(units, Units)


def test_a_script_given_by_its_characters() -> None:
    assert [kind for _, kind in pieces("abß d", "a-cß")] == [KIND_SCRIPT, KIND_SCRIPT, KIND_SCRIPT, KIND_LETTERS]
    assert all(unicodedata.category(c)[0] == "L" for c in "abßd")
    with pytest.raises(ConfigError, match="the range z-a runs backwards"):
        Alphabet("z-a")
    with pytest.raises(ConfigError, match="expected zh, ja"):
        Alphabet("")
