"""Plans against slow, obvious twins; invariants of every strategy; accounting; published results."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from benchmarks.authors import authors_rows, authors_windows
from seampack.errors import ConfigError, DataError, SeampackError
from seampack.packer import _layout_kernels as layout
from seampack.packer._limited_kernels import limited_patterns
from seampack.packer.plan_config import PlanConfig, Strategy
from seampack.packer.planning import plan
from seampack.packer.plans import PackPlan
from tests import naive

lengths_and_seq_len = st.integers(1, 40).flatmap(
    lambda seq_len: st.tuples(
        st.lists(st.one_of(st.integers(0, 5 * seq_len), st.integers(0, seq_len)), max_size=40), st.just(seq_len)
    )
)
options = st.fixed_dictionaries(
    {
        "strategy": st.sampled_from([strategy.value for strategy in Strategy if strategy != Strategy.OPTIMAL]),
        "max_overlap": st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.99]),
        "extra_tokens": st.integers(0, 12),
        "extra_room": st.sampled_from(["needed", "always"]),
        "leftover": st.sampled_from(["fill", "concat", "pad"]),
        "drop_last": st.booleans(),
        "long": st.sampled_from(["window", "window", "split", "truncate", "drop"]),
        "max_segments": st.none() | st.integers(1, 5),
        "rows_multiple_of": st.sampled_from([1, 1, 2, 3, 7]),
        "rest": st.sampled_from(["split", "drop"]),
        "look_back": st.integers(0, 12),
    }
)


@contextmanager
def enough_tokens() -> Iterator[None]:
    """Reject an example with fewer tokens than the rows of a multiple."""
    try:
        yield
    except DataError as error:
        assume(not str(error).startswith("rows_multiple_of"))
        raise


def rows_of(plan: PackPlan, *, ordered: bool = False) -> list[naive.Row]:
    """A plan as lists of (document, start, length)."""
    order = plan.row_order if ordered else range(plan.rows)
    segments = list(zip(plan.doc.tolist(), plan.start.tolist(), plan.length.tolist(), strict=True))
    return [segments[plan.row_offsets[row] : plan.row_offsets[row + 1]] for row in order]


@given(lengths_and_seq_len, options)
def test_every_strategy_equals_its_twin(case: tuple[list[int], int], options: dict[str, Any]) -> None:
    lengths, seq_len = case
    config = PlanConfig(seq_len=seq_len, shuffle=False, **options)
    with enough_tokens():
        planned = plan(lengths, config)
    expected = naive.plan_rows(
        lengths,
        seq_len=seq_len,
        strategy=options["strategy"],
        max_overlap=config.max_overlap_tokens,
        extra=config.extra_room_tokens,
        extra_room=options["extra_room"],
        leftover=options["leftover"],
        drop_last=options["drop_last"],
        long=options["long"],
        max_segments=options["max_segments"],
        rows_multiple_of=options["rows_multiple_of"],
        rest=options["rest"],
        look_back=options["look_back"],
    )
    assert rows_of(planned) == expected


@given(
    st.integers(2, 60).flatmap(
        lambda seq_len: st.tuples(
            st.lists(st.one_of(st.integers(1, seq_len - 1), st.integers(1, max(1, seq_len // 8))), max_size=120),
            st.just(seq_len),
        )
    ),
    st.integers(1, 12),
)
def test_bins_of_few_pieces_equal_their_twin(case: tuple[list[int], int], most: int) -> None:
    lengths, seq_len = case
    histogram = np.bincount(lengths, minlength=seq_len).astype(np.int64)
    offsets, sizes, counts, firsts, repeats = limited_patterns(histogram, seq_len, most)
    ordered = naive.decreasing([(document, 0, length) for document, length in enumerate(lengths)])
    bins = []
    for pattern in range(repeats.size):
        for number in range(repeats[pattern]):
            entries = range(offsets[pattern], offsets[pattern + 1])
            begins = [int(firsts[entry] + number * counts[entry]) for entry in entries]
            pieces = [ordered[b : b + counts[entry]] for b, entry in zip(begins, entries, strict=True)]
            assert all(piece[2] == sizes[entry] for entry, of in zip(entries, pieces, strict=True) for piece in of)
            bins.append([piece for of in pieces for piece in of])
    assert bins == naive.limited([(document, 0, length) for document, length in enumerate(lengths)], seq_len, most)


@pytest.mark.parametrize("most", [8, 20, 21, 30])
@pytest.mark.parametrize("strategy", ["seamless", "best_fit", "ffd"])
def test_few_segments_take_few_rows(strategy: str, most: int) -> None:
    """Documents as those of the web, about 20 a row: long ones share rows with short ones."""
    lengths = np.random.default_rng(0).lognormal(4.1, 1, 20_000).astype(np.int64) + 1
    bound = max(-(-int(lengths.sum()) // 2048), -(-lengths.size // most))
    planned = plan(lengths, seq_len=2048, strategy=strategy, max_segments=most, max_overlap=0)
    assert bound <= planned.rows <= 1.01 * bound
    assert np.diff(planned.row_offsets).max() <= most


@given(lengths_and_seq_len, options, st.integers(0, 3))
def test_accounting_and_coverage(case: tuple[list[int], int], options: dict[str, Any], seed: int) -> None:
    """Every token of every document is in a row or declared dropped, and counted exactly once as new."""
    lengths, seq_len = case
    with enough_tokens():
        planned = plan(lengths, seq_len=seq_len, seed=seed, **options)
    seen = [[0] * length for length in lengths]
    for row in rows_of(planned):
        assert 0 < naive.tokens(row) <= seq_len
        assert len(row) <= (options["max_segments"] or seq_len)
        for document, start, length in row:
            assert length > 0
            for position in range(start, start + length):
                seen[document][position] += 1
    dropped = 0
    for document, start, length in zip(*(column.tolist() for column in planned.dropped), strict=True):
        dropped += length
        for position in range(start, start + length):
            assert seen[document][position] == 0
            seen[document][position] += 1
    counts = [count for document in seen for count in document]
    account = planned.account()
    assert min(counts, default=1) == 1
    assert account.repeated == sum(counts) - len(counts)
    assert account.dropped == dropped
    assert account.tokens_in == sum(lengths) == account.tokens_out - account.repeated + account.dropped
    assert account.padding == planned.rows * seq_len - account.tokens_out
    assert (account.documents, account.empty_documents) == (len(lengths), lengths.count(0))
    pieces = [planned.doc.tolist().count(document) for document in range(len(lengths))]
    assert account.documents_dropped == sum(length > count == 0 for length, count in zip(lengths, pieces, strict=True))
    assert account.documents_split == sum(count > 1 for count in pieces)
    assert account.cuts == sum(max(count - 1, 0) for count in pieces)
    assert account.documents_fit_but_cut == naive.fit_but_cut(lengths, rows_of(planned), seq_len)
    assert sorted(planned.row_order.tolist()) == list(range(planned.rows))
    if options["strategy"] != "seamless" or options["long"] != "window":
        assert account.repeated == 0
    too_long = sum(lengths) - sum(naive.allowed(lengths, seq_len, options["long"]))
    assert account.dropped >= too_long
    config = PlanConfig(**options)
    assert planned.rows % config.rows_multiple_of == 0
    is_any_number = config.rows_multiple_of == 1
    pads = options["strategy"] != "concat" and config.leftover_rule == "pad"
    if pads and not config.extra_room_tokens and is_any_number:
        assert account.dropped - too_long == account.documents_fit_but_cut == 0
    if options["strategy"] == "seamless" and not options["drop_last"] and (is_any_number or options["rest"] == "split"):
        assert account.dropped - too_long <= options["extra_tokens"] * planned.rows
    if not pads and options["max_segments"] is None and is_any_number:
        assert account.padding < seq_len


@given(st.integers(1, 60), st.integers(0, 2000), st.floats(0, 0.999))
def test_windows_never_lose_a_token(seq_len: int, length: int, share: float) -> None:
    config = PlanConfig(seq_len=seq_len, max_overlap=share, shuffle=False)
    planned = plan([length], config)
    whole = [row[0] for row in rows_of(planned) if row[0][2] == seq_len]
    overlaps = [a + n - b for (_, a, n), (_, b, _) in pairwise(whole)]
    assert all(0 <= overlap <= config.max_overlap_tokens for overlap in overlaps)
    assert max(overlaps, default=0) - min(overlaps, default=0) <= 1
    assert planned.account().dropped == 0


def test_the_authors_windows_lose_tokens_where_ours_do_not() -> None:
    """The example of the method's description: L = 10, l = 59."""
    starts = authors_windows(59, 10, 0.3)
    seen = {position for start in starts for position in range(start, start + 10)}
    assert set(range(59)) - seen == {46, 47, 48}
    ours = plan([59], seq_len=10, max_overlap=0.3)
    assert ours.account().dropped == 0
    assert ours.account().rows == len(starts)


@given(lengths_and_seq_len)
def test_the_port_of_the_authors_code_is_sane(case: tuple[list[int], int]) -> None:
    lengths, seq_len = case
    rows, lost = authors_rows(lengths, seq_len=seq_len, max_overlap=0.3, extra_tokens=5)
    assert all(naive.tokens(row) <= seq_len for row in rows)
    assert 0 <= lost <= sum(lengths)


@pytest.mark.parametrize(
    ("strategy", "lengths", "cut"),
    [
        ("concat", [6, 6, 6, 12, 0], 1),  # 6 + 4, 2 + 6 + 2 and 10 tokens: cuts the second document, and the long one
        ("seamless", [6, 6, 6, 12, 0], 1),  # 10, 6 + 4 and 6 + 2 + 2 tokens: one is dissolved
        ("seamless", [7, 7], 0),  # two rows are needed anyway
        ("seamless", [7, 7, 6], 1),  # the emptiest is dissolved into the gaps of the others
        ("best_fit", [6, 6, 6, 12, 0], 0),
    ],
)
def test_documents_that_fit_a_row_and_are_cut_are_counted(strategy: str, lengths: list[int], cut: int) -> None:
    planned = plan(lengths, seq_len=10, strategy=strategy)
    assert planned.account().documents_fit_but_cut == cut


def news_lengths() -> npt.NDArray[np.int64]:
    """Lengths as those of news: 10 % are below 240 tokens, half below 420, 10 % above 750."""
    return np.random.default_rng(0).lognormal(np.log(420), 0.45, 20_000).astype(np.int64) + 1


@pytest.mark.parametrize("strategy", ["seamless", "best_fit", "ffd"])
def test_full_rows_with_few_cuts_where_documents_are_as_long_as_rows(strategy: str) -> None:
    lengths = news_lengths()
    least = -(-int(lengths.sum()) // 512)
    options: dict[str, Any] = {"seq_len": 512, "strategy": strategy, "max_overlap": 0}
    filled = plan(lengths, leftover="fill", **options).account()
    joined = plan(lengths, leftover="concat", **options).account()
    padded = plan(lengths, leftover="pad", **options).account()
    concat = plan(lengths, seq_len=512, strategy="concat").account()
    assert filled.rows == joined.rows == concat.rows == least < 0.95 * padded.rows
    assert filled.dropped == filled.repeated == 0
    cut = [account.documents_fit_but_cut or 0 for account in (padded, filled, joined, concat)]
    assert cut[0] == 0 < 3 * cut[1] < cut[2] < cut[3]


def test_no_plan_cuts_fewer_documents_of_more_than_half_a_row() -> None:
    """A row holds one such document whole; so with the fewest rows, as many stay whole as there are rows."""
    lengths = np.random.default_rng(0).integers(1126, 1945, 10_000)
    planned = plan(lengths, seq_len=2048).account()
    assert planned.rows == -(-int(lengths.sum()) // 2048)
    assert planned.documents_fit_but_cut == lengths.size - planned.rows


def test_the_default_loses_nothing_and_the_paper_loses_ends() -> None:
    lengths = news_lengths()
    default, paper = (config(seq_len=512) for config in (PlanConfig, PlanConfig.paper))
    assert plan(lengths, default).account().documents_truncated == 0
    assert plan(lengths, paper).account().dropped > 0.02 * lengths.sum()
    assert PlanConfig.paper(leftover="pad", seq_len=512) == paper.replace(leftover="pad")
    with pytest.raises(ConfigError, match="strategy: expected seamless, of which paper has the options; got 'ffd'"):
        PlanConfig.paper(strategy="ffd")


@pytest.mark.parametrize(
    ("long", "rows", "dropped"),
    [
        ("window", [[(0, 0, 5)], [(0, 4, 5)], [(1, 0, 5)]], []),
        ("split", [[(0, 0, 5)], [(1, 0, 5)], [(0, 5, 4)]], []),
        ("truncate", [[(0, 0, 5)], [(1, 0, 5)]], [(0, 5, 4)]),
        ("drop", [[(1, 0, 5)]], [(0, 0, 9)]),
    ],
)
def test_what_becomes_of_a_long_document(long: str, rows: list[naive.Row], dropped: list[naive.Piece]) -> None:
    planned = plan([9, 5], seq_len=5, long=long, shuffle=False)
    assert rows_of(planned) == rows
    assert list(zip(*(column.tolist() for column in planned.dropped), strict=True)) == dropped
    kept = plan([9, 5], seq_len=5, long=long, shuffle=False, keep_ends=True)
    assert rows_of(kept) == rows
    assert [start for _, start, _ in zip(*kept.dropped, strict=True)] == [max(0, start - 1) for _, start, _ in dropped]


def test_a_document_that_is_dropped_whole_is_not_cut() -> None:
    account = plan([5, 4, 3], seq_len=5, strategy="pad", rows_multiple_of=2, rest="drop").account()
    assert (account.documents_truncated, account.documents_shortened, account.documents_dropped) == (1, 0, 1)
    assert account.documents_fit_but_cut == 0


def test_long_documents_are_refused_if_asked() -> None:
    message = r"document 1: expected at most seq_len, 5 tokens; got 6; of the 4 documents planned at once, 2 are longer"
    with pytest.raises(DataError, match=message):
        plan([5, 6, 0, 9], seq_len=5, long="error")
    assert plan([5, 4], seq_len=5, long="error").rows == 2


def test_trl_example() -> None:
    """The documented result of trl's pack_dataset, strategy bfd_split, on lengths 5, 2, 3, 1 at seq_length 4."""
    planned = plan([5, 2, 3, 1], seq_len=4, strategy="best_fit", shuffle=False)
    assert planned.length.tolist() == [4, 3, 1, 2, 1]
    assert planned.row_offsets.tolist() == [0, 1, 3, 5]
    assert planned.doc[planned.row_offsets[:-1]].tolist() == [0, 2, 1]


def test_large_instance_against_bounds() -> None:
    """First-Fit-Decreasing needs at most 11/9 of the optimal rows, plus 6/9 (Dosa 2007)."""
    lengths = np.random.default_rng(0).integers(1, 1000, 50_000)
    planned = plan(lengths, seq_len=1000, strategy="ffd")
    least = -(-int(lengths.sum()) // 1000)
    assert least <= planned.rows <= 11 / 9 * least + 6 / 9
    assert plan(lengths, seq_len=1000, strategy="best_fit").rows <= 11 / 9 * least + 6 / 9


def test_more_patterns_than_the_first_allocation_holds() -> None:
    lengths = np.random.default_rng(1).integers(1, 100_000, 3_000)
    planned = plan(lengths, seq_len=131_072, strategy="ffd", shuffle=False)
    assert rows_of(planned) == naive.plan_rows(
        lengths.tolist(),
        seq_len=131_072,
        strategy="ffd",
        max_overlap=0,
        extra=0,
        extra_room="needed",
        leftover="pad",
        drop_last=False,
        long="window",
        max_segments=None,
        rows_multiple_of=1,
        rest="split",
        look_back=0,
    )


def test_shuffle_depends_on_the_seed_alone() -> None:
    lengths = list(range(1, 500))
    orders = [plan(lengths, seq_len=512, seed=seed).row_order.tolist() for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    unshuffled = plan(lengths, seq_len=512, shuffle=False)
    assert unshuffled.row_order.tolist() == list(range(unshuffled.rows))


def test_shuffle_is_uniform() -> None:
    """The 24 orders of four rows are equally frequent: chi-square is below the 0.1 % bound for 23 degrees."""
    counts: dict[tuple[int, ...], int] = {}
    for seed in range(4_800):
        order = tuple(layout.shuffled(4, np.uint64(seed * 0x2545F4914F6CDD1D % 2**64)).tolist())
        counts[order] = counts.get(order, 0) + 1
    assert len(counts) == 24
    assert sum((count - 200) ** 2 / 200 for count in counts.values()) < 49.7


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int32, np.uint32, np.int64, np.uint64])
def test_any_integer_type(dtype: Any) -> None:
    assert rows_of(plan(np.array([3, 2, 4], dtype), seq_len=5, strategy="ffd", shuffle=False)) == [
        [(2, 0, 4)],
        [(0, 0, 3), (1, 0, 2)],
    ]


@pytest.mark.parametrize("strategy", list(Strategy))
@pytest.mark.parametrize("lengths", [[], [0], [0, 0, 0], [1], [7], [10**9]])
def test_degenerate(strategy: str, lengths: list[int]) -> None:
    planned = plan(lengths, seq_len=7 if sum(lengths) < 10**9 else 1 << 14, strategy=strategy)
    assert planned.account().tokens_in == sum(lengths)


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ([1.5], "1-D array of integers"),
        ([[1, 2]], "1-D array of integers"),
        ([3, -1], r"lengths\[1\]: expected 0 to"),
        ([2**31], r"lengths\[0\]: expected 0 to 2,147,483,647 tokens; got 2147483648"),
        (["a"], "1-D array of integers"),
    ],
)
def test_bad_lengths(lengths: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        plan(lengths)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seq_len": 0}, "seq_len: expected an integer from 1"),
        ({"seq_len": True}, "seq_len: expected an integer"),
        (
            {"strategy": "magic"},
            "strategy: expected one of seamless, concat, best_fit, ffd, pad, keep_order, optimal; got 'magic'",
        ),
        ({"leftover": "x"}, "leftover: expected one of"),
        ({"extra_room": "x"}, "extra_room: expected one of"),
        ({"extra_tokens": -1}, "extra_tokens: expected an integer"),
        ({"max_overlap": 1.0}, "max_overlap: expected a number from 0 to below 1"),
        ({"max_overlap": "a"}, "max_overlap: expected a number from 0 to below 1"),
        ({"seed": -1}, "seed: expected"),
        ({"sequence": 5}, r"sequence: no such option; did you mean seq_len\?"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plan([1], **options)


def test_a_damaged_plan_is_refused() -> None:
    good = plan([5, 9, 3], seq_len=4, shuffle=False)
    for name in ("start", "length", "doc"):
        columns = {key: getattr(good, key).copy() for key in ("doc", "start", "length", "repeated")}
        columns[name][0] += 1
        bad = PackPlan(good.seq_len, good.lengths, good.row_offsets, *columns.values(), good.row_order)
        with pytest.raises(SeampackError, match="does not cover"):
            bad.account()
