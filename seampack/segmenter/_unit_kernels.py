"""Kernels that turn code points into units, units into chunks, and ends into words."""

import numpy as np

from seampack._jit import allocating_kernel

# Classes of code points.
UNKNOWN, SCRIPT, MARK, JOINER, DIGIT, LETTER, REGIONAL, OTHER, SPACE, KATAKANA = range(10)

# Kinds of units: a character of the script may be part of a longer word; every other unit is a word by itself.
KIND_SCRIPT, KIND_NUMBER, KIND_LETTERS, KIND_OTHER = range(4)

_POINTS = (0x2E, 0xFF0E)  # decimal points: "." and its full-width form


@allocating_kernel
def find_units(points, classes, starts):
    """Return the units of texts: the arrays begin, end, kind, key, spaced, shape (units,), and offsets, (texts + 1,).

    ``points``: code points of all texts, concatenated; ``classes``: their classes; ``starts``: first code point of each
    text, shape (texts + 1,).
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
            first_class = classes[at]
            if first_class == SPACE:
                gap = 1
                at += 1
                continue
            first = at
            at += 1
            is_run = first_class in (DIGIT, LETTER, KATAKANA)
            if is_run:  # of letters, or of digits with points between them
                while at < stop and (
                    classes[at] == first_class
                    or classes[at] == MARK
                    or (
                        first_class == DIGIT
                        and at + 1 < stop
                        and (points[at] == _POINTS[0] or points[at] == _POINTS[1])
                        and classes[at + 1] == DIGIT
                    )
                ):
                    at += 1
            else:
                if first_class == REGIONAL and at < stop and classes[at] == REGIONAL:  # a flag is two indicators
                    at += 1
                while at < stop and (classes[at] == MARK or classes[at] == JOINER):
                    is_joiner = classes[at] == JOINER
                    at += 1
                    if is_joiner and first_class == OTHER and at < stop and classes[at] == OTHER:
                        at += 1
            begin[count] = first
            end[count] = at
            spaced[count] = gap
            gap = 0
            if first_class == SCRIPT:
                kind[count] = KIND_SCRIPT
            elif first_class == DIGIT:
                kind[count] = KIND_NUMBER
            elif is_run:
                kind[count] = KIND_LETTERS
            else:
                kind[count] = KIND_OTHER
            if is_run:
                key[count] = np.uint64(DIGIT if first_class == DIGIT else LETTER)
            else:
                value = np.uint64(0)
                for k in range(first, min(at, first + 3)):
                    value = (value << np.uint64(21)) | np.uint64(points[k])
                key[count] = value
            count += 1
        offsets[text + 1] = count
    return begin[:count], end[:count], kind[:count], key[:count], spaced[:count], offsets


@allocating_kernel
def find_chunks(spaced, kind, closes, offsets, most):
    """Return the first unit of each chunk, and the number of units; shape (chunks + 1,).

    The language model reads one chunk at a time. A chunk ends at the end of its text, before white space, after a
    closing mark, or at ``most`` units; in its last third also after any unit that is a word by itself, so that few
    words are cut.
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
                or (3 * size >= 2 * most and kind[unit - 1] != KIND_SCRIPT)
            ):
                bounds[chunks] = unit
                chunks += 1
                begin = unit
    bounds[chunks] = spaced.size
    return bounds[: chunks + 1]


@allocating_kernel
def find_words(ends, begin, end, spaced, offsets, starts):
    """Return the begin and the end of each word, in characters of its text, and the first word of each text.

    A word ends where ``ends`` is 1, before white space and at the end of its text.
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
