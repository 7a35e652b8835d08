"""Planning: assign the pieces of documents to rows, given the document lengths. Pure functions, no text."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from seampack.errors import DataError, SeampackError
from seampack.io.ragged import positions_of
from seampack.packer import _bin_kernels as bin_kernels
from seampack.packer import _kernels as kernels
from seampack.packer import _layout_kernels as layout
from seampack.packer.accounting import Accounting
from seampack.packer.config import ExtraRoom, Leftover, PlanConfig, Strategy

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
MAX_LENGTH = 2**31 - 1

# Share of seq_len at which a bin becomes a row within a stream; emptier bins wait for the pieces of the next window.
_FULL_ENOUGH = 15 / 16


class Pieces(NamedTuple):
    """Parts of documents: the index of the document, the first token and the length. Shapes (n,) int32."""

    document: Int32
    start: Int32
    length: Int32

    @property
    def tokens(self) -> int:
        """Sum of the lengths."""
        return int(self.length.sum(dtype=np.int64))


def _empty_pieces(count: int = 0) -> Pieces:
    """Return room for a number of pieces."""
    return Pieces(*(np.empty(count, np.int32) for _ in range(3)))


@dataclass(frozen=True, slots=True)
class PackPlan:
    """Rows of segments of documents, of which only the lengths are given.

    Row ``r`` has the segments ``row_offsets[r]:row_offsets[r + 1]``. Segment ``s`` has the tokens
    ``start[s]:start[s] + length[s]`` of document ``doc[s]``; the first ``repeated[s]`` of them also appear in another
    row. Rows are in the order of planning, sorted by length; ``row_order`` is the order of writing, shuffled or not.
    ``dropped`` has the tokens that are in no row; ``carried`` has the tokens that a stream keeps for its next window
    (always the end of a document). If the last token of a document is kept but those before it are dropped, it takes
    the place of the last token of the segment that was cut (``kept_ends``).
    """

    seq_len: int
    lengths: Int32  # shape (documents,), tokens
    row_offsets: Int64  # shape (rows + 1,)
    doc: Int32  # shape (segments,)
    start: Int32  # shape (segments,), tokens
    length: Int32  # shape (segments,), tokens
    repeated: Int32  # shape (segments,), tokens
    row_order: Int32  # shape (rows,), a permutation
    dropped: Pieces = field(default_factory=_empty_pieces)
    carried: Pieces = field(default_factory=_empty_pieces)

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.row_offsets.size - 1

    def kept_ends(self) -> npt.NDArray[np.bool_]:
        """Return a mask of the segments whose last token is the last of its document, in place of a dropped one."""
        document, start, length = self.dropped
        kept = start + length < self.lengths[document]
        if not kept.any():
            return np.zeros(self.doc.size, np.bool_)
        cut = np.full(self.lengths.size, -1, np.int32)
        cut[document[kept]] = start[kept] + 1
        found: npt.NDArray[np.bool_] = self.start + self.length == cut[self.doc]
        return found

    def account(self, continued: npt.NDArray[np.bool_] | None = None) -> Accounting:
        """Count where every token went, and check that every document is covered exactly.

        ``continued`` marks documents whose beginning was planned in an earlier window, shape (documents,). Carried
        tokens are counted in the next window.

        Raises SeampackError if the segments, dropped pieces and carried pieces do not cover each document exactly once.
        """
        lengths = self.lengths.astype(np.int64)
        covered, positions, segments = layout.audit(self.lengths, self.doc, self.start, self.length, self.repeated)
        ends = np.flatnonzero(self.kept_ends())
        for pieces in (self.dropped, self.carried):
            begin, count = pieces.start.astype(np.int64), pieces.length.astype(np.int64)
            np.add.at(covered, pieces.document, count)
            np.add.at(positions, pieces.document, count * begin + count * (count - 1) // 2)
        np.add.at(positions, self.doc[ends], lengths[self.doc[ends]] - self.start[ends] - self.length[ends])
        wrong = np.flatnonzero((covered != lengths) | (positions != lengths * (lengths - 1) // 2))
        if wrong.size:
            raise SeampackError(
                f"internal error: the plan does not cover document {wrong[0]} ({lengths[wrong[0]]} tokens) exactly once"
            )
        carried = np.zeros(lengths.size, np.int64)
        carried[self.carried.document] = self.carried.length
        begun = np.ones(lengths.size, np.bool_) if continued is None else ~continued
        parts = segments + (carried > 0)
        settled = (segments > 0) | (carried == 0)  # not carried as a whole
        split = begun & (parts > 1)
        cut = split.copy()
        cut[self.dropped.document] = True
        tokens_out = int(self.length.sum(dtype=np.int64))
        repeated = int(self.repeated.sum(dtype=np.int64))
        return Accounting(
            seq_len=self.seq_len,
            rows=self.rows,
            documents=int((begun & settled).sum()),
            empty_documents=int((lengths == 0).sum()),
            tokens_in=int(lengths.sum()) - self.carried.tokens,
            tokens_out=tokens_out,
            repeated=repeated,
            dropped=self.dropped.tokens,
            segments=self.doc.size,
            cuts=int(np.maximum(parts - 1, 0).sum()),
            documents_split=int(split.sum()),
            documents_truncated=self.dropped.document.size,
            documents_fit_but_cut=int((begun & cut & (lengths <= self.seq_len)).sum()),
        )


def plan(lengths: npt.ArrayLike, config: PlanConfig | None = None, **options: Any) -> PackPlan:
    """Plan rows of at most ``config.seq_len`` tokens for documents of the given lengths.

    ``lengths``: integers >= 0, shape (documents,), tokens. ``options`` are fields of PlanConfig and override
    ``config``. The same lengths and config give the same plan on every machine.

    >>> rows = plan([3, 2, 4], seq_len=5, strategy="ffd", shuffle=False)
    >>> rows.row_offsets.tolist(), rows.doc.tolist(), rows.length.tolist()
    ([0, 1, 3], [2, 0, 1], [4, 3, 2])

    Raises ConfigError for invalid options, DataError for invalid lengths.
    """
    config = config or PlanConfig()
    return plan_window(check_lengths(lengths), config.replace(**options) if options else config)


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
    lengths: Int32, config: PlanConfig, *, window: int = 0, carry_limit_tokens: int = 0, keep_ends: bool = False
) -> PackPlan:
    """Plan one window of a stream. Pieces that fill no row are carried, up to ``carry_limit_tokens`` tokens.

    ``keep_ends``: documents end with an EOS, so one that is truncated keeps its last token and loses one more before.

    The limit bounds memory. If more tokens are in underfull bins (for example, if every document is 0.6 ``seq_len``
    long), waiting would not help: all bins become rows at once.
    """
    planned = _PLANNERS[Strategy(config.strategy)](lengths, config, carry_limit_tokens)
    rows = planned.rows.row_offsets.size - 1
    if config.shuffle:
        order = layout.shuffled(rows, np.random.SeedSequence([config.seed, window]).generate_state(1, np.uint64)[0])
    else:
        order = np.arange(rows, dtype=np.int32)
    columns = (*planned.rows, planned.repeated, order)
    dropped = planned.dropped
    if keep_ends:
        dropped = dropped._replace(start=dropped.start - (dropped.start > 0).astype(np.int32))
    for column in columns:
        column.flags.writeable = False  # a plan may be shared between threads
    return PackPlan(config.seq_len, lengths, *columns, dropped, planned.carried)


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
    dropped, carried = (_empty_pieces(), rest) if carry_limit_tokens else (rest, _empty_pieces())
    return _Planned(rows, np.zeros_like(rows.doc), dropped, carried)


def _plan_pad(lengths: Int32, config: PlanConfig, carry_limit_tokens: int) -> _Planned:
    counts = -(-lengths.astype(np.int64) // config.seq_len)
    document = np.repeat(np.arange(lengths.size, dtype=np.int32), counts)
    start = positions_of(counts) * config.seq_len
    length = np.minimum(lengths[document] - start, config.seq_len)
    rows = _Rows(np.arange(document.size + 1), document, start.astype(np.int32), length.astype(np.int32))
    return _Planned(rows, np.zeros_like(document), _empty_pieces(), _empty_pieces())


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
    waiting = _empty_pieces(int((repeats * pieces_per_bin)[~chosen].sum()))
    bin_offsets = np.empty(int(repeats[~chosen].sum()) + 1, np.int64)
    kernels.take_bins(patterns, _runs(tokens, repeats, chosen, filled), pieces, waiting, bin_offsets)
    joined, rest = (_empty_pieces(), waiting) if carry else _whole_rows(waiting, seq_len, whole)

    bins, segments = int(repeats[chosen].sum()), int((repeats * pieces_per_bin)[chosen].sum())
    joined_rows = -(-joined.tokens // seq_len)
    rows = _Rows.empty(whole_rows + bins + joined_rows, whole_rows + segments + joined.document.size + joined_rows)
    repeated = np.zeros_like(rows.doc)
    cut = _empty_pieces(int(repeats[tokens > seq_len].sum()))
    kernels.write_windows(lengths, long, seq_len, overlap, rows, repeated)
    kernels.write_patterns(patterns, chosen, pieces, seq_len, whole_rows, rows, cut)
    kernels.write_filled(joined, bin_offsets[: filled + 1], seq_len, whole_rows + bins, rows)
    rows = rows.trimmed()
    repeated = repeated[: rows.doc.size]
    if carry or carry_limit_tokens:
        return _Planned(rows, repeated, cut, rest)
    dropped = Pieces(*(np.concatenate(both) for both in zip(cut, rest, strict=True)))
    return _Planned(rows, repeated, dropped, _empty_pieces())


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
        return pieces, _empty_pieces()
    split = int(np.searchsorted(ends, limit, side="right"))  # the piece in which the incomplete row begins
    inside = limit - int(ends[split]) + int(pieces.length[split])
    joined = Pieces(*(column[: split + (inside > 0)].copy() for column in pieces))
    rest = Pieces(*(column[split:].copy() for column in pieces))
    rest.start[0] += inside
    rest.length[0] -= inside
    if inside:
        joined.length[-1] = inside
    return joined, Pieces(*(column[rest.length > 0] for column in rest))  # an empty document leaves no piece
