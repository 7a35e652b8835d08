"""The certificate: the number of words that may change before the smoothed classifier's class can.

A text of ``length`` words is masked except for ``kept`` of them, every set equally likely. If ``r`` words change, a
masked copy changes only if it shows a changed word. So no class gains or loses more probability than the chance of
that event, ``delta(r)``. The arithmetic is exact (fractions), without rounding.
"""

from fractions import Fraction
from math import comb
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv

from seampack.errors import ConfigError


def delta(changed: int, length: int, kept: int) -> Fraction:
    """Return the chance that ``kept`` words drawn from ``length`` show one of ``changed``: 1 - C(h - r, k) / C(h, k).

    The paper's Delta. Raise ConfigError unless 0 <= changed <= length and 1 <= kept <= length.
    """
    if not 1 <= kept <= length:
        raise ConfigError(f"kept: expected 1 to {length} words of the text; got {kept}")
    if not 0 <= changed <= length:
        raise ConfigError(f"changed: expected 0 to {length} words of the text; got {changed}")
    return 1 - Fraction(comb(length - changed, kept), comb(length, kept))


def certified_radius(p_lower: float | Fraction, length: int, kept: int, beta: float | Fraction = 1) -> int:
    """Return the largest r with ``p_lower - beta * delta(r) > 1/2``: any r words may change, and the class stays.

    Returns 0 as well if ``p_lower`` is at most 1/2, when the class is not certain, and if all words are kept.

    Args:
        p_lower: Lower bound of the class's probability.
        length: Words of the text.
        kept: Words that a masked copy shows.
        beta: Bound of the class's share among the copies that show a changed word. 1 always holds; a smaller value is
            an assumption.
    """
    spare = Fraction(p_lower) - Fraction(1, 2)
    radius = 0
    while kept < length and radius < length and spare > Fraction(beta) * delta(radius + 1, length, kept):
        radius += 1
    return radius


def lower_bound(count: Any, n: Any, alpha: float) -> npt.NDArray[np.float64]:
    """Return Clopper and Pearson's one-sided bound: the probability is below it with chance ``alpha`` at most.

    ``count`` of ``n`` independent votes: numbers, or arrays of one shape. Raise ConfigError for counts outside 0 .. n.
    """
    count, n = np.broadcast_arrays(np.asarray(count), np.asarray(n))
    if (n < 1).any() or (count < 0).any() or (count > n).any():
        raise ConfigError(f"count: expected 0 to {n} of at least one vote; got {count}")
    bound = betaincinv(np.maximum(count, 1), n - np.maximum(count, 1) + 1, alpha)
    return np.where(count == 0, 0.0, bound)
