"""Kernels for Thai spelling: the units after which no word can end, and the clusters that such units form.

The rules are about single syllables and hold without a dictionary, as those of Theeramunkong et al. (2000). They see
only units that they join, so the clusters of a word are the same alone as within its text.
"""

import numpy as np

from seampack._jit import allocating_kernel, inlined
from seampack.segmenter._student_kernels import mixed
from seampack.segmenter._unit_kernels import KIND_SCRIPT

_LEADING_VOWELS = (0x0E40, 0x0E44)  # from and to: written before their consonant
_FOLLOWING_VOWELS = (0x0E30, 0x0E32, 0x0E33, 0x0E45)  # written after their consonant
_SARA_A, _SARA_AA, _SARA_E = 0x0E30, 0x0E32, 0x0E40
_OPEN_VOWELS = (0x0E31, 0x0E37)  # marks that another letter must follow: ั and ื
_SARA_I, _SARA_II, _SARA_UEE = 0x0E34, 0x0E35, 0x0E37
_MAITAIKHU = 0x0E47  # shortens a closed syllable, except in one word, of KO_KAI alone
_THANTHAKHAT = 0x0E4C  # silences its consonant
_CONSONANTS = (0x0E01, 0x0E2E)  # from and to
_KO_KAI, _YO_YAK, _O_ANG = 0x0E01, 0x0E22, 0x0E2D


@inlined
def _has(points, begin, end, unit, mark):
    """Return whether a unit has a mark."""
    found = False
    for k in range(begin[unit] + 1, end[unit]):
        found = found or points[k] == mark
    return found


@inlined
def _is_bare(points, begin, end, unit):
    """Return whether a unit is a consonant without marks."""
    return end[unit] - begin[unit] == 1 and _CONSONANTS[0] <= points[begin[unit]] <= _CONSONANTS[1]


@inlined
def _is_shortened(points, begin, end, unit, first):
    """Return whether a unit with the mark that shortens a vowel needs another letter; ``first``: of its stretch."""
    if not _has(points, begin, end, unit, _MAITAIKHU):
        return False
    if points[begin[unit]] != _KO_KAI:
        return True
    return unit > first and _LEADING_VOWELS[0] <= points[begin[unit - 1]] <= _LEADING_VOWELS[1]


@inlined
def _is_framed(points, begin, end, unit, stop):
    """Return whether a unit and the next one are the end of a vowel that begins with SARA_E: ีย, ือ or าะ."""
    if unit + 1 >= stop:
        return False
    following = points[begin[unit + 1]]
    after = points[begin[unit + 2]] if unit + 2 < stop else 0
    if end[unit + 1] - begin[unit + 1] > 1:
        return False
    if following == _SARA_AA:
        return after == _SARA_A
    if following == _O_ANG:
        return _has(points, begin, end, unit, _SARA_UEE)
    if following != _YO_YAK or not _has(points, begin, end, unit, _SARA_II):
        return False
    return after == _SARA_A or after not in _FOLLOWING_VOWELS


@inlined
def _is_bond(points, begin, end, unit, first, stop):
    """Return whether no word can end between a unit and the next one, of the stretch of letters ``first:stop``."""
    one = points[begin[unit]]
    other = points[begin[unit + 1]]
    if _LEADING_VOWELS[0] <= one <= _LEADING_VOWELS[1] or other in _FOLLOWING_VOWELS:
        return True
    if _has(points, begin, end, unit + 1, _THANTHAKHAT):
        return True
    if _has(points, begin, end, unit, _OPEN_VOWELS[0]) or _has(points, begin, end, unit, _OPEN_VOWELS[1]):
        return True
    if not _CONSONANTS[0] <= other <= _CONSONANTS[1]:
        return False
    after_vowel = unit > first and points[begin[unit - 1]] == _SARA_E
    return (
        # a silenced consonant and the one before it are no syllable
        (
            unit + 2 < stop
            and _is_bare(points, begin, end, unit + 1)
            and _has(points, begin, end, unit + 2, _THANTHAKHAT)
        )
        # a short vowel needs a final consonant, which อ as a vowel precedes
        or _is_shortened(points, begin, end, unit, first)
        or (
            end[unit] - begin[unit] == 1
            and one == _O_ANG
            and unit > first
            and _is_shortened(points, begin, end, unit - 1, first)
        )
        # vowels of several signs around one consonant or two
        or (after_vowel and _has(points, begin, end, unit, _SARA_I))
        or (after_vowel and _is_bare(points, begin, end, unit) and _is_framed(points, begin, end, unit + 1, stop))
        or (
            _is_framed(points, begin, end, unit, stop)
            and (
                after_vowel
                or (unit > first + 1 and points[begin[unit - 2]] == _SARA_E and _is_bare(points, begin, end, unit - 1))
            )
        )
    )


@allocating_kernel
def find_bonds(points, begin, end, kind, spaced):
    """Return flags of the units after which Thai spelling allows no word to end, shape (units,).

    ``points``: code points of all texts, concatenated.
    """
    bonds = np.zeros(begin.size, np.uint8)
    first = 0
    while first < begin.size:
        stop = first + 1
        if kind[first] == KIND_SCRIPT:
            while stop < begin.size and kind[stop] == KIND_SCRIPT and spaced[stop] == 0:
                stop += 1
            for unit in range(first, stop - 1):
                if _is_bond(points, begin, end, unit, first, stop):
                    bonds[unit] = 1
        first = stop
    return bonds


@allocating_kernel
def find_clusters(points, begin, end, key, bonds, offsets):
    """Return clusters, the units that bonds join: their first units, keys, ends and, for each text, the first cluster.

    A unit without bonds keeps its key; the key of a cluster of several units depends on all of its code points.
    """
    first = np.empty(begin.size, np.int64)
    stop = np.empty(begin.size, np.int64)
    joined = np.empty(begin.size, np.uint64)
    cluster_offsets = np.zeros(offsets.size, np.int64)
    count = 0
    for text in range(offsets.size - 1):
        unit = offsets[text]
        while unit < offsets[text + 1]:
            last = unit
            while bonds[last]:
                last += 1
            first[count] = unit
            stop[count] = end[last]
            joined[count] = key[unit]
            if last > unit:
                code = np.uint64(0)
                for k in range(begin[unit], end[last]):
                    code = mixed(code * np.uint64(0x9E3779B97F4A7C15) + np.uint64(points[k]))
                joined[count] = code | np.uint64(1 << 63)
            count += 1
            unit = last + 1
        cluster_offsets[text + 1] = count
    return first[:count], stop[:count], joined[:count], cluster_offsets
