"""Plans: rows of segments of documents, and the proof that they cover every document."""

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from seampack.config import check_integer
from seampack.errors import SeampackError
from seampack.io.ragged import offsets_of
from seampack.packer import _layout_kernels as layout
from seampack.packer.accounting import Accounting
from seampack.packer.plan_config import LINEAR_COST

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]


MAX_LENGTH = 2**31 - 1
"""Most tokens of a document."""


class Pieces(NamedTuple):
    """Parts of documents: the index of the document, the first token and the length. Shapes (n,) int32."""

    document: Int32
    start: Int32
    length: Int32

    @property
    def tokens(self) -> int:
        """Sum of the lengths."""
        return int(self.length.sum(dtype=np.int64))


def empty_pieces(count: int = 0) -> Pieces:
    """Return room for a number of pieces."""
    return Pieces(*(np.empty(count, np.int32) for _ in range(3)))


class Rows(NamedTuple):
    """The columns of a plan that the kernels fill."""

    row_offsets: Int64
    doc: Int32
    start: Int32
    length: Int32

    @property
    def number(self) -> int:
        """Number of rows."""
        return self.row_offsets.size - 1

    @classmethod
    def empty(cls, rows: int, segments: int) -> "Rows":
        """Return room for a number of rows and segments."""
        row_offsets = np.empty(rows + 1, np.int64)
        row_offsets[0] = 0
        return cls(row_offsets, *(np.empty(segments, np.int32) for _ in range(3)))

    def trimmed(self, rows: int) -> "Rows":
        """Return the first rows, without the room that no segment took."""
        segments = int(self.row_offsets[rows])
        return Rows(self.row_offsets[: rows + 1], self.doc[:segments], self.start[:segments], self.length[:segments])


class Planned(NamedTuple):
    """Rows in the order of planning, the repeated tokens of each segment, and the pieces that are in no row."""

    rows: Rows
    repeated: Int32
    dropped: Pieces
    carried: Pieces
    fewest_rows: int | None = None
    """A number of rows that no plan of the same documents is below, unless it cuts some; of ``optimal``."""


def row_costs(row_offsets: Int64, length: Int32 | Int64, linear_cost: int) -> Int64:
    """Return the cost of each row; see ``PackPlan.costs``."""
    lengths = length.astype(np.int64)
    costs: Int64 = np.diff(offsets_of(lengths * (linear_cost + lengths))[row_offsets])
    return costs


def imbalance(costs: Int64, ranks: int) -> float | None:
    """Return the cost of the dearest rows over the mean cost; see ``PackPlan.imbalance``."""
    steps = costs[: costs.size - costs.size % ranks].reshape(-1, ranks)
    return float(steps.max(axis=1).sum() / steps.mean(axis=1).sum()) if steps.size else None


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
    dropped: Pieces = field(default_factory=empty_pieces)
    carried: Pieces = field(default_factory=empty_pieces)
    pad_to_multiple: int = 1
    rows_over_bound: int | None = None
    """The most rows that the plan has beyond the fewest in which no document that fits a row is cut, of ``optimal``.

    None for other strategies, and for windows that carry documents."""

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.row_offsets.size - 1

    @property
    def padding(self) -> Int32:
        """Padding after each segment, shape (segments,), tokens."""
        return -self.length % np.int32(self.pad_to_multiple)

    def costs(self, linear_cost: int) -> Int64:
        """Return the cost of training on each row, in the order of writing; shape (rows,).

        A segment of ``n`` tokens costs ``linear_cost * n``, and ``n * n`` for attention.
        """
        return row_costs(self.row_offsets, self.length, linear_cost)[self.row_order]

    def imbalance(self, ranks: int, linear_cost: int = LINEAR_COST) -> float | None:
        """Return what ranks that wait for each other cost: the dearest rows of all steps, over the mean of their rows.

        A step is ``ranks`` consecutive rows; the last rows, if they make no step, do not count. None without a step.

        Raises ConfigError for less than one rank.
        """
        check_integer("ranks", ranks, low=1)
        return imbalance(self.costs(linear_cost), ranks)

    def with_carried(self, lengths: Int32) -> "PackPlan":
        """Return the plan with more documents, which are carried; ``lengths`` are those of all documents."""
        more = np.flatnonzero(lengths[self.lengths.size :]).astype(np.int32) + np.int32(self.lengths.size)
        pieces = Pieces(more, np.zeros_like(more), lengths[more])
        carried = Pieces(*(np.concatenate(both) for both in zip(self.carried, pieces, strict=True)))
        return replace(self, lengths=lengths, carried=carried)

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
        lost = begun & (segments == 0) & (carried == 0) & (lengths > 0)
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
            documents_dropped=int(lost.sum()),
            documents_fit_but_cut=int((begun & cut & ~lost & (lengths <= self.seq_len)).sum()),
        )
