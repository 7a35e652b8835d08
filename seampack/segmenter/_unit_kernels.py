"""The kernels that make units of code points, chunks of units, and words of ends."""

import numpy as np

from seampack._jit import kernel


@kernel
def find_units(points, classes, starts):
    """Units of texts given as code points and their classes (see ``units``).

    Returns (begin, end, kind, key, spaced) of each unit and the first unit of each text.
    """
    begin = np.empty(points.size, np.int64)
    end = np.empty(points.size, np.int64)
    kind = np.empty(points.size, np.uint8)
    key = np.empty(points.size, np.uint64)
    spaced = np.empty(points.size, np.uint8)
    offsets = np.zeros(starts.size, np.int64)
    count = 0
    for text in range(starts.size - 1):
        at = starts[text]
        stop = starts[text + 1]
        gap = 1
        while at < stop:
            found = classes[at]
            if found == 8:
                gap = 1
                at += 1
                continue
            first = at
            at += 1
            if found == 4 or found == 5:  # runs of digits (a point between digits included), of letters
                while at < stop and (
                    classes[at] == found
                    or classes[at] == 2
                    or (
                        found == 4
                        and at + 1 < stop
                        and (points[at] == 0x2E or points[at] == 0xFF0E)
                        and classes[at + 1] == 4
                    )
                ):
                    at += 1
            else:
                if found == 6 and at < stop and classes[at] == 6:  # a flag is two regional indicators
                    at += 1
                while at < stop and (classes[at] == 2 or classes[at] == 3):  # marks; a joiner takes what follows
                    joined = classes[at] == 3
                    at += 1
                    if joined and found == 7 and at < stop and classes[at] == 7:
                        at += 1
            begin[count] = first
            end[count] = at
            spaced[count] = gap
            gap = 0
            if found == 1:
                kind[count] = 0
            elif found == 4:
                kind[count] = 1
            elif found == 5:
                kind[count] = 2
            else:
                kind[count] = 3
            if found == 4 or found == 5:
                key[count] = np.uint64(found)
            else:
                value = np.uint64(0)
                for k in range(first, min(at, first + 3)):
                    value = (value << np.uint64(21)) | np.uint64(points[k])
                key[count] = value
            count += 1
        offsets[text + 1] = count
    return begin[:count], end[:count], kind[:count], key[:count], spaced[:count], offsets


@kernel
def find_chunks(spaced, kind, closes, offsets, most):
    """First unit of each chunk, and the number of units: stretches that the language model reads at once.

    A chunk ends with its text, before white space, behind a closing mark, or at ``most`` units; in its last third
    behind whatever is a word by itself, so that as few words as possible are cut.
    """
    bounds = np.empty(spaced.size + 1, np.int64)
    chunks = 0
    for text in range(offsets.size - 1):
        begin = offsets[text]
        for unit in range(offsets[text], offsets[text + 1]):
            size = unit - begin
            if unit == begin:
                bounds[chunks] = begin
                chunks += 1
            elif (
                spaced[unit] == 1
                or closes[unit - 1] == 1
                or size >= most
                or (3 * size >= 2 * most and kind[unit - 1] != 0)
            ):
                bounds[chunks] = unit
                chunks += 1
                begin = unit
    bounds[chunks] = spaced.size
    return bounds[: chunks + 1]


@kernel
def find_words(ends, begin, end, spaced, offsets, starts):
    """Words of texts, (begin, end) in characters of their own text, and the first word of each text.

    A word ends where ``ends`` says so, before white space and with its text.
    """
    word_begin = np.empty(ends.size, np.int64)
    word_end = np.empty(ends.size, np.int64)
    word_offsets = np.zeros(offsets.size, np.int64)
    count = 0
    for text in range(offsets.size - 1):
        first = offsets[text]
        last = offsets[text + 1]
        for unit in range(first, last):
            if unit == first or spaced[unit] == 1 or ends[unit - 1] == 1:
                word_begin[count] = begin[unit] - starts[text]
                count += 1
            word_end[count - 1] = end[unit] - starts[text]
        word_offsets[text + 1] = count
    return word_begin[:count], word_end[:count], word_offsets
