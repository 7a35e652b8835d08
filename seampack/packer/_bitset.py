"""A 64-ary bitset over small integers with O(1) predecessor and successor queries, inlined into the planners.

There are three levels of 64-bit words: a bit of level k + 1 is set if a word of level k is not zero. Beyond
64^3 = 262,144 values, the top level is scanned word by word; for a million values, it has only four words.
"""

import numpy as np

from seampack._jit import called, highest_bit, inlined, lowest_bit

_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_ONE = np.uint64(1)


def make_bitset(size):
    """Return an empty set over ``0 .. size - 1``."""
    words = (size >> 6) + 1
    groups = (words >> 6) + 1
    tops = (groups >> 6) + 1
    return np.zeros(words, np.uint64), np.zeros(groups, np.uint64), np.zeros(tops, np.uint64)


@inlined
def add_member(bits, x):
    """Add ``x``."""
    words, groups, tops = bits
    w = x >> 6
    g = w >> 6
    words[w] |= _ONE << np.uint64(x & 63)
    groups[g] |= _ONE << np.uint64(w & 63)
    tops[g >> 6] |= _ONE << np.uint64(g & 63)


@inlined
def remove_member(bits, x):
    """Remove ``x``."""
    words, groups, tops = bits
    w = x >> 6
    words[w] &= ~(_ONE << np.uint64(x & 63))
    if words[w] == 0:
        g = w >> 6
        groups[g] &= ~(_ONE << np.uint64(w & 63))
        if groups[g] == 0:
            tops[g >> 6] &= ~(_ONE << np.uint64(g & 63))


@inlined
def _up_to(bit):
    """Return the mask of the bits ``0 .. bit``."""
    return _ALL >> np.uint64(63 - bit)


@called
def predecessor(bits, x):
    """Return the largest member that is at most ``x``, or -1."""
    words, groups, tops = bits
    if x < 0:
        return -1
    w = x >> 6
    hits = words[w] & _up_to(x & 63)
    if hits != 0:
        return (w << 6) | highest_bit(hits)
    w -= 1
    if w < 0:
        return -1
    g = w >> 6
    hits = groups[g] & _up_to(w & 63)
    if hits == 0:
        g -= 1
        if g < 0:
            return -1
        t = g >> 6
        hits = tops[t] & _up_to(g & 63)
        while hits == 0:
            t -= 1
            if t < 0:
                return -1
            hits = tops[t]
        g = (t << 6) | highest_bit(hits)
        hits = groups[g]
    w = (g << 6) | highest_bit(hits)
    return (w << 6) | highest_bit(words[w])


@called
def successor(bits, x):
    """Return the smallest member that is at least ``x``, or -1."""
    words, groups, tops = bits
    w = x >> 6
    if w >= words.size:
        return -1
    hits = words[w] & (_ALL << np.uint64(x & 63))
    if hits != 0:
        return (w << 6) | lowest_bit(hits)
    w += 1
    g = w >> 6
    if g >= groups.size:
        return -1
    hits = groups[g] & (_ALL << np.uint64(w & 63))
    if hits == 0:
        g += 1
        t = g >> 6
        if t >= tops.size:
            return -1
        hits = tops[t] & (_ALL << np.uint64(g & 63))
        while hits == 0:
            t += 1
            if t >= tops.size:
                return -1
            hits = tops[t]
        g = (t << 6) | lowest_bit(hits)
        hits = groups[g]
    w = (g << 6) | lowest_bit(hits)
    return (w << 6) | lowest_bit(words[w])
