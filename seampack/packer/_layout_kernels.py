"""Kernels around the packing itself: joining pieces end to end, shuffling rows, auditing a plan."""

import numpy as np

from seampack._jit import inlined, kernel


@kernel
def count_concat(lengths, seq_len):
    """Rows and segments when pieces are joined end to end and cut every ``seq_len`` tokens."""
    rows = 0
    segments = 0
    room = 0
    for piece in range(lengths.size):
        left = np.int64(lengths[piece])
        while left > 0:
            if room == 0:
                rows += 1
                room = seq_len
            segments += 1
            part = min(left, room)
            left -= part
            room -= part
    return rows, segments


@kernel
def write_concat(documents, starts, lengths, seq_len, row, rows):
    """The segments that ``count_concat`` counted."""
    row_offsets, out_document, out_start, out_length = rows
    slot = row_offsets[row]
    room = seq_len
    for piece in range(lengths.size):
        left = np.int64(lengths[piece])
        start = np.int64(starts[piece])
        while left > 0:
            part = min(left, room)
            out_document[slot] = documents[piece]
            out_start[slot] = start
            out_length[slot] = part
            slot += 1
            start += part
            left -= part
            room -= part
            if room == 0:
                row += 1
                row_offsets[row] = slot
                room = seq_len
    if room < seq_len:
        row_offsets[row + 1] = slot


@inlined
def _random(state):
    """The next state of SplitMix64 (Steele et al. 2014) and its 32 best bits."""
    state += np.uint64(0x9E3779B97F4A7C15)
    mixed = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state, (mixed ^ (mixed >> np.uint64(31))) >> np.uint64(32)


@kernel
def shuffled(size, seed):
    """A random permutation of ``0 .. size - 1``, the same for a seed on every machine and version.

    Each number is dealt to one of 256 piles, and each pile is shuffled where it fits into the cache (Rao 1961,
    Sandelius 1962); within a pile by Fisher and Yates.
    """
    order = np.empty(size, np.int32)
    ends = np.zeros(257, np.int64)
    state = np.uint64(seed)
    for _ in range(size):
        state, bits = _random(state)
        ends[np.int64(bits & np.uint64(255)) + 1] += 1
    for pile in range(256):
        ends[pile + 1] += ends[pile]
    state = np.uint64(seed)
    for k in range(size):
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
    return order


@kernel
def audit(lengths, document, start, length, repeated):
    """What the segments hold of each document: (tokens covered for the first time, sum of their positions, segments).

    Shapes (documents,). A document is covered exactly when its count is its length and its positions add up to
    ``length * (length - 1) / 2``; the sums are exact in 64-bit modular arithmetic.
    """
    covered = np.zeros(lengths.size, np.int64)
    positions = np.zeros(lengths.size, np.int64)
    segments = np.zeros(lengths.size, np.int32)
    for segment in range(document.size):
        at = document[segment]
        begin = np.int64(start[segment]) + repeated[segment]
        fresh = np.int64(length[segment]) - repeated[segment]
        covered[at] += fresh
        positions[at] += fresh * begin + fresh * (fresh - 1) // 2
        segments[at] += 1
    return covered, positions, segments
