"""Measure what the options of the planner cost in rows, cuts and time; write the tables of ``docs/planner.md``.

    python -m benchmarks.planner_options                                          # drawn lengths and the bundled corpus
    python -m benchmarks.planner_options --tokenizer gpt2/tokenizer.json news.jsonl.zst abstracts.jsonl.zst

Rows, cuts and balance are the same on every machine; times are CPU seconds of planning.
"""

import argparse
import math
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import seampack
from benchmarks import measure
from benchmarks.cuts import BUNDLED, lengths_of
from seampack.packer.plan_config import MAX_OPTIMAL

PAGE = Path(__file__).parent.parent / "docs" / "planner.md"
SEQ_LENS = (2048, 8192)
BALANCED_SEQ_LENS = (2048, 8192, 32_768)
RANKS = (8, 64)
SHARES = (0.5, 1, 1.5)
"""Limits of the segments of a row, by the mean number of segments."""

ARMS: dict[str, dict[str, Any]] = {
    "padded to 16": {"pad_to_multiple": 16},
    "at most 8 segments": {"max_segments": 8},
    "a multiple of 64": {"rows_multiple_of": 64},
    "a multiple of 64, dropped": {"rows_multiple_of": 64, "rest": "drop"},
    "keep_order": {"strategy": "keep_order"},
    "keep_order, look-back 100": {"strategy": "keep_order", "look_back": 100},
    "groups of 3": {},
    "optimal": {"strategy": "optimal"},
}


def drawn(seq_len: int) -> npt.NDArray[np.int32]:
    """Return the lengths of 100,000 documents of a quarter to half of a row."""
    return np.random.default_rng(0).integers(seq_len // 4, seq_len // 2 + 1, 100_000, np.int32)


def planned(lengths: npt.NDArray[np.int32], arm: str, options: dict[str, Any]) -> seampack.PackPlan:
    """Plan by an arm."""
    groups = groups_of(lengths, options["seq_len"]) if arm.startswith("groups") else None
    return seampack.plan(lengths, groups=groups, **options)


def groups_of(lengths: npt.NDArray[np.int32], seq_len: int, most: int = 3) -> npt.NDArray[np.int64]:
    """Return labels of groups of consecutive documents: up to ``most`` of them, as many as fit a row together."""
    labels = np.empty(lengths.size, np.int64)
    label, count, tokens = -1, most, 0
    for document, length in enumerate(lengths.tolist()):
        if count == most or tokens + length > seq_len:
            label, count, tokens = label + 1, 0, 0
        labels[document], count, tokens = label, count + 1, tokens + length
    return labels


def cost(lengths: npt.NDArray[np.int32], seq_len: int) -> list[str]:
    """Return, for best_fit and each arm, the rows (as a change), the cuts (as a change), drops and CPU seconds."""
    cells: list[str] = []
    base = None
    for name, options in {"": {}, **ARMS}.items():
        if options.get("strategy") == "optimal" and seq_len > MAX_OPTIMAL:
            cells.append("-")
            continue
        given = {"seq_len": seq_len, "strategy": "best_fit", **options}
        planned(lengths[:10], name, given | {"rows_multiple_of": 1})  # load the kernels
        runs = [measure.cpu_seconds(lambda g=given, n=name: planned(lengths, n, g)) for _ in range(3)]  # type: ignore[misc]
        plan = planned(lengths, name, given)
        account = plan.account()
        seconds = f"{statistics.median(runs):.3f} s"
        if base is None:
            base = account
            cells.append(f"{account.rows:,} rows, {account.cuts:,} cuts, {seconds}")
            continue
        parts = [f"{account.rows / base.rows - 1:+.2%} rows"]
        if account.cuts != base.cuts:
            parts.append(f"{account.cuts - base.cuts:+,} cuts")
        if account.dropped:
            parts.append(f"{account.dropped / account.tokens_in:.2%} dropped")
        if plan.rows_over_bound is not None:
            parts.append(f"{plan.rows_over_bound / plan.rows:.2%} over the bound")
        cells.append(", ".join([*parts, seconds]))
    return cells


def few_segments(lengths: npt.NDArray[np.int32], seq_len: int, mean: float, most: int) -> list[str]:
    """Return the limit, the fewest rows that there can be, and how many more each strategy makes."""
    ends = lengths[lengths % seq_len > 0] % seq_len
    whole = int((lengths // seq_len).sum())
    bound = whole + max(-(-int(ends.sum(dtype=np.int64)) // seq_len), -(-ends.size // most))
    cells = [f"{most} ({most / mean:.2f} x mean)", f"{bound:,}"]
    for strategy in ("best_fit", "ffd", "seamless"):
        plan = seampack.plan(lengths, seq_len=seq_len, strategy=strategy, max_overlap=0, max_segments=most)
        cells.append(f"{plan.rows / bound - 1:+.2%}")
    return cells


def limits(lengths: npt.NDArray[np.int32], seq_len: int) -> Iterator[list[str]]:
    """Yield the results of limits below, at and above the mean number of segments of the rows that are not whole."""
    ends = lengths % seq_len
    mean = np.count_nonzero(ends) / math.ceil(ends.sum(dtype=np.int64) / seq_len)
    for most in sorted({max(2, math.ceil(mean * share)) for share in SHARES}):
        yield few_segments(lengths, seq_len, mean, most)


def floor_of_worst(steps: npt.NDArray[np.int64]) -> float:
    """Return a ratio of dearest row and mean that the worst step has in any order of the rows of these steps.

    Of any order, take the ``k`` steps with the dearest rows. Their dearest rows cost at least as much as the rows 0,
    ``ranks``, ``2 ranks``, ... of the sorted ones, and all their rows at most as much as the first ``k ranks``.
    """
    costs = np.sort(steps.ravel())[::-1].reshape(steps.shape)
    ratios = costs[:, 0].cumsum() * steps.shape[1] / costs.sum(axis=1).cumsum()
    return float(ratios.max())


def balance(lengths: npt.NDArray[np.int32], seq_len: int) -> list[str]:
    """Return the number of rows and, for each number of ranks, the imbalance of shuffled and of balanced rows."""
    options: dict[str, Any] = {"seq_len": seq_len, "strategy": "best_fit"}
    plain = seampack.plan(lengths, **options)
    cells = [f"{plain.rows:,}"]
    for ranks in RANKS:
        before, plan = plain.imbalance(ranks), seampack.plan(lengths, balance=ranks, **options)
        after = plan.imbalance(ranks)
        if before is None or after is None:
            cells.append("fewer rows than ranks")
            continue
        costs = plan.costs(seampack.PlanConfig().linear_cost)
        steps = costs[: costs.size // ranks * ranks].reshape(-1, ranks)
        worst = float((steps.max(axis=1) / steps.mean(axis=1)).max())
        cells.append(f"{before:.3f} to {after:.3f} (worst step {worst:.3f}, floor {floor_of_worst(steps):.3f})")
    return cells


def main() -> None:
    """Measure, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpora", nargs="*", type=Path, default=[BUNDLED], help="corpora of one kind of text each")
    parser.add_argument("--tokenizer", default="bundled")
    options = parser.parse_args()
    corpora = {path.name.split(".")[0]: lengths_of(path, options.tokenizer) for path in options.corpora}
    cases = [(name, lengths, seq_len) for name, lengths in corpora.items() for seq_len in SEQ_LENS]
    cases += [("drawn: 1/4 to 1/2 row", drawn(seq_len), seq_len) for seq_len in SEQ_LENS]
    rows = [[name, f"{lengths.size:,}", f"{n:,}", *cost(lengths, n)] for name, lengths, n in cases]
    costs = measure.table(["documents", "number", "row", "best_fit", *ARMS], rows)
    measure.write_between(PAGE, "costs", costs)
    print(costs)
    rows = [
        [name, f"{n:,}", *cells] for name, lengths in corpora.items() for n in SEQ_LENS for cells in limits(lengths, n)
    ]
    segments = measure.table(["documents", "row", "N", "bound", "best_fit", "ffd", "seamless"], rows)
    measure.write_between(PAGE, "segments", segments)
    print(segments)
    rows = [[name, f"{n:,}", *balance(lengths, n)] for name, lengths in corpora.items() for n in BALANCED_SEQ_LENS]
    balances = measure.table(["documents", "row", "rows", *(f"{ranks} ranks" for ranks in RANKS)], rows)
    measure.write_between(PAGE, "balance", balances)
    print(balances)


if __name__ == "__main__":
    main()
