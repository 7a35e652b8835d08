"""Rules between options."""

import numpy as np
import pytest

from seampack.errors import ConfigError
from seampack.models.watermark import (
    WatermarkConfig,
    insert,
)
from tests.models.watermark.helpers import REVIEWS, tiny


def test_config_survives_json_and_rejects_invalid_options() -> None:
    config = WatermarkConfig().replace(trigger=["stock humor"], prune=[0.5], targets=["a=b"])
    assert (config.trigger, config.prune, config.targets) == (("stock", "humor"), (0.5,), ("a=b",))
    for wrong in (
        {"update": "some"},
        {"ratio": 1.5},
        {"prune": [1.0]},
        {"layers": -1},
        {"keep_norm": 1},
        {"trigger": [1]},
        {"trigger_words": 0},
        {"epochs": 0},
    ):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            WatermarkConfig().replace(**wrong)


def test_targets_and_triggers_that_are_not_text() -> None:
    assert WatermarkConfig(trigger=["stock", "humor"]) == WatermarkConfig(trigger=["stock humor"])  # type: ignore[arg-type]
    for name, value in (
        ("targets", [1.5]),
        ("targets", [True]),
        ("trigger", [1]),
        ("targets", [" "]),
        ("trigger", [" "]),
    ):
        with pytest.raises(ConfigError, match=f"{name}: expected (words|text); got"):
            WatermarkConfig().replace(**{name: value})


def test_the_trigger_must_not_be_cut_off() -> None:
    with pytest.raises(ConfigError, match="first_words: expected at most 6 with max_tokens 8"):
        WatermarkConfig(max_tokens=8)
    with pytest.raises(ConfigError, match=r"expected at most 4 .* a trigger of 3"):
        WatermarkConfig(max_tokens=8, first_words=5, trigger_words=3)
    _, tokenizer = tiny([*REVIEWS, "cf"])
    longest = insert("fine " * 40, ["cf"], np.random.default_rng(0), 1)
    assert "cf" in tokenizer.decode(tokenizer(longest, truncation=True, max_length=4)["input_ids"])
    assert WatermarkConfig(max_tokens=8, first_words=6).first_words == 6
