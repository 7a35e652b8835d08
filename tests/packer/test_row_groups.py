"""Groups of rows: multiples, steps that cost alike, and what they are worth."""

from collections import Counter
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import seampack
from benchmarks.planner_options import floor_of_worst
from seampack.errors import ConfigError, DataError
from seampack.packer.config import PackConfig
from seampack.packer.folder import PackedFolder
from seampack.packer.planning import plan
from seampack.packer.windows import plan_stream
from tests.packer.test_planning import enough_tokens, lengths_and_seq_len, options, rows_of
from tests.packer.test_windows import batches


def cost(row: list[tuple[int, int, int]], linear_cost: int) -> int:
    return sum(linear_cost * length + length**2 for _, _, length in row)


@given(lengths_and_seq_len, options, st.integers(1, 6), st.integers(0, 20), st.integers(0, 3), st.booleans())
def test_steps_are_like_rows(
    case: tuple[list[int], int], options: dict[str, Any], ranks: int, linear_cost: int, seed: int, shuffle: bool
) -> None:
    """The same rows; each step has neighbours in the order of cost; the rows of no whole step are the cheapest."""
    lengths, seq_len = case
    assume(options["strategy"] != "keep_order")
    given = {"seq_len": seq_len, "seed": seed, "shuffle": shuffle, **options}
    with enough_tokens():
        plain = plan(lengths, **given)
    balanced = plan(lengths, balance=ranks, linear_cost=linear_cost, **given)
    rows = rows_of(balanced, ordered=True)
    assert sorted(rows) == sorted(rows_of(plain))
    costs = [cost(row, linear_cost) for row in rows]
    assert balanced.costs(linear_cost).tolist() == costs
    whole = len(costs) - len(costs) % ranks
    steps = [costs[at : at + ranks] for at in range(0, whole, ranks)]
    dearest_first = sorted(costs, reverse=True)
    expected = [dearest_first[at : at + ranks] for at in range(0, whole, ranks)]
    assert Counter(tuple(sorted(step)) for step in steps) == Counter(tuple(sorted(step)) for step in expected)
    assert sorted(costs[whole:]) == sorted(dearest_first[whole:])
    if not shuffle:
        assert [max(step) for step in steps] == [max(step) for step in expected]
    dearest, total = sum(max(step) for step in steps), sum(sum(step) for step in steps)
    assert balanced.imbalance(ranks, linear_cost) == (pytest.approx(dearest * ranks / total) if steps else None)


def test_a_step_has_a_rank() -> None:
    with pytest.raises(ConfigError, match="ranks: expected an integer of at least 1; got 0"):
        plan([3, 4], seq_len=8).imbalance(0)


def test_steps_cost_alike_where_documents_are_long() -> None:
    """As of 15 % long documents in rows of 131,072 tokens: the dearest of 64 rows costs more than twice the mean."""
    random = np.random.default_rng(0)
    lengths = np.minimum(random.lognormal(7, 1.2, 300_000), 131_072).astype(np.int64)
    lengths[: lengths.size // 100] = random.integers(65_536, 131_072, lengths.size // 100)
    plans = [plan(lengths, seq_len=131_072, strategy="best_fit", balance=ranks) for ranks in (None, 8, 64)]
    assert (plans[0].imbalance(64) or 0) > 1.5
    for planned, ranks in zip(plans[1:], (8, 64), strict=True):
        assert (planned.imbalance(ranks) or 2) < 1.05
        assert planned.rows == plans[0].rows


def test_the_order_of_steps_depends_on_the_seed() -> None:
    lengths = np.random.default_rng(0).integers(1, 2000, 5_000)
    given: dict[str, Any] = {"strategy": "best_fit", "balance": 8}
    same = [plan(lengths, seed=seed, **given).row_order.tolist() for seed in (0, 0, 1)]
    assert same[0] == same[1] != same[2]
    costs = plan(lengths, **given).costs(seampack.PlanConfig().linear_cost)
    steps = costs[: costs.size // 8 * 8].reshape(-1, 8)
    assert (np.diff(steps.mean(axis=1)) > 0).any()  # in any order
    assert len(set(steps.argmax(axis=1).tolist())) == 8  # no rank always gets the dearest


@pytest.mark.parametrize("rest", ["split", "drop"])
def test_a_stream_has_the_multiple_and_drops_no_more_than_it_says(rest: str) -> None:
    lengths: npt.NDArray[np.int64] = np.random.default_rng(0).integers(1, 90, 3_000)
    config = PackConfig(seq_len=64, window_tokens=6_000, rows_multiple_of=48, balance=32, rest=rest)
    total = 0
    windows = list(plan_stream(batches(lengths, 50), config))
    for window in windows[:-1]:
        assert window.plan.rows % 96 == 0
        assert window.accounting.dropped == 0
    total = sum(window.plan.rows for window in windows)
    accounting = windows[0].accounting
    for window in windows[1:]:
        accounting += window.accounting
    assert total == accounting.rows
    assert total % 48 == 0
    assert accounting.tokens_in == lengths.sum()
    assert accounting.dropped <= (47 * 64 if rest == "drop" else 0)
    assert (accounting.dropped > 0) == (rest == "drop")


@pytest.mark.filterwarnings("ignore:.* of the tokens are dropped")
@pytest.mark.parametrize("rest", ["split", "drop"])
def test_a_folder_with_a_multiple_is_verified_and_unpacked(rest: str, tmp_path: Path) -> None:
    texts = [" ".join(f"seam {n} pack" for n in range(1 + number % 23)) for number in range(200)]
    (tmp_path / "a.txt").write_text("\n".join(texts))
    given: dict[str, Any] = {"seq_len": 64, "rows_multiple_of": 32, "rest": rest, "labels": True}
    manifest = seampack.pack(tmp_path / "a.txt", out=tmp_path / "out", **given)
    folder = PackedFolder(tmp_path / "out")
    folder.verify()
    assert manifest.accounting.rows % 32 == 0
    assert (manifest.accounting.dropped == 0) == (rest == "split")
    assert sum(map(len, folder.unpack()["input_ids"].to_pylist())) == (
        manifest.accounting.tokens_in - manifest.accounting.dropped
    )


def test_fewer_tokens_than_rows() -> None:
    message = "rows_multiple_of: expected tokens for 8 rows; got enough for 5; give a smaller multiple, or rest=drop"
    with pytest.raises(DataError, match=message):
        plan([2, 3], rows_multiple_of=8)
    assert plan([2, 3], rows_multiple_of=8, rest="drop").account().dropped == 5
    assert plan([2, 3], rows_multiple_of=5).length.tolist() == [1] * 5
    assert plan([], rows_multiple_of=8).rows == 0


@settings(max_examples=40)
@given(st.integers(2, 3), st.lists(st.integers(1, 60), min_size=4, max_size=6))
def test_no_order_has_a_lower_sum_or_a_worst_step_below_the_floor(ranks: int, costs: list[int]) -> None:
    costs = sorted(costs, reverse=True)[: len(costs) // ranks * ranks]
    orders = [np.array(order).reshape(-1, ranks) for order in permutations(costs)]
    least = np.array(costs).reshape(-1, ranks).max(axis=1).sum()
    assert all(steps.max(axis=1).sum() >= least for steps in orders)
    floor = min((steps.max(axis=1) / steps.mean(axis=1)).max() for steps in orders)
    assert floor_of_worst(orders[0]) <= floor + 1e-9
