"""Scores: the target is called once, rewards are clipped, weighted and checked."""

import pytest

from examples import refining
from seampack.errors import ConfigError, DataError
from seampack.models.refine import (
    CachedTarget,
    Scorer,
)
from tests.models.refine.world import Length


class Upper:
    """A target that records its queries."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def __call__(self, queries: list[str]) -> list[str]:
        self.asked.append(queries)
        return [query.upper() for query in queries]


def test_the_target_is_called_once_per_batch_and_query() -> None:
    upper = Upper()
    target = CachedTarget(upper)
    rewards = {
        "same": lambda a, b: [float(x == y) for x, y in zip(a, b, strict=True)],
        "half": lambda a, _: [0.5] * len(a),
    }
    scorer = Scorer(rewards, {"same": 2.0, "half": 1.0}, target)
    scores = scorer.all(["B", "A", "C", "D"], ["b", "a", "b", ""])
    assert scores == {"same": [1, 1, 0, 0], "half": [0.5] * 4, "score": [2.5, 2.5, 0.5, 0.5]}
    assert upper.asked == [["b", "a"]]
    assert scorer.reward("same", ["A", "Z"], ["a", "z"]) == [1, 1]
    assert upper.asked == [["b", "a"], ["z"]]
    assert target.calls == 2


def test_rewards_are_clipped_and_of_the_right_text() -> None:
    scorer = Scorer({"length": Length(), "low": lambda a, b: [-99.0]}, {"length": 1, "low": 1}, CachedTarget(Upper()))
    assert scorer.all(["q"], ["x" * 50]) == {"length": [10], "low": [-10], "score": [0]}


def test_rewards_and_targets_that_misbehave() -> None:
    with pytest.raises(DataError, match=r"target: expected one text for each of 1 queries; got 0 answers"):
        CachedTarget(lambda queries: [])(["a"])
    with pytest.raises(DataError, match=r"got 1 answers \(int\)"):
        CachedTarget(lambda queries: [1])(["a"])  # type: ignore[list-item]
    scorer = Scorer(
        {"short": lambda a, b: [], "nan": lambda a, b: [float("nan")]}, {"short": 1, "nan": 1}, CachedTarget(Upper())
    )
    with pytest.raises(DataError, match="reward short: expected 1 values, one per response; got 0"):
        scorer.reward("short", ["a"], ["b"])
    with pytest.raises(DataError, match="reward nan: expected a number for the query 'a'; got nan"):
        scorer.reward("nan", ["a"], ["b"])
    with pytest.raises(ConfigError, match="needs the responses of a target"):
        Scorer({"safe": refining.safe}, {"safe": 1})
    with pytest.raises(ConfigError, match="weights: expected one for each of length"):
        Scorer({"length": Length()}, {"size": 1})
    with pytest.raises(ConfigError, match="rewards: expected at least one"):
        Scorer({}, {})
