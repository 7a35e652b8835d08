"""Kernels of the strategy ``optimal``: the best contents of a bin at given prices, and bins made after patterns."""

import numpy as np

from seampack._jit import called, kernel
from seampack.packer._bitset import add_member, predecessor, remove_member, successor


@kernel
def best_contents(lengths, prices, values, choices):
    """Compute the most valuable contents of each capacity, of any number of pieces of each length (a knapsack).

    ``lengths`` ascend. ``values`` receives the value of each capacity from 0 on, and ``choices`` the index of the
    length that was added last, or -1 for the contents of the capacity that is smaller by one.
    """
    values[0] = 0.0
    choices[0] = -1
    for capacity in range(1, values.size):
        best = values[capacity - 1]
        choice = -1
        for index in range(lengths.size):
            length = lengths[index]
            if length > capacity:
                break
            value = values[capacity - length] + prices[index]
            if value > best + 1e-12:
                best = value
                choice = index
        values[capacity] = best
        choices[capacity] = choice


@kernel
def make_bins(pieces, seq_len, reach, patterns, wanted, bins, entries):
    """Make bins after patterns, ``wanted`` of each, and always of the one of which most are still wanted.

    A pattern is given up when it finds no piece within reach.

    ``pieces`` = (number left of each length, next piece of each length, set of the lengths that are left).
    ``patterns`` = (offsets, lengths), at least one. A slot takes the piece whose length is nearest to that of the
    pattern, less what the slots before were over; so lengths that are gone are made up by others, and bins stay as full
    as the pattern. ``reach``: the largest difference. ``bins`` = offsets; ``entries`` = (lengths, pieces).

    Returns the number of bins.
    """
    left, cursor, bits = pieces
    offsets, lengths = patterns
    entry_length, entry_piece = entries
    made = 0
    slot = 0
    while True:
        pattern = 0
        for each in range(1, wanted.size):
            if wanted[each] > wanted[pattern]:
                pattern = each
        if wanted[pattern] <= 0:
            return made
        wanted[pattern] -= 1
        begin = slot
        room = np.int64(seq_len)
        over = np.int64(0)
        is_made = True
        for place in range(offsets[pattern], offsets[pattern + 1]):
            target = lengths[place] - over
            length = _nearest(bits, target, room)
            if length <= 0 or abs(length - target) > reach:
                is_made = False
                break
            entry_length[slot] = length
            entry_piece[slot] = cursor[length]
            slot += 1
            cursor[length] += 1
            left[length] -= 1
            if left[length] == 0:
                remove_member(bits, length)
            room -= length
            over += length - lengths[place]
        if is_made:
            made += 1
            bins[made] = slot
        else:
            wanted[pattern] = 0
            while slot > begin:
                slot -= 1
                length = entry_length[slot]
                cursor[length] -= 1
                left[length] += 1
                if left[length] == 1:
                    add_member(bits, length)


@called
def _nearest(bits, target, room):
    """Return the member nearest to the target that is at most ``room``, or -1."""
    below = predecessor(bits, min(target, room))
    above = successor(bits, max(target, 1))
    if above < 0 or above > room:
        return below
    if below <= 0 or above - target < target - below:
        return above
    return below
