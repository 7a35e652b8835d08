"""Solutions taken apart into steps and a final answer, and the checkers that say whether a response is right."""

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from seampack.errors import ConfigError, DataError, MissingExtraError
from seampack.models.functions import function_of

Checker = Callable[[str, str], bool]
"""Of a response and the right final answer: whether the response is right."""

_CALCULATION = re.compile(r"<<[^<>]*>>")
_NUMBER = re.compile(r"(-?)\s?\$?\s?(-?)((?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+)(?:/(\d+))?")
_MARKER = re.compile(r"####|^\s*A:|answer\s*(?:is|:)", re.IGNORECASE | re.MULTILINE)
_FORMULA = re.compile(r"\$\$.*?\$\$|\$[^$]*\$|\\\[.*?\\\]|\\\(.*?\\\)|\\begin\{([a-z]+\*?)\}.*?\\end\{\1\}", re.DOTALL)
_BREAK = re.compile(r"\n\s*\n|(?<=[.!?])\s+(?=\S)")
_SAYS = re.compile(r"[Tt]he (?:final )?answer is:?\s*(.+?)\.?\s*\Z", re.DOTALL)


class AnswerFormat(StrEnum):
    """How a column of worked solutions is written."""

    GSM8K = "gsm8k"
    """A step on each line, ``<<calculations>>`` in it, the final answer after ``####``."""
    MATH = "math"
    """Sentences or paragraphs of LaTeX, the final answer in ``\\boxed{}`` or after "The answer is"."""


@dataclass(frozen=True, slots=True)
class Solution:
    """``"".join(steps)`` is the text of the solution; the last step states the final answer."""

    steps: tuple[str, ...]
    final: str


def split_gsm8k(answer: str) -> Solution:
    """Lines as steps, without ``<<..>>``. Raises DataError where there is no ``####`` and answer."""
    body, mark, final = _CALCULATION.sub("", answer).strip().rpartition("####")
    if not mark or not final.strip():
        raise DataError(f"expected a solution that ends with '#### ANSWER'; got {_short(answer)}")
    lines = [line for line in body.splitlines(keepends=True) if line.strip()]
    closing = f"#### {final.strip()}"
    steps = [*lines[:-1], lines[-1] + closing] if lines else [closing]
    return Solution(tuple(steps), final.strip())


def split_math(answer: str) -> Solution:
    """Sentences and paragraphs as steps; none is cut within a formula.

    Raises DataError where there is no ``\\boxed{}`` and no "The answer is".
    """
    text = answer.strip()
    final = _boxed(text)
    if final is None:
        said = _SAYS.search(text)
        if said is None:
            raise DataError(rf"expected a solution with \boxed{{ANSWER}} or 'The answer is'; got {_short(answer)}")
        final = said.group(1).strip().strip("$")
    closed = [match.span() for match in _FORMULA.finditer(text)]
    ends = [
        match.end()
        for match in _BREAK.finditer(text)
        if not any(start < match.start() and match.end() <= stop for start, stop in closed)
    ]
    steps = [text[a:b] for a, b in zip([0, *ends], [*ends, len(text)], strict=True)]
    stated = next((at for at, step in enumerate(steps) if r"\boxed" in step), len(steps) - 1)
    return Solution((*steps[:stated], "".join(steps[stated:])), final)


SPLITTERS: dict[str, Callable[[str], Solution]] = {"gsm8k": split_gsm8k, "math": split_math}


def gsm8k_matches(response: str, answer: str) -> bool:
    """Whether the number after the response's first ``####`` is the answer; what comes later is no longer read."""
    _, mark, rest = response.partition("####")
    return bool(mark) and _same(first_number(rest.split("\n", 1)[0]), answer)


def number_matches(response: str, answer: str) -> bool:
    """Whether the number after the response's last ``####``, ``A:`` or "answer is" is the answer.

    Where there is none of these, the response's last number counts.
    """
    markers = list(_MARKER.finditer(response))
    if markers and (found := first_number(response[markers[-1].end() :])) is not None:
        return _same(found, answer)
    numbers = [number for match in _NUMBER.finditer(response) if (number := _value(match)) is not None]
    return bool(numbers) and _same(numbers[-1], answer)


def math_matches(response: str, answer: str) -> bool:
    """Whether math_verify finds an expression in the response that equals the answer."""
    try:
        from math_verify import parse, verify
    except ModuleNotFoundError as error:
        raise MissingExtraError("math-verify", "models", "the checker math") from error
    # its time limit is a signal, which only the main thread can take
    seconds = 5 if threading.current_thread() is threading.main_thread() else None
    gold = parse(rf"\boxed{{{answer}}}", parsing_timeout=seconds)
    return bool(verify(gold, parse(response, parsing_timeout=seconds), timeout_seconds=seconds))


def text_matches(response: str, answer: str) -> bool:
    """Whether the response's last line that is not empty is the answer, letter by letter."""
    lines = response.strip().splitlines()
    return bool(lines) and lines[-1].strip() == answer.strip()


CHECKERS: dict[str, Checker] = {
    "gsm8k": gsm8k_matches,
    "number": number_matches,
    "math": math_matches,
    "text": text_matches,
}


def checker(name: str) -> Checker:
    """A checker by name, or the function that ``module:function`` names. Raises ConfigError for what is neither."""
    if name in CHECKERS:
        return CHECKERS[name]
    if ":" not in name:
        raise ConfigError(f"checker: expected one of {', '.join(CHECKERS)}, or MODULE:FUNCTION; got {name!r}")
    found: Checker = function_of(name)
    return found


def first_number(text: str) -> Fraction | None:
    """The first number of a text, exactly: ``$1,250.50``, ``-3/4``; None where there is none."""
    for match in _NUMBER.finditer(text):
        if (number := _value(match)) is not None:
            return number
    return None


def _value(match: re.Match[str]) -> Fraction | None:
    minus, second, digits, below = match.groups()
    if below is not None and not int(below):
        return None
    number = Fraction(digits.replace(",", "")) / int(below or 1)
    return -number if minus or second else number


def _same(found: Fraction | None, answer: str) -> bool:
    return found is not None and found == first_number(answer)


def _boxed(text: str) -> str | None:
    """What stands in the last ``\\boxed{}``, braces within it counted."""
    start = text.rfind(r"\boxed{")
    depth = 0
    for at in range(start + len(r"\boxed"), len(text) if start >= 0 else 0):
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if not depth:
            return text[start + len(r"\boxed{") : at]
    return None


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")
