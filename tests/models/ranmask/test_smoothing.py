"""Smoothing: ensembles, abstention, draws, logits of any classifier."""

from itertools import combinations, product
from typing import Any
from zlib import crc32

import numpy as np
import pytest
import torch

from seampack.errors import ConfigError, DataError
from seampack.models.ranmask import (
    RandomMask,
    RanmaskConfig,
    certified_accuracy,
    certify,
    scorer,
    smooth,
    smooth_and_certify,
    strong_words,
)
from seampack.models.ranmask.masks import MASK_TOKEN
from tests.models.ranmask.helpers import Copies, keeps, voter


@pytest.mark.parametrize("ensemble", ["votes", "mean", "ref_logit"])
def test_ensembles_by_hand(ensemble: str) -> None:
    words = list("abcde")
    rng = np.random.default_rng(0)
    logits = {copy: rng.normal(0, 2, 3) for copy in product(*[[word, MASK_TOKEN] for word in words])}
    found = smooth(lambda copies: [logits[tuple(copy)] for copy in copies], [words], keeps(2, ensemble=ensemble))
    expected = np.zeros(3)
    for kept in combinations(range(5), 2):
        own = logits[tuple(word if at in kept else MASK_TOKEN for at, word in enumerate(words))]
        if ensemble == "votes":
            expected[own.argmax()] += 1
        elif ensemble == "mean":
            expected += np.exp(own) / np.exp(own).sum()
        else:
            expected += own / np.sqrt((own**2).sum())
    np.testing.assert_allclose(found.scores[0], expected / 10)
    assert found.pred[0] == expected.argmax()
    assert found.counts.sum() == 10


def test_close_votes_abstain() -> None:
    words = [str(at) for at in range(40)]
    tie = smooth(voter(lambda copy: copy[0] == MASK_TOKEN), [words] * 25, keeps(20, guess_masks=200))
    assert tie.abstain.mean() > 0.85
    clear = smooth(voter(lambda copy: copy[0] == MASK_TOKEN), [words], keeps(10, guess_masks=400))
    assert not clear.abstain[0]
    assert clear.p_hat[0] == pytest.approx(0.75, abs=0.08)
    certified = certify(voter(lambda copy: copy[0] == MASK_TOKEN), [words] * 25, keeps(20, guess_masks=50, masks=200))
    assert certified.abstain.mean() > 0.85


def test_the_masks_that_certify_are_not_those_that_guess() -> None:
    """Copies vote at random for 12 classes. Reusing the votes that chose the guess would give more than a twelfth."""

    def any_class(copies: Copies) -> Any:
        chosen = [crc32(" ".join(copy).encode()) // 7 % 12 for copy in copies]
        return np.eye(12)[chosen]

    texts = [[f"{at}.{word}" for word in range(30)] for at in range(300)]
    found = certify(any_class, texts, keeps(10, guess_masks=60, masks=60))
    assert not found.exact.any()
    error = np.sqrt(11 / 12**2 / found.masks.sum())
    assert found.count.sum() / found.masks.sum() == pytest.approx(1 / 12, abs=3 * error)


@pytest.mark.parametrize("ensemble", ["votes", "mean"])
def test_predictions_and_certificates_use_one_draw(ensemble: str) -> None:
    """Near ties, for which two draws would often give different classes."""

    def near_tie(copies: Copies) -> Any:
        return np.array([[crc32(" ".join(copy).encode()) % 1001, 500] for copy in copies]) / 1000

    texts = [[f"{at}.{word}" for word in range(30)] for at in range(60)]
    smoothed, certified = smooth_and_certify(near_tie, texts, keeps(10, guess_masks=50, masks=60, ensemble=ensemble))
    if ensemble == "votes":
        np.testing.assert_array_equal(smoothed.pred, certified.guess)
    assert (smoothed.counts.sum(1) == 50).all()
    np.testing.assert_array_equal(smoothed.counts.argmax(1), certified.guess)
    again = certify(near_tie, texts, keeps(10, guess_masks=50, masks=60))
    for name, column in certified.columns().items():
        np.testing.assert_array_equal(column, again.columns()[name])


def test_a_copy_is_predicted_once() -> None:
    calls: list[list[tuple[str, ...]]] = []

    def seen(copies: Copies) -> Any:
        calls.append([tuple(copy) for copy in copies])
        return np.ones((len(copies), 2))

    few, many = [str(at) for at in range(4)], [str(at) for at in range(60)]
    certify(seen, [few, many], keeps(2, guess_masks=50, masks=1500))
    (copies,) = calls
    assert len(set(copies)) == len(copies)
    assert sum(len(copy) == 4 for copy in copies) == 6
    assert 800 < sum(len(copy) == 60 for copy in copies) < 1400


def test_certified_accuracy_counts_the_right_and_certain() -> None:
    seen = voter(lambda copy: "no" not in copy)
    found = certify(seen, [["yes"] * 10, ["yes"] * 9 + ["no"], ["no", "yes"]], keeps(2))
    assert found.radius.tolist() == [2, 1, 0]
    assert [certified_accuracy(found, [1, 1, 0], r) for r in range(4)] == pytest.approx([1, 2 / 3, 1 / 3, 0])
    assert certified_accuracy(found, [0, 0, 1], 0) == 0
    assert set(found.columns()) >= {"radius", "p_lower", "guess", "abstain"}


@pytest.mark.parametrize(
    ("predict_fn", "message"),
    [
        (lambda copies: np.zeros(len(copies)), r"expected logits of shape \(6, classes\)"),
        (lambda copies: np.zeros((1, 2)), r"got shape \(1, 2\)"),
        (lambda copies: np.full((len(copies), 2), np.nan), "got NaN or .inf in rows 1, 2, 3, 4, 5 and 1 others of 6"),
        (lambda copies: [[0, 1]] * 4 + [[np.inf, 0], [0, 1]], "got NaN or .inf in row 5 of 6"),
        (lambda copies: [[0, -np.inf], [-np.inf] * 2] * 3, "got -inf for all classes in rows 2, 4 and 6 of 6"),
        (lambda copies: [["a", "b"]] * len(copies), "expected numeric logits"),
        (lambda copies: [[0, 1], [0, 1, 2]] * (len(copies) // 2), r"shape \(6, classes\); got no array"),
    ],
)
def test_wrong_logits_are_named(predict_fn: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        smooth(predict_fn, ["a b c d"], keeps(2))
    copies = ["so", "no", "go", "to", "do", "lo"]
    with pytest.raises(DataError, match=message):
        strong_words(predict_fn, copies)


def test_classes_may_be_ruled_out() -> None:
    """-inf is the log of 0."""
    certain = smooth(lambda copies: [[0.0, -np.inf]] * len(copies), ["a b c d"], keeps(2, ensemble="mean"))
    np.testing.assert_array_equal(certain.scores, [[1, 0]])
    assert certify(lambda copies: [[-np.inf, 0.0]] * len(copies), ["a b c d e f"], keeps(1)).guess[0] == 1
    with pytest.raises(DataError, match="ref_logit needs finite logits"):
        smooth(lambda copies: [[0.0, -np.inf]] * len(copies), ["a b"], keeps(1, ensemble="ref_logit"))


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_tensors_with_a_gradient_are_logits(kind: torch.dtype) -> None:
    weight = torch.ones(2, dtype=kind, requires_grad=True)
    found = smooth(lambda copies: weight * torch.tensor([[0, 1]] * len(copies)), ["a b c"], keeps(1))
    assert found.pred[0] == 1


def test_no_text_and_no_words() -> None:
    with pytest.raises(DataError, match="no text"):
        certify(voter(lambda copy: True), [], keeps(2))
    with pytest.raises(DataError, match="got the text 'good film'; put it into a list"):
        smooth(voter(lambda copy: True), "good film", keeps(2))
    with pytest.raises(DataError, match="got the text 'good film'; put it into a list"):
        RandomMask(RanmaskConfig())("good film")
    with pytest.raises(DataError, match="expected text with at least one word"):
        smooth(voter(lambda copy: True), ["  "], keeps(2))
    with pytest.raises(ConfigError, match="beta: expected one of one, paper"):
        certify(voter(lambda copy: True), ["a"], keeps(2)).radii("two")


def test_texts_of_a_length_are_scored_with_the_same_masks() -> None:
    words = [str(at) for at in range(40)]
    score = scorer(voter(lambda copy: copy[3] != MASK_TOKEN), keeps(10, attack_masks=50, ensemble="votes"))
    first, second = score([words, ["x", *words[1:]]])
    np.testing.assert_array_equal(first, second)
