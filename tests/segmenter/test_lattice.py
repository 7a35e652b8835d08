"""Lattice kernels and decoders against every possible segmentation, for sentences of up to ten units."""

import math
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seampack.errors import ConfigError
from seampack.segmenter import _kernels as kernels
from seampack.segmenter.apply_config import DecodeConfig, Decoder
from seampack.segmenter.decoders import DECODERS, Lattices

Segmentation = tuple[tuple[int, int], ...]


def segmentations(n: int, longest: int) -> Iterator[Segmentation]:
    """All ways to cut ``n`` units into segments (begin, length) of at most ``longest``."""

    def from_(start: int) -> Iterator[Segmentation]:
        if start == n:
            yield ()
        for length in range(1, min(longest, n - start) + 1):
            for rest in from_(start + length):
                yield ((start, length), *rest)

    return from_(0)


def total(scores: np.ndarray, segmentation: Segmentation) -> float:
    return float(sum(scores[begin, length - 1] for begin, length in segmentation))


def flags(segmentation: Segmentation, n: int) -> list[int]:
    ends = {begin + length - 1 for begin, length in segmentation}
    return [int(unit in ends) for unit in range(n)]


def lattice(data: st.DataObject) -> tuple[np.ndarray, np.ndarray]:
    """Scores of a batch of sentences, and their offsets."""
    sizes = data.draw(st.lists(st.integers(0, 10), min_size=1, max_size=3))
    longest = data.draw(st.integers(1, 4))
    values = st.floats(-8, 2, width=32)
    count = sum(sizes) * longest
    scores = np.array(data.draw(st.lists(values, min_size=count, max_size=count)), np.float32)
    return scores.reshape(sum(sizes), longest), np.cumsum([0, *sizes])


def sentences(scores: np.ndarray, offsets: np.ndarray) -> Iterator[tuple[slice, np.ndarray, list[Segmentation]]]:
    for begin, end in pairwise(offsets.tolist()):
        yield slice(begin, end), scores[begin:end], list(segmentations(end - begin, scores.shape[1]))


@given(st.data())
def test_likelihood_and_posteriors(data: st.DataObject) -> None:
    scores, offsets = lattice(data)
    posteriors = np.empty(scores.shape, np.float32)
    found = kernels.forward_backward(scores, offsets, posteriors)
    assert found == pytest.approx(kernels.log_likelihood(scores, offsets), rel=1e-9)
    ends = kernels.end_posteriors(posteriors, offsets)
    for s, (where, mine, every) in enumerate(sentences(scores, offsets)):
        weights = [math.exp(total(mine, one)) for one in every]
        assert found[s] == pytest.approx(math.log(sum(weights)), rel=1e-5, abs=1e-5)
        expected = np.zeros(mine.shape)
        expected_ends = np.zeros(len(mine))
        for one, weight in zip(every, weights, strict=True):
            for begin, length in one:
                expected[begin, length - 1] += weight / sum(weights)
            expected_ends += np.array(flags(one, len(mine))) * weight / sum(weights)
        assert posteriors[where] == pytest.approx(expected, abs=1e-5)
        assert ends[where] == pytest.approx(expected_ends, abs=1e-5)


@given(st.data())
def test_viterbi_and_total(data: st.DataObject) -> None:
    scores, offsets = lattice(data)
    ends = np.full(len(scores), 9, np.uint8)
    best = kernels.viterbi(scores, offsets, ends)
    assert kernels.total_scores(scores, offsets, ends) == pytest.approx(best, abs=1e-4)
    for s, (where, mine, every) in enumerate(sentences(scores, offsets)):
        assert best[s] == pytest.approx(max(total(mine, one) for one in every), abs=1e-4)
        assert list(ends[where]) in [flags(one, len(mine)) for one in every]


@given(st.data())
def test_forbidden_segments_are_those_that_cut_bonded_units(data: st.DataObject) -> None:
    scores, offsets = lattice(data)
    longest = scores.shape[1]
    bonds = np.array(data.draw(st.lists(st.integers(0, 1), min_size=len(scores), max_size=len(scores))), np.uint8)
    expected = scores.copy()
    for begin, stop in pairwise(offsets.tolist()):
        cuts = [begin, *(unit + 1 for unit in range(begin, stop - 1) if not bonds[unit]), stop]
        inner = {unit for a, b in pairwise(cuts) if b - a <= longest for unit in range(a + 1, b)}
        for start in range(begin, stop):
            for length in range(1, longest + 1):
                if start in inner or start + length in inner:
                    expected[start, length - 1] = -9
    kernels.forbid_bonds(scores, offsets, bonds, -9)
    for begin, stop in pairwise(offsets.tolist()):
        for start in range(begin, stop):
            size = stop - start  # longer segments leave the sentence and are never read
            assert scores[start, :size].tolist() == expected[start, :size].tolist()


@given(st.data(), st.integers(1, 6))
def test_n_best(data: st.DataObject, count: int) -> None:
    scores, offsets = lattice(data)
    ends = np.empty((count, len(scores)), np.uint8)
    totals = np.empty((count, offsets.size - 1))
    kernels.n_best(scores, offsets, count, ends, totals)
    for s, (where, mine, every) in enumerate(sentences(scores, offsets)):
        expected = sorted((total(mine, one) for one in every), reverse=True)[:count]
        assert totals[: len(expected), s] == pytest.approx(expected, abs=1e-4)
        assert np.all(np.isneginf(totals[len(expected) :, s]))
        rows = [tuple(ends[k, where]) for k in range(len(expected))]
        assert len(set(rows)) == len(rows)
        assert set(rows) <= {tuple(flags(one, len(mine))) for one in every}


@given(st.data())
def test_reversal(data: st.DataObject) -> None:
    scores, offsets = lattice(data)
    mirrored = np.empty_like(scores)
    kernels.reverse_lattice(scores, offsets, mirrored)
    for where, mine, every in sentences(scores, offsets):
        n = len(mine)
        for one in every:
            back = tuple((n - begin - length, length) for begin, length in one)
            assert total(mirrored[where], back) == pytest.approx(total(mine, one), abs=1e-4)


@given(st.data())
def test_merge_by_block(data: st.DataObject) -> None:
    scores, offsets = lattice(data)
    chosen = [[data.draw(st.sampled_from(every)) for _, _, every in sentences(scores, offsets)] for _ in range(2)]
    sides = [
        np.array([flag for s, one in enumerate(side) for flag in flags(one, offsets[s + 1] - offsets[s])], np.uint8)
        for side in chosen
    ]
    ends = np.full(len(scores), 9, np.uint8)
    kernels.merge_by_block(scores, offsets, *sides, ends)
    common = sides[0] & sides[1]
    assert np.all(ends[common == 1] == 1)
    best = kernels.total_scores(scores, offsets, ends)
    for side in sides:
        assert np.all(best >= kernels.total_scores(scores, offsets, side) - 1e-4)
    blocks = np.split(np.arange(len(scores)), np.flatnonzero(common) + 1)
    for block in blocks:
        assert any(np.array_equal(ends[block], side[block]) for side in sides)


@given(st.data(), st.sampled_from(sorted(DECODERS)), st.sampled_from([0.0, 0.3, 0.5, 1.0]))
def test_every_decoder_ends_every_sentence(data: st.DataObject, name: str, weight: float) -> None:
    scores, offsets = lattice(data)
    other = np.array(scores[::-1], copy=True)
    ends = DECODERS[name](Lattices(scores, other, offsets, weight))
    assert set(np.unique(ends)) <= {0, 1}
    filled = np.diff(offsets) > 0
    assert np.all(ends[offsets[1:][filled] - 1] == 1)


@given(st.data())
def test_one_direction_alone_is_that_direction(data: st.DataObject) -> None:
    scores, offsets = lattice(data)
    lattices = Lattices(scores, np.zeros_like(scores), offsets, 1.0)
    assert np.array_equal(DECODERS["product"](lattices), DECODERS["forward"](lattices))


def two_lattices(data: st.DataObject) -> Lattices:
    """Both directions of a batch, with forbidden segments and impossible segments."""
    sizes = data.draw(st.lists(st.integers(0, 6), min_size=1, max_size=2))
    longest = data.draw(st.integers(1, 3))
    values = st.one_of(st.floats(-8, 2, width=32), st.sampled_from([-1e6, -math.inf]))
    count = sum(sizes) * longest
    both = [np.array(data.draw(st.lists(values, min_size=count, max_size=count)), np.float32) for _ in range(2)]
    shape = (sum(sizes), longest)
    weight = data.draw(st.sampled_from([0.0, 0.3, 0.5, 1.0]))
    return Lattices(both[0].reshape(shape), both[1].reshape(shape), np.cumsum([0, *sizes]), weight)


def segments(ends: np.ndarray) -> Segmentation:
    last = [-1, *np.flatnonzero(ends).tolist()]
    return tuple((a + 1, b - a) for a, b in pairwise(last))


def near(value: float) -> object:
    return pytest.approx(value, rel=1e-6, abs=1e-3)


def log(value: float) -> float:
    return math.log(value) if value else -math.inf


def log_sum(values: list[float]) -> float:
    most = max(values)
    return most if most == -math.inf else most + math.log(sum(math.exp(value - most) for value in values))


def weighted(weight: float, value: float) -> float:
    return weight * value if weight else 0.0


@given(st.data(), st.sampled_from(["product", "mean"]))
def test_combined_scores_against_every_segmentation(data: st.DataObject, name: str) -> None:
    lattices = two_lattices(data)
    w = lattices.weight
    pairs = zip(lattices.forward.ravel().tolist(), lattices.backward.ravel().tolist(), strict=True)
    if name == "product":
        values = [weighted(2 * w, one) + weighted(2 * (1 - w), other) for one, other in pairs]
    else:
        values = [log_sum([log(w) + one, log(1 - w) + other]) for one, other in pairs]
    scores = np.array(values).reshape(lattices.forward.shape)
    with np.errstate(all="raise", under="ignore"):
        ends = DECODERS[name](lattices)
    for where, mine, every in sentences(scores, lattices.offsets):
        assert total(mine, segments(ends[where])) == near(max(total(mine, one) for one in every))


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=2, max_size=6), st.floats(0, 1))
def test_the_product_of_finite_scores_is_finite(values: list[float], weight: float) -> None:
    forward, backward = np.array([values, values[::-1]], np.float32)[..., None]
    lattices = Lattices(forward, backward, np.array([0, len(values)]), weight)
    with np.errstate(all="raise", under="ignore"):
        scores = lattices.product()
    assert np.isfinite(scores).all()
    assert scores.dtype == np.float32
    assert ((np.minimum(forward, backward) <= scores) & (scores <= np.maximum(forward, backward))).all()


@given(st.data())
def test_the_likelier_direction_against_every_segmentation(data: st.DataObject) -> None:
    lattices = two_lattices(data)
    ends = DECODERS["likelier"](lattices)
    both = (sentences(scores, lattices.offsets) for scores in (lattices.forward, lattices.backward))
    for (where, one, every), (_, other, _) in zip(*both, strict=True):
        best = [max(total(scores, way) for way in every) for scores in (one, other)]
        found = [total(scores, segments(ends[where])) for scores in (one, other)]
        taken = [value == near(most) for value, most in zip(found, best, strict=True)]
        assert any(took for took, most in zip(taken, best, strict=True) if most == near(max(best)))


@given(st.data())
def test_boundaries_against_every_segmentation(data: st.DataObject) -> None:
    lattices = two_lattices(data)
    ends = DECODERS["boundary"](lattices)
    probability = np.zeros(ends.size)
    for scores, share in ((lattices.forward, lattices.weight), (lattices.backward, 1 - lattices.weight)):
        for where, mine, every in sentences(scores, lattices.offsets):
            totals = [total(mine, one) for one in every]
            whole = log_sum(totals)
            for one, value in zip(every, totals, strict=True):
                if whole > -math.inf:
                    probability[where] += share * math.exp(value - whole) * np.array(flags(one, len(mine)))
    certain = np.abs(probability - 0.5) > 1e-4
    last = np.zeros(ends.size, np.bool_)
    last[lattices.offsets[1:][np.diff(lattices.offsets) > 0] - 1] = True
    assert np.array_equal(ends[certain & ~last], (probability > 0.5)[certain & ~last])
    assert np.all(ends[last] == 1)


def test_posterior_decoding_has_the_most_expected_right_words() -> None:
    """A case in which the likeliest segmentation does not have the most expected correct words."""
    scores = np.log(np.array([[0.34, 0.36, 0.0], [0.34, 0.30, 0.0], [1.0, 0.0, 0.0]], np.float32) + 1e-9)
    offsets = np.array([0, 3])
    lattices = Lattices(scores, scores, offsets)
    posteriors = lattices.posteriors()
    expected = {}
    for one in segmentations(3, 3):
        expected[tuple(flags(one, 3))] = sum(posteriors[begin, length - 1] for begin, length in one)
    assert tuple(DECODERS["posterior"](lattices)) == max(expected, key=lambda ends: expected[ends])


def test_every_decoder_has_a_name_and_a_function() -> None:
    assert list(DECODERS) == [name.value for name in Decoder]
    with pytest.raises(ConfigError, match="decoder: expected one of posterior, product"):
        DecodeConfig(decoder="magic")


def test_agreement_of_the_directions() -> None:
    def cuts(ends: list[int]) -> np.ndarray:
        """Scores whose best segmentation has these ends; K = 2."""
        scores = np.full((len(ends), 2), -100, np.float32)
        scores[:, 0] = [0 if end and (i == 0 or ends[i - 1]) else -100 for i, end in enumerate(ends)]
        scores[:-1, 1] = [0 if not a and b else -100 for a, b in pairwise(ends)]
        return scores

    one, other = cuts([1, 0, 1, 1, 0, 1, 1]), cuts([1, 0, 1, 0, 1, 1, 1])
    offsets, places = np.array([0, 7]), np.array([True] * 6 + [False])
    assert Lattices(one, one, offsets).agreement(places) == 1
    # of 6 places both end at 0, 2, 5 and neither at 1: 4 of 6; both say an end at 4 of 6
    assert Lattices(one, other, offsets).agreement(places) == pytest.approx((4 / 6 - 20 / 36) / (1 - 20 / 36))
    singles = cuts([1] * 7)
    assert Lattices(singles, singles, offsets).agreement(places) is None
