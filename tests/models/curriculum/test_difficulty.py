"""Pass rates: pass@k, estimates, and responses from other engines."""

import itertools

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from seampack.errors import DataError
from seampack.models.curriculum import CurriculumConfig, DifficultyEstimator, grade, gsm8k_matches, pass_at_k
from seampack.models.curriculum.difficulty import bins_of
from tests.models.curriculum.world import Oracle, prepared


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 7).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_counts_the_choices(case: tuple[int, int, int]) -> None:
    n, c, k = case
    choices = list(itertools.combinations([True] * c + [False] * (n - c), k))
    assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, choices)) / len(choices))


def test_pass_at_k_of_arrays() -> None:
    np.testing.assert_allclose(pass_at_k([4, 4, 10], [0, 4, 3], 2), [0, 1, 1 - 42 / 90])
    with pytest.raises(DataError, match="1 to the number of samples, 4"):
        pass_at_k([4, 8], [0, 0], 5)


def test_estimates_follow_true_difficulty() -> None:
    estimated = DifficultyEstimator(CurriculumConfig(n_samples=64), Oracle()).estimate(prepared(60))
    rates, operations = np.asarray(estimated["pass_rate"][:]), np.asarray(estimated["operations"][:])
    assert np.corrcoef(rates, -operations)[0, 1] > 0.9
    assert estimated["n_correct"][0] / estimated["n_samples"][0] == rates[0]
    assert all(len(texts) == 64 for texts in estimated["responses"])


def test_responses_from_elsewhere_are_graded() -> None:
    rows = Dataset.from_dict({"responses": [["#### 1", "#### 2"], ["#### 3"]], "final": ["1", "3"]})
    assert grade(rows, gsm8k_matches)["pass_rate"][:] == [0.5, 1.0]
    with pytest.raises(DataError, match="row 2: no responses"):
        grade(Dataset.from_dict({"responses": [["a"], []], "final": ["1", "3"]}), gsm8k_matches)


def test_bins() -> None:
    assert bins_of([0, 0.1, 0.25, 0.3, 0.75, 0.9, 1]).tolist() == [0, 1, 1, 2, 3, 4, 5]
