"""Kernels of bin packing: First-Fit- and Best-Fit-Decreasing, exact, from the histogram of piece lengths alone.

Bins with the same contents are one *pattern*. Patterns are (offsets, lengths, counts, firsts, repeats): pattern ``p``
represents ``repeats[p]`` bins and has the entries ``offsets[p]:offsets[p + 1]``, in the order of filling. An
entry is ``counts`` pieces of one length in each bin. If pieces are sorted longest first, the pieces of its first bin
begin at ``firsts``, those of the next bin follow, and so on.
"""

import numpy as np

from seampack._jit import kernel
from seampack.packer._bitset import add_member, make_bitset, predecessor, remove_member, successor


@kernel
def _grown(array, used):
    if used < array.size:
        return array
    larger = np.empty(2 * array.size, array.dtype)
    larger[:used] = array
    return larger


@kernel
def ffd_patterns(histogram, seq_len, extra, sparing):
    """Compute First-Fit-Decreasing from the histogram of piece lengths alone.

    FFD repeatedly puts the longest remaining piece that fits into the current bin, and closes the bin when it holds
    ``seq_len`` tokens or nothing fits; then it opens the next bin. Equal consecutive bins are one *pattern*, which
    repeats while each of its lengths has enough pieces.

    A bin may hold up to ``extra`` tokens beyond ``seq_len``. With ``sparing``, this room is used only if nothing fits
    within ``seq_len``, by the piece that exceeds it least; otherwise every piece may use it.

    Returns patterns in the order in which their bins were opened.
    """
    left = histogram.copy()
    cursor = np.empty(left.size, np.int64)  # the next piece of each length
    bits = make_bitset(seq_len + extra + 1)
    pieces = 0
    for length in range(left.size - 1, 0, -1):
        cursor[length] = pieces
        pieces += left[length]
        if left[length] > 0:
            add_member(bits, length)
    offsets = np.zeros(256, np.int64)
    repeats = np.empty(256, np.int64)
    lengths = np.empty(1024, np.int64)
    counts = np.empty(1024, np.int64)
    firsts = np.empty(1024, np.int64)
    patterns = 0
    entries = 0
    spare = 0 if sparing else extra
    while True:
        begin = entries
        room = seq_len + spare
        length = predecessor(bits, room)
        while length > 0:
            # pieces of this length until no more fit, none is left, or the bin is closed
            count = min(room // length, left[length], -((spare - room) // length))
            lengths = _grown(lengths, entries)
            counts = _grown(counts, entries)
            lengths[entries] = length
            counts[entries] = count
            entries += 1
            room -= count * length
            if room <= spare:
                break
            length = predecessor(bits, min(room, length - 1))
        if entries == begin:
            break
        times = left[lengths[begin]] // counts[begin]
        for entry in range(begin + 1, entries):
            times = min(times, left[lengths[entry]] // counts[entry])
        if sparing and room > 0:
            length = successor(bits, room + 1)
            while 0 < length <= room + extra:
                taken = 0
                for entry in range(begin, entries):
                    if lengths[entry] == length:
                        taken = counts[entry]
                if left[length] > taken:
                    lengths = _grown(lengths, entries)
                    counts = _grown(counts, entries)
                    lengths[entries] = length
                    counts[entries] = 1
                    entries += 1
                    times = 1 if taken > 0 else min(times, left[length])
                    break
                length = successor(bits, length + 1)
        while firsts.size < entries:
            firsts = _grown(firsts, firsts.size)
        for entry in range(begin, entries):
            length = lengths[entry]
            firsts[entry] = cursor[length]
            cursor[length] += times * counts[entry]
            left[length] -= times * counts[entry]
            if left[length] == 0:
                remove_member(bits, length)
        repeats = _grown(repeats, patterns)
        offsets = _grown(offsets, patterns + 1)
        repeats[patterns] = times
        patterns += 1
        offsets[patterns] = entries
    return offsets[: patterns + 1], lengths[:entries], counts[:entries], firsts[:entries], repeats[:patterns]


# Columns of the groups of bins with the same contents ...
_BINS, FIRST_BIN, _LAST_ENTRY, _NEXT = range(4)
# ... and of their entries: _PIECE is the first piece of the bin _BIN, _BEFORE the entry that was filled before.
_LENGTH, _COUNT, _PIECE, _BIN, _BEFORE = range(5)


@kernel
def best_fit_groups(histogram, seq_len):
    """Compute Best-Fit-Decreasing from the histogram of piece lengths. (Ding et al. 2024, arXiv 2404.10830.)

    A piece goes to the open bin with the least remaining space into which it fits; among equally full bins, to the bin
    that reached this level first. So a bin of remaining space ``s`` takes ``s // length`` pieces of a length one after
    the other: after each of them, its space is the least that suffices. Bins with the same contents are one *group*,
    which is split where the pieces of a length run out. Groups are queued by remaining space.

    Returns the groups in any order, shape (groups, 4), and their entries, shape (entries, 5), for ``patterns_of``.
    """
    kinds = 0
    for length in range(1, histogram.size):
        kinds += histogram[length] > 0
    groups = np.empty((3 * kinds, 4), np.int64)  # each length opens at most one group and splits off two
    entries = np.empty((1024, 5), np.int64)
    head = np.full(seq_len + 1, -1, np.int64)
    tail = np.full(seq_len + 1, -1, np.int64)
    bits = make_bitset(seq_len + 1)
    bins = 0
    piece = 0
    used = 0
    entry = 0
    for length in range(histogram.size - 1, 0, -1):
        left = histogram[length]
        while left > 0:
            space = successor(bits, length)
            if space < 0:
                space = seq_len
                opened = -(-left // (space // length))
                groups[used, _BINS] = opened
                groups[used, FIRST_BIN] = bins
                groups[used, _LAST_ENTRY] = -1
                groups[used, _NEXT] = -1
                head[space] = used
                tail[space] = used
                add_member(bits, space)
                bins += opened
                used += 1
            group = head[space]
            count = min(space // length, left)
            filled = min(groups[group, _BINS], left // count)
            if filled < groups[group, _BINS]:
                rest = used
                used += 1
                groups[rest, _BINS] = groups[group, _BINS] - filled
                groups[rest, FIRST_BIN] = groups[group, FIRST_BIN] + filled
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
            if entry == entries.shape[0]:
                larger = np.empty((2 * entry, 5), np.int64)
                larger[:entry] = entries
                entries = larger
            entries[entry, _LENGTH] = length
            entries[entry, _COUNT] = count
            entries[entry, _PIECE] = piece
            entries[entry, _BIN] = groups[group, FIRST_BIN]
            entries[entry, _BEFORE] = groups[group, _LAST_ENTRY]
            groups[group, _LAST_ENTRY] = entry
            groups[group, _NEXT] = -1
            entry += 1
            piece += filled * count
            left -= filled * count
            room = space - count * length
            if room > 0:
                if head[room] < 0:
                    head[room] = group
                    add_member(bits, room)
                else:
                    groups[tail[room], _NEXT] = group
                tail[room] = group
    return groups[:used], entries[:entry]


@kernel
def patterns_of(groups, order, entries):
    """List the contents of the groups as patterns, in the given order of the groups."""
    offsets = np.zeros(order.size + 1, np.int64)
    for pattern in range(order.size):
        entry = groups[order[pattern], _LAST_ENTRY]
        offsets[pattern + 1] = offsets[pattern]
        while entry >= 0:
            offsets[pattern + 1] += 1
            entry = entries[entry, _BEFORE]
    lengths = np.empty(offsets[-1], np.int64)
    counts = np.empty(offsets[-1], np.int64)
    firsts = np.empty(offsets[-1], np.int64)
    repeats = np.empty(order.size, np.int64)
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
    return offsets, lengths, counts, firsts, repeats
