"""Planning: assign the pieces of documents to rows, given the document lengths. Pure functions, no text."""

from typing import Any

import numpy as np
import numpy.typing as npt

from seampack.config import check_flag
from seampack.errors import ConfigError, DataError
from seampack.io.ragged import offsets_of, positions_of
from seampack.packer import _kernels as kernels
from seampack.packer import _order_kernels as in_order
from seampack.packer.bins import FULL_ENOUGH, bins_of
from seampack.packer.blocks import blocks_of, in_blocks, in_tokens
from seampack.packer.groups import Groups
from seampack.packer.optimal import fewest_bins
from seampack.packer.plan_config import Leftover, Long, PlanConfig, Strategy
from seampack.packer.plans import MAX_LENGTH, Int32, Int64, PackPlan, Pieces, Planned, Rows, empty_pieces
from seampack.packer.row_groups import in_groups, row_order, set_aside

_SHORTEN = (Long.TRUNCATE, Long.DROP)
"""What becomes of long documents, and groups, of which not every token is packed."""


def plan(
    lengths: npt.ArrayLike,
    config: PlanConfig | None = None,
    *,
    keep_ends: bool = False,
    groups: npt.ArrayLike | None = None,
    split_groups: bool = False,
    **options: Any,
) -> PackPlan:
    """Plan rows of at most ``config.seq_len`` tokens for documents of the given lengths.

    ``lengths``: integers >= 0, shape (documents,), tokens. ``options`` are fields of PlanConfig and override
    ``config``. ``keep_ends``: documents end with an EOS, so one that is truncated keeps its last token and loses one
    more before. ``groups``: a label for each document, an integer or text; documents of one label are planned as one
    document, so that they follow each other in a row if they fit. Then ``leftover`` is ``pad`` by default, and ``long``
    holds for groups. A group of several documents that is longer than a row is an error, unless ``long`` is truncate or
    drop, or with ``split_groups`` it is split like a long document.

    The same lengths and config give the same plan on every machine.

    >>> rows = plan([3, 2, 4], seq_len=5, strategy="ffd", shuffle=False)
    >>> rows.row_offsets.tolist(), rows.doc.tolist(), rows.length.tolist()
    ([0, 1, 3], [2, 0, 1], [4, 3, 2])

    Raises ConfigError for invalid options, DataError for invalid lengths or groups and, with ``long="error"``, for
    documents or groups that are longer than a row.
    """
    config = config or PlanConfig()
    config = config.replace(**options) if options else config
    checked = check_lengths(lengths)
    check_long(checked, config)
    keep_ends = check_flag("keep_ends", keep_ends)
    if groups is None:
        return plan_window(checked, config, keep_ends=keep_ends)
    if config.max_segments is not None:
        raise ConfigError(f"max_segments: expected none for groups, which stay together; got {config.max_segments}")
    if config.leftover == Leftover.AUTO:
        config = config.replace(leftover=Leftover.PAD)
    splits = check_flag("split_groups", split_groups) and config.long_rule != Long.ERROR
    may_be_long = splits or config.long_rule in _SHORTEN
    joined = Groups.of(checked, groups, config, may_be_long=may_be_long)
    return plan_window(checked, config, keep_ends=keep_ends, groups=joined)


def check_long(lengths: Int32 | Int64, config: PlanConfig, first: int = 0, place: str | None = None) -> None:
    """Raise DataError if the config refuses documents that are longer than a row, and there are some.

    ``first``: number of the first of these documents. ``place``: where the long one is, by default its number.
    """
    if config.long_rule != Long.ERROR:
        return
    long = np.flatnonzero(lengths > config.seq_len)
    if long.size:
        raise DataError(
            f"{place or f'document {first + long[0]}'}: expected at most seq_len, {config.seq_len:,} tokens; got "
            f"{lengths[long[0]]:,}; of the {lengths.size:,} documents planned at once, {long.size:,} are longer than a "
            "row; choose a larger --seq-len, or --long window, split, truncate or drop"
        )


def check_lengths(lengths: npt.ArrayLike) -> Int32:
    """Return the lengths as a contiguous int32 array. Raise DataError unless they are integers in range."""
    array = np.asarray(lengths)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise DataError(f"lengths: expected a 1-D array of integers; got shape {array.shape}, dtype {array.dtype}")
    if array.size and (array.min() < 0 or array.max() > MAX_LENGTH):
        first = int(np.flatnonzero((array < 0) | (array > MAX_LENGTH))[0])
        raise DataError(f"lengths[{first}]: expected 0 to {MAX_LENGTH:,} tokens; got {array[first]}")
    if array.size > MAX_LENGTH:
        raise DataError(f"lengths: expected at most {MAX_LENGTH:,} documents; got {array.size:,}; plan in windows")
    return np.ascontiguousarray(array, np.int32)


def plan_window(
    lengths: Int32,
    config: PlanConfig,
    *,
    window: tuple[int, ...] = (0,),
    carry_limit_tokens: int = 0,
    keep_ends: bool = False,
    bases: Int64 | None = None,
    groups: Groups | None = None,
) -> PackPlan:
    """Plan one window of a stream. Pieces that fill no row are carried, up to ``carry_limit_tokens`` tokens.

    In the last window, the limit is 0. Rows that make no group, ``config.group_rows``, are carried beyond the limit.

    ``window``: numbers that identify the window, on which the shuffle depends. ``keep_ends``: see ``plan``.
    ``bases``: tokens before each document that an earlier window has packed, shape (documents,). ``groups``: the
    documents that are planned as one, in a stream of one window.

    The limit bounds memory. If more tokens are in underfull bins (for example, if every document is 0.6 ``seq_len``
    long), waiting would not help: all bins become rows at once.
    """
    size = config.pad_to_multiple
    if size == 1:
        planned = _planned(lengths, config, carry_limit_tokens, bases, groups)
    else:
        limit = -(-carry_limit_tokens // size)
        bases = None if bases is None else bases // size
        planned = in_tokens(_planned(blocks_of(lengths, size), in_blocks(config), limit, bases, groups), lengths, size)
    columns = (*planned.rows, planned.repeated, row_order(planned.rows, config, window))
    dropped = planned.dropped
    if keep_ends:
        dropped = dropped._replace(start=dropped.start - (dropped.start > 0).astype(np.int32))
    for column in columns:
        column.flags.writeable = False  # a plan may be shared between threads
    fewest = None if carry_limit_tokens else planned.fewest_rows
    over_bound = None if fewest is None else max(0, planned.rows.number - fewest)
    return PackPlan(config.seq_len, lengths, *columns, dropped, planned.carried, size, over_bound)


def _planned(
    lengths: Int32, config: PlanConfig, carry_limit_tokens: int, bases: Int64 | None, groups: Groups | None
) -> Planned:
    """Plan a window by the strategy, and make groups of documents and of rows."""
    units = lengths if groups is None else groups.lengths
    allowed = _allowed(units, config, bases)
    planned = _PLANNERS[Strategy(config.strategy)](allowed, config, carry_limit_tokens)
    if allowed is not units:
        planned = _with_ends(planned, units - allowed, allowed)
    if groups is not None:
        planned = groups.divide(planned)
    if config.group_rows > 1:
        planned = in_groups(planned, config, last=not carry_limit_tokens)
    return planned


def fewest_rows(lengths: Int32, config: PlanConfig) -> int:
    """Return a number of rows that no plan of documents is below, unless it cuts some that fit a row."""
    lengths, config = blocks_of(lengths, config.pad_to_multiple), in_blocks(config)
    allowed = _allowed(lengths, config, None)
    histogram, whole_rows, _ = kernels.cut_documents(allowed, config.seq_len, config.max_overlap_tokens)
    return whole_rows + fewest_bins(histogram, config.seq_len)


def _allowed(lengths: Int32, config: PlanConfig, bases: Int64 | None) -> Int32:
    """Return the number of first tokens of each document that may be in rows; ``lengths`` itself if all may."""
    if config.long_rule not in _SHORTEN:
        return lengths
    before = np.zeros(lengths.size, np.int64) if bases is None else bases
    is_long = before + lengths > config.seq_len
    if not is_long.any():
        return lengths
    kept = config.seq_len - before if config.long_rule == Long.TRUNCATE else np.zeros(lengths.size, np.int64)
    return np.where(is_long, kept, lengths).astype(np.int32)


def _with_ends(planned: Planned, ends: Int32, allowed: Int32) -> Planned:
    """Add the tokens of each document that may not be in rows, ``ends`` at its end, to what is dropped or carried.

    The end of a document that is carried is carried with it, and dropped in the window in which it ends.
    """
    carried = planned.carried._replace(length=planned.carried.length + ends[planned.carried.document])
    dropped = planned.dropped._replace(length=planned.dropped.length + ends[planned.dropped.document])
    is_left = ends > 0
    is_left[carried.document] = False
    is_left[dropped.document] = False
    left = np.flatnonzero(is_left).astype(np.int32)
    pieces = Pieces(left, allowed[left], ends[left])
    dropped = Pieces(*(np.concatenate(both) for both in zip(dropped, pieces, strict=True)))
    return planned._replace(dropped=dropped, carried=carried)


def _plan_concat(lengths: Int32, config: PlanConfig, carry_limit_tokens: int) -> Planned:
    documents = Pieces(np.arange(lengths.size, dtype=np.int32), np.zeros_like(lengths), lengths)
    most = _most_rows(documents, config)
    rows = Rows.empty(most, documents.document.size + most)
    rows, rest = _fill(documents, np.zeros(1, np.int64), config, carry_limit_tokens, 0, rows)
    dropped, carried = (empty_pieces(), rest) if carry_limit_tokens else (rest, empty_pieces())
    return Planned(rows, np.zeros_like(rows.doc), dropped, carried)


def _plan_pad(lengths: Int32, config: PlanConfig, carry_limit_tokens: int) -> Planned:
    counts = -(-lengths.astype(np.int64) // config.seq_len)
    document = np.repeat(np.arange(lengths.size, dtype=np.int32), counts)
    start = positions_of(counts) * config.seq_len
    length = np.minimum(lengths[document] - start, config.seq_len)
    rows = Rows(np.arange(document.size + 1), document, start.astype(np.int32), length.astype(np.int32))
    return Planned(rows, np.zeros_like(document), empty_pieces(), empty_pieces())


def _plan_bins(lengths: Int32, config: PlanConfig, carry_limit_tokens: int) -> Planned:
    """Plan by ``seamless``, ``best_fit``, ``ffd`` or ``optimal``: whole rows or windows, full bins, and leftovers."""
    seq_len, overlap = config.seq_len, config.max_overlap_tokens
    histogram, whole_rows, long = kernels.cut_documents(lengths, seq_len, overlap)
    pieces = kernels.sort_pieces(lengths, seq_len, overlap, histogram)
    bins, fewest_of_pieces = bins_of(histogram, config)
    fewest = None if fewest_of_pieces is None else whole_rows + fewest_of_pieces
    patterns, tokens, counts, repeats = bins

    pad = config.leftover_rule == Leftover.PAD
    closed = bins.closed(config)
    chosen = bins.full_enough(closed, config, carry_limit_tokens) if pad else closed
    unfilled = int((tokens * repeats)[~chosen].sum())
    carry = pad or unfilled <= carry_limit_tokens
    filled = 0
    if not carry and config.leftover_rule == Leftover.FILL:
        filled = unfilled // seq_len if carry_limit_tokens or config.drop_last else -(-unfilled // seq_len)
    waiting = empty_pieces(int((repeats * counts)[~chosen].sum()))
    bin_offsets = np.empty(int(repeats[~chosen].sum()) + 1, np.int64)
    kernels.take_bins(patterns, bins.runs(chosen, filled), pieces, waiting, bin_offsets)

    full, segments = int(repeats[chosen].sum()), int((repeats * counts)[chosen].sum())
    joined_rows = 0 if carry else filled + _most_rows(waiting, config)
    rows = Rows.empty(whole_rows + full + joined_rows, whole_rows + segments + waiting.document.size + joined_rows)
    repeated = np.zeros_like(rows.doc)
    cut = empty_pieces(int(repeats[tokens > seq_len].sum()))
    kernels.write_windows(lengths, long, seq_len, overlap, rows, repeated)
    kernels.write_patterns(patterns, chosen, pieces, seq_len, whole_rows, rows, cut)
    if carry:
        rows, rest = rows.trimmed(whole_rows + full), waiting
    else:
        rows, rest = _fill(waiting, bin_offsets[: filled + 1], config, carry_limit_tokens, whole_rows + full, rows)
    repeated = repeated[: rows.doc.size]
    if carry or carry_limit_tokens:
        return Planned(rows, repeated, cut, rest, fewest)
    dropped = Pieces(*(np.concatenate(both) for both in zip(cut, rest, strict=True)))
    return Planned(rows, repeated, dropped, empty_pieces(), fewest)


def _plan_in_order(lengths: Int32, config: PlanConfig, carry_limit_tokens: int) -> Planned:
    """Plan by ``keep_order``. Rows that later documents may fill are carried, with all after them."""
    seq_len = config.seq_len
    found, segments, first_documents = in_order.assign_in_order(
        lengths, seq_len, config.look_back, config.most_segments
    )
    rows = Rows.empty(segments.size, int(segments.sum()))
    np.cumsum(segments, out=rows.row_offsets[1:])
    in_order.write_in_order(lengths, seq_len, found, rows.row_offsets[:-1].copy(), rows)
    planned = Planned(rows, np.zeros_like(rows.doc), empty_pieces(), empty_pieces())
    if not carry_limit_tokens:
        return planned
    tokens = np.diff(offsets_of(rows.length)[rows.row_offsets])
    may_grow = (first_documents >= lengths.size - config.look_back) & (segments < config.most_segments)
    waiting = np.flatnonzero(may_grow & (tokens < FULL_ENOUGH * seq_len))
    kept, carried = set_aside(planned, int(waiting[0]) if waiting.size else rows.number)
    return kept._replace(carried=carried) if carried.tokens <= carry_limit_tokens else planned


_PLANNERS = {
    Strategy.SEAMLESS: _plan_bins,
    Strategy.CONCAT: _plan_concat,
    Strategy.BEST_FIT: _plan_bins,
    Strategy.FFD: _plan_bins,
    Strategy.PAD: _plan_pad,
    Strategy.KEEP_ORDER: _plan_in_order,
    Strategy.OPTIMAL: _plan_bins,
}


def _most_rows(pieces: Pieces, config: PlanConfig) -> int:
    """Return the most rows that pieces joined end to end fill: each but the last is full or has the most segments."""
    full = pieces.tokens // config.seq_len
    return full + (pieces.document.size + full) // config.most_segments + 1


def _fill(
    pieces: Pieces, bin_offsets: Int64, config: PlanConfig, carry_limit_tokens: int, row: int, rows: Rows
) -> tuple[Rows, Pieces]:
    """Write bins, fill their gaps, and join the other pieces; return all rows, and what makes no whole row."""
    whole = carry_limit_tokens > 0 or config.drop_last
    end, piece, done = kernels.write_filled(pieces, bin_offsets, config.seq_len, config.most_segments, whole, row, rows)
    rest = Pieces(*(column[piece:].copy() for column in pieces))
    if done:
        rest.start[0] += done
        rest.length[0] -= done
    # an empty document leaves no piece
    return rows.trimmed(end), Pieces(*(column[rest.length > 0] for column in rest))
