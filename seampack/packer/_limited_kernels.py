"""Kernels of bins of at most some number of pieces: long pieces share bins with short ones."""

import math

import numpy as np

from seampack._jit import inlined, kernel
from seampack.packer._bin_kernels import Int64, Patterns, grown
from seampack.packer._bitset import add_member, make_bitset, predecessor, remove_member, successor
from seampack.packer._kernels import first_pieces


def limited_patterns(histogram: Int64, seq_len: int, most: int) -> Patterns:
    """Put pieces into bins of at most ``most`` pieces, so that neither pieces nor tokens are left over in the end.

    Decreasing orders put long pieces together, and many short ones remain, ``most`` of which are far from a full bin.
    So pieces are *scarce* where those that are left need as many bins by their number as by their tokens. A bin begins
    with the longest piece, and is filled piece by piece:

    - if pieces are scarce, with the longest that leaves room for a shortest one in each other place, where the room is
      that of ``most`` pieces of the mean length that is left; with a shortest one if there is none
    - otherwise with the longest that fits, as by First-Fit-Decreasing

    Consecutive bins with the same contents are one pattern; see ``_bin_kernels``.
    """
    left = histogram.copy(), first_pieces(histogram), make_bitset(seq_len + 1)
    width = min(most, math.isqrt(2 * seq_len) + 1)  # the most entries of a bin: their lengths differ
    offsets, repeats = np.zeros(256, np.int64), np.empty(256, np.int64)
    contents = tuple(np.empty(1024 + width, np.int64) for _ in range(3))
    number, tokens = int(histogram.sum()), int(histogram @ np.arange(histogram.size))
    limits = seq_len, most, width
    state = _limited_patterns(left, limits, (0, 0, number, tokens), offsets, contents, repeats)
    while state[2]:
        offsets, repeats = grown(offsets), grown(repeats)
        contents = tuple(map(grown, contents))
        state = _limited_patterns(left, limits, state, offsets, contents, repeats)
    patterns, entries, _, _ = state
    return offsets[: patterns + 1], *(column[:entries] for column in contents), repeats[:patterns]


@kernel
def _limited_patterns(pieces, limits, state, offsets, contents, repeats):
    """Append patterns until the pieces are used up or there is no room for one of ``width`` entries.

    ``state``: the numbers of patterns, of entries, of pieces that are left and of their tokens. Returns the new one.
    """
    left, cursor, bits = pieces
    seq_len, most, width = limits
    patterns, entries, number, tokens = state
    lengths, counts, firsts = contents
    if patterns == 0:
        for length in range(1, left.size):
            if left[length] > 0:
                add_member(bits, length)
    while number > 0 and patterns + 1 < repeats.size and entries + width < lengths.size:
        is_scarce = number / most >= tokens / seq_len
        aim = min(seq_len, np.int64(tokens / number * most)) if is_scarce else seq_len
        begin = entries
        filled = 0
        free = most
        length = predecessor(bits, seq_len)
        while 0 < length <= seq_len - filled and free > 0:
            place = _place(lengths, begin, entries, length)
            if place == entries or lengths[place] != length:
                for entry in range(entries, place, -1):
                    lengths[entry] = lengths[entry - 1]
                    counts[entry] = counts[entry - 1]
                    firsts[entry] = firsts[entry - 1]
                lengths[place] = length
                counts[place] = 0
                firsts[place] = cursor[length]
                entries += 1
            counts[place] += 1
            cursor[length] += 1
            left[length] -= 1
            if left[length] == 0:
                remove_member(bits, length)
            filled += length
            free -= 1
            shortest = successor(bits, 1)
            reserved = (free - 1) * shortest if is_scarce else 0
            length = predecessor(bits, aim - filled - reserved)
            if length <= 0 and is_scarce:
                length = shortest
        number -= most - free
        tokens -= filled
        if patterns > 0 and _is_same(offsets[patterns - 1], begin, entries, lengths, counts):
            repeats[patterns - 1] += 1
            entries = begin
        else:
            repeats[patterns] = 1
            patterns += 1
            offsets[patterns] = entries
    return patterns, entries, number, tokens


@inlined
def _place(lengths, begin, end, length):
    """Return the entry of a length, or that before which it belongs: the lengths are in decreasing order."""
    place = end
    while place > begin and lengths[place - 1] <= length:
        place -= 1
    return place


@inlined
def _is_same(before, begin, end, lengths, counts):
    """Return whether the entries ``before`` to ``begin`` have the lengths and counts of those to ``end``."""
    if begin - before != end - begin:
        return False
    for entry in range(begin, end):
        if lengths[entry] != lengths[entry + before - begin] or counts[entry] != counts[entry + before - begin]:
            return False
    return True
