"""Kernels of the lexicon: a hash table of words, their scores as a lattice, and the scores of others added to it."""

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
    """Put words into a hash table: the code of each word into ``slots``, 0 where free, its scores into ``values``.

    Word ``w`` is the units ``offsets[w]:offsets[w + 1]`` with the keys ``key``, its scores are ``scores[w]``. The table
    has a power of two of slots, some of them free.
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
def word_scores(key, offsets, table, unseen, unknown, most, scores):
    """Fill the inside of ``scores``, shape (units, K), with the lexicon's scores of all segments, as a lattice.

    A word of several units that the lexicon lacks has the score ``unknown`` plus the scores of its units in such words.
    Such words of more than ``most`` units are skipped.

    ``table``: slots and values of ``fill_table``; the values of a unit are its scores as a word and in an unknown word.
    ``unseen``: the values of other units, shape (2,).
    """
    slots, values = table
    mask = np.uint64(slots.size - 1)
    longest = scores.shape[1]
    spelled = np.empty(key.size)  # score of each unit in an unknown word
    for stretch in range(offsets.size - 1):
        stop = offsets[stretch + 1]
        for start in range(stop - 1, offsets[stretch] - 1, -1):
            code = np.uint64(0)
            spelling = unknown
            for length in range(1, min(longest, stop - start) + 1):
                code = _extended(code, key[start + length - 1])
                slot = (code >> np.uint64(1)) & mask
                while slots[slot] != code and slots[slot] != np.uint64(0):
                    slot = (slot + np.uint64(1)) & mask
                is_known = slots[slot] == code
                if length == 1:
                    spelled[start] = np.float64(values[slot, 1] if is_known else unseen[1])
                spelling += spelled[start + length - 1]
                if is_known:
                    scores[start, length - 1] = values[slot, 0]
                elif length == 1:
                    scores[start, 0] = unseen[0]
                elif length <= most:
                    scores[start, length - 1] = spelling


@allocating_kernel
def add_student(log_odds, offsets, weight, scores):
    """Add the student's scores of the segments, times ``weight``, to the lexicon's.

    The student's score is its log-probability that a word ends after the segment and nowhere within it.

    ``log_odds``: log-odds that a word ends after each unit, shape (units,).
    """
    longest = scores.shape[1]
    for stretch in range(offsets.size - 1):
        stop = offsets[stretch + 1]
        for start in range(offsets[stretch], stop):
            joined = 0.0  # log-probability that no word ends before the last unit of the segment
            for length in range(1, min(longest, stop - start) + 1):
                odds = min(max(np.float64(log_odds[start + length - 1]), -_CERTAIN), _CERTAIN)
                end = -np.log1p(np.exp(-odds))
                scores[start, length - 1] += weight * (joined + end)
                joined += end - odds


@allocating_kernel
def add_model(model, single, offsets, weights, impossible, scores):
    """Combine the language model's scores of all segments with the lexicon's, in ``scores``, by their ``weights``.

    Longer segments than those of ``model`` have the score of their best cut into segments of ``model``. A segment that
    one of both forbids stays forbidden, so does a longer one with a unit that is a word by itself: their score is
    ``impossible``.

    ``single``: flags of the units that are words by themselves, shape (units,).
    """
    widest = model.shape[1]
    cut = np.empty(scores.shape)  # the model's score of the best cut of each segment
    for stretch in range(offsets.size - 1):
        stop = offsets[stretch + 1]
        for start in range(stop - 1, offsets[stretch] - 1, -1):
            has_single = False
            for length in range(1, min(scores.shape[1], stop - start) + 1):
                has_single = has_single or single[start + length - 1]
                best = _MINUS_INFINITY
                for first in range(1, min(widest, length) + 1):
                    rest = cut[start + first, length - first - 1] if first < length else 0.0
                    best = max(best, model[start, first - 1] + rest)
                cut[start, length - 1] = best
                score = np.float64(model[start, length - 1]) if length <= widest else best
                word = np.float64(scores[start, length - 1])
                is_forbidden = min(score, word) <= impossible / 2 or (has_single and length > 1)
                scores[start, length - 1] = impossible if is_forbidden else weights[0] * score + weights[1] * word
