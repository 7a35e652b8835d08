"""Options that do not fit together."""

from typing import Any

import pytest

from seampack.errors import ConfigError
from seampack.models.refine import (
    RefineConfig,
)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stage": "both"}, "stage: expected one of refiner, safety"),
        ({"rewards": ("kindness=1",)}, "rewards: expected refusal"),
        ({"rewards": ("refusal",)}, "then = and a weight; got 'refusal'"),
        ({"rewards": ()}, "rewards: expected at least one value"),
        ({"rewards": 1}, "rewards: expected a list; got 1"),
        ({"rewards": ("refusal=nan",)}, "expected a finite weight; got 'refusal=nan'"),
        ({"target": 1}, "target: expected text; got 1"),
        ({"judge": "me"}, "judge: expected"),
        ({"judge": "safety"}, "safety_model: expected the folder"),
        ({"rl_samples": 1}, "rl_samples: expected an integer from 2"),
        ({"target": "http://localhost:1"}, "target_model: expected"),
    ],
)
def test_options_that_cannot_work(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RefineConfig(**changes)


def test_one_reward_may_be_given_as_text() -> None:
    config = RefineConfig(rewards="examples.refining:safe=0.5")  # type: ignore[arg-type]
    assert config == RefineConfig(rewards=("examples.refining:safe=0.5",))
    assert config.weights() == {"examples.refining:safe": 0.5}
    assert config.replace(rewards=["refusal=2"]).weights() == {"refusal": 2.0}
