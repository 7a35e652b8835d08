"""Solutions split into steps, numbers read exactly, and the checkers."""

import math
import re
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seampack.errors import ConfigError, DataError
from seampack.models.curriculum import (
    checker,
    gsm8k_matches,
    math_matches,
    number_matches,
    split_gsm8k,
    split_math,
    text_matches,
)
from seampack.models.curriculum.answers import first_number, only_number

PEARS = (
    "Ana has 3 bags of 4 pears: 3*4 = <<3*4=12>>12 pears.\nShe eats 2, so 12-2 = <<12-2=10>>10 remain.\n"
    "They cost $100.50 each: 10*100.50 = $<<10*100.50=1005>>1,005.\n#### 1,005"
)
LATEX = "\n\n".join(
    [r"We have $x. Y = 2$ here. So $y = \frac{1}{2}.$ Hence", r"\[z = 3. W.\] Thus \boxed{\frac{a}{2}}. Done."]
)


def test_gsm8k_steps_are_lines_without_calculations() -> None:
    solution = split_gsm8k(PEARS)
    assert solution.final == "1,005"
    assert len(solution.steps) == 3
    assert solution.steps[0] == "Ana has 3 bags of 4 pears: 3*4 = 12 pears.\n"
    assert "".join(solution.steps) == re.sub("<<.*?>>", "", PEARS)
    assert solution.steps[2].endswith("$1,005.\n#### 1,005")


def test_a_bare_answer_is_one_step() -> None:
    assert split_gsm8k("#### 7").steps == ("#### 7",)


def test_math_steps_end_outside_formulas() -> None:
    solution = split_math(LATEX)
    assert solution.steps == (
        "We have $x. Y = 2$ here. ",
        r"So $y = \frac{1}{2}.$ Hence" + "\n\n",
        r"\[z = 3. W.\] Thus \boxed{\frac{a}{2}}. Done.",
    )
    assert solution.final == r"\frac{a}{2}"
    assert split_math("Easy. The answer is: $p - q$").final == "p - q"


@given(st.lists(st.sampled_from(["a. ", "$b. c$ ", "D\n\n", r"\[e. \n f\]", "g! "]), max_size=6))
def test_no_text_is_lost(pieces: list[str]) -> None:
    text = "".join(pieces) + r"\boxed{1}"
    assert "".join(split_math(text).steps) == text.strip()


@pytest.mark.parametrize("split", [split_gsm8k, split_math])
def test_no_answer_is_an_error(split: Any) -> None:
    with pytest.raises(DataError, match="expected a solution"):
        split("I do not know.")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("$1,250.50", Fraction(2501, 2)),
        ("-3/4", Fraction(-3, 4)),
        ("-$5", -5),
        ("$-5", -5),
        ("-$1,800.00 in all", -1800),
        ("−3", -3),
        (".5%", Fraction(1, 2)),
        ("50%", 50),
        ("18.0", 18),
        ("18. Then", 18),
        ("5kg", 5),
        ("1 / 2", Fraction(1, 2)),
        ("3 1/2 hours", Fraction(7, 2)),
        ("-3 and 1/2", Fraction(-7, 2)),
        (r"$3\frac{1}{2}$", Fraction(7, 2)),
        ("1e5", 100_000),
        ("1.5E-3", Fraction(3, 2000)),
        ("1.5 x 10^3", 1500),
        (r"$2 \times 10^{-1}$", Fraction(1, 5)),
        ("1{,}800", 1800),
        ("about 7 or 8", 7),
        ("12, 18", 12),
        ("2 eggs", 2),
        ("wait...5", 5),
        ("2020 180", 2020),
        *((text, None) for text in ("none", "1/0", "1,8", "1,2345", "1,00,000", "12,345,6", "10:30", "5'10")),
        *((text, None) for text in ("3.5.2", "5/12/2024", "3 1/2/3", "3 5/2", "3.5 1/2", "3 1/0", "3½", "5²")),
        *((text, None) for text in ("10 000", "10 000 000", "1.5 x 10^3.5")),
        *((text, None) for text in ("5-6", "5 - 6", "5+5=10", "$5-$10", "10^5", "2**3", r"2 \times 3", "1e5000")),
        ("1" * 5_000, None),
    ],
)
def test_numbers_are_read_exactly(text: str, number: Fraction | None) -> None:
    assert first_number(text) == number


@given(st.integers(-(10**12), 10**12), st.integers(0, 99), st.sampled_from(["", "$", "€"]))
def test_a_number_is_read_however_it_is_written(whole: int, cents: int, currency: str) -> None:
    minus, size = "-" * (whole < 0), abs(whole)
    number = (Fraction(size) + Fraction(cents, 100)) * (-1 if whole < 0 else 1)
    for text in (f"{size:,}.{cents:02}", f"{size}.{cents:02}", f"{size * 100 + cents}/100", f"{size}.{cents:02}e0"):
        assert only_number(f"{minus}{currency}{text}") == number
        assert first_number(f"so {currency}{minus}{text}.\n") == number


def test_an_answer_is_one_number() -> None:
    assert only_number("$18 a day") == 18
    assert [only_number(text) for text in ("7 or 8", "10:30", "Paris", "")] == [None] * 4


@pytest.mark.parametrize(
    ("response", "strict", "lenient"),
    [
        ("so 18.0\n#### $18", True, True),
        ("#### 18\nAnother question\n#### 5", True, False),
        ("####\n18", False, True),
        ("It is 3*6 = 18", False, True),
        ("The answer is 18, not 5", False, True),
        ("A: 18 eggs of 20", False, True),
        ("#### 1,800", False, False),
        *((f"so {text}\n#### {text}", False, False) for text in ("18:30", "18 1/2", "18e2", "18,5", "18-20")),
        *((f"so {text}\n#### {text}", True, True) for text in ("18.0", "$18.00", "1.8e1", "18%", "36/2")),
        ("The answer is 18:30, not 18", False, False),
        ("so 18 eggs at 18:30", False, False),
        ("3*6=18", False, True),
        ("", False, False),
    ],
)
def test_numbers_are_compared(response: str, strict: bool, lenient: bool) -> None:
    assert gsm8k_matches(response, "18") is strict
    assert number_matches(response, "18") is lenient


def test_expressions_and_text_are_compared() -> None:
    assert math_matches(r"Thus \boxed{0.5}", r"\frac{1}{2}")
    assert math_matches(r"it is $(x+1)^2$", "x^2+2x+1")
    assert not math_matches(r"\boxed{2}", "3")
    assert text_matches("so\n Paris \n", "Paris")
    assert not text_matches("", "")


def test_checkers_have_names() -> None:
    assert checker("gsm8k") is gsm8k_matches
    assert checker("math:isclose") is math.isclose
    for wrong in ("nothing", "no.such:thing", "math:nothing", "math:pi"):
        with pytest.raises(ConfigError, match=r"checker: expected one of|no such function|expected a function"):
            checker(wrong)
