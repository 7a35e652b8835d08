"""From text to the units that a segmenter sees, and back to offsets; nothing of the text is changed.

A unit is one character of the script (with the marks that combine with it), a run of digits, a run of letters of
another script, or one other character. White space is no unit: it ends words and stands between them.
"""

import unicodedata
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seampack.errors import ConfigError
from seampack.segmenter import _unit_kernels as unit_kernels

# What a code point is, for the kernel that makes units of a text.
UNKNOWN, SCRIPT, MARK, JOINER, DIGIT, LETTER, REGIONAL, OTHER, SPACE = range(9)

# Kinds of units: a character of the script may be part of a longer word, each other unit is a word by itself.
KIND_SCRIPT, KIND_NUMBER, KIND_LETTERS, KIND_OTHER = range(4)

RANGES = {
    "zh": "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff\u3005\u3007\u25cb",
    "ja": "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff\u3005\u3007"
    "\u3041-\u3096\u30a1-\u30fa\u30fc\uff66-\uff9f",
    "th": "\u0e01-\u0e3a\u0e40-\u0e4e",
    "latin": "A-Za-z\u00c0-\u024f\u1e00-\u1eff'",
    "symbols": "!-~\u00a1-\uffff\U00010000-\U0010ffff",
}
"""The characters of each script preset: code points and ranges. ``symbols`` is everything but white space."""


@dataclass(frozen=True, slots=True)
class Units:
    """Units of some texts, one text behind the other.

    Unit ``u`` is the code points ``begin[u]:end[u]`` of all texts joined; text ``t`` has the units
    ``offsets[t]:offsets[t + 1]``.
    ``key`` tells equal units: the code points of a script unit or other character, one value each for numbers and
    foreign words. ``spaced`` flags a unit with white space (or the text's begin) before it.
    """

    begin: npt.NDArray[np.int64]
    end: npt.NDArray[np.int64]
    kind: npt.NDArray[np.uint8]
    key: npt.NDArray[np.uint64]
    spaced: npt.NDArray[np.uint8]
    offsets: npt.NDArray[np.int64]

    @property
    def beside_single(self) -> npt.NDArray[np.bool_]:
        """Units behind which a word ends whatever a model says: they, or the next, are words by themselves."""
        single = self.kind != KIND_SCRIPT
        beside: npt.NDArray[np.bool_] = single.copy()
        beside[:-1] |= single[1:]
        return beside


class Alphabet:
    """Tells for each code point what it is in a script: a preset's name, or characters and ranges of one's own."""

    def __init__(self, script: str) -> None:
        self.script = script
        self._class = np.zeros(0x110000, np.uint8)
        for first, last in _ranges(RANGES.get(script, script)):
            self._class[first : last + 1] = SCRIPT
        self._class[0x1F1E6:0x1F200] = REGIONAL
        self._class[0x1F3FB:0x1F400] = MARK  # skin tones
        self._class[[0x200C, 0x200D]] = JOINER
        for point in np.flatnonzero(self._class == SCRIPT)[: 1 << 16]:
            if unicodedata.category(chr(point)) in ("Mn", "Mc", "Me"):
                self._class[point] = MARK
            elif chr(point).isspace():
                self._class[point] = SPACE

    def classes(self, points: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint8]:
        """Class of each code point; those not seen before are looked up in the Unicode tables."""
        found = self._class[points]
        if (found == UNKNOWN).any():
            for point in np.unique(points[found == UNKNOWN]):
                self._class[point] = _class_of(chr(point))
            found = self._class[points]
        return found

    def units(self, texts: list[str]) -> tuple[Units, npt.NDArray[np.int64]]:
        """Units of the texts, and the first code point of each text in all of them joined, shape (texts + 1,)."""
        starts = np.zeros(len(texts) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)), out=starts[1:])
        joined = "".join(texts).encode("utf-32-le", "surrogatepass")
        points = np.frombuffer(joined, np.uint32)
        begin, end, kind, key, spaced, offsets = unit_kernels.find_units(points, self.classes(points), starts)
        return Units(begin, end, kind, key, spaced, offsets), starts


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
    """Code points and ranges such as ``a-zé``. Raises ConfigError for a range that runs backwards, or none at all."""
    ranges = []
    at = 0
    while at < len(characters):
        first = last = ord(characters[at])
        if characters[at + 1 : at + 2] == "-" and at + 2 < len(characters):
            last = ord(characters[at + 2])
            at += 2
        if last < first:
            raise ConfigError(f"script: the range {chr(first)}-{chr(last)} runs backwards")
        ranges.append((first, last))
        at += 1
    if not ranges:
        raise ConfigError(f"script: expected one of {', '.join(RANGES)}, or characters such as a-zé; got nothing")
    return ranges
