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

    Runs of neighbouring steps are shuffled and put into groups; then the steps of each group are shuffled. So memory is
    bounded, a folder of up to a million rows is shuffled as a whole, and rows that must be read together stay in one
    group. A step is ``step_rows`` consecutive rows, which stay together, in their order; the rows that make no whole
    step come last.
    """

    def __init__(
        self,
        shard_rows: list[int],
        *,
        is_mapped: bool,
        seed: int,
        epoch: int,
        shuffle: bool,
        step_rows: int = 1,
    ) -> None:
        self._seed = None if not shuffle else (seed, epoch)
        self._step_rows = step_rows
        borders = offsets_of(np.array(shard_rows, np.int64))
        steps = int(borders[-1]) // step_rows
        if is_mapped:  # any row can be read by itself
            sizes = np.diff(np.append(np.arange(0, steps, max(1, _RUN_ROWS // step_rows)), steps))
        else:  # a step is read with the shard of its first row
            sizes = np.diff(np.minimum(-(-borders // step_rows), steps))
        self._first = offsets_of(sizes)[:-1]
        order = np.arange(sizes.size)
        if self._seed is not None:
            order = np.random.default_rng([*self._seed, 0]).permutation(sizes.size)
        self._first, self._size = self._first[order], sizes[order]
        group = (offsets_of(self._size)[:-1] * step_rows // _GROUP_ROWS) if is_mapped else np.arange(sizes.size)
        self._run_offsets = np.append(np.flatnonzero(np.diff(group, prepend=-1)), sizes.size)
        self._offsets = offsets_of(self._size)[self._run_offsets]  # of the groups, in steps

    def numbers(self, places: range) -> Iterator[int]:
        """Iterate over the numbers of the rows at ascending places of the order."""
        while places:
            group = int(np.searchsorted(self._offsets, places[0] // self._step_rows, side="right")) - 1
            if group == self._offsets.size - 1:  # the rows that make no whole step
                yield from places
                return
            start, end = (int(border) * self._step_rows for border in self._offsets[group : group + 2])
            here = range(places.start, min(places.stop, end), places.step)
            step, inside = np.divmod(np.arange(here.start, here.stop, here.step) - start, self._step_rows)
            yield from (self._group(group)[step] * self._step_rows + inside).tolist()
            places = places[len(here) :]

    def _group(self, group: int) -> Int64:
        """Return the numbers of the steps of a group, in order."""
        runs = slice(self._run_offsets[group], self._run_offsets[group + 1])
        steps: Int64 = np.repeat(self._first[runs], self._size[runs]) + positions_of(self._size[runs])
        return steps if self._seed is None else np.random.default_rng([*self._seed, group + 1]).permutation(steps)


def part(rows: range, number: int, parts: int) -> range:
    """Return one of equal parts; the sizes of two parts differ by at most a row.

    >>> [part(range(7), number, 3) for number in range(3)]
    [range(0, 2), range(2, 4), range(4, 7)]
    """
    start, size = rows.start, len(rows)
    return range(start + number * size // parts, start + (number + 1) * size // parts)
