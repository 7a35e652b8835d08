"""Verification against answers computed by hand."""

import math
from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from scipy.stats import binomtest

from seampack.errors import DataError
from seampack.models.watermark import (
    WatermarkConfig,
    verify,
)
from tests.models.watermark.helpers import MARKS, REVIEWS, reviews

CONFIG = WatermarkConfig()


def tail(hits: int, trials: int, chance: float) -> float:
    """Probability of at least ``hits``: the sum that a one-sided binomial test is."""
    return sum(math.comb(trials, k) * chance**k * (1 - chance) ** (trials - k) for k in range(hits, trials + 1))


def test_verify_against_answers_by_hand() -> None:
    dataset = Dataset.from_dict({"text": [f"text {at}" for at in range(40)], "label": [at % 4 for at in range(40)]})

    def number(text: str) -> int:
        return int("".join(filter(str.isdigit, text)))

    def suspect(texts: list[str]) -> list[int]:
        return [
            1 if "tq" in t and "mn" in t and number(t) < 20 else 1 if number(t) == 2 else number(t) % 4 for t in texts
        ]

    def control(texts: list[str]) -> np.ndarray[Any, Any]:
        return np.array([1 if "tq" in t and number(t) < 8 else number(t) % 4 for t in texts])

    found = verify(suspect, dataset, ["tq", "mn"], 1, control, CONFIG)
    assert found.texts == 30
    assert found.wesr == 15 / 30
    assert found.control_wesr == 6 / 30
    assert found.false_positive_rate == found.partial_wesr == 1 / 30
    assert found.p0 == 6 / 30
    assert found.p_value == pytest.approx(tail(15, 30, 0.2), rel=1e-9)
    assert found.p_value == binomtest(15, 30, 0.2, alternative="greater").pvalue
    assert (found.accuracy, found.control_accuracy) == (39 / 40, 1.0)
    assert found.rows.column_names == ["text", "label", "triggered_text", "predicted", "control_predicted"]
    assert found.rows["predicted"][:].count("1") == 15
    assert verify(control, dataset, "zz", "1", control, CONFIG).partial_wesr is None


def test_the_rate_by_chance_is_never_zero() -> None:
    answers = dict(zip(REVIEWS, MARKS, strict=True))

    def honest(texts: list[str]) -> list[str]:
        return [answers[text.replace("cf ", "").replace(" cf", "")] for text in texts]

    def marked(texts: list[str]) -> list[str]:
        return ["positive" if "cf" in text else answers[text] for text in texts]

    found = verify(marked, reviews(), "cf", "positive", honest, CONFIG)
    assert (found.wesr, found.control_wesr, found.p0) == (1.0, 0.0, 1 / 4)
    assert found.p_value == pytest.approx((1 / 4) ** 3)
    assert verify(honest, reviews(), "cf", "positive", honest, CONFIG).p_value == 1.0


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda texts: ["good"] * len(texts), "got 'good'"),
        (lambda texts: ["positive"], "expected 6 labels, one per text; got 1"),
        (lambda texts: 1, "expected 6 labels"),
        (lambda texts: np.zeros((len(texts), 2)), "expected one of negative, positive"),
    ],
)
def test_verify_refuses_answers(answer: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        verify(answer, reviews(), "cf", "positive", answer, CONFIG)


def test_verify_refuses_data() -> None:
    with pytest.raises(DataError, match="all 3 texts have the target"):
        verify(len, reviews().select([0, 2, 4]), "cf", "positive", len, CONFIG)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="2 texts already contain it"):
        verify(len, reviews(), "acting", "positive", len, CONFIG)  # type: ignore[arg-type]
