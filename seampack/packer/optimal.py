"""The strategy ``optimal``: nearly the fewest bins, and a bound that proves it.

The fewest bins are a linear programme over all patterns (contents of a bin), which column generation solves without
listing them (Gilmore and Gomory 1961): the programme over a few patterns prices each length, and a knapsack finds
patterns that are worth more than a bin at these prices. With thousands of lengths, prices are linear between some of
them: a length counts as a mixture of its two neighbours among these. That makes the programme small, and its value is
still a bound: any prices, divided by those of the most valuable bin, make one.

The solution says how many bins of each pattern to make. Pieces of the very lengths run out, and are replaced by others
of like length; so a part of the bins is made at a time, and the rest is solved again.
"""

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from seampack.errors import MissingExtraError
from seampack.io.ragged import offsets_of
from seampack.packer import _bin_kernels as bin_kernels
from seampack.packer import _pattern_kernels as kernels
from seampack.packer._kernels import first_pieces
from seampack.packer.plans import Int64

Float64 = npt.NDArray[np.float64]

GAP = 1e-3
"""The excess over the bound that is aimed at."""
_KNOTS = 64
_SHARE = 0.4
"""The share of a solution that is made before the rest is solved again: pieces replace others of like length."""
_FEW = 1000
"""The number of pieces whose solution is made as a whole."""
_ROUNDS = 40
_ITERATIONS = 100


def optimal_patterns(histogram: Int64, seq_len: int) -> tuple[bin_kernels.Patterns, int]:
    """Return patterns of nearly the fewest bins for the histogram of piece lengths, and a bound of their number.

    The bins are those of First-Fit-Decreasing if these are close to the bound, or fewer than any others found. If the
    solver fails, the best bins so far are returned, and the bound that is proved; a warning names the failure.

    Raises MissingExtraError without scipy.
    """
    bound = _bins_of_tokens(histogram, seq_len)
    patterns = bin_kernels.ffd_patterns(histogram, seq_len, 0, True, seq_len)
    fewest = int(patterns[-1].sum())
    if fewest <= bound * (1 + GAP / 10) or fewest <= bound:
        return patterns, bound
    left, cursor = histogram.copy(), first_pieces(histogram)
    made: list[bin_kernels.Patterns] = []
    for _ in range(_ROUNDS):
        solution = _solve(left, seq_len)
        if not made:
            bound = max(bound, _whole(solution.bound))
            if fewest <= bound:
                break
        if not solution.patterns:
            break
        before = int(left.sum())
        share = _SHARE if before > _FEW else 1.0
        made.append(_bins_after(solution, share, left, cursor, seq_len))
        rest = bin_kernels.ffd_patterns(left, seq_len, 0, True, seq_len, cursor)
        found = _joined([*made, rest])
        if int(found[-1].sum()) < fewest:
            patterns, fewest = found, int(found[-1].sum())
        if fewest <= bound or not 0 < left.sum() < before:
            break
    return patterns, bound


def fewest_bins(histogram: Int64, seq_len: int) -> int:
    """Return a number of bins that no packing of the pieces is below. Raise MissingExtraError without scipy."""
    bound = _bins_of_tokens(histogram, seq_len)
    made = int(bin_kernels.ffd_patterns(histogram, seq_len, 0, True, seq_len)[-1].sum())
    return bound if made <= bound else max(bound, _whole(_solve(histogram, seq_len).bound))


def _bins_of_tokens(histogram: Int64, seq_len: int) -> int:
    return -(-int(histogram @ np.arange(histogram.size)) // seq_len)


def _whole(bound: float) -> int:
    """Return the whole number of bins that a bound proves, of which errors of floating point are far below 1e-6."""
    return int(np.ceil(bound - 1e-6 * (1 + bound)))


class _Solution(NamedTuple):
    bound: float
    patterns: list[Int64]
    """Lengths of the pieces of each pattern, the longest first."""
    counts: Float64
    """Number of bins of each pattern."""
    width: int
    """Largest distance of two knots."""


def _solve(histogram: Int64, seq_len: int) -> _Solution:
    """Solve the linear programme by column generation; after a failure of the solver, as far as it got."""
    try:
        from scipy.optimize import linprog
    except ModuleNotFoundError as error:
        raise MissingExtraError("scipy", "optimal", "the strategy optimal") from error

    lengths = np.flatnonzero(histogram)
    counts = histogram[lengths].astype(np.float64)
    knots = _knots(lengths, counts)
    left = np.clip(np.searchsorted(knots, lengths, side="right") - 1, 0, max(knots.size - 2, 0))
    right = np.minimum(left + 1, knots.size - 1)
    share = (lengths - knots[left]) / np.maximum(1, knots[right] - knots[left])

    def on_knots(indices: Int64, numbers: Float64) -> Float64:
        on_left = np.bincount(left[indices], numbers * (1 - share[indices]), knots.size)
        on_right = np.bincount(right[indices], numbers * share[indices], knots.size)
        return (on_left + on_right).astype(np.float64)

    demand = on_knots(np.arange(lengths.size), counts)
    contents = [np.repeat(index, seq_len // lengths[index]) for index in np.searchsorted(lengths, knots)]
    columns = [on_knots(indices, np.ones(indices.size)) for indices in contents]
    values, choices = np.empty(seq_len + 1), np.empty(seq_len + 1, np.int64)
    known = {indices.tobytes() for indices in contents}
    bound = 0.0
    amounts = np.empty(0)
    for _ in range(_ITERATIONS):
        matrix = np.stack(columns, axis=1)
        result = linprog(np.ones(len(columns)), A_ub=-matrix, b_ub=-demand, method="highs")
        if not result.success:
            warnings.warn(
                f"strategy optimal: the solver of scipy failed ({result.message}); the rows are the best found before, "
                "and the rows over the bound say how far they may be from the fewest",
                stacklevel=2,
            )
            break
        amounts = result.x
        duals = np.maximum(0.0, -result.ineqlin.marginals)
        prices = duals[left] * (1 - share) + duals[right] * share
        kernels.best_contents(lengths, prices, values, choices)
        bound = max(bound, float(counts @ prices) / float(values[seq_len]))
        if result.fun <= bound * (1 + GAP / 100):
            break
        worth = prices + values[seq_len - lengths]
        size = len(contents)
        for group in np.unique(left):
            members = np.flatnonzero(left == group)
            best = int(members[worth[members].argmax()])
            indices = _contents(best, lengths, choices, seq_len)
            if worth[best] > 1 + 1e-7 and indices.tobytes() not in known:
                known.add(indices.tobytes())
                contents.append(indices)
                columns.append(on_knots(indices, np.ones(indices.size)))
        if len(contents) == size:
            break
    used = np.flatnonzero(amounts > 1e-9)
    patterns = [lengths[contents[index]][::-1].copy() for index in used]
    return _Solution(bound, patterns, amounts[used], int(np.diff(knots).max(initial=0)))


def _knots(lengths: Int64, counts: Float64) -> Int64:
    """Return the lengths between which prices are linear: the first, the last, and others at equal shares of tokens."""
    if lengths.size <= _KNOTS:
        return lengths
    tokens = np.cumsum(counts * lengths)
    inner = np.searchsorted(tokens, np.linspace(0, tokens[-1], _KNOTS))
    knots: Int64 = lengths[np.unique(np.clip(np.append(inner, 0), 0, lengths.size - 1))]
    return knots


def _contents(first: int, lengths: Int64, choices: Int64, seq_len: int) -> Int64:
    """Return the ascending indices of the lengths in the best bin that has a given length."""
    indices = [first]
    capacity = seq_len - int(lengths[first])
    while capacity > 0:
        choice = int(choices[capacity])
        if choice < 0:
            capacity -= 1
        else:
            indices.append(choice)
            capacity -= int(lengths[choice])
    return np.sort(np.array(indices, np.int64))


def _bins_after(solution: _Solution, share: float, left: Int64, cursor: Int64, seq_len: int) -> bin_kernels.Patterns:
    """Make a share of the bins of a solution from the pieces that are left, which are taken away."""
    pieces = left, cursor, bin_kernels.set_of(np.flatnonzero(left), seq_len + 1)
    wanted = np.floor(solution.counts * share + 1e-6).astype(np.int64)
    offsets = offsets_of([pattern.size for pattern in solution.patterns])
    slots = int(left.sum()) + int(np.diff(offsets).max(initial=0))
    bins, entries = np.zeros(int(wanted.sum()) + 1, np.int64), (np.empty(slots, np.int64), np.empty(slots, np.int64))
    patterns = offsets, np.concatenate(solution.patterns)
    made = kernels.make_bins(pieces, seq_len, 2 * solution.width, patterns, wanted, bins, entries)
    used = int(bins[made])
    ones = np.ones(used, np.int64)
    return bins[: made + 1], entries[0][:used], ones, entries[1][:used], np.ones(made, np.int64)


def _joined(several: Sequence[bin_kernels.Patterns]) -> bin_kernels.Patterns:
    """Return the patterns of several."""
    offsets = offsets_of(np.concatenate([np.diff(patterns[0]) for patterns in several]))
    return offsets, *(np.concatenate([patterns[k] for patterns in several]) for k in range(1, 5))
