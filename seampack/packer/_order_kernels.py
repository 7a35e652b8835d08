"""Kernels that pack documents in their order: best fit into the rows that began a short while ago."""

import numpy as np
import numpy.typing as npt

from seampack._jit import called, kernel
from seampack.packer._bitset import add_member, make_bitset, remove_member, successor
from seampack.packer._kernels import windows_and_rest

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]

# Columns of the rows that are open, or were.
_SPACE, _SEGMENTS, _FIRST, _BEFORE, _AFTER = range(5)


def assign_in_order(
    lengths: Int32, seq_len: int, look_back: int, most: int
) -> tuple[tuple[Int64, Int64], Int64, Int64]:
    """Assign the rows of each document in order, by best fit into rows that began at most ``look_back`` documents ago.

    A document of a row or more takes whole rows, and a further row for its rest, which later documents may share.
    Another one goes to the open row with the least remaining space; among equally full rows, to the one that reached
    this level first. A row of ``most`` segments is closed. Rows are numbered as they are opened, so in the order of
    their first document.

    Returns the first whole row and the row of the short piece (or -1) of each document, shapes (documents,), and the
    number of segments and the first document of each row, shapes (rows,).
    """
    found = np.empty(lengths.size, np.int64), np.empty(lengths.size, np.int64)
    bins = np.empty((lengths.size + int((lengths // seq_len).sum(dtype=np.int64)), 5), np.int64)
    queues = np.full(seq_len, -1, np.int64), np.full(seq_len, -1, np.int64), make_bitset(seq_len)
    rows = _assign_in_order(lengths, seq_len, look_back, most, found, bins, queues)
    return found, bins[:rows, _SEGMENTS].copy(), bins[:rows, _FIRST].copy()


@kernel
def _assign_in_order(lengths, seq_len, look_back, most, found, bins, queues):
    """Assign rows; ``queues`` = (head, tail, set of the remaining spaces of open rows). Return the number of rows."""
    first_whole, short_row = found
    head, tail, bits = queues
    row = 0
    oldest = 0  # rows before this one are closed
    for document in range(lengths.size):
        while oldest < row and bins[oldest, _FIRST] < document - look_back:
            if bins[oldest, _SPACE] > 0:
                _leave_queue(bins, head, tail, bits, oldest)
            oldest += 1
        length = np.int64(lengths[document])
        whole, rest = windows_and_rest(length, seq_len, 0)
        first_whole[document] = row
        for _ in range(whole):
            bins[row, _SPACE] = 0
            bins[row, _SEGMENTS] = 1
            bins[row, _FIRST] = document
            row += 1
        short_row[document] = -1
        if rest == 0:
            continue
        space = successor(bits, rest) if whole == 0 else -1
        if space < 0:
            target = row
            row += 1
            space = np.int64(seq_len)
            bins[target, _SEGMENTS] = 0
            bins[target, _FIRST] = document
        else:
            target = head[space]
            _leave_queue(bins, head, tail, bits, target)
        short_row[document] = target
        space -= rest
        bins[target, _SEGMENTS] += 1
        bins[target, _SPACE] = space if bins[target, _SEGMENTS] < most else 0
        if bins[target, _SPACE] > 0:
            bins[target, _BEFORE] = tail[space]
            bins[target, _AFTER] = -1
            if tail[space] < 0:
                head[space] = target
                add_member(bits, space)
            else:
                bins[tail[space], _AFTER] = target
            tail[space] = target
    return row


@called
def _leave_queue(bins, head, tail, bits, row):
    """Take a row out of the queue of its remaining space."""
    space = bins[row, _SPACE]
    before = bins[row, _BEFORE]
    after = bins[row, _AFTER]
    if before < 0:
        head[space] = after
    else:
        bins[before, _AFTER] = after
    if after < 0:
        tail[space] = before
    else:
        bins[after, _BEFORE] = before
    if head[space] < 0:
        remove_member(bits, space)


@kernel
def write_in_order(lengths, seq_len, found, cursor, rows):
    """Write the segments of all documents. ``cursor`` has the index of each row's first segment."""
    first_whole, short_row = found
    _, out_document, out_start, out_length = rows
    for document in range(lengths.size):
        length = np.int64(lengths[document])
        whole, rest = windows_and_rest(length, seq_len, 0)
        for number in range(whole):
            slot = cursor[first_whole[document] + number]
            out_document[slot] = document
            out_start[slot] = number * seq_len
            out_length[slot] = seq_len
        if rest > 0:
            slot = cursor[short_row[document]]
            cursor[short_row[document]] += 1
            out_document[slot] = document
            out_start[slot] = length - rest
            out_length[slot] = rest
