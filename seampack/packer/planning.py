"""Planning: assign the pieces of documents to rows, given the document lengths. Pure functions, no text."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from seampack.config import check_flag
from seampack.errors import DataError
from seampack.io.ragged import positions_of
from seampack.packer import _bin_kernels as bin_kernels
from seampack.packer import _kernels as kernels
from seampack.packer import _layout_kernels as layout
from seampack.packer.config import ExtraRoom, Leftover, Long, PlanConfig, Strategy
from seampack.packer.plans import Int32, Int64, PackPlan, Pieces, empty_pieces

MAX_LENGTH = 2**31 - 1

# Share of seq_len at which a bin becomes a row within a stream; emptier bins wait for the pieces of the next window.
_FULL_ENOUGH = 15 / 16


def plan(
    lengths: npt.ArrayLike, config: PlanConfig | None = None, *, keep_ends: bool = False, **options: Any
) -> PackPlan:
    """Plan rows of at most ``config.seq_len`` tokens for documents of the given lengths.

    ``lengths``: integers >= 0, shape (documents,), tokens. ``options`` are fields of PlanConfig and override
    ``config``. ``keep_ends``: documents end with an EOS, so one that is truncated keeps its last token and loses one
    more before. The same lengths and config give the same plan on every machine.

    >>> rows = plan([3, 2, 4], seq_len=5, strategy="ffd", shuffle=False)
    >>> rows.row_offsets.tolist(), rows.doc.tolist(), rows.length.tolist()
    ([0, 1, 3], [2, 0, 1], [4, 3, 2])

    Raises ConfigError for invalid options, DataError for invalid lengths and, with ``long="error"``, for documents that
    are longer than a row.
    """
    config = config or PlanConfig()
    config = config.replace(**options) if options else config
    checked = check_lengths(lengths)
    check_long(checked, config)
    return plan_window(checked, config, keep_ends=check_flag("keep_ends", keep_ends))


def check_long(lengths: Int32 | Int64, config: PlanConfig, first: int = 0) -> None:
    """Raise DataError if the config refuses documents that are longer than a row, and there are some.

    ``first``: number of the first of these documents.
    """
    if config.long_rule != Long.ERROR:
        return
    long = np.flatnonzero(lengths > config.seq_len)
    if long.size:
        raise DataError(
            f"document {first + long[0]}: expected at most seq_len, {config.seq_len:,} tokens; got "
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
) -> PackPlan:
    """Plan one window of a stream. Pieces that fill no row are carried, up to ``carry_limit_tokens`` tokens.

    ``window``: numbers that identify the window, on which the shuffle depends. ``keep_ends``: see ``plan``.
    ``bases``: tokens before each document that an earlier window has packed, shape (documents,).

    The limit bounds memory. If more tokens are in underfull bins (for example, if every document is 0.6 ``seq_len``
    long), waiting would not help: all bins become rows at once.
    """
    allowed = _allowed(lengths, config, bases)
    planned = _PLANNERS[Strategy(config.strategy)](allowed, config, carry_limit_tokens)
    dropped, carried = planned.dropped, planned.carried
    if allowed is not lengths:
        dropped, carried = _with_ends(dropped, carried, lengths - allowed, allowed)
    rows = planned.rows.row_offsets.size - 1
    if config.shuffle:
        order = layout.shuffled(rows, np.random.SeedSequence([config.seed, *window]).generate_state(1, np.uint64)[0])
    else:
        order = np.arange(rows, dtype=np.int32)
    columns = (*planned.rows, planned.repeated, order)
    if keep_ends:
        dropped = dropped._replace(start=dropped.start - (dropped.start > 0).astype(np.int32))
    for column in columns:
        column.flags.writeable = False  # a plan may be shared between threads
    return PackPlan(config.seq_len, lengths, *columns, dropped, carried)


def _allowed(lengths: Int32, config: PlanConfig, bases: Int64 | None) -> Int32:
    """Return the number of first tokens of each document that may be in rows; ``lengths`` itself if all may."""
    if config.long_rule not in (Long.TRUNCATE, Long.DROP):
        return lengths
    before = np.zeros(lengths.size, np.int64) if bases is None else bases
    is_long = before + lengths > config.seq_len
    if not is_long.any():
        return lengths
    kept = config.seq_len - before if config.long_rule == Long.TRUNCATE else np.zeros(lengths.size, np.int64)
    return np.where(is_long, kept, lengths).astype(np.int32)


def _with_ends(dropped: Pieces, carried: Pieces, ends: Int32, allowed: Int32) -> tuple[Pieces, Pieces]:
    """Add the tokens of each document that may not be in rows, ``ends`` at its end, to what is dropped or carried.

    The end of a document that is carried is carried with it, and dropped in the window in which it ends.
    """
    carried = carried._replace(length=carried.length + ends[carried.document])
    dropped = dropped._replace(length=dropped.length + ends[dropped.document])
    is_left = ends > 0
    is_left[carried.document] = False
    is_left[dropped.document] = False
    left = np.flatnonzero(is_left).astype(np.int32)
    pieces = Pieces(left, allowed[left], ends[left])
    return Pieces(*(np.concatenate(both) for both in zip(dropped, pieces, strict=True))), carried


class _Rows(NamedTuple):
    """The columns of a plan that the kernels fill."""

    row_offsets: Int64
    doc: Int32
    start: Int32
    length: Int32

    @classmethod
    def empty(cls, rows: int, segments: int) -> "_Rows":
        row_offsets = np.empty(rows + 1, np.int64)
        row_offsets[0] = 0
        return cls(row_offsets, *(np.empty(segments, np.int32) for _ in range(3)))

    def trimmed(self) -> "_Rows":
        """Return the rows without the room that no segment took."""
        segments = int(self.row_offsets[-1])
        return _Rows(self.row_offsets, self.doc[:segments], self.start[:segments], self.length[:segments])


class _Planned(NamedTuple):
    rows: _Rows
    repeated: Int32
    dropped: Pieces
    carried: Pieces


def _plan_concat(lengths: Int32, config: PlanConfig, carry_limit_tokens: int) -> _Planned:
    documents = Pieces(np.arange(lengths.size, dtype=np.int32), np.zeros_like(lengths), lengths)
    joined, rest = _whole_rows(documents, config.seq_len, carry_limit_tokens > 0 or config.drop_last)
    count = -(-joined.tokens // config.seq_len)
    rows = _Rows.empty(count, joined.document.size + count)
    kernels.write_filled(joined, np.zeros(1, np.int64), config.seq_len, 0, rows)
    rows = rows.trimmed()
    dropped, carried = (empty_pieces(), rest) if carry_limit_tokens else (rest, empty_pieces())
    return _Planned(rows, np.zeros_like(rows.doc), dropped, carried)


def _plan_pad(lengths: Int32, config: PlanConfig, carry_limit_tokens: int) -> _Planned:
    counts = -(-lengths.astype(np.int64) // config.seq_len)
    document = np.repeat(np.arange(lengths.size, dtype=np.int32), counts)
    start = positions_of(counts) * config.seq_len
    length = np.minimum(lengths[document] - start, config.seq_len)
    rows = _Rows(np.arange(document.size + 1), document, start.astype(np.int32), length.astype(np.int32))
    return _Planned(rows, np.zeros_like(document), empty_pieces(), empty_pieces())


def _plan_bins(lengths: Int32, config: PlanConfig, carry_limit_tokens: int) -> _Planned:
    """Plan by ``seamless``, ``best_fit`` or ``ffd``: whole rows or windows, bins that are full, and leftovers."""
    seq_len, overlap = config.seq_len, config.max_overlap_tokens
    histogram, whole_rows, long = kernels.cut_documents(lengths, seq_len, overlap)
    pieces = kernels.sort_pieces(lengths, seq_len, overlap, histogram)
    if config.strategy == Strategy.BEST_FIT:
        groups, entries = bin_kernels.best_fit_groups(histogram, seq_len)
        opened = np.argsort(groups[:, bin_kernels.FIRST_BIN])
        patterns = bin_kernels.patterns_of(groups, opened, entries)
    else:
        sparing = config.extra_room == ExtraRoom.NEEDED
        patterns = bin_kernels.ffd_patterns(histogram, seq_len, config.extra_room_tokens, sparing)
    tokens, pieces_per_bin, repeats = _totals(*patterns)

    pad = config.leftover_rule == Leftover.PAD
    chosen = _full_enough(tokens, repeats, config, carry_limit_tokens) if pad else tokens >= seq_len
    unfilled = int((tokens * repeats)[~chosen].sum())
    carry = pad or unfilled <= carry_limit_tokens
    whole = carry_limit_tokens > 0 or config.drop_last
    filled = 0
    if not carry and config.leftover_rule == Leftover.FILL:
        filled = unfilled // seq_len if whole else -(-unfilled // seq_len)
    waiting = empty_pieces(int((repeats * pieces_per_bin)[~chosen].sum()))
    bin_offsets = np.empty(int(repeats[~chosen].sum()) + 1, np.int64)
    kernels.take_bins(patterns, _runs(tokens, repeats, chosen, filled), pieces, waiting, bin_offsets)
    joined, rest = (empty_pieces(), waiting) if carry else _whole_rows(waiting, seq_len, whole)

    bins, segments = int(repeats[chosen].sum()), int((repeats * pieces_per_bin)[chosen].sum())
    joined_rows = -(-joined.tokens // seq_len)
    rows = _Rows.empty(whole_rows + bins + joined_rows, whole_rows + segments + joined.document.size + joined_rows)
    repeated = np.zeros_like(rows.doc)
    cut = empty_pieces(int(repeats[tokens > seq_len].sum()))
    kernels.write_windows(lengths, long, seq_len, overlap, rows, repeated)
    kernels.write_patterns(patterns, chosen, pieces, seq_len, whole_rows, rows, cut)
    kernels.write_filled(joined, bin_offsets[: filled + 1], seq_len, whole_rows + bins, rows)
    rows = rows.trimmed()
    repeated = repeated[: rows.doc.size]
    if carry or carry_limit_tokens:
        return _Planned(rows, repeated, cut, rest)
    dropped = Pieces(*(np.concatenate(both) for both in zip(cut, rest, strict=True)))
    return _Planned(rows, repeated, dropped, empty_pieces())


_PLANNERS = {
    Strategy.SEAMLESS: _plan_bins,
    Strategy.CONCAT: _plan_concat,
    Strategy.BEST_FIT: _plan_bins,
    Strategy.FFD: _plan_bins,
    Strategy.PAD: _plan_pad,
}


def _totals(offsets: Int64, sizes: Int64, counts: Int64, firsts: Int64, repeats: Int64) -> tuple[Int64, Int64, Int64]:
    """Return the tokens, pieces and repeats of each pattern."""
    if not repeats.size:
        return repeats, repeats, repeats
    return np.add.reduceat(sizes * counts, offsets[:-1]), np.add.reduceat(counts, offsets[:-1]), repeats


def _full_enough(tokens: Int64, repeats: Int64, config: PlanConfig, carry_limit_tokens: int) -> npt.NDArray[np.bool_]:
    """Return a mask of the bins (or patterns of ``repeats`` bins) that become rows; the next window gets the others."""
    full: npt.NDArray[np.bool_] = tokens >= _FULL_ENOUGH * config.seq_len
    waiting = int((tokens * repeats)[~full].sum())
    return full if 0 < waiting <= carry_limit_tokens else np.ones_like(full)


def _runs(tokens: Int64, repeats: Int64, chosen: npt.NDArray[np.bool_], filled: int) -> tuple[Int64, Int64, Int64]:
    """Return the bins that are not chosen as runs (pattern, first bin, bins), in the order in which they become rows.

    The first are the ``filled`` fullest bins, which are kept, the emptiest of them first: their gaps are the largest,
    so that the others are cut into the fewest parts, and gaps that stay are the smallest. The others follow, the
    fullest first.
    """
    waiting = np.flatnonzero(~chosen)
    if not filled:
        return waiting, np.zeros_like(waiting), repeats[waiting]
    order = waiting[np.argsort(-tokens[waiting], kind="stable")]
    before = np.cumsum(repeats[order]) - repeats[order]
    kept = np.clip(filled - before, 0, repeats[order])
    rows = np.flatnonzero(kept)
    rows = rows[np.argsort(tokens[order[rows]], kind="stable")]
    rest = np.flatnonzero(kept < repeats[order])
    return (
        np.concatenate([order[rows], order[rest]]),
        np.concatenate([np.zeros_like(rows), kept[rest]]),
        np.concatenate([kept[rows], (repeats[order] - kept)[rest]]),
    )


def _whole_rows(pieces: Pieces, seq_len: int, whole: bool) -> tuple[Pieces, Pieces]:
    """Return the pieces to join end to end, and the rest: with ``whole``, what makes no whole row."""
    ends = np.cumsum(pieces.length, dtype=np.int64)
    total = int(ends[-1]) if ends.size else 0
    limit = total - total % seq_len
    if not whole or limit == total:
        return pieces, empty_pieces()
    split = int(np.searchsorted(ends, limit, side="right"))  # the piece in which the incomplete row begins
    inside = limit - int(ends[split]) + int(pieces.length[split])
    joined = Pieces(*(column[: split + (inside > 0)].copy() for column in pieces))
    rest = Pieces(*(column[split:].copy() for column in pieces))
    rest.start[0] += inside
    rest.length[0] -= inside
    if inside:
        joined.length[-1] = inside
    return joined, Pieces(*(column[rest.length > 0] for column in rest))  # an empty document leaves no piece
