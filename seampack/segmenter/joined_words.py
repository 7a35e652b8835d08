"""Neighbouring words that occur together far more often than by chance, which a lexicon counts as one word.

Segmenters find the syllables and stems of a long word, which predict each other. The association of neighbours is
their normalised pointwise mutual information: 0 if they are independent, 1 if neither occurs without the other.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np

from seampack.segmenter._unit_kernels import SCRIPT
from seampack.segmenter.spans import Spans
from seampack.segmenter.units import Alphabet, code_points

_LEAST_COUNT = 5
"""Lowest count of joined words: of few occurrences, many are chance."""

Sequence = tuple[str, ...]
"""Two or three neighbouring words."""


def sequences(texts: list[str], spans: Spans, alphabet: Alphabet) -> Iterator[Sequence]:
    """Yield each two and each three words of the script in a row, with nothing between them."""
    if not spans.begin.size:
        return
    points, starts = code_points(texts)
    begin = spans.begin + np.repeat(starts[:-1], np.diff(spans.offsets))
    is_word = alphabet.classes(points[begin]) == SCRIPT
    follows = is_word[:-1] & is_word[1:] & (spans.end[:-1] - spans.begin[:-1] == np.diff(begin))
    follows[spans.offsets[1:-1][(spans.offsets[1:-1] > 0) & (spans.offsets[1:-1] < begin.size)] - 1] = False
    words = [word for words in spans.words(texts) for word in words]
    for first in np.flatnonzero(follows).tolist():
        yield words[first], words[first + 1]
        if first + 1 < follows.size and follows[first + 1]:
            yield words[first], words[first + 1], words[first + 2]


def joined_counts(found: Mapping[str, int], neighbours: Mapping[Sequence, int], least: float) -> Counter[str]:
    """Return the counts of the sequences to join, each as one word.

    Args:
        found: How often each word occurs.
        neighbours: How often each two and each three words occur in a row.
        least: Lowest association of both sides of each place at which a joined word can be cut.
    """
    total = sum(found.values())
    joined: Counter[str] = Counter()
    for words, together in neighbours.items():
        if together < _LEAST_COUNT:
            continue
        first, last = words[0], words[-1]
        if len(words) == 2:
            sides = [(found[first], found[last])]
        else:
            sides = [(found[first], neighbours[words[1:]]), (neighbours[words[:-1]], found[last])]
        if min(association(one, other, together, total) for one, other in sides) >= least:
            joined["".join(words)] += together
    return joined


def association(one: int, other: int, together: int, total: int) -> float:
    """Return the normalised pointwise mutual information, at most 1, from the counts of two neighbours.

    ``together``: how often they are neighbours, less than ``total``, the number of words of the text.
    """
    joint = math.log(together / total)
    independent = math.log(one / total) + math.log(other / total)
    return (independent - joint) / joint
