"""The order in which rows are read: shuffled by seed and epoch, and divided between ranks and workers."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from seampack.io.ragged import offsets_of, positions_of

Int64 = npt.NDArray[np.int64]

_RUN_ROWS = 64
_GROUP_ROWS = 1 << 20


class RowOrder:
    """A permutation of the rows of an epoch, of which any part can be made without the others.

    Runs of neighbouring rows are shuffled and put into groups; then the rows of each group are shuffled. So memory is
    bounded, a folder of up to a million rows is shuffled as a whole, and rows that must be read together stay in one
    group.
    """

    def __init__(self, shard_rows: list[int], *, is_mapped: bool, seed: int, epoch: int, shuffle: bool) -> None:
        self._seed = None if not shuffle else (seed, epoch)
        sizes = np.array(shard_rows, np.int64)
        if is_mapped:  # any row can be read by itself
            rows = int(sizes.sum())
            sizes = np.diff(np.append(np.arange(0, rows, _RUN_ROWS), rows))
        self._first = offsets_of(sizes)[:-1]
        order = np.arange(sizes.size)
        if self._seed is not None:
            order = np.random.default_rng([*self._seed, 0]).permutation(sizes.size)
        self._first, self._size = self._first[order], sizes[order]
        group = (offsets_of(self._size)[:-1] // _GROUP_ROWS) if is_mapped else np.arange(sizes.size)
        self._run_offsets = np.append(np.flatnonzero(np.diff(group, prepend=-1)), sizes.size)
        self._offsets = offsets_of(self._size)[self._run_offsets]

    def numbers(self, first: int, last: int) -> Iterator[int]:
        """Iterate over the numbers of the rows at the places ``first`` to ``last`` of the order."""
        while first < last:
            group = int(np.searchsorted(self._offsets, first, side="right")) - 1
            start, end = int(self._offsets[group]), min(last, int(self._offsets[group + 1]))
            yield from self._group(group)[first - start : end - start].tolist()
            first = end

    def _group(self, group: int) -> Int64:
        runs = slice(self._run_offsets[group], self._run_offsets[group + 1])
        rows: Int64 = np.repeat(self._first[runs], self._size[runs]) + positions_of(self._size[runs])
        return rows if self._seed is None else np.random.default_rng([*self._seed, group + 1]).permutation(rows)


def part(rows: range, number: int, parts: int) -> range:
    """Return one of equal parts; the sizes of two parts differ by at most a row.

    >>> [part(range(7), number, 3) for number in range(3)]
    [range(0, 2), range(2, 4), range(4, 7)]
    """
    start, size = rows.start, len(rows)
    return range(start + number * size // parts, start + (number + 1) * size // parts)
