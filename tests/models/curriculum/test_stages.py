"""Stages, and the plan of the rows that training sees."""

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from seampack.errors import DataError
from seampack.models.curriculum import CurriculumBuilder, CurriculumConfig, composition, in_order
from seampack.models.curriculum.stages import plan


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=30), st.integers(1, 5), st.integers(0, 3))
def test_stages_are_disjoint_equal_and_sorted(rates: list[int], stages: int, seed: int) -> None:
    rows = Dataset.from_dict({"pass_rate": [rate / 4 for rate in rates], "id": list(range(len(rates)))})
    builder = CurriculumBuilder(CurriculumConfig(stages=stages, seed=seed))
    if len(rates) < stages:
        with pytest.raises(DataError, match="at least one for each"):
            builder.build(rows)
        return
    staged = builder.build(rows)
    assert sorted(staged["id"]) == list(range(len(rates)))
    assert staged["pass_rate"][:] == sorted(staged["pass_rate"], reverse=True)
    sizes = [staged["stage"][:].count(stage) for stage in range(1, stages + 1)]
    assert max(sizes) - min(sizes) <= 1
    assert staged["stage"][:] == sorted(staged["stage"])
    assert sum(row["questions"] for row in composition(staged)) == len(rates)


def test_ties_are_in_random_order() -> None:
    rows = Dataset.from_dict({"pass_rate": [0.0] * 50, "id": list(range(50))})
    orders = [CurriculumBuilder(CurriculumConfig(seed=seed)).build(rows)["id"][:] for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    assert orders[0] != sorted(orders[0])


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(1, 3), min_size=1, max_size=20),
    st.integers(1, 3),
    st.floats(0, 1),
    st.sampled_from(["stages", "ordered", "uniform"]),
)
def test_the_plan_keeps_the_stages_apart(stages: list[int], epochs: int, replay: float, order: str) -> None:
    stage = np.array(sorted(stages))
    config = CurriculumConfig(order=order, epochs=epochs, replay=replay)
    runs = plan(stage, config)
    rows = np.concatenate(runs)
    assert rows.tolist() == np.concatenate(plan(stage, config)).tolist()
    assert len(runs) == (len(set(stages)) if order == "stages" else 1)
    assert (np.bincount(rows, minlength=stage.size) >= epochs).all()
    if order == "uniform":
        assert rows.size == epochs * stage.size
    if order == "stages":
        for number, run in zip(sorted(set(stages)), runs, strict=True):
            size = int((stage == number).sum())
            assert (stage[run] <= number).all()
            assert int((stage[run] == number).sum()) == epochs * size
            replayed = min(round(replay * size), int((stage < number).sum()))
            assert run.size == epochs * (size + replayed)


def test_in_order_shuffles_only_within_stages() -> None:
    rows = Dataset.from_dict({"stage": [1] * 20 + [2] * 20, "id": list(range(40))})
    ordered = in_order(rows, seed=1)
    assert ordered["stage"][:] == rows["stage"][:]
    assert sorted(ordered["id"]) == list(range(40))
    assert ordered["id"][:] != rows["id"][:]
