"""The strategy ``optimal`` against every packing of small instances, the bound, and First-Fit-Decreasing."""

import sys
import warnings
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import seampack
from seampack.errors import ConfigError, MissingExtraError
from seampack.io.ragged import offsets_of
from seampack.packer import _bin_kernels as bin_kernels
from seampack.packer import _pattern_kernels as kernels
from seampack.packer import optimal
from seampack.packer._kernels import first_pieces
from seampack.packer.comparison import compare_lengths
from seampack.packer.config import PackConfig
from seampack.packer.planning import plan
from seampack.packer.windows import plan_stream
from tests.packer.test_planning import rows_of
from tests.packer.test_windows import batches


def fewest_bins(pieces: list[int], seq_len: int) -> int:
    """The fewest bins, by trying each bin for each piece."""

    def fits(left: list[int], rooms: list[int]) -> bool:
        return not left or any(
            fits(left[1:], [*rooms[:k], room - left[0], *rooms[k + 1 :]])
            for k, room in enumerate(rooms)
            if room >= left[0] and room not in rooms[:k]
        )

    longest_first = sorted(pieces, reverse=True)
    return next(count for count in range(len(pieces) + 1) if fits(longest_first, [seq_len] * count))


@settings(max_examples=60)
@given(st.integers(3, 60).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.integers(1, n - 1), max_size=11))))
def test_between_the_bound_and_first_fit_decreasing(case: tuple[int, list[int]]) -> None:
    seq_len, lengths = case
    planned = plan(lengths, seq_len=seq_len, strategy="optimal", shuffle=False)
    planned.account()
    assert all(sum(length for _, _, length in row) <= seq_len for row in rows_of(planned))
    assert planned.rows_over_bound is not None
    fewest = fewest_bins(lengths, seq_len)
    assert planned.rows - planned.rows_over_bound <= fewest <= planned.rows
    assert planned.rows <= plan(lengths, seq_len=seq_len, strategy="ffd").rows


pieces_beyond_ffd = st.integers(12, 60).flatmap(
    lambda n: st.tuples(st.just(n), st.lists(st.integers(n // 6, n // 2), min_size=4, max_size=10))
)


@settings(max_examples=60)
@given(pieces_beyond_ffd, st.integers(2, 4))
def test_prices_between_few_lengths_prove_a_bound_too(case: tuple[int, list[int]], knots: int) -> None:
    seq_len, lengths = case
    histogram = np.bincount(lengths, minlength=seq_len + 1)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(optimal, "_KNOTS", knots)
        bound = optimal._whole(optimal._solve(histogram, seq_len).bound)
        assert optimal.fewest_bins(histogram, seq_len) <= fewest_bins(lengths, seq_len)
    assert 0 < bound <= fewest_bins(lengths, seq_len)


@settings(max_examples=15)
@given(
    pieces_beyond_ffd,
    st.fixed_dictionaries(
        {
            "rows_multiple_of": st.sampled_from([1, 4]),
            "rest": st.sampled_from(["split", "drop"]),
            "leftover": st.sampled_from(["auto", "fill"]),
            "long": st.sampled_from(["split", "truncate", "drop"]),
        }
    ),
)
def test_the_excess_is_that_of_the_rows(case: tuple[int, list[int]], options: dict[str, Any]) -> None:
    seq_len, lengths = case
    planned = plan([*lengths, 3 * seq_len], seq_len=seq_len, strategy="optimal", **options)
    long = {"split": 3, "truncate": 1, "drop": 0}[options["long"]]
    assert planned.rows_over_bound is not None
    assert planned.rows <= fewest_bins(lengths, seq_len) + long + planned.rows_over_bound


@settings(max_examples=15)
@given(pieces_beyond_ffd)
def test_the_bound_of_a_comparison_is_that_of_all_windows(case: tuple[int, list[int]]) -> None:
    seq_len, lengths = case
    config = PackConfig(seq_len=seq_len, strategy="optimal", window_tokens=2 * seq_len)
    compared = compare_lengths([np.array([length], np.int32) for length in lengths], config)
    assert compared.rows_over_bound is not None
    assert compared.accounting.rows - compared.rows_over_bound <= fewest_bins(lengths, seq_len)


@given(st.dictionaries(st.integers(1, 12), st.floats(0, 1), min_size=1, max_size=6), st.integers(1, 30))
def test_the_most_valuable_contents(prices: dict[int, float], capacity: int) -> None:
    lengths = np.array(sorted(prices))
    values, choices = np.empty(capacity + 1), np.empty(capacity + 1, np.int64)
    kernels.best_contents(lengths, np.array([prices[n] for n in lengths.tolist()]), values, choices)

    table = [0.0]
    for room in range(1, capacity + 1):
        table += [max([0.0, *(price + table[room - n] for n, price in prices.items() if n <= room)])]
    assert np.allclose(values, table)
    room, value = capacity, 0.0
    while room > 0:
        choice = int(choices[room])
        value += prices[int(lengths[choice])] if choice >= 0 else 0.0
        room -= int(lengths[choice]) if choice >= 0 else 1
    assert room == 0
    assert np.isclose(value, table[-1])


def bins_after(lengths: list[int], seq_len: int, reach: int, patterns: list[list[int]], wanted: list[int]) -> list[Any]:
    """Bins after the pattern of which most are wanted; a slot takes the nearest length, less what is over so far."""
    bins: list[list[int]] = []
    left, wanted = sorted(lengths), list(wanted)
    while max(wanted) > 0:
        pattern = wanted.index(max(wanted))
        wanted[pattern] -= 1
        bin_: list[int] = []
        rest = list(left)
        for place, length in enumerate(patterns[pattern]):
            target = length - (sum(bin_) - sum(patterns[pattern][:place]))
            fitting = [n for n in rest if n <= seq_len - sum(bin_)]
            nearest = min(fitting, key=lambda n: (abs(n - target), n), default=None)
            if nearest is None or abs(nearest - target) > reach:
                wanted[pattern] = 0
                break
            bin_.append(nearest)
            rest.remove(nearest)
        else:
            bins.append(bin_)
            left = rest
    return bins


pieces_and_patterns = st.integers(2, 30).flatmap(
    lambda n: st.tuples(
        st.just(n),
        st.lists(st.integers(1, n - 1), max_size=30),
        st.lists(st.tuples(st.lists(st.integers(1, n - 1), min_size=1, max_size=4), st.integers(0, 9)), min_size=1),
    )
)


@given(pieces_and_patterns, st.integers(0, 10))
def test_bins_after_patterns(case: tuple[int, list[int], list[tuple[list[int], int]]], reach: int) -> None:
    seq_len, lengths, several = case
    patterns, wanted = [pattern for pattern, _ in several], [count for _, count in several]
    left = np.bincount(np.array(lengths, np.int64), minlength=seq_len)
    cursor = first_pieces(left)
    bits = bin_kernels.set_of(np.flatnonzero(left), seq_len + 1)
    room = len(lengths) + max(map(len, patterns))
    bins, entries = np.zeros(sum(wanted) + 1, np.int64), (np.empty(room, np.int64), np.empty(room, np.int64))
    columns = offsets_of([len(pattern) for pattern in patterns]), np.concatenate(patterns)
    made = kernels.make_bins((left, cursor, bits), seq_len, reach, columns, np.array(wanted, np.int64), bins, entries)
    got = [entries[0][a:b].tolist() for a, b in pairwise(bins[: made + 1].tolist())]
    assert got == bins_after(lengths, seq_len, reach, patterns, wanted)
    longest_first = sorted(lengths, reverse=True)
    taken = entries[1][: bins[made]].tolist()
    assert len(set(taken)) == len(taken)
    assert [longest_first[piece] for piece in taken] == [n for bin_ in got for n in bin_]
    assert sorted(np.repeat(np.arange(left.size), left).tolist() + [n for bin_ in got for n in bin_]) == sorted(lengths)


def drawn(kind: str, seq_len: int) -> npt.NDArray[np.int64]:
    random = np.random.default_rng(0)
    if kind == "quarter to half":
        return random.integers(seq_len // 4, seq_len // 2 + 1, 20_000)
    return np.minimum(random.lognormal(np.log(0.82 * seq_len), 0.45, 20_000), 5 * seq_len).astype(np.int64)


@pytest.mark.parametrize(("kind", "seq_len", "gain"), [("quarter to half", 256, 0.06), ("news", 128, 0.0)])
def test_within_a_thousandth_of_the_bound(kind: str, seq_len: int, gain: float) -> None:
    lengths = drawn(kind, seq_len)
    planned = plan(lengths, seq_len=seq_len, strategy="optimal")
    account = planned.account()
    assert planned.rows_over_bound is not None
    assert planned.rows_over_bound <= 0.001 * planned.rows
    assert account.documents_fit_but_cut == account.dropped == account.repeated == 0
    assert planned.rows <= (1 - gain) * plan(lengths, seq_len=seq_len, strategy="ffd").rows
    again = plan(lengths, seq_len=seq_len, strategy="optimal")
    assert np.array_equal(again.doc, planned.doc)


def test_a_stream_and_a_comparison(tmp_path: Any) -> None:
    lengths = drawn("quarter to half", 128)[:4_000]
    config = PackConfig(seq_len=128, window_tokens=50_000, strategy="optimal")
    windows = list(plan_stream(batches(lengths, 100), config))
    assert len(windows) > 2
    assert sum(window.accounting.tokens_in for window in windows) == lengths.sum()
    assert all(window.plan.rows_over_bound is None for window in windows[:-1])
    compared = compare_lengths(
        (lengths[first : first + 100].astype(np.int32) for first in range(0, 4_000, 100)), config
    )
    assert compared.accounting.rows == sum(window.plan.rows for window in windows)
    whole = plan(lengths, config=config.replace(window_tokens=1 << 24))
    assert whole.rows_over_bound is not None
    assert compared.rows_over_bound == compared.accounting.rows - whole.rows + whole.rows_over_bound
    (tmp_path / "a.txt").write_text("".join("seam " * (n // 2) + "\n" for n in lengths[:800].tolist()))
    given: dict[str, Any] = {"seq_len": 64, "tokenizer": "bundled"}
    optimal, ffd = seampack.compare(tmp_path / "a.txt", strategies=["optimal", "ffd"], **given)
    assert optimal.accounting.rows <= ffd.accounting.rows
    assert optimal.rows_over_bound is not None
    assert ffd.rows_over_bound is None
    assert optimal.to_dict()["rows_over_bound"] == optimal.rows_over_bound


def test_bad_options(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="seq_len: expected at most 16,384 for optimal; got 20,000"):
        plan([1], strategy="optimal", seq_len=20_000)
    with pytest.raises(ConfigError, match="max_segments: expected none for optimal; got 3"):
        plan([1], strategy="optimal", max_segments=3)
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(MissingExtraError, match=r"the strategy optimal needs scipy, .*seampack\[optimal\]"):
        plan([6, 6, 6], seq_len=10, strategy="optimal")


@pytest.mark.parametrize("failing", [1, 2, 3, 5, 1000])
@pytest.mark.parametrize(
    "failure", [{"success": False, "status": 1, "x": None}, {"success": False, "status": 4, "message": "7: unknown"}]
)
def test_a_solver_that_fails_gives_the_best_rows_so_far(
    monkeypatch: pytest.MonkeyPatch, failing: int, failure: dict[str, Any]
) -> None:
    """From any of its calls on."""
    from scipy import optimize

    solve, calls = optimize.linprog, []

    def linprog(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments)
        if len(calls) < failing:
            return solve(*arguments, **options)
        return optimize.OptimizeResult({"x": None, "fun": None, "message": "limit reached", "ineqlin": None, **failure})

    lengths = drawn("quarter to half", 256)[:3_000]
    best = plan(lengths, seq_len=256, strategy="optimal")
    monkeypatch.setattr(optimize, "linprog", linprog)
    message = failure.get("message", "limit reached")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        planned = plan(lengths, seq_len=256, strategy="optimal")
    assert bool(caught) == (failing < 1000)
    assert all(f"the solver of scipy failed ({message}); the rows are the best" in str(each.message) for each in caught)
    planned.account()
    assert planned.rows_over_bound is not None
    assert best.rows <= planned.rows <= plan(lengths, seq_len=256, strategy="ffd").rows
    assert best.rows_over_bound is not None
    assert planned.rows - planned.rows_over_bound <= best.rows
    assert failing < 1000 or np.array_equal(planned.doc, best.doc)
    if failing == 1:
        assert planned.rows - planned.rows_over_bound == -(-int(lengths.sum()) // 256)
