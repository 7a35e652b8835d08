"""Groups of rows: a number of rows that ranks and steps divide, and an order in which the rows of a step cost alike."""

import heapq
import warnings
from bisect import bisect_left, bisect_right

import numpy as np

from seampack.errors import DataError
from seampack.io.ragged import offsets_of
from seampack.packer import _layout_kernels as layout
from seampack.packer.plan_config import PlanConfig, Rest, Strategy
from seampack.packer.plans import Int32, Pieces, Planned, Rows, empty_pieces, row_costs


def warn_without_step(rows: int, config: PlanConfig) -> None:
    """Warn if there are fewer rows than ranks to balance, so that no step has a row for each."""
    if config.balance is not None and 0 < rows < config.balance:
        warnings.warn(
            f"balance: {rows:,} rows are too few for a step of {config.balance:,} ranks, so none is balanced; give "
            "fewer ranks, or more documents",
            stacklevel=4,
        )


def in_groups(planned: Planned, config: PlanConfig, *, last: bool) -> Planned:
    """Return a plan whose number of rows is a multiple of ``config.group_rows``, or of ``rows_multiple_of`` at the end.

    Before the ``last`` window of a stream, the rest is carried, and one group more, so that the last window has enough
    documents to make a group. In the last window, ``config.rest`` decides.

    Raises DataError if there are fewer tokens than rows.
    """
    rows = planned.rows.number
    if not last:
        kept, aside = set_aside(planned, max(0, rows // config.group_rows - 1) * config.group_rows)
        return kept._replace(carried=aside)
    rest = rows % config.rows_multiple_of
    if not rest:
        return planned
    if config.rest == Rest.DROP:
        kept, aside = set_aside(planned, rows - rest)
        return kept._replace(dropped=Pieces(*map(np.concatenate, zip(kept.dropped, aside, strict=True))))
    return _split(planned, rows + config.rows_multiple_of - rest)


def set_aside(planned: Planned, count: int) -> tuple[Planned, Pieces]:
    """Return the first rows and, as one piece for each document, the tokens that are then in none, nor dropped.

    Segments of a document are in the order of rows; so each piece is the end of its document.
    """
    row_offsets, doc, start, length = planned.rows
    first = int(row_offsets[count])
    new = start[first:] + planned.repeated[first:]
    after = Pieces(doc[first:], new, start[first:] + length[first:] - new)
    truncated = np.isin(planned.dropped.document, after.document)  # their ends join those of the rows
    dropped = Pieces(*(column[~truncated] for column in planned.dropped))
    ends = Pieces(*(column[truncated] for column in planned.dropped))
    document, begin, tokens = map(np.concatenate, zip(after, planned.carried, ends, strict=True))
    order = np.lexsort((begin, document))
    firsts = np.flatnonzero(np.diff(document[order], prepend=-1))
    aside = Pieces(
        document[order][firsts],
        begin[order][firsts],
        np.add.reduceat(tokens[order], firsts).astype(np.int32) if firsts.size else tokens,
    )
    return Planned(
        planned.rows.trimmed(count), planned.repeated[:first], dropped, empty_pieces(), planned.fewest_rows
    ), aside


def _split(planned: Planned, count: int) -> Planned:
    """Split rows until there are ``count``: always the one of the most segments, or else of the most tokens.

    A row is split between the segments where its parts are most alike; only a row of one segment is cut.
    """
    row_offsets, doc, start, length = planned.rows
    bounds = offsets_of(length)
    tokens, segments = np.diff(bounds[row_offsets]), np.diff(row_offsets)
    if bounds[-1] < count:
        raise DataError(
            f"rows_multiple_of: expected tokens for {count:,} rows; got enough for {bounds[-1]:,}; give a smaller "
            "multiple, or rest=drop"
        )
    splits: list[int] = []  # counted in tokens from the first row on
    largest = np.lexsort((-tokens, -segments))[: count - segments.size]
    parts = [(-int(segments[row]), -int(tokens[row]), int(bounds[row_offsets[row]])) for row in largest]
    heapq.heapify(parts)
    while segments.size + len(splits) < count:
        _, size, begin = heapq.heappop(parts)
        end = begin - size
        inner = bounds[bisect_right(bounds, begin) : bisect_left(bounds, end)]
        middle = int(inner[np.abs(2 * inner - begin - end).argmin()]) if inner.size else (begin + end) // 2
        splits.append(middle)
        left = int((inner < middle).sum()) + 1
        heapq.heappush(parts, (-left, begin - middle, begin))
        heapq.heappush(parts, (-max(1, inner.size + 1 - left), middle - end, middle))
    ends = np.union1d(bounds, splits)
    segment = np.searchsorted(bounds, ends[:-1], side="right") - 1
    inside = ends[:-1] - bounds[segment]
    part = np.diff(ends)
    rows = Rows(
        np.searchsorted(ends, np.union1d(bounds[row_offsets], splits)),
        doc[segment],
        (start[segment] + inside).astype(np.int32),
        part.astype(np.int32),
    )
    repeated = np.clip(planned.repeated[segment] - inside, 0, part).astype(np.int32)
    return planned._replace(rows=rows, repeated=repeated)


def row_order(rows: Rows, config: PlanConfig, window: tuple[int, ...]) -> Int32:
    """Return the order of writing: that of planning, or shuffled; with ``config.balance``, steps of rows of like cost.

    The steps are shuffled, and the rows of each. The rows that make no whole step are the cheapest; they come last.
    """
    mixed = np.arange(rows.number, dtype=np.int32)
    if config.strategy == Strategy.KEEP_ORDER:
        return mixed
    seeds = np.random.SeedSequence([config.seed, *window]).generate_state(2, np.uint64)
    if config.shuffle:
        mixed = layout.shuffled(rows.number, seeds[0])
    if config.balance is None:
        return mixed
    costs = row_costs(rows.row_offsets, rows.length, config.linear_cost)
    place = np.arange(rows.number // config.balance + 1, dtype=np.int32)
    if config.shuffle:
        place[:-1] = layout.shuffled(place.size - 1, seeds[1])
    step = np.empty(rows.number, np.int64)
    step[mixed[np.argsort(-costs[mixed], kind="stable")]] = np.arange(rows.number) // config.balance
    return mixed[np.argsort(place[step[mixed]], kind="stable")]
