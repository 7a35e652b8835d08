"""Windows of a stream: every token is settled once, memory is bounded, and little fill is lost against one plan."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seampack.errors import DataError
from seampack.packer.accounting import Accounting
from seampack.packer.config import PackConfig
from seampack.packer.plan_config import Strategy
from seampack.packer.planning import plan
from seampack.packer.windows import End, WindowPlanner, plan_stream, windows_of
from tests import naive
from tests.packer.test_planning import enough_tokens, options


@dataclass(frozen=True)
class Batch:
    lengths: Any
    input_bytes: int = 0
    ends_partition: bool = False
    begins: Any = None


def batches(lengths: Any, size: int) -> list[Batch]:
    return [
        Batch(np.asarray(lengths[start : start + size], np.int64)) for start in range(0, max(len(lengths), 1), size)
    ]


cases = st.integers(1, 20).flatmap(
    lambda seq_len: st.tuples(
        st.just(seq_len),
        st.integers(seq_len, 8 * seq_len),
        st.lists(st.integers(0, 3 * seq_len), max_size=60),
        st.integers(1, 10),
    )
)


@given(cases, options)
def test_every_token_is_settled_once(case: tuple[int, int, list[int], int], options: dict[str, Any]) -> None:
    seq_len, window_tokens, lengths, size = case
    config = PackConfig(seq_len=seq_len, window_tokens=window_tokens, **options)
    seen = [[0] * length for length in lengths]
    total = Accounting(seq_len=seq_len)
    segments = [0] * len(lengths)
    rows: list[naive.Row] = []
    with enough_tokens():
        windows = list(plan_stream(batches(lengths, size), config))
    for window in windows:
        planned = window.plan
        assert planned.rows % config.rows_multiple_of == 0
        groups = 0 if config.rows_multiple_of == 1 else 2 * config.rows_multiple_of * seq_len
        limit = max(window_tokens // 4, seq_len - 1) + groups
        begins = window.parts.base[planned.carried.document] + planned.carried.start
        longest = seq_len - begins if options["long"] == "truncate" else np.int64(2**31)
        assert np.minimum(planned.carried.length, longest).sum() <= limit  # besides ends, to be dropped
        for doc, start, length, repeated in zip(
            planned.doc, planned.start, planned.length, planned.repeated, strict=True
        ):
            begin = int(window.parts.base[doc] + start)
            segments[window.parts.document[doc]] += 1
            rows.append([(int(window.parts.document[doc]), int(window.parts.base[doc] + start), int(length))])
            for position in range(begin + repeated, begin + length):
                seen[window.parts.document[doc]][position] += 1
        for doc, start, length in zip(*planned.dropped, strict=True):
            for position in range(window.parts.base[doc] + start, window.parts.base[doc] + start + length):
                seen[window.parts.document[doc]][position] += 1
        total += window.accounting
    assert all(count == 1 for document in seen for count in document)
    assert (total.documents, total.tokens_in) == (len(lengths), sum(lengths))
    assert total.empty_documents == lengths.count(0)
    assert total.documents_dropped == sum(length > count == 0 for length, count in zip(lengths, segments, strict=True))
    assert total.documents_fit_but_cut == naive.fit_but_cut(lengths, rows, seq_len)
    # they may drop the second part of a document that an earlier window cut
    if not options["drop_last"] and options["rest"] == "split":
        assert total.documents_split == sum(count > 1 for count in segments)
        assert total.cuts == sum(max(count - 1, 0) for count in segments)


@given(cases)
def test_concat_in_windows_is_concat(case: tuple[int, int, list[int], int]) -> None:
    """Joining end to end does not depend on the ends of windows."""
    seq_len, window_tokens, lengths, size = case
    config = PackConfig(seq_len=seq_len, window_tokens=window_tokens, strategy="concat", shuffle=False)
    rows: list[list[tuple[int, int, int]]] = []
    for window in plan_stream(batches(lengths, size), config):
        planned = window.plan
        documents, bases = window.parts.document[planned.doc], window.parts.base[planned.doc] + planned.start
        segments = list(zip(documents.tolist(), bases.tolist(), planned.length.tolist(), strict=True))
        rows += [segments[a:b] for a, b in zip(planned.row_offsets, planned.row_offsets[1:], strict=False)]
    whole = plan(lengths, seq_len=seq_len, strategy="concat", shuffle=False)
    expected = list(zip(whole.doc.tolist(), whole.start.tolist(), whole.length.tolist(), strict=True))
    assert rows == [expected[a:b] for a, b in zip(whole.row_offsets, whole.row_offsets[1:], strict=False)]


@pytest.mark.parametrize("strategy", list(Strategy))
def test_windows_cost_little_fill(strategy: str) -> None:
    """At the default ratio of window to row, windows lose less than 0.05 % of fill against a single plan."""
    lengths = np.random.default_rng(0).lognormal(5.8, 1.2, 300_000).astype(np.int64) + 1
    config = PackConfig(strategy=strategy, window_tokens=1 << 24)
    total = Accounting(seq_len=config.seq_len)
    for window in plan_stream(batches(lengths, 2_000), config):
        total += window.accounting
    whole = plan(lengths, config).account()
    assert total.tokens_in == whole.tokens_in
    assert total.fill > whole.fill - 0.0005


def test_carrying_is_bounded_where_waiting_does_not_help() -> None:
    """Documents of 0.6 rows never share a row: they must not pile up."""
    config = PackConfig(seq_len=100, window_tokens=10_000)
    for window in plan_stream(batches([60] * 5_000, 100), config):
        assert window.plan.carried.tokens < 100
    padded = config.replace(leftover="pad")
    assert all(window.plan.carried.tokens <= 2_500 for window in plan_stream(batches([60] * 5_000, 100), padded))


def test_windows_end_at_batches() -> None:
    config = PackConfig(seq_len=10, window_tokens=10)
    windows = list(windows_of(batches([4] * 10, 2), config))
    assert [(len(window), end) for window, end in windows] == [(1, End.WINDOW)] * 4 + [(1, End.PARTITION)]
    assert not list(windows_of([], config))


def test_a_document_that_is_too_long() -> None:
    planner = WindowPlanner(PackConfig())
    planner.plan(np.array([1, 2]), last=False)
    refusing = WindowPlanner(PackConfig(seq_len=9, long="error"))
    refusing.plan(np.array([1, 9]), last=False)
    with pytest.raises(
        DataError, match="document 3: expected at most seq_len, 9 tokens; got 10; of the 2 documents planned"
    ):
        refusing.plan(np.array([1, 10]), last=True)
    with pytest.raises(DataError, match="document 3: expected at most 2,147,483,647 tokens; got 2,147,483,648"):
        planner.plan(np.array([1, 2**31]), last=True)
