"""Kernels of plans as a whole: shuffling rows, and counting what a plan covers."""

import numpy as np
import numpy.typing as npt

from seampack._jit import inlined, kernel

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]


@inlined
def _random(state):
    """Return the next state of SplitMix64 (Steele et al. 2014) and the upper 32 bits of its output."""
    state += np.uint64(0x9E3779B97F4A7C15)
    mixed = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state, (mixed ^ (mixed >> np.uint64(31))) >> np.uint64(32)


def shuffled(size: int, seed: np.uint64) -> Int32:
    """Return a random permutation of ``0 .. size - 1`` that depends on the seed alone, not on machine or version.

    Each number is put on one of 256 random piles (Rao 1961, Sandelius 1962). Then each pile, which fits into the cache,
    is shuffled by Fisher-Yates.
    """
    order = np.empty(size, np.int32)
    _shuffle(seed, order, np.zeros(257, np.int64))
    return order


@kernel
def _shuffle(seed, order, ends):
    state = np.uint64(seed)
    for _ in range(order.size):
        state, bits = _random(state)
        ends[np.int64(bits & np.uint64(255)) + 1] += 1
    for pile in range(256):
        ends[pile + 1] += ends[pile]
    state = np.uint64(seed)
    for k in range(order.size):
        state, bits = _random(state)
        pile = np.int64(bits & np.uint64(255))
        order[ends[pile]] = k
        ends[pile] += 1
    begin = 0
    for pile in range(256):
        for last in range(ends[pile] - 1, begin, -1):
            state, bits = _random(state)
            other = begin + np.int64((bits * np.uint64(last - begin + 1)) >> np.uint64(32))
            order[last], order[other] = order[other], order[last]
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
