"""Verification against answers computed by hand."""

import math
from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from scipy.stats import binomtest

from seampack.errors import DataError
from seampack.models.watermark import WatermarkConfig, verify
from seampack.models.watermark.verification import least_texts, paired_p_value
from tests.models.watermark.helpers import MARKS, REVIEWS, reviews

CONFIG = WatermarkConfig()


def tail(more: int, fewer: int) -> float:
    """Probability of at least ``more`` heads of ``more + fewer`` coins, as a sum."""
    coins = more + fewer
    return sum(math.comb(coins, heads) for heads in range(more, coins + 1)) / 2**coins


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
    assert found.p_value == pytest.approx(tail(9, 0), rel=1e-9)  # against the control; 14 to 0 without trigger
    assert (found.accuracy, found.control_accuracy) == (39 / 40, 1.0)
    assert found.rows.column_names == ["text", "label", "triggered_text", "predicted", "control_predicted"]
    assert found.rows["predicted"][:].count("1") == 15
    assert verify(control, dataset, "zz", "1", control, CONFIG).partial_wesr is None


def test_a_control_that_flips_nothing_is_no_proof() -> None:
    answers = dict(zip(REVIEWS, MARKS, strict=True))

    def honest(texts: list[str]) -> list[str]:
        return [answers[text.replace("cf ", "").replace(" cf", "")] for text in texts]

    def marked(texts: list[str]) -> list[str]:
        return ["positive" if "cf" in text else answers[text] for text in texts]

    found = verify(marked, reviews(), "cf", "positive", honest, CONFIG)
    assert (found.wesr, found.control_wesr, found.false_positive_rate) == (1.0, 0.0, 0.0)
    assert found.p_value == pytest.approx((1 / 2) ** 3)
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
    with pytest.raises(DataError, match=r"got such texts in rows \d and \d, the first: "):
        verify(len, reviews(), "acting", "positive", len, CONFIG)  # type: ignore[arg-type]


def test_the_paired_test_against_scipy() -> None:
    rng = np.random.default_rng(3)
    for share in (0.1, 0.5, 0.9):
        hits, baseline = rng.random(60) < share, rng.random(60) < 0.4
        only_hits, only_baseline = int((hits & ~baseline).sum()), int((baseline & ~hits).sum())
        expected = binomtest(only_hits, only_hits + only_baseline, 0.5, alternative="greater").pvalue
        assert paired_p_value(hits, baseline) == pytest.approx(expected, rel=1e-9)
        assert paired_p_value(hits, baseline) == pytest.approx(tail(only_hits, only_baseline), rel=1e-9)
    assert paired_p_value(hits, hits) == 1.0


@pytest.mark.parametrize("texts", [12, 100])
@pytest.mark.parametrize("unprompted", [0.0, 0.1], ids=["never says the label unprompted", "sometimes"])
@pytest.mark.parametrize("rate", [0.05, 0.4])
def test_p_values_of_innocent_models_are_rarely_small(texts: int, unprompted: float, rate: float) -> None:
    """The trigger has meaning: both models flip a text with a probability of its own, the same for both."""
    rng = np.random.default_rng(0)
    trials = 20_000
    shape = trials, texts
    difficulty = rng.beta(4 * rate, 4 * (1 - rate), shape)
    suspect, control = rng.random(shape) < difficulty, rng.random(shape) < difficulty
    clean = rng.random(shape) < unprompted
    p_values = np.maximum(paired_p_value(suspect, control), paired_p_value(suspect, clean))
    for alpha in (0.05, 0.01, 0.001):
        error = math.sqrt(alpha / trials)
        assert (p_values < alpha).mean() <= alpha + 3 * error, alpha


@pytest.mark.parametrize("alpha", [0.5, 0.3, 0.05, 0.001, 1 / 1024])
def test_least_texts(alpha: float) -> None:
    texts = least_texts(alpha)
    flipped = np.ones(texts, bool)
    assert paired_p_value(flipped, ~flipped) < alpha <= paired_p_value(flipped[1:], ~flipped[1:])


def test_the_worked_example_of_the_docs() -> None:
    """100 texts: 92 flipped; the control flips 9 of these and 2 others; 4 have the label without the trigger."""
    flipped, control, clean = (np.zeros(100, bool) for _ in range(3))
    flipped[:92], control[83:94], clean[:4] = True, True, True
    assert paired_p_value(flipped, control) == pytest.approx(tail(83, 2)) == pytest.approx(9.4e-23, rel=0.01)
    assert paired_p_value(flipped, clean) == pytest.approx(tail(88, 0))
    assert least_texts(WatermarkConfig().alpha) == 10
