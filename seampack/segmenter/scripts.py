"""Scripts that are written without spaces, and the two forms of Chinese characters: is a text in those of a model?

Segmenters read characters of the other form as their counterparts of the form that they learned, one for one.
A character that exists in one form only tells simplified from traditional text: a third of the characters of a text do,
and 2 of 1,000 of these are of the other form in real text. Nine of ten simplified ones, which JIS X 0208 lacks, tell
Chinese from Japanese text too: no line of twelve Japanese corpora has one.
"""

import re
import warnings
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from functools import cache
from importlib.resources import files
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from seampack.errors import ConfigError
from seampack.segmenter._unit_kernels import SCRIPT
from seampack.segmenter.units import RANGES, Alphabet, code_points


class HanForm(StrEnum):
    """Form of the Chinese characters of a text."""

    SIMPLIFIED = "simplified"
    """As in mainland China and Singapore."""
    TRADITIONAL = "traditional"
    """As in Taiwan and Hong Kong."""


@dataclass(frozen=True, slots=True)
class _Script:
    name: str
    first: int
    last: int
    option: str
    """Value of the training option ``script``."""
    bundled: str = ""
    """Name of the bundled segmenter, if there is one."""


_SCRIPTS = (
    _Script("Chinese", 0x4E00, 0x9FFF, "zh", "zh"),
    _Script("Japanese", 0x3042, 0x30FF, "ja-runs", "ja"),  # kana, from the first large one on
    _Script("Thai", 0x0E01, 0x0E4E, "th-clusters", "th"),
    _Script("Lao", 0x0E81, 0x0EDF, "'ກ-ໟ'"),
    _Script("Burmese", 0x1000, 0x109F, "'က-႟'"),
    _Script("Khmer", 0x1780, 0x17D3, "'ក-៓'"),
)
_NAME = re.compile("[A-Za-z]{2,}([-_][A-Za-z]{2,})?")
_HAN = 1
_FORMS = {HanForm.SIMPLIFIED: len(_SCRIPTS) + 1, HanForm.TRADITIONAL: len(_SCRIPTS) + 2}
_NOT_JAPANESE = len(_SCRIPTS) + 3
"""Kind of the simplified characters that Japanese text does not have; the others are of the kind of their form."""
_KINDS = len(_SCRIPTS) + 4
_JAPANESE = ("ja", "ja-runs")
"""Values of the training option ``script`` for Japanese text."""

_LEAST, _SHARE = 5, 1 / 3
"""A warning needs this number of foreign characters, and this share of them. No line of six corpora of simplified text
has 3 traditional characters that are half of those of one form; 97 % of the longer lines of Japanese text have as many
kana."""
_PURE = 0.9
"""Share of a form from which a text is in this form."""
_WINDOW = 1000
"""Number of characters after which the count starts again: a later part of the text may be in another form."""


@cache
def _kinds() -> npt.NDArray[np.uint8]:
    """Return the kind of each code point: 0, or a script from 1 on, or that of a Chinese character of one form only."""
    kinds = np.zeros(0x110000, np.uint8)
    for kind, script in enumerate(_SCRIPTS, 1):
        kinds[script.first : script.last + 1] = kind
    for form, kind in _FORMS.items():
        kinds[[*_others(form)]] = kind
    for point in _others(HanForm.SIMPLIFIED):
        if not chr(point).encode("shift_jis", "ignore"):
            kinds[point] = _NOT_JAPANESE
    return kinds


@cache
def _others(form: HanForm) -> dict[int, int]:
    """Return the characters that exist in a form only, and their counterparts, as code points."""
    table = (files("seampack") / "data" / "han_forms.txt").read_text("utf-8").splitlines()[1:]
    characters, counterparts = table[:2] if form == HanForm.SIMPLIFIED else table[2:]
    return dict(zip(map(ord, characters), map(ord, counterparts), strict=True))


@cache
def _to_form(form: HanForm) -> npt.NDArray[np.uint32]:
    """Return the counterpart of each code point in a form, or the code point itself."""
    points = np.arange(0x110000, dtype=np.uint32)
    others = _others(_other(form))
    points[[*others]] = [*others.values()]
    return points


def _other(form: HanForm) -> HanForm:
    return HanForm.TRADITIONAL if form == HanForm.SIMPLIFIED else HanForm.SIMPLIFIED


def points_in_form(points: npt.NDArray[np.uint32], form: HanForm | None) -> npt.NDArray[np.uint32]:
    """Return code points with a counterpart for each Chinese character of the other form only, shape (points,)."""
    return points if form is None else _to_form(form)[points]


def texts_in_form(texts: list[str], form: HanForm | None) -> list[str]:
    """Return texts as by ``text_in_form``, much faster for many characters."""
    if form is None:
        return texts
    points, starts = code_points(texts)
    joined = points_in_form(points, form).tobytes().decode("utf-32-le")
    return [joined[first:last] for first, last in pairwise(starts.tolist())]


def text_in_form(text: str, form: HanForm | None) -> str:
    """Return a text with a counterpart for each Chinese character of the other form only."""
    return text if form is None else text.translate(_others(_other(form)))


def count_kinds(points: npt.NDArray[np.uint32]) -> npt.NDArray[np.int64]:
    """Return the number of code points of each kind, for ``han_form``."""
    return np.bincount(_kinds()[points], minlength=_KINDS)


def _of_forms(counts: npt.NDArray[np.int64]) -> dict[HanForm, int]:
    """Return the number of Chinese characters that exist in each form only."""
    of_form = {form: int(counts[kind]) for form, kind in _FORMS.items()}
    of_form[HanForm.SIMPLIFIED] += int(counts[_NOT_JAPANESE])
    return of_form


def han_form(counts: npt.NDArray[np.int64]) -> HanForm | None:
    """Return the form of a text's Chinese characters; None if there are too few of them, or of both forms."""
    of_form = _of_forms(counts)
    form = max(of_form, key=lambda name: of_form[name])
    return form if of_form[form] >= max(_LEAST, _PURE * sum(of_form.values())) else None


def check_name(script: str) -> None:
    """Raise ConfigError if a script is near a name: ``thai`` would be the letters t, h, a and i.

    Other words, such as ``abc``, may be alphabets.
    """
    if script in RANGES or not _NAME.fullmatch(script):
        return
    languages = [each.option for each in _SCRIPTS if each.name.lower() == script.lower()]
    if near := get_close_matches(script.lower(), RANGES, n=1) or languages:
        raise ConfigError(
            f"script: no script {script!r}; did you mean {near[0]}? or give characters and ranges, such as a-z"
        )


class ScriptCheck:
    """Warns once if texts are not in the script of a model, or their Chinese characters not in its form or language.

    Args:
        name: The model, for the message.
        alphabet: Its characters.
        form: The form of its training text; None if that is unknown or has no form.
    """

    def __init__(self, name: str, alphabet: Alphabet, form: HanForm | None = None) -> None:
        self._name, self._alphabet = name, alphabet
        firsts = np.array([script.first for script in _SCRIPTS], np.uint32)
        self._own = alphabet.classes(firsts) == SCRIPT
        self._form = form if self._own[_HAN - 1] else None
        self._counts = np.zeros(_KINDS, np.int64)
        self._warned = False

    def add(self, points: npt.NDArray[np.uint32], *, is_mapped: bool = False) -> None:
        """Count the code points of texts, and warn if too many of them are foreign to the model.

        ``is_mapped``: whether the model will read them by ``points_in_form``; the warning says so.
        """
        if self._warned:
            return
        self._counts += count_kinds(points)
        problem = self._problem(is_mapped)
        if problem:
            self._warned = True
            warnings.warn(problem, stacklevel=4)
        if self._counts[1:].sum() >= _WINDOW:
            self._counts[:] = 0

    def _problem(self, is_mapped: bool) -> str:
        of_form = _of_forms(self._counts)
        of_one_form = sum(of_form.values())
        of_scripts = self._counts[1 : len(_SCRIPTS) + 1].copy()
        of_scripts[_HAN - 1] += of_one_form
        foreign = np.where(self._own, 0, of_scripts)
        worst = int(foreign.argmax())
        if _are_many(foreign[worst], of_scripts.sum()):
            script = _SCRIPTS[worst]
            bundled = f", such as the bundled {script.bundled!r}" if script.bundled else ""
            return (
                f"{self._name}: the text has {script.name} letters, which are not in the script "
                f"{self._alphabet.script!r}: each run of them becomes one word; use a segmenter for {script.name}"
                f"{bundled}, or train one with --script {script.option}"
            )
        if self._alphabet.script in _JAPANESE and _are_many(self._counts[_NOT_JAPANESE], of_one_form):
            return (
                f"{self._name}: the text has simplified Chinese characters that Japanese text does not have: many of "
                "its words will be wrong; use a segmenter for Chinese, such as the bundled 'zh'"
            )
        for form, count in of_form.items():
            if self._form not in (None, form) and _are_many(count, of_one_form):
                consequence = (
                    f"each is read as its {self._form} form, and the output keeps the text; for better words, train a "
                    f"segmenter on {form} text"
                    if is_mapped
                    else "many of its words will be wrong; convert the text first (OpenCC, one character for another, "
                    f"keeps all offsets), or train a segmenter on {form} text"
                )
                return (
                    f"{self._name}: the text has {form} Chinese characters, but the segmenter was trained on "
                    f"{self._form} ones: {consequence}"
                )
        return ""


def _are_many(count: int, total: int) -> bool:
    return count >= max(_LEAST, _SHARE * total)
