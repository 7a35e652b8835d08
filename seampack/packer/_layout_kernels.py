"""Kernels of plans as a whole: shuffling rows, and counting what a plan covers."""

import numpy as np
import numpy.typing as npt

from seampack._jit import inlined, kernel

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]


_STEP = np.uint64(0x9E3779B97F4A7C15)
_PILES = 256


@inlined
def _random(state):
    """Return the upper 32 bits of the output of SplitMix64 (Steele et al. 2014), whose state grows by ``_STEP``."""
    mixed = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (mixed ^ (mixed >> np.uint64(31))) >> np.uint64(32)


def shuffled(size: int, seed: np.uint64) -> Int32:
    """Return a random permutation of ``0 .. size - 1`` that depends on the seed alone, not on machine or version.

    Each number is put on one of 256 random piles (Rao 1961, Sandelius 1962). Then each pile, which fits into the cache,
    is shuffled by Fisher-Yates.
    """
    order = np.empty(size, np.int32)
    _shuffle(seed, np.empty(size, np.uint8), np.zeros(_PILES + 1, np.int64), order)
    return order


@kernel
def _shuffle(seed, piles, ends, order):
    # Each number has its own state, so that the piles are drawn in vectors. Unsigned indices need no check.
    for k in range(piles.size):
        piles[k] = _random(np.uint64(seed) + np.uint64(k + 1) * _STEP) & np.uint64(_PILES - 1)
    for k in range(piles.size):
        ends[np.uint64(piles[k]) + np.uint64(1)] += 1
    for pile in range(_PILES):
        ends[pile + 1] += ends[pile]
    for k in range(piles.size):
        pile = np.uint64(piles[k])
        order[np.uint64(ends[pile])] = k
        ends[pile] += 1
    state = np.uint64(seed) + np.uint64(order.size) * _STEP
    begin = 0
    for pile in range(_PILES):
        part = order[begin : ends[pile]]
        for last in range(part.size - 1, 0, -1):
            state += _STEP
            other = (_random(state) * np.uint64(last + 1)) >> np.uint64(32)
            part[last], part[other] = part[other], part[last]
        begin = ends[pile]


def audit(lengths: Int32, document: Int32, start: Int32, length: Int32, repeated: Int32) -> tuple[Int64, Int64, Int32]:
    """Count, for each document, the new tokens of its segments, the sum of their positions, and its segments.

    Shapes (documents,). New tokens are those after the ``repeated`` ones. A document is covered exactly if its count is
    its length and its positions add up to ``length * (length - 1) / 2``. Sums are exact in 64-bit modular arithmetic.
    """
    covered = np.zeros(lengths.size, np.int64)
    positions = np.zeros(lengths.size, np.int64)
    segments = np.zeros(lengths.size, np.int32)
    _audit(document, start, length, repeated, covered, positions, segments)
    return covered, positions, segments


@kernel
def _audit(document, start, length, repeated, covered, positions, segments):
    for segment in range(document.size):
        index = document[segment]
        begin = np.int64(start[segment]) + repeated[segment]
        new = np.int64(length[segment]) - repeated[segment]
        covered[index] += new
        positions[index] += new * begin + new * (new - 1) // 2
        segments[index] += 1
