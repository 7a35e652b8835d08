"""Units, the smallest parts of a text that a segmenter sees. The text itself is never changed.

A unit is one character of the script (with the marks that combine with it; in the script ``th-clusters``, with all
letters that Thai spelling does not separate from it; in ``ja-runs``, with the small kana after it), a run of digits, a
run of letters of another script, or one other character. A letter and the marks that Unicode composes with it are the
same unit as the composed character. White space is not part of any unit: it separates words. So
do the zero-width spaces, one of which is the byte order mark.
"""

import functools
import unicodedata
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seampack.errors import ConfigError
from seampack.io.ragged import lengths_of, offsets_of
from seampack.segmenter import _thai_kernels as thai
from seampack.segmenter import _unit_kernels as kernels
from seampack.segmenter._unit_kernels import (
    DIGIT,
    JOINER,
    KATAKANA,
    KIND_OTHER,
    KIND_SCRIPT,
    LETTER,
    MARK,
    OTHER,
    REGIONAL,
    SCRIPT,
    SPACE,
    UNKNOWN,
)

RANGES = {
    "zh": "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff\u3005\u3007\u25cb",
    "ja": "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff\u3005\u3007"
    "\u3041-\u3096\u30a1-\u30fa\u30fc\uff66-\uff9f",
    "ja-runs": "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff\u3005\u3007\u3041-\u3096",
    "th": "\u0e01-\u0e3a\u0e40-\u0e4e",
    "th-clusters": "\u0e01-\u0e3a\u0e40-\u0e4e",
    "latin": "A-Za-z\u00c0-\u024f\u1e00-\u1eff'",
    "symbols": "!-~\u00a1-\uffff\U00010000-\U0010ffff",
}
"""Characters of each script preset: code points and ranges. ``symbols`` is everything except white space.

``ja-runs`` lacks katakana, so that each run of it is one unit and a word by itself; its small kana belong to the
letter before them. The units of ``th-clusters`` are the clusters of ``_thai_kernels``."""

SCRIPTS_IN_WORDS = f"{', '.join(RANGES)}, or characters such as a-zé"
"""What a script may be, for messages."""

_KATAKANA = "\u30a1-\u30fa\uff66-\uff9f"
_SMALL_KANA = "\u3041\u3043\u3045\u3047\u3049\u3083\u3085\u3087\u308e\u30fc"
"""Letters with which no word begins: small vowels, ya, yu, yo and wa, and the mark of a long vowel. A word may begin
with the small tsu, a particle."""


_COMPOSING = ((0x300, 0x345), (0x3099, 0x309A))
"""First and last of the marks that are composed with the letter before them: accents, and the sound marks of kana."""


@dataclass(frozen=True, slots=True)
class Units:
    """Units of a list of texts: text ``t`` has the units ``offsets[t]:offsets[t + 1]``.

    Unit ``u`` is the code points ``begin[u]:end[u]`` of the concatenated texts. Equal units have the same ``key``: the
    code points of a script unit or other character, composed; all numbers share one key, and all foreign words another.
    ``spaced`` flags the units after white space or at the begin of their text, ``bonds`` the units after which the
    spelling allows no word to end.
    """

    begin: npt.NDArray[np.int64]  # shape (units,), like the next five
    end: npt.NDArray[np.int64]
    kind: npt.NDArray[np.uint8]
    key: npt.NDArray[np.uint64]
    spaced: npt.NDArray[np.uint8]
    bonds: npt.NDArray[np.uint8]
    offsets: npt.NDArray[np.int64]  # shape (texts + 1,)

    @property
    def single(self) -> npt.NDArray[np.bool_]:
        """Flags of the units that are words by themselves, shape (units,)."""
        single: npt.NDArray[np.bool_] = self.kind != KIND_SCRIPT
        return single

    @property
    def forced_ends(self) -> npt.NDArray[np.bool_]:
        """Flags of the units after which a word always ends: the unit or the next one is a word by itself."""
        forced = self.single
        forced[:-1] |= forced[1:].copy()
        return forced


class Alphabet:
    """The class of each code point. ``script``: the name of a preset, or characters and ranges such as ``a-zé``.

    Raises ConfigError if the script is empty or a range runs backwards.
    """

    def __init__(self, script: str) -> None:
        self.script = script
        self._has_clusters = script == "th-clusters"
        self._class = np.zeros(0x110000, np.uint8)
        for first, last in _ranges(RANGES.get(script, script)):
            self._class[first : last + 1] = SCRIPT
        if script == "ja-runs":
            for characters, kind in ((_KATAKANA, KATAKANA), (_SMALL_KANA, MARK)):
                for first, last in _ranges(characters):
                    self._class[first : last + 1] = kind
        self._is_thai = bool((self._class[0x0E01:0x0E4F] == SCRIPT).any())
        self._class[0x1F1E6:0x1F200] = REGIONAL
        self._class[0x1F3FB:0x1F400] = MARK  # skin tones
        self._class[[0x200C, 0x200D]] = JOINER
        self._class[[0x200B, 0xFEFF]] = SPACE  # zero-width spaces, which str.isspace does not know
        for point in np.flatnonzero(self._class == SCRIPT)[: 1 << 16]:
            if unicodedata.category(chr(point)) in ("Mn", "Mc", "Me"):
                self._class[point] = MARK
            elif chr(point).isspace():
                self._class[point] = SPACE

    def classes(self, points: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint8]:
        """Return the class of each code point; new code points are looked up in the Unicode tables."""
        classes = self._class[points]
        if (classes == UNKNOWN).any():
            for point in np.unique(points[classes == UNKNOWN]):
                self._class[point] = _class_of(chr(point))
            classes = self._class[points]
        return classes

    def units(self, texts: list[str]) -> tuple[Units, npt.NDArray[np.int64]]:
        """Return the units, and the first code point of each text in the concatenation, shape (texts + 1,)."""
        points, starts = code_points(texts)
        return self.units_of(points, starts), starts

    def units_of(self, points: npt.NDArray[np.uint32], starts: npt.NDArray[np.int64]) -> Units:
        """Return the units of texts given as ``code_points``."""
        begin, end, kind, key, spaced, offsets = kernels.find_units(points, self.classes(points), starts)
        _compose(points, begin, end, kind, key)
        if not self._is_thai:
            return Units(begin, end, kind, key, spaced, np.zeros(begin.size, np.uint8), offsets)
        bonds = thai.find_bonds(points, begin, end, kind, spaced)
        if self._has_clusters:
            first, end, key, offsets = thai.find_clusters(points, begin, end, key, bonds, offsets)
            begin, kind, spaced, bonds = begin[first], kind[first], spaced[first], np.zeros(first.size, np.uint8)
        return Units(begin, end, kind, key, spaced, bonds, offsets)


def code_points(texts: list[str]) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
    """Return the code points of all texts, and the first code point of each text, shape (texts + 1,).

    Raises UnicodeEncodeError, with the position in the concatenation, for half a surrogate pair.
    """
    starts = offsets_of(lengths_of(texts))
    return np.frombuffer("".join(texts).encode("utf-32-le"), np.uint32), starts


def _compose(
    points: npt.NDArray[np.uint32],
    begin: npt.NDArray[np.int64],
    end: npt.NDArray[np.int64],
    kind: npt.NDArray[np.uint8],
    key: npt.NDArray[np.uint64],
) -> None:
    """Change the keys of units with marks of ``_COMPOSING`` to those of their composed characters."""
    marks = np.zeros(points.size, np.bool_)
    for first, last in _COMPOSING:
        marks |= points - np.uint32(first) <= last - first  # lower code points wrap around
    if not marks.any():
        return
    units = np.unique(np.searchsorted(end, np.flatnonzero(marks), side="right"))
    for unit in units[(kind[units] == KIND_SCRIPT) | (kind[units] == KIND_OTHER)].tolist():
        key[unit] = _composed_key(points[begin[unit] : end[unit]].tobytes())


@functools.lru_cache(1 << 12)
def _composed_key(unit: bytes) -> int:
    """Return the key of a unit, as ``find_units`` makes it, from its composed characters."""
    key = 0
    for character in unicodedata.normalize("NFC", unit.decode("utf-32-le"))[:3]:
        key = key << 21 | ord(character)
    return key


def _class_of(character: str) -> int:
    category = unicodedata.category(character)
    if character.isspace():
        return SPACE
    if category in ("Mn", "Mc", "Me"):
        return MARK
    if category == "Nd":
        return DIGIT
    return LETTER if category[0] == "L" else OTHER


def _ranges(characters: str) -> list[tuple[int, int]]:
    """Return the first and last code point of each range. Raise ConfigError if a range is invalid or none is given."""
    ranges = []
    position = 0
    while position < len(characters):
        first = last = ord(characters[position])
        if characters[position + 1 : position + 2] == "-" and position + 2 < len(characters):
            last = ord(characters[position + 2])
            position += 2
        if last < first:
            raise ConfigError(
                f"script: the range {chr(first)}-{chr(last)} runs backwards; expected {SCRIPTS_IN_WORDS}; got "
                f"{characters!r}"
            )
        ranges.append((first, last))
        position += 1
    if not ranges:
        raise ConfigError(f"script: expected {SCRIPTS_IN_WORDS}; got an empty text")
    return ranges
