"""Groups of documents that share a row: a group is planned like a document, then divided into its documents."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from seampack.errors import DataError
from seampack.io.ragged import offsets_of, positions_of
from seampack.packer.plans import MAX_LENGTH, Int32, Int64, Pieces, Planned, Rows


@dataclass(frozen=True, slots=True)
class Groups:
    """Documents that are joined to groups: the groups in the order of their first document, each in input order."""

    documents: Int64  # shape (documents,), a permutation
    bounds: Int64  # shape (documents + 1,), of the tokens of these documents, joined
    firsts: Int64  # shape (groups + 1,), index of the first document of each group

    @classmethod
    def of(cls, lengths: Int32, labels: npt.ArrayLike, seq_len: int, *, may_be_long: bool) -> Self:
        """Return the groups of documents with the same label.

        Raises DataError for other labels than one number or text for each document, and for a group of several
        documents that is longer than a row, unless it ``may_be_long``.
        """
        array = np.asarray(labels)
        if array.shape != lengths.shape or (array.size and array.dtype.kind not in "iuUS"):
            raise DataError(
                f"groups: expected an integer or text for each of {lengths.size:,} documents; "
                f"got shape {array.shape}, dtype {array.dtype}"
            )
        _, seen, number = np.unique(array, return_index=True, return_inverse=True)
        rank = np.empty(seen.size, np.int64)
        rank[np.argsort(seen)] = np.arange(seen.size)
        documents = np.argsort(rank[number], kind="stable")
        bounds = offsets_of(lengths[documents])
        firsts = offsets_of(np.bincount(rank[number], minlength=seen.size))
        groups = cls(documents, bounds, firsts)
        sizes = np.diff(bounds[firsts])
        limit = MAX_LENGTH if may_be_long else seq_len
        is_long = sizes > np.where(np.diff(firsts) > 1, limit, MAX_LENGTH)
        if is_long.any():
            first = int(np.argmax(is_long))
            label = array[documents[firsts[first]]].item()
            advice = "" if may_be_long else "; give a larger seq_len, split_groups, or long=truncate or drop"
            got = f"{sizes[first]:,} in that of {label!r}"
            raise DataError(f"groups: expected at most {limit:,} tokens in a group; got {got}{advice}")
        return groups

    @property
    def lengths(self) -> Int32:
        """Tokens of each group, shape (groups,)."""
        return np.diff(self.bounds[self.firsts]).astype(np.int32)

    def divide(self, planned: Planned) -> Planned:
        """Return a plan of groups as a plan of documents."""
        row_offsets, group, start, length = planned.rows
        segment, parts = self._parts(Pieces(group, start, length))
        inside = self.bounds[:-1][np.argsort(self.documents)][parts.document] + parts.start
        inside -= self.bounds[self.firsts[group]][segment] + start[segment]
        counts = offsets_of(np.bincount(segment, minlength=group.size))
        return Planned(
            Rows(counts[row_offsets], *parts),
            np.clip(planned.repeated[segment] - inside, 0, parts.length).astype(np.int32),
            self._parts(planned.dropped)[1],
            self._parts(planned.carried)[1],
            planned.fewest_rows,
        )

    def _parts(self, pieces: Pieces) -> tuple[Int64, Pieces]:
        """Return pieces of groups as pieces of documents, and for each the index of the piece of a group."""
        begins = self.bounds[self.firsts[pieces.document]] + pieces.start
        ends = begins + pieces.length
        first = np.searchsorted(self.bounds, begins, side="right") - 1
        counts = np.searchsorted(self.bounds, ends) - first
        piece = np.repeat(np.arange(counts.size), counts)
        member = first[piece] + positions_of(counts)
        begin = np.maximum(begins[piece], self.bounds[member])
        length = np.minimum(ends[piece], self.bounds[member + 1]) - begin
        columns = (self.documents[member], begin - self.bounds[member], length)
        return piece[length > 0], Pieces(*(column[length > 0].astype(np.int32) for column in columns))
