"""Kernels of bin packing: First-Fit- and Best-Fit-Decreasing, exact, from the histogram of piece lengths alone.

Bins with the same contents are one *pattern*. Patterns are (offsets, lengths, counts, firsts, repeats): pattern ``p``
represents ``repeats[p]`` bins and has the entries ``offsets[p]:offsets[p + 1]``, in the order of filling. An
entry is ``counts`` pieces of one length in each bin. If pieces are sorted longest first, the pieces of its first bin
begin at ``firsts``, those of the next bin follow, and so on.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from seampack._jit import kernel
from seampack.packer._bitset import add_member, make_bitset, predecessor, remove_member, successor
from seampack.packer._kernels import first_pieces

Int64 = npt.NDArray[np.int64]
Patterns = tuple[Int64, ...]  # five arrays


def grown(array: Int64) -> Int64:
    """Return an array with its items and as many new ones."""
    return np.concatenate([array, np.empty_like(array)])


def set_of(members: Int64, size: int) -> Any:
    """Return a bitset over ``0 .. size - 1`` with the given members."""
    bits = make_bitset(size)
    _add_members(bits, members)
    return bits


@kernel
def _add_members(bits, members):
    for member in members:
        add_member(bits, member)


def ffd_patterns(
    histogram: Int64, seq_len: int, extra: int, sparing: bool, most: int, firsts: Int64 | None = None
) -> Patterns:
    """Compute First-Fit-Decreasing from the histogram of piece lengths alone.

    FFD repeatedly puts the longest remaining piece that fits into the current bin, and closes the bin when it holds
    ``seq_len`` tokens or ``most`` pieces or nothing fits; then it opens the next bin. Equal consecutive bins are one
    *pattern*, which repeats while each of its lengths has enough pieces.

    A bin may hold up to ``extra`` tokens beyond ``seq_len``. With ``sparing``, this room is used only if nothing fits
    within ``seq_len``, by the piece that exceeds it least; otherwise every piece may use it.

    ``firsts``: the first piece of each length, by default among pieces sorted longest first.

    Returns patterns in the order in which their bins were opened.
    """
    firsts = first_pieces(histogram) if firsts is None else firsts.copy()
    pieces = histogram.copy(), firsts, make_bitset(seq_len + extra + 1)
    width = math.isqrt(2 * (seq_len + extra)) + 1  # the most entries of a pattern: their lengths differ
    offsets, repeats = np.zeros(256, np.int64), np.empty(256, np.int64)
    contents = tuple(np.empty(1024 + width, np.int64) for _ in range(3))
    options = seq_len, extra, sparing, most, width
    patterns, entries, is_done = _ffd_patterns(pieces, options, 0, 0, offsets, contents, repeats)
    while not is_done:
        offsets, repeats = grown(offsets), grown(repeats)
        contents = tuple(map(grown, contents))
        patterns, entries, is_done = _ffd_patterns(pieces, options, patterns, entries, offsets, contents, repeats)
    return offsets[: patterns + 1], *(column[:entries] for column in contents), repeats[:patterns]


@kernel
def _ffd_patterns(pieces, options, patterns, entries, offsets, contents, repeats):
    """Append patterns until the pieces are used up or there is no room for one of ``width`` entries.

    ``pieces``: those that are left of each length, the next of them, and the set of the lengths that are left. Returns
    the numbers of patterns and entries, and whether the pieces are used up.
    """
    left, cursor, bits = pieces
    seq_len, extra, sparing, most, width = options
    lengths, counts, firsts = contents
    if patterns == 0:
        for length in range(1, left.size):
            if left[length] > 0:
                add_member(bits, length)
    spare = 0 if sparing else extra
    while patterns + 1 < repeats.size and entries + width < lengths.size:
        begin = entries
        room = seq_len + spare
        free = most
        length = predecessor(bits, room)
        while length > 0:
            # pieces of this length until no more fit, none is left, or the bin is closed
            count = min(room // length, left[length], -((spare - room) // length), free)
            lengths[entries] = length
            counts[entries] = count
            entries += 1
            room -= count * length
            free -= count
            if room <= spare or free == 0:
                break
            length = predecessor(bits, min(room, length - 1))
        if entries == begin:
            return patterns, entries, 1
        times = left[lengths[begin]] // counts[begin]
        for entry in range(begin + 1, entries):
            times = min(times, left[lengths[entry]] // counts[entry])
        if sparing and room > 0 and free > 0:
            length = successor(bits, room + 1)
            while 0 < length <= room + extra:
                taken = 0
                for entry in range(begin, entries):
                    if lengths[entry] == length:
                        taken = counts[entry]
                if left[length] > taken:
                    lengths[entries] = length
                    counts[entries] = 1
                    entries += 1
                    times = 1 if taken > 0 else min(times, left[length])
                    break
                length = successor(bits, length + 1)
        for entry in range(begin, entries):
            length = lengths[entry]
            firsts[entry] = cursor[length]
            cursor[length] += times * counts[entry]
            left[length] -= times * counts[entry]
            if left[length] == 0:
                remove_member(bits, length)
        repeats[patterns] = times
        patterns += 1
        offsets[patterns] = entries
    return patterns, entries, 0


# Columns of the groups of bins with the same contents ...
_BINS, FIRST_BIN, _PIECES, _LAST_ENTRY, _NEXT = range(5)
# ... and of their entries: _PIECE is the first piece of the bin _BIN, _BEFORE the entry that was filled before.
_LENGTH, _COUNT, _PIECE, _BIN, _BEFORE = range(5)


def best_fit_groups(histogram: Int64, seq_len: int, most: int) -> tuple[Int64, Int64]:
    """Compute Best-Fit-Decreasing from the histogram of piece lengths. (Ding et al. 2024, arXiv 2404.10830.)

    A piece goes to the open bin with the least remaining space into which it fits; among equally full bins, to the bin
    that reached this level first. A bin of ``most`` pieces is closed. So a bin of remaining space ``s`` takes
    ``s // length`` pieces of a length one after the other, up to ``most``: after each of them, its space is the least
    that suffices. Bins with the same contents are one *group*, which is split where the pieces of a length run out.
    Groups are queued by remaining space.

    Returns the groups in any order, shape (groups, 5), and their entries, shape (entries, 5), for ``patterns_of``.
    """
    groups = np.empty((3 * np.count_nonzero(histogram), 5), np.int64)  # a length opens one group and splits off two
    entries = np.empty((1024, 5), np.int64)
    queues = np.full(seq_len + 1, -1, np.int64), np.empty(seq_len + 1, np.int64), make_bitset(seq_len + 1)
    state = np.array([histogram.size, 0, 0, 0, 0, 0])
    while not _best_fit_groups(histogram, seq_len, most, groups, entries, queues, state):
        entries = grown(entries)
    used, entry = state[-2:]
    return groups[:used], entries[:entry]


@kernel
def _best_fit_groups(histogram, seq_len, most, groups, entries, queues, state):
    """Go on from ``state`` until the pieces are used up or there is no room for an entry. Return whether they are."""
    head, tail, bits = queues  # of the groups of each remaining space
    length, left, bins, piece, used, entry = state[0], state[1], state[2], state[3], state[4], state[5]
    while True:
        while left == 0 and length > 1:
            length -= 1
            left = histogram[length]
        if left == 0 or entry == entries.shape[0]:
            state[0], state[1], state[2], state[3], state[4], state[5] = length, left, bins, piece, used, entry
            return left == 0
        space = successor(bits, length)
        if space < 0:
            space = seq_len
            opened = -(-left // min(space // length, most))
            groups[used, _BINS] = opened
            groups[used, FIRST_BIN] = bins
            groups[used, _PIECES] = 0
            groups[used, _LAST_ENTRY] = -1
            groups[used, _NEXT] = -1
            head[space] = used
            tail[space] = used
            add_member(bits, space)
            bins += opened
            used += 1
        group = head[space]
        count = min(space // length, left, most - groups[group, _PIECES])
        filled = min(groups[group, _BINS], left // count)
        if filled < groups[group, _BINS]:
            rest = used
            used += 1
            groups[rest, _BINS] = groups[group, _BINS] - filled
            groups[rest, FIRST_BIN] = groups[group, FIRST_BIN] + filled
            groups[rest, _PIECES] = groups[group, _PIECES]
            groups[rest, _LAST_ENTRY] = groups[group, _LAST_ENTRY]
            groups[rest, _NEXT] = groups[group, _NEXT]
            groups[group, _BINS] = filled
            head[space] = rest
            if tail[space] == group:
                tail[space] = rest
        else:
            head[space] = groups[group, _NEXT]
            if head[space] < 0:
                remove_member(bits, space)
        entries[entry, _LENGTH] = length
        entries[entry, _COUNT] = count
        entries[entry, _PIECE] = piece
        entries[entry, _BIN] = groups[group, FIRST_BIN]
        entries[entry, _BEFORE] = groups[group, _LAST_ENTRY]
        groups[group, _PIECES] += count
        groups[group, _LAST_ENTRY] = entry
        groups[group, _NEXT] = -1
        entry += 1
        piece += filled * count
        left -= filled * count
        room = space - count * length
        if room > 0 and groups[group, _PIECES] < most:
            if head[room] < 0:
                head[room] = group
                add_member(bits, room)
            else:
                groups[tail[room], _NEXT] = group
            tail[room] = group


def patterns_of(groups: Int64, order: Int64, entries: Int64) -> Patterns:
    """List the contents of the groups as patterns, in the given order of the groups."""
    offsets = np.zeros(order.size + 1, np.int64)
    _count_contents(groups, order, entries, offsets)
    contents = tuple(np.empty(offsets[-1], np.int64) for _ in range(3))
    repeats = np.empty(order.size, np.int64)
    _list_contents(groups, order, entries, offsets, contents, repeats)
    return offsets, *contents, repeats


@kernel
def _count_contents(groups, order, entries, offsets):
    for pattern in range(order.size):
        entry = groups[order[pattern], _LAST_ENTRY]
        offsets[pattern + 1] = offsets[pattern]
        while entry >= 0:
            offsets[pattern + 1] += 1
            entry = entries[entry, _BEFORE]


@kernel
def _list_contents(groups, order, entries, offsets, contents, repeats):
    lengths, counts, firsts = contents
    for pattern in range(order.size):
        group = order[pattern]
        repeats[pattern] = groups[group, _BINS]
        entry = groups[group, _LAST_ENTRY]
        slot = offsets[pattern + 1]
        while entry >= 0:
            slot -= 1
            lengths[slot] = entries[entry, _LENGTH]
            counts[slot] = entries[entry, _COUNT]
            bins_before = groups[group, FIRST_BIN] - entries[entry, _BIN]  # split off since the entry was made
            firsts[slot] = entries[entry, _PIECE] + bins_before * entries[entry, _COUNT]
            entry = entries[entry, _BEFORE]
