"""The certificate: how many words may change before the class of the smoothed classifier can.

A text of ``length`` words is masked so that ``kept`` of them, any set equally likely, can be seen. Where ``r`` words
change, a masked copy is another one only if it shows a changed word, so no class gains or loses more probability than
the chance of that, ``delta(r)``. All is counted in exact fractions: there is no rounding to argue about.
"""

from fractions import Fraction
from math import comb
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv

from seampack.errors import ConfigError


def delta(changed: int, length: int, kept: int) -> Fraction:
    """Chance that ``kept`` words drawn out of ``length`` show one of ``changed``: 1 - C(h - r, k) / C(h, k).

    The paper's Delta. Raises ConfigError unless 0 <= changed <= length and 1 <= kept <= length.
    """
    if not 1 <= kept <= length:
        raise ConfigError(f"kept: expected 1 to {length} words of the text; got {kept}")
    if not 0 <= changed <= length:
        raise ConfigError(f"changed: expected 0 to {length} words of the text; got {changed}")
    return 1 - Fraction(comb(length - changed, kept), comb(length, kept))


def certified_radius(p_lower: float | Fraction, length: int, kept: int, beta: float | Fraction = 1) -> int:
    """The most words that may change at will while the class keeps more than half of the probability.

    ``p_lower``: what the class has at least. ``beta``: bound of the class's share among the copies that show a changed
    word; 1 always holds, anything less is an assumption. Returns 0 also where ``p_lower`` is 1/2 or less and nothing
    is certain, and where all words are kept. The count is inclusive: the largest r with p_lower - beta delta(r) > 1/2.
    """
    spare = Fraction(p_lower) - Fraction(1, 2)
    radius = 0
    while kept < length and radius < length and spare > Fraction(beta) * delta(radius + 1, length, kept):
        radius += 1
    return radius


def lower_bound(count: Any, n: Any, alpha: float) -> npt.NDArray[np.float64]:
    """Clopper and Pearson's one-sided bound: a probability is below it with chance ``alpha`` at most.

    ``count`` of ``n`` independent votes, numbers or arrays of one shape. Raises ConfigError for counts outside 0 .. n.
    """
    count, n = np.broadcast_arrays(np.asarray(count), np.asarray(n))
    if (n < 1).any() or (count < 0).any() or (count > n).any():
        raise ConfigError(f"count: expected 0 to {n} of at least one vote; got {count}")
    found = betaincinv(np.maximum(count, 1), n - np.maximum(count, 1) + 1, alpha)
    return np.where(count == 0, 0.0, found)
