"""The certificate: the number of words that may change without changing the class of the smoothed classifier.

A masked copy of a text of ``length`` words shows ``kept`` words, and every set of ``kept`` words is equally likely. If
``r`` words change, a masked copy changes only if it shows a changed word. Therefore no class gains or loses more than
the probability of that event, ``delta(r)``. The arithmetic is exact: it uses fractions.
"""

from fractions import Fraction
from math import comb
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv

from seampack.errors import ConfigError


def delta(changed: int, length: int, kept: int) -> Fraction:
    """Return the probability that ``kept`` of ``length`` words include a changed word: 1 - C(h - r, k) / C(h, k).

    The paper's Delta. Raise ConfigError unless 0 <= changed <= length and 1 <= kept <= length.
    """
    if not 1 <= kept <= length:
        raise ConfigError(f"kept: expected 1 to {length} words of the text; got {kept}")
    if not 0 <= changed <= length:
        raise ConfigError(f"changed: expected 0 to {length} words of the text; got {changed}")
    return 1 - Fraction(comb(length - changed, kept), comb(length, kept))


def certified_radius(p_lower: float | Fraction, length: int, kept: int, beta: float | Fraction = 1) -> int:
    """Return the largest r with ``p_lower - beta * delta(r) > 1/2``: changing any r words does not change the class.

    Also returns 0 if ``p_lower`` is at most 1/2, so that the class is not certain, or if all words are kept.

    Args:
        p_lower: Lower bound of the class's probability.
        length: Number of words of the text.
        kept: Number of words that a masked copy shows.
        beta: Bound on the class's share among the copies that show a changed word. 1 always holds; a smaller value is
            an assumption.
    """
    spare = Fraction(p_lower) - Fraction(1, 2)
    radius = 0
    while kept < length and radius < length and spare > Fraction(beta) * delta(radius + 1, length, kept):
        radius += 1
    return radius


def lower_bound(count: Any, n: Any, alpha: float) -> npt.NDArray[np.float64]:
    """Return Clopper and Pearson's one-sided lower bound of a probability, with confidence ``1 - alpha``.

    ``count`` of ``n`` independent votes: numbers or arrays of the same shape. Raise ConfigError for counts outside
    0 .. n.
    """
    count, n = np.broadcast_arrays(np.asarray(count), np.asarray(n))
    if (n < 1).any() or (count < 0).any() or (count > n).any():
        raise ConfigError(f"count: expected 0 to {n} votes, of at least one; got {count}")
    bound = betaincinv(np.maximum(count, 1), n - np.maximum(count, 1) + 1, alpha)
    return np.where(count == 0, 0.0, bound)
