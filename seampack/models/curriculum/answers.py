"""Splitting of solutions into steps and a final answer, and checkers that decide whether a response is right."""

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from seampack.errors import ConfigError, DataError, MissingExtraError
from seampack.models.functions import function_of

Checker = Callable[[str, str], bool]
"""Takes a response and the right final answer, returns whether the response is right."""

_CALCULATION = re.compile(r"<<[^<>]*>>")
_NUMBER = re.compile(
    r"""
    (?P<minus>[-−]?)[ ]?(?:\\?[$€£])?[ ]?(?P<inner>[-−]?)
    (?P<digits>(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|(?<![\d.])\.\d+)
    (?:
        [eE](?P<power>[-+]?\d{1,3})(?!\d)  # 1.5e3
      | [ ]?(?:[x×*]|\\times|\\cdot)[ ]?10(?:\^|\*\*)\{?(?P<of_ten>[-−+]?\d{1,3})(?!\d)\}?  # 1.5 x 10^3
      | [ ]?/[ ]?(?P<below>\d+)  # 3/4
      | [ ](?:and[ ])?(?P<above>\d+)/(?P<parts>\d+)  # 3 1/2
    )?
    %?
    (?P<more>(?:
        [,.:'_]\d+  # 10:30, 1,8, 3.5.2
      | [eE][-+]?\d+  # 1e5000
      | (?:\*\*|[-−–+*/^x×÷])\{?[-−]?(?:\\?[$€£])?\.?\d+  # 5-6, 5+5, 1/2/24
      | [ ](?:\*\*|[-−–+*/^x×÷])[ ](?:\\?[$€£])?\.?\d+  # 5 + 5
      | [ ]?\\(?:times|cdot)[ ]?\d+
      | (?<!\d{4})(?:[ \u00a0\u202f]|\\,)\d{3}(?!\d)  # 10 000
      | [ ]?[¼-¾⅐-⅞]  # 3½
      | [²³¹⁰-⁹]
    )*)
    """,
    re.VERBOSE,
)
"""A number; ``more`` matches if the text continues as a time, a date, a sum or another form that is not this number."""
_FRACTION = re.compile(r"\\[dt]?frac\{(\d+)\}\{(\d+)\}")
_MOST_DIGITS = 1_000
_MARKER = re.compile(r"####|^\s*A:|answer\s*(?:is|:)", re.IGNORECASE | re.MULTILINE)
_FORMULA = re.compile(r"\$\$.*?\$\$|\$[^$]*\$|\\\[.*?\\\]|\\\(.*?\\\)|\\begin\{([a-z]+\*?)\}.*?\\end\{\1\}", re.DOTALL)
_BREAK = re.compile(r"\n\s*\n|(?<=[.!?])\s+(?=\S)")
_SAYS = re.compile(r"[Tt]he (?:final )?answer is:?\s*(.+?)\.?\s*\Z", re.DOTALL)


class AnswerFormat(StrEnum):
    """Format of a column of worked solutions."""

    GSM8K = "gsm8k"
    """One step per line, with ``<<calculations>>``; the final answer follows ``####``."""
    MATH = "math"
    """Sentences or paragraphs of LaTeX; the final answer is in ``\\boxed{}`` or after "The answer is"."""


@dataclass(frozen=True, slots=True)
class Solution:
    """A solution: ``"".join(steps)`` is its text; the last step states the final answer."""

    steps: tuple[str, ...]
    final: str


def split_gsm8k(answer: str) -> Solution:
    """Split a solution into lines, without ``<<..>>``. Raise DataError unless it ends with ``####`` and an answer."""
    body, mark, final = _CALCULATION.sub("", answer).strip().rpartition("####")
    if not mark or not final.strip():
        raise DataError(f"expected a solution that ends with '#### ANSWER'; got {_short(answer)}")
    lines = [line for line in body.splitlines(keepends=True) if line.strip()]
    closing = f"#### {final.strip()}"
    steps = [*lines[:-1], lines[-1] + closing] if lines else [closing]
    return Solution(tuple(steps), final.strip())


def split_math(answer: str) -> Solution:
    """Split a solution into sentences and paragraphs, without cutting a formula.

    Raises DataError if the solution has neither ``\\boxed{}`` nor "The answer is".
    """
    text = answer.strip()
    final = _boxed(text)
    if final is None:
        stated = _SAYS.search(text)
        if stated is None:
            raise DataError(rf"expected a solution with \boxed{{ANSWER}} or 'The answer is'; got {_short(answer)}")
        final = stated.group(1).strip().strip("$")
    closed = [match.span() for match in _FORMULA.finditer(text)]
    ends = [
        match.end()
        for match in _BREAK.finditer(text)
        if not any(start < match.start() and match.end() <= stop for start, stop in closed)
    ]
    steps = [text[a:b] for a, b in zip([0, *ends], [*ends, len(text)], strict=True)]
    last = next((index for index, step in enumerate(steps) if r"\boxed" in step), len(steps) - 1)
    return Solution((*steps[:last], "".join(steps[last:])), final)


SPLITTERS: dict[str, Callable[[str], Solution]] = {"gsm8k": split_gsm8k, "math": split_math}


def gsm8k_matches(response: str, answer: str) -> bool:
    """Return whether the number after the response's first ``####``, on the same line, is the answer.

    Numbers are read as by ``only_number``.
    """
    _, mark, rest = response.partition("####")
    return bool(mark) and _same(first_number(rest.split("\n", 1)[0]), answer)


def number_matches(response: str, answer: str) -> bool:
    """Return whether the number after the response's last ``####``, ``A:`` or "answer is" is the answer.

    Without any of these marks, the response's last number is compared. Numbers are read as by ``only_number``.
    """
    markers = list(_MARKER.finditer(response))
    stated = _numbers(response[markers[-1].end() :]) if markers else []
    numbers = stated[:1] or _numbers(response)[-1:]
    return bool(numbers) and _same(numbers[0], answer)


def math_matches(response: str, answer: str) -> bool:
    """Return whether math_verify finds an expression in the response that equals the answer."""
    try:
        from math_verify import parse, verify
    except ModuleNotFoundError as error:
        raise MissingExtraError("math-verify", "models", "the checker math") from error
    # math_verify implements its time limit with a signal, which only the main thread can receive
    seconds = 5 if threading.current_thread() is threading.main_thread() else None
    gold = parse(rf"\boxed{{{answer}}}", parsing_timeout=seconds)
    return bool(verify(gold, parse(response, parsing_timeout=seconds), timeout_seconds=seconds))


def text_matches(response: str, answer: str) -> bool:
    """Return whether the response's last non-empty line equals the answer exactly."""
    lines = response.strip().splitlines()
    return bool(lines) and lines[-1].strip() == answer.strip()


NUMERIC = ("gsm8k", "number")
"""Checkers that compare numbers: a final answer that is not a number never matches."""

CHECKERS: dict[str, Checker] = {
    "gsm8k": gsm8k_matches,
    "number": number_matches,
    "math": math_matches,
    "text": text_matches,
}


def checker(name: str) -> Checker:
    """Return the checker of this name, or the function ``MODULE:FUNCTION``. Raise ConfigError for any other name."""
    if name in CHECKERS:
        return CHECKERS[name]
    if ":" not in name:
        raise ConfigError(f"checker: expected one of {', '.join(CHECKERS)}, or MODULE:FUNCTION; got {name!r}")
    function: Checker = function_of(name)
    return function


def only_number(text: str) -> Fraction | None:
    """Return the exact number in a text; None if the text has no number, several numbers, or an unreadable number.

    Readable numbers are ``1,250.50``, ``-3``, ``3/4``, ``3 1/2``, ``1.5e3`` and ``1.5 x 10^3``; adjacent units (``$``,
    ``%``, a word) are ignored. A time (``10:30``), a sum (``5+5``) and other groups of digits (``1,8``) do not count as
    numbers.
    """
    numbers = _numbers(text)
    return numbers[0] if len(numbers) == 1 else None


def first_number(text: str) -> Fraction | None:
    """Return the first number of a text, read as by ``only_number``; None if it is missing or unreadable."""
    return next(iter(_numbers(text)), None)


def _numbers(text: str) -> list[Fraction | None]:
    """Return the value of each part of the text that begins like a number; None if the part is not a number."""
    return [_value(match) for match in _NUMBER.finditer(_FRACTION.sub(r" \1/\2", text.replace("{,}", ",")))]


def _value(match: re.Match[str]) -> Fraction | None:
    part = match.groupdict()
    if part["more"] or len(match[0]) > _MOST_DIGITS:
        return None
    number = Fraction(part["digits"].replace(",", ""))
    if power := part["power"] or part["of_ten"]:
        number *= Fraction(10) ** int(power.replace("−", "-"))
    elif below := part["below"]:
        if not int(below):
            return None
        number /= int(below)
    elif parts := part["parts"]:
        above = Fraction(int(part["above"]), int(parts)) if int(parts) else Fraction(1)
        if number.denominator > 1 or above >= 1:
            return None
        number += above
    return -number if part["minus"] or part["inner"] else number


def _same(number: Fraction | None, answer: str) -> bool:
    return number is not None and number == only_number(answer)


def _boxed(text: str) -> str | None:
    """Return the content of the last ``\\boxed{}``, nested braces included; None if there is none."""
    start = text.rfind(r"\boxed{")
    depth = 0
    for index in range(start + len(r"\boxed"), len(text) if start >= 0 else 0):
        depth += {"{": 1, "}": -1}.get(text[index], 0)
        if not depth:
            return text[start + len(r"\boxed{") : index]
    return None


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")
