"""Kernels of the lexicon: a hash table of words, and the lattice of the student's end probabilities with it."""

import numpy as np

from seampack._jit import allocating_kernel, inlined
from seampack.segmenter._student_kernels import mixed

_MINUS_INFINITY = -np.inf
_CERTAIN = 30.0  # log-odds of a word's end, or of none, beyond which there is no difference


@inlined
def _extended(code, key):
    """Return the code of a word from the code of its begin, 0 for none, and the key of its last unit."""
    return mixed(code * np.uint64(0x9E3779B97F4A7C15) + key) | np.uint64(1)


@allocating_kernel
def fill_table(key, offsets, scores, slots, values):
    """Put words into a hash table: the code of each word into ``slots``, 0 where free, its score into ``values``.

    Word ``w`` is the units ``offsets[w]:offsets[w + 1]`` with the keys ``key``. The table has a power of two of slots,
    some of them free.
    """
    mask = np.uint64(slots.size - 1)
    for word in range(offsets.size - 1):
        code = np.uint64(0)
        for unit in range(offsets[word], offsets[word + 1]):
            code = _extended(code, key[unit])
        slot = (code >> np.uint64(1)) & mask
        while slots[slot] != np.uint64(0):
            slot = (slot + np.uint64(1)) & mask
        slots[slot] = code
        values[slot] = scores[word]


@allocating_kernel
def fill_lattice(key, log_odds, offsets, table, unknown, joining, weight, scores):
    """Fill ``scores``, shape (units, K), with the scores of the segments of each stretch, as a lattice.

    The score of a segment is the student's log-probability that a word ends after the segment and nowhere within it,
    times ``weight``, plus the score of its word in the lexicon. A word that the lexicon lacks has the score of its best
    cut into words of the lexicon and single units, minus ``joining``.

    ``log_odds``: log-odds that a word ends after each unit, shape (units,). ``table``: slots and values of
    ``fill_table``. ``unknown``: score of a unit that is no word of the lexicon.
    """
    slots, values = table
    mask = np.uint64(slots.size - 1)
    longest = scores.shape[1]
    cut = np.empty(scores.shape)  # score of the best cut of each segment
    for stretch in range(offsets.size - 1):
        stop = offsets[stretch + 1]
        for start in range(stop - 1, offsets[stretch] - 1, -1):
            code = np.uint64(0)
            joined = 0.0  # log-probability that no word ends before the last unit of the segment
            for length in range(1, min(longest, stop - start) + 1):
                last = start + length - 1
                code = _extended(code, key[last])
                slot = (code >> np.uint64(1)) & mask
                while slots[slot] != code and slots[slot] != np.uint64(0):
                    slot = (slot + np.uint64(1)) & mask
                best = unknown if length == 1 else _MINUS_INFINITY
                for first in range(1, length):
                    best = max(best, cut[start, first - 1] + cut[start + first, length - first - 1])
                score = best - (joining if length > 1 else 0.0)
                if slots[slot] == code:
                    score = np.float64(values[slot])
                    best = max(best, score)
                cut[start, length - 1] = best
                odds = min(max(np.float64(log_odds[last]), -_CERTAIN), _CERTAIN)
                end = -np.log1p(np.exp(-odds))
                scores[start, length - 1] = weight * (joined + end) + score
                joined += end - odds
