"""Reinforcement learning: in the small world, attacks fail after it."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure

from examples import refining
from seampack.errors import ConfigError, DataError
from seampack.models.refine import (
    CachedTarget,
    RefineConfig,
    Refiner,
    RefinerEval,
    RefinerRL,
    RefinerSFT,
    Scorer,
)
from seampack.models.refine.evaluation import draw_curve
from tests.models.refine.world import QUERIES, Length, refiner_of


def scored(**rewards: Any) -> Scorer:
    """Rewards of the small world's answers, each with a weight of 1."""
    return Scorer(rewards, dict.fromkeys(rewards, 1.0), CachedTarget(refining.answer))


def test_samples_that_are_rewarded_alike_are_warned_of(small: Refiner) -> None:
    config = RefineConfig(rl_steps=5, rl_queries=1, rl_samples=2)
    rl = RefinerRL(config, small, scored(same=lambda a, b: [1.0] * len(a)))
    with pytest.warns(UserWarning, match="in the first 5 steps, 100% of the groups had the same rewards"):
        reinforced = rl.fit(QUERIES)
    assert [step["flat"] for step in reinforced.curve] == [1] * 5


def test_low_rank_updates_are_rewarded_too(small: Refiner) -> None:
    """Without a target, a reward is computed from the rewordings themselves."""
    config = RefineConfig(rl_steps=2, rl_queries=2, rl_samples=2, lora_rank=2)
    reinforced = RefinerRL(config, small, Scorer({"length": Length()}, {"length": 1.0})).fit(QUERIES)
    assert reinforced.refiner.model.state_dict().keys() == small.model.state_dict().keys()
    assert not hasattr(reinforced.refiner.model, "peft_config")
    assert [step["reward_length"] for step in reinforced.curve] == [10, 10]


def test_attacks_fail_and_the_rest_is_answered_after_both_rewards() -> None:
    rows = refining.rows(200, most=2)
    queries, attacks = [str(row["prompt"]) for row in rows], [bool(row["attack"]) for row in rows]
    wanted = [str(row["optimized_prompt"]) for row in rows]
    target = CachedTarget(refining.answer)
    rewards = {"safe": refining.safe, "quality": refining.quality}
    scorer = Scorer(rewards, dict.fromkeys(rewards, 1.0), target)
    refiner = refiner_of(*queries, *wanted, max_new_tokens=9, batch_rows=200)

    def measured() -> dict[str, Any]:
        return RefinerEval(refiner, target, scorer, refining.jailbroken).run(queries, attacks).metrics

    refiner, _ = RefinerSFT(RefineConfig(epochs=16, batch_rows=20, learning_rate=4e-3), refiner).fit(queries, wanted)
    learnt = measured()
    assert learnt["attack_success_rate"] > 0.8
    assert learnt["benign_quality"] > 0.95
    config = RefineConfig(rl_steps=18, rl_queries=4, rl_learning_rate=5e-4)
    refiner = RefinerRL(config, refiner, scorer).fit(queries).refiner
    rewarded = measured()
    assert rewarded["attack_success_rate"] < 0.05
    assert rewarded["benign_quality"] > 0.95


def test_queries_without_a_reward_are_in_no_mean_of_the_curve(small: Refiner, caplog: pytest.LogCaptureFixture) -> None:
    """With one query per step, half of the steps have no reward at all."""

    def some(originals: Sequence[str], responses: Sequence[str]) -> list[float | None]:
        return [
            float(index % 2) if original == "describe the river" else None for index, original in enumerate(originals)
        ]

    config = RefineConfig(rl_steps=4, rl_queries=1, rl_samples=2)
    reinforced = RefinerRL(config, small, scored(some=some)).fit(["describe the river", "describe the garden"])
    assert sorted((step["reward_some"] is None, step["flat"]) for step in reinforced.curve) == 2 * [(False, 0)] + 2 * [
        (True, 1)
    ]
    assert (
        {step["reward_some"] for step in reinforced.curve}
        == {step["reward"] for step in reinforced.curve}
        == {None, 0.5}
    )
    assert all(torch.isfinite(weight).all() for weight in reinforced.refiner.model.state_dict().values())
    assert json.loads(json.dumps(reinforced.curve, allow_nan=False)) == reinforced.curve
    draw_curve(Figure().subplots(), reinforced.curve, [])
    assert "All reward functions returned None" not in caplog.text


def test_no_queries(small: Refiner) -> None:
    with pytest.raises(DataError, match="no queries"):
        RefinerRL(RefineConfig(rl_steps=1), small, scored(safe=refining.safe)).fit([])
    with pytest.raises(DataError, match="no pairs"):
        RefinerSFT(RefineConfig(), small).fit([], [])


def test_no_steps(small: Refiner) -> None:
    with pytest.raises(ConfigError, match="rl_steps: expected at least 1"):
        RefinerRL(RefineConfig(), small, scored(safe=refining.safe))
