"""The peak against brute force, and the summary by width."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seampack.errors import DataError
from seampack.models.double_descent import (
    find_double_descent,
    summarise,
)


def brute_force(loss: list[float]) -> tuple[float, set[int]]:
    """The largest ratio of an inner loss to the greater of the least losses on both sides, and its index."""
    ratios = {i: loss[i] / max(min(loss[:i]), min(loss[i + 1 :])) for i in range(1, len(loss) - 1)}
    return max(ratios.values()), {i for i, ratio in ratios.items() if ratio == max(ratios.values())}


@given(st.lists(st.floats(0.01, 9), min_size=3, max_size=9))
def test_peak_against_brute_force(loss: list[float]) -> None:
    rows = [{"width": 2 * i + 1, "test_loss": each, "test_accuracy": 1 - each / 10} for i, each in enumerate(loss)]
    descent = find_double_descent(rows[::-1], 1.1)
    ratio, where = brute_force(loss)
    assert descent.ratio == pytest.approx(ratio)
    index = (descent.peak_width - 1) // 2
    assert index in where
    assert descent.peak_loss == loss[index]
    assert descent.early_loss == min(loss[:index])
    assert descent.late_loss == min(loss[index + 1 :])
    assert descent.depth == pytest.approx(loss[index] - max(descent.early_loss, descent.late_loss))
    assert descent.found == (descent.ratio >= 1.1)
    deepest = max(
        min(max(-x for x in loss[:i]), max(-x for x in loss[i + 1 :])) + loss[i] for i in range(1, len(loss) - 1)
    )
    assert descent.dip_depth == pytest.approx(deepest / 10)


def test_peak_in_the_curve_that_the_authors_published() -> None:
    """MNIST, 20 % noise: early best at width 5, peak at 18, dip at 14, the widest best of all."""
    curve = {5: (0.929, 0.716), 14: (1.45, 0.686), 18: (1.543, 0.69), 1000: (0.529, 0.848)}
    descent = find_double_descent(
        [{"width": w, "test_loss": a, "test_accuracy": b} for w, (a, b) in curve.items()], 1.1
    )
    assert descent.found
    assert (descent.early_width, descent.peak_width, descent.late_width, descent.dip_width) == (5, 18, 1000, 14)
    assert descent.ratio == pytest.approx(1.543 / 0.929)
    assert descent.dip_depth == pytest.approx(0.716 - 0.686)


@pytest.mark.parametrize(("deviation", "found"), [(None, True), (0.1, True), (0.2, False)])
def test_peak_must_exceed_the_spread(deviation: float | None, found: bool) -> None:
    """The peak is 0.5 above the late side, whose deviation is used instead of the deviation of the lower early side."""
    rows = [
        {"width": 1, "test_loss": 0.1, "test_loss_std": 9.0, "test_accuracy": 0.5},
        {"width": 2, "test_loss": 1.0, "test_loss_std": deviation, "test_accuracy": 0.5},
        {"width": 4, "test_loss": 0.5, "test_loss_std": deviation, "test_accuracy": 0.5},
    ]
    peak = find_double_descent(rows, 1.1)
    assert peak.found is found
    assert peak.spread == (None if deviation is None else pytest.approx(deviation * math.sqrt(2)))


def test_peak_needs_three_distinct_widths() -> None:
    rows = [{"width": width, "test_loss": 1.0, "test_accuracy": 0.5} for width in (1, 2, 2)]
    for wrong in (rows[:2], rows):
        with pytest.raises(DataError, match="three widths"):
            find_double_descent(wrong, 1.1)


def test_summary_has_means_and_spread() -> None:
    base = dict.fromkeys(("train_loss", "train_accuracy", "test_accuracy", "memorised"), 0.5)
    runs = [{"width": w, "params": 10 * w, "test_loss": w + s, "P": None, **base} for s in (0, 1, 5) for w in (2, 1)]
    rows = summarise(runs)
    assert [row["width"] for row in rows] == [1, 2]
    assert rows[0]["test_loss"] == 3
    assert rows[0]["test_loss_std"] == pytest.approx(math.sqrt(7))
    assert rows[0]["P"] is rows[0]["P_std"] is None
    assert summarise(runs[:2])[0]["test_loss_std"] is None
