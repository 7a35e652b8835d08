"""Notes on results that mean nothing."""

import numpy as np
import pytest

from seampack.models.notes import at_chance, flat_rewards, one_text


@pytest.mark.parametrize(
    ("right", "labels", "is_chance"),
    [
        (53, [0, 1] * 50, True),
        (59, [0, 1] * 50, False),
        (0, [0, 1] * 50, True),
        (5_300, [0, 1] * 5_000, False),
        (90, [0] * 90 + [1] * 10, True),
        (97, [0] * 90 + [1] * 10, False),
        (30, list(range(4)) * 25, True),
        (100, [0] * 100, True),
    ],
)
def test_chance_is_the_most_frequent_label(right: int, labels: list[int], is_chance: bool) -> None:
    notes = at_chance("the model", right / len(labels), labels, "train longer")
    assert bool(notes) == is_chance
    assert all("train longer" in note and "\n" not in note for note in notes)


def test_models_that_guess_are_nearly_always_noted() -> None:
    rng = np.random.default_rng(0)
    rates = rng.binomial(200, 0.5, 2_000) / 200
    noted = [bool(at_chance("it", float(rate), [0, 1] * 100, "")) for rate in rates]
    assert np.mean(noted) > 0.94


def test_one_text_for_all_inputs() -> None:
    (note,) = one_text("rewordings", ["be kind"] * 3, ["a", "b", "c"], "train longer")
    assert note.startswith("all 3 rewordings are the same text, 'be kind',")
    assert one_text("rewordings", ["x", "x", "y"], ["a", "b", "c"], "") == []
    assert one_text("rewordings", ["x", "x"], ["a", "a"], "") == []
    assert one_text("rewordings", [], [], "") == []
    assert len(one_text("responses", ["long " * 99] * 2, [["a"], ["b"]], "")[0]) < 160


def test_rewards_without_spread() -> None:
    (note,) = flat_rewards("2 steps", [1.0, 0.9], "raise it")
    assert note.startswith("in 2 steps, 95% of the groups had the same rewards for all samples, so the model learns")
    assert note.endswith("; raise it")
    assert flat_rewards("2 steps", [1.0, 0.5], "") == flat_rewards("no steps", [], "") == []
