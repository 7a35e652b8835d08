"""The certificate against every change of small texts, bounds, and limits."""

from collections.abc import Callable
from fractions import Fraction
from itertools import combinations, product
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from seampack.errors import ConfigError
from seampack.models.ranmask import (
    RandomMask,
    RanmaskConfig,
    certified_radius,
    certify,
    delta,
    lower_bound,
    smooth,
)
from seampack.models.ranmask.masks import MASK_TOKEN
from tests.models.ranmask.helpers import keeps, voter


@pytest.mark.parametrize("length", range(1, 8))
def test_delta_is_the_share_of_sets_that_meet_the_changed_words(length: int) -> None:
    for kept in range(1, length + 1):
        sets = list(combinations(range(length), kept))
        for changed in range(length + 1):
            meeting = sum(any(word < changed for word in kept_words) for kept_words in sets)
            assert delta(changed, length, kept) == Fraction(meeting, len(sets))


@given(st.integers(3, 7), st.data())
@settings(max_examples=40)
def test_no_change_breaks_a_certificate(length: int, data: st.DataObject) -> None:
    """The worst possible classifier: it votes for another class as soon as a copy shows a changed word."""
    kept = data.draw(st.integers(1, length - 1))
    sets = [frozenset(s) for s in combinations(range(length), kept)]
    against = data.draw(st.sets(st.sampled_from(range(len(sets))), max_size=len(sets) // 2))
    voting = {s for at, s in enumerate(sets) if at not in against}
    seen = voter(
        lambda copy: frozenset(i for i, word in enumerate(copy) if word != MASK_TOKEN) in voting and "x" not in copy
    )
    found = certify(seen, [["a"] * length], keeps(kept))
    assert found.exact.all()
    assert found.count[0] == len(voting) or found.abstain[0]
    for r in range(1, int(found.radius[0]) + 1):
        for places in combinations(range(length), r):
            words = ["x" if i in places else "a" for i in range(length)]
            assert smooth(seen, [words], keeps(kept)).p_hat[0] > 0.5
            assert smooth(seen, [words], keeps(kept)).pred[0] == 1


@pytest.mark.parametrize("seed", range(8))
def test_random_classifiers_keep_their_certified_class_for_every_text(seed: int) -> None:
    rng = np.random.default_rng(seed)
    memory: dict[tuple[str, ...], bool] = {}
    seen = voter(lambda copy: memory.setdefault(tuple(copy), bool(rng.random() < 0.9)))
    texts = [list(words) for words in product("ab", repeat=6)]
    config = keeps(1 + seed % 2)
    found = certify(seen, texts, config)
    assert found.radius.max() > 0
    preds = smooth(seen, texts, config).pred
    for at, radius in enumerate(found.radius):
        for other, words in enumerate(texts):
            if sum(a != b for a, b in zip(texts[at], words, strict=True)) <= radius:
                assert preds[other] == preds[at]


@given(st.integers(2, 40), st.data())
def test_a_unanimous_certificate_cannot_be_larger(length: int, data: st.DataObject) -> None:
    kept = data.draw(st.integers(1, length - 1))
    radius = certified_radius(1.0, length, kept)
    assert 1 - delta(radius, length, kept) > Fraction(1, 2) or radius == 0
    assert 1 - delta(radius + 1, length, kept) <= Fraction(1, 2)


def test_the_counter_example_of_the_heuristic() -> None:
    """12 words, 5 kept, 90 % of the votes: one changed word takes the majority, yet the heuristic certifies it."""
    sets = list(combinations(range(12), 5))
    against = {s for s in sets if 0 not in s}
    against = set(sorted(against)[: round(0.1 * len(sets))])
    seen = voter(lambda c: tuple(i for i, w in enumerate(c) if w != MASK_TOKEN) not in against and "x" not in c)
    text_words = list("abcdefghijkl")
    found = certify(seen, [text_words], keeps(5))
    assert found.p_lower[0] == pytest.approx(0.900, abs=0.001)
    assert found.radius[0] == 0
    assert found.radii("paper")[0] == 1
    assert certify(seen, [text_words], keeps(5, beta="paper")).radius[0] == 1
    broken = smooth(seen, [["x", *text_words[1:]]], keeps(5))
    assert broken.pred[0] == 0
    assert 1 - broken.p_hat[0] == pytest.approx(0.484, abs=0.001)


def keeping(rate: float) -> Callable[[int], int]:
    return RandomMask(RanmaskConfig(rate=rate)).kept


def test_hard_limits() -> None:
    for length in range(1, 120):
        assert certified_radius(1.0, length, keeping(0.3)(length)) == 0
        assert certified_radius(1.0, 2 * length, keeping(0.5)(2 * length)) == 0
        assert certified_radius(1.0, length, length) == 0
    assert keeping(0.9)(20) == 2
    assert certified_radius(0.99, 20, 2) == 5
    assert certified_radius(0.5, 20, 2) == 0
    assert certified_radius(Fraction(3, 4), 4, 1) == 0  # exactly one half is no majority
    with pytest.raises(ConfigError, match="kept: expected 1 to 3"):
        delta(1, 3, 4)
    with pytest.raises(ConfigError, match="changed: expected 0 to 3"):
        delta(4, 3, 1)


def test_bounds_of_unanimous_votes() -> None:
    n = np.array([100, 300, 1000, 5000])
    np.testing.assert_allclose(lower_bound(n, n, 0.05), [0.970, 0.990, 0.997, 0.9994], atol=5e-4)
    assert lower_bound(0, 10, 0.05) == 0
    for count in (1, 7, 19, 20):
        reference = binomtest(count, 20, alternative="greater").proportion_ci(0.95, "exact").low
        assert lower_bound(count, 20, 0.05) == pytest.approx(reference)
    with pytest.raises(ConfigError, match="count: expected 0 to 5"):
        lower_bound(6, 5, 0.05)


@pytest.mark.parametrize("alpha", [0.05, 0.001])
def test_the_bound_fails_at_most_as_often_as_alpha(alpha: float) -> None:
    n = 200
    bounds = lower_bound(np.arange(n + 1), n, alpha)
    for p in np.linspace(0.01, 0.99, 99):
        assert binom.pmf(np.arange(n + 1), n, p)[bounds > p].sum() <= alpha + 1e-9


def test_sampled_bounds_stay_below_the_true_probability() -> None:
    words = list("abcdefghij")
    seen = voter(lambda copy: copy[0] == MASK_TOKEN or copy[1] == MASK_TOKEN)
    true = certify(seen, [words], keeps(5, masks=1000))
    assert true.exact[0]
    assert true.p_lower[0] == 1 - comb(8, 3) / comb(10, 5)
    sampled = certify(seen, [words] * 300, keeps(5, guess_masks=20, masks=200, seed=3))
    assert not sampled.exact.any()
    assert (sampled.p_lower > true.p_lower[0]).mean() <= 0.08
    assert 0 < sampled.p_lower.mean() < true.p_lower[0]
