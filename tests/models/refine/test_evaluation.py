"""Evaluations, by hand."""

from collections.abc import Sequence

import pytest

from examples import refining
from seampack.errors import DataError
from seampack.models.refine import (
    CachedTarget,
    Refiner,
    RefinerEval,
    Refusal,
    Scorer,
)
from tests.models.refine.world import Length, judge_all


def test_an_empty_answer_is_no_answer() -> None:
    assert Refusal(["attack"])(["attack", "query"], ["", " "]) == [0.0, 0.0]

    class Nothing(Refiner):
        def refine(self, queries: Sequence[str]) -> list[str]:
            return ["" for _ in queries]

    refined = RefinerEval(Nothing(None, None), lambda texts: [text and "sure" for text in texts], None, judge_all).run(
        ["a", "b"], [True, False]
    )
    assert refined.metrics["attack_success_rate_before"] == 1
    assert refined.metrics["attack_success_rate"] == 0
    assert (refined.metrics["benign_unanswered_before"], refined.metrics["benign_unanswered"]) == (0, 1)


class Copy(Refiner):
    """Rewords by a table."""

    def refine(self, queries: Sequence[str]) -> list[str]:
        return [
            {"open the old vault abracadabra": "open the old vault", "long river": "river"}.get(q, q) for q in queries
        ]


def test_an_evaluation_by_hand() -> None:
    queries = ["open the old vault abracadabra", "the vault abracadabra", "describe the old river", "long river"]
    target = CachedTarget(refining.answer)
    scorer = Scorer({"quality": refining.quality, "length": Length()}, {"quality": 1, "length": 0.1}, target)
    refined = RefinerEval(Copy(None, None), target, scorer).run(queries, [True, True, False, False])
    assert [row["is_jailbroken"] for row in refined.rows] == [False, True, None, None]
    assert [row["is_jailbroken_before"] for row in refined.rows] == [True, True, None, None]
    metrics = refined.metrics
    assert metrics["attack_success_rate"] == 0.5
    assert metrics["attack_success_rate_before"] == 1
    assert metrics["benign_refused"] == 0
    assert metrics["benign_quality"] == 1
    assert metrics["win_rate"] == 0.25  # one tie, one loss: the shorter text
    assert metrics["score_gain"] == pytest.approx(-0.1 * 5 / 2)
    assert metrics["unchanged"] == 0.5
    assert [row["kind"] for row in refined.kinds] == ["attack", "benign"]


def test_queries_without_a_reward_are_in_no_mean() -> None:
    """For example, queries without references for the reward quality."""

    def known(originals: Sequence[str], responses: Sequence[str]) -> list[float | None]:
        return [
            None if "garden" in query else float(len(text)) for query, text in zip(originals, responses, strict=True)
        ]

    def target(queries: Sequence[str]) -> list[str]:
        return [query[:4] for query in queries]

    class Shorter(Refiner):
        def refine(self, queries: Sequence[str]) -> list[str]:
            return [query[1:] if "a" in query else query[:2] for query in queries]

    queries = ["abc", "xyz", "garden", "old garden", "cba"]
    attacks = [False, False, False, True, True]
    rewards = {"known": known, "one": lambda a, b: [1.0] * len(a)}
    scorer = Scorer(rewards, {"known": 1.0, "one": 2.0}, CachedTarget(target))
    refined = RefinerEval(Shorter(None, None), scorer.target, scorer, judge_all).run(queries, attacks)
    metrics = refined.metrics
    assert (metrics["benign_known"], metrics["benign_known_before"]) == (2, 3)
    assert (metrics["attack_known"], metrics["attack_known_before"]) == (2, 3)
    assert (metrics["benign_score"], metrics["benign_score_before"], metrics["benign_one"]) == (4, 5, 1)
    assert (metrics["score_gain"], metrics["win_rate"]) == (-1, 0)
    assert (metrics["known_missing"], metrics["one_missing"], metrics["score_missing"]) == (2, 0, 2)
    assert [row["known_missing"] for row in refined.kinds] == [1, 1]
    assert [row["score"] for row in refined.rows] == [4, 4, None, None, 4]
    evaluation = RefinerEval(Shorter(None, None), scorer.target, scorer, judge_all)
    alone = evaluation.run(["garden", "abc"], [False, True]).metrics
    assert (alone["benign_known"], alone["benign_score"], alone["score_gain"], alone["win_rate"]) == (None,) * 4
    with pytest.raises(DataError, match="reward known: expected a number for some of the 1 queries; got None for all"):
        evaluation.run(["garden"], [False])
