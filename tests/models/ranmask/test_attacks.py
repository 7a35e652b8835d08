"""Attacks: the greedy search, candidates, broken certificates."""

from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seampack.errors import ConfigError, DataError
from seampack.models.ranmask import (
    attack,
    character_bugs,
    judge,
    neighbours,
    smooth,
    strong_words,
)
from seampack.models.ranmask.classifier import Classifier
from seampack.models.ranmask.masks import MASK_TOKEN
from seampack.models.ranmask.robustness import broken_by
from tests.models.ranmask.helpers import Copies, keeps, voter

WEIGHTS = {"good": 2.0, "fine": 1.0, "bad": -3.0, "poor": -0.5}


def linear(copies: Copies) -> Any:
    """Class 1 by the sum of the words' weights."""
    return np.array([[0.0, 0.1 + sum(WEIGHTS.get(word, 0) for word in copy)] for copy in copies])


@given(st.lists(st.sampled_from(["good", "fine", "bad", "poor", "so"]), min_size=1, max_size=6), st.integers(0, 3))
def test_greedy_finds_the_best_attack_on_a_linear_classifier(words: list[str], budget: int) -> None:
    """On a linear classifier with one candidate per word, the greedy attack is the best attack."""
    label = int(linear([words])[0].argmax())
    found = attack(words, label, linear, lambda word, label: ["bad" if label else "good"], budget)
    other = "bad" if label else "good"
    possible = any(
        linear([[other if at in places else word for at, word in enumerate(words)]])[0].argmax() != label
        for r in range(budget + 1)
        for places in combinations(range(len(words)), min(r, len(words)))
    )
    assert found.flipped == possible
    assert len(found.words) == len(words)
    assert len(set(found.changed)) == len(found.changed) <= budget
    assert [at for at in range(len(words)) if found.words[at] != words[at]] == sorted(found.changed)
    assert found.flipped == (linear([found.words])[0].argmax() != label)


def test_a_wrong_prediction_is_not_attacked() -> None:
    found = attack(["bad"], 1, linear, lambda word, label: ["poor"], 5)
    assert found.first_flip == 0
    assert found.changed == ()
    with pytest.raises(ConfigError, match="label: expected 0 to 1"):
        attack(["bad"], 2, linear, lambda word, label: [], 1)


def test_an_attack_goes_on_beyond_the_flip() -> None:
    words = ["good", "fine", "fine", "so"]
    found = attack(words, 1, linear, lambda word, label: ["poor"], 4, beyond=3)
    assert found.first_flip == 3
    assert attack(words, 1, linear, lambda word, label: ["poor"], 4) == found
    further = attack(words, 1, linear, lambda word, label: ["poor"], 4, beyond=4)
    assert further.first_flip == 3
    assert further.changed[:3] == found.changed
    assert len(further.changed) == 4
    assert further.after(3) == found.words
    assert further.after(0) == further.given == words
    assert further.after(9) == further.words == ["poor"] * 4
    assert len(attack(["bad", "good"], 1, linear, lambda word, label: ["bad"], 2, beyond=1).changed) == 1


def test_a_certificate_that_first_flips_too_little_is_broken_by_the_end() -> None:
    """With few masks the scores flip at the first word; the classifier, which uses all masks, flips at the second."""

    def flips_at(limit: float) -> Callable[[Copies], Any]:
        return lambda copies: np.array([[copy.count("x"), limit] for copy in copies])

    words, config, predict_fn = list("abcdefghij"), keeps(10, masks=400), flips_at(1.5)
    classifier = Classifier(predict_fn, MASK_TOKEN, [], np.zeros((0, 1), np.float32))
    early = attack(words, 1, flips_at(0.5), lambda word, label: ["x"], 3, beyond=3)
    assert early.first_flip == 1
    assert smooth(predict_fn, [early.after(1)], config).pred[0] == 1
    assert broken_by(classifier, early, 1, 1, config) is None
    assert broken_by(classifier, early, 1, 2, config) == early.after(2)
    assert broken_by(classifier, early, 1, 3, config) == early.words
    assert broken_by(classifier, early, 1, 0, config) is None


def test_a_verdict_is_certain_or_none() -> None:
    words = [str(number) for number in range(40)]
    config = keeps(10, masks=200, guess_masks=1, alpha=0.5, ensemble="mean")
    assert judge(voter(lambda copy: True), words, config) == 1
    assert judge(voter(lambda copy: False), words, config) == 0
    assert judge(voter(lambda copy: copy[0] == MASK_TOKEN), words, keeps(20, masks=200)) is None


@given(st.text("abeios", min_size=1, max_size=9))
def test_bugs_stay_one_word(word: str) -> None:
    bugs = character_bugs(word, 0)
    assert bugs
    for bug in bugs:
        assert bug != word
        assert len(bug.split()) == 1
        assert abs(len(bug) - len(word)) <= 1
    assert character_bugs("film", 0) == ["fillm", "flim", "fim", "fi1m"]


def test_nearest_and_strongest_words() -> None:
    near = neighbours(["hot", "warm", "cold", "ice"], [[1, 0], [2, 0.5], [0, 1], [-0.1, 1]], top=2)
    assert near("Hot", 0) == ["warm", "cold"]
    assert near("cold", 0)[0] == "ice"
    assert near("unknown", 0) == []
    strong = strong_words(linear, [*WEIGHTS, "so"], top=2)
    assert strong("any", 1) == ["bad", "poor"]
    assert strong("any", 0) == ["good", "fine"]
    with pytest.raises(DataError, match=r"expected shape \(2, width\)"):
        neighbours(["a", "b"], [[1.0]])
    with pytest.raises(DataError, match="at least one word"):
        strong_words(linear, [])
