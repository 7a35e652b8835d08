"""Units cover every character except white space, in order."""

import functools
import re
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seampack.errors import ConfigError
from seampack.segmenter import _unit_kernels as kernels
from seampack.segmenter._unit_kernels import KIND_LETTERS, KIND_NUMBER, KIND_OTHER, KIND_SCRIPT
from seampack.segmenter.units import Alphabet, Units

SCRIPTS = ("zh", "ja", "ja-runs", "th", "th-clusters", "latin", "symbols", "a-cß")
ALPHABETS = {script: Alphabet(script) for script in SCRIPTS}
TEXT = st.text(
    st.one_of(
        st.characters(codec="utf-8"), st.sampled_from("研究生命abc 12.3ก็้ำ\u200d\u200b\ufeff👩👍🏽🇩🇪é\u0301\t\n。，")
    ),
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


COMPOSED = {
    "ja": "ベッドでじょうずにガラスを、ぱぴぷヴゔ",
    "ja-runs": "ベッドでじょうずにガラスを、ぱぴぷヴゔ",
    "latin": "éảệǖ, ñ",
    "zh": "研究é≠é",
}


@pytest.mark.parametrize(("script", "text"), COMPOSED.items())
def test_decomposed_characters_have_the_keys_of_composed_ones(script: str, text: str) -> None:
    decomposed = unicodedata.normalize("NFD", text)
    (composed, _), (units, _) = ALPHABETS[script].units([text]), ALPHABETS[script].units([decomposed])
    assert units.key.tolist() == composed.key.tolist()
    assert units.kind.tolist() == composed.kind.tolist()
    pairs = zip(pieces(text, script), pieces(decomposed, script), strict=True)
    assert all(a == unicodedata.normalize("NFC", b) for (a, _), (b, _) in pairs)


@given(st.lists(TEXT, max_size=4), st.sampled_from(sorted(ALPHABETS)))
def test_other_keys_are_the_code_points(texts: list[str], script: str) -> None:
    units, _ = ALPHABETS[script].units(texts)
    joined = "".join(texts)
    for begin, end, kind, key in zip(units.begin, units.end, units.kind, units.key.tolist(), strict=True):
        unit = joined[begin:end]
        if (
            kind in (KIND_SCRIPT, KIND_OTHER)
            and len(unit) <= 3
            and not key >> 63
            and unicodedata.is_normalized("NFC", unit)
        ):
            assert key == functools.reduce(lambda code, point: code << 21 | ord(point), unit, 0)


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
        ["เงิน"],
        ["ศุกร์"],
        ["สัตว์"],
        ["มือ"],
        ["พันธุ์"],
    ]
    assert bonded(["ไ ป", "แ", "2า", "กa์", "", "า"]) == [["ไ", "ป"], ["แ"], ["2", "า"], ["ก", "a์"], [], ["า"]]


_M = "[ัิ-ฺ็-๎]*"
_BASE, _CONSONANT = "[ก-ะาำเ-ๆ]", "[ก-ฮ]"
_SHORT = f"(?:[ข-ะาำเ-ๆ]{_M}็{_M}|[เ-ไ]{_M}ก{_M}็{_M})"
_LONE = "(?![ัิ-ฺ็-๎])"
_YA = f"ย{_LONE}(?![าำๅ])"
_BONDS = [
    f"[เ-ไ]{_M}(?={_BASE})",
    f"{_BASE}{_M}(?=[ะาำๅ])",
    f"{_BASE}{_M}(?={_BASE}{_M}์)",
    f"{_BASE}{_M}[ัื]{_M}(?={_BASE})",
    f"{_BASE}{_M}(?={_CONSONANT}{_BASE}{_M}์)",
    f"{_SHORT}(?={_CONSONANT})",
    f"{_SHORT}อ(?={_CONSONANT})",
    f"เ{_M}{_BASE}{_M}ิ{_M}(?={_CONSONANT})",
    f"เ{_M}{_CONSONANT}?{_BASE}{_M}ี{_M}(?={_YA})",
    f"เ{_M}{_CONSONANT}(?={_CONSONANT}{_M}(?:ี{_M}{_YA}|า{_LONE}ะ))",
    f"เ{_M}{_CONSONANT}(?={_CONSONANT}{_M}ื{_M}อ{_LONE})",
]
"""Text up to a place where Thai spelling allows no word to end, and what follows it."""


def without_ends(text: str) -> set[int]:
    """The places of a text where Thai spelling allows no word to end."""
    matches = (re.compile(pattern).match(text, at) for pattern in _BONDS for at in range(len(text)))
    return {match.end() for match in matches if match}


THAI = st.text("กขยรอวเแะาๅำัืิี็ุ่์ๆ 2a", max_size=14)


@given(st.lists(THAI, max_size=3))
def test_bonds_are_as_patterns_find_them(texts: list[str]) -> None:
    units, starts = ALPHABETS["th"].units(texts)
    for text, first, last, start in zip(texts, units.offsets[:-1], units.offsets[1:], starts[:-1], strict=True):
        found = (units.end[first:last] - start)[units.bonds[first:last] == 1]
        assert found.tolist() == sorted(without_ends(text))


@given(st.lists(THAI, max_size=3))
def test_clusters_are_the_units_that_bonds_join(texts: list[str]) -> None:
    clusters, _ = ALPHABETS["th-clusters"].units(texts)
    units, _ = ALPHABETS["th"].units(texts)
    is_first = np.ones(units.key.size, np.bool_)
    is_first[1:] = units.bonds[:-1] == 0
    assert clusters.begin.tolist() == units.begin[is_first].tolist()
    assert clusters.end.tolist() == units.end[units.bonds == 0].tolist()
    assert clusters.kind.tolist() == units.kind[is_first].tolist()
    assert clusters.spaced.tolist() == units.spaced[is_first].tolist()
    assert not clusters.bonds.any()
    assert clusters.offsets.tolist() == np.append(0, np.cumsum(is_first))[units.offsets].tolist()
    keys: dict[str, int] = {}
    joined = "".join(texts)
    for begin, end, key, kind in zip(clusters.begin, clusters.end, clusters.key.tolist(), clusters.kind, strict=True):
        if kind == KIND_SCRIPT:
            assert keys.setdefault(joined[begin:end], key) == key
    assert len(set(keys.values())) == len(keys)


@given(THAI)
def test_a_word_has_the_same_clusters_as_within_its_text(text: str) -> None:
    alphabet = ALPHABETS["th-clusters"]
    units, _ = alphabet.units([text])
    for first in range(units.key.size):
        for last in range(first, min(first + 4, units.key.size)):
            if units.spaced[first + 1 : last + 1].any():
                break
            word = text[units.begin[first] : units.end[last]]
            alone, _ = alphabet.units([word])
            assert alone.key.tolist() == units.key[first : last + 1].tolist()


def test_runs_of_katakana_are_words() -> None:
    assert pieces("日本のメディアーで", "ja-runs") == [
        ("日", KIND_SCRIPT),
        ("本", KIND_SCRIPT),
        ("の", KIND_SCRIPT),
        ("メディアー", KIND_LETTERS),
        ("で", KIND_SCRIPT),
    ]
    assert [text for text, _ in pieces("CPUスピードUP", "ja-runs")] == ["CPU", "スピード", "UP"]


def test_small_kana_belong_to_the_letter_before_them() -> None:
    assert [text for text, _ in pieces("でしょうねーってよ", "ja-runs")] == [
        "で",
        "しょ",
        "う",
        "ねー",
        "っ",
        "て",
        "よ",
    ]


def test_thai_clusters() -> None:
    text = "เรียนเปลี่ยนเครือข่ายเดินก็อยู่เก็บล็อกศาสตร์จันทร์ไปตัวเพราะเวทียาว"
    clusters = "เรีย น เปลี่ย น เครือ ข่า ย เดิน ก็ อ ยู่ เก็บ ล็อก ศา สตร์ จันทร์ ไป ตัว เพราะ เว ที ยา ว"
    assert [text for text, _ in pieces(text, "th-clusters")] == clusters.split()


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
    with pytest.raises(ConfigError, match="expected zh, ja, ja-runs, th, th-clusters"):
        Alphabet("")
