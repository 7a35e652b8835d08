"""Distributions of whole numbers, such as lengths: memory is bounded by the number of distinct ones."""

from dataclasses import dataclass, field

import numpy as np

from seampack.io.ragged import offsets_of
from seampack.packer.rows import Int64


def _empty() -> Int64:
    return np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Distribution:
    """How often each number occurs."""

    values: Int64 = field(default_factory=_empty)  # ascending, shape (distinct,)
    counts: Int64 = field(default_factory=_empty)  # shape (distinct,)

    def plus(self, numbers: Int64, weight: int = 1) -> "Distribution":
        """Return the distribution with more numbers, each ``weight`` times; -1 removes them."""
        more, times = np.unique(numbers, return_counts=True)
        values, place = np.unique(np.concatenate([self.values, more]), return_inverse=True)
        counts = np.zeros(values.size, np.int64)
        np.add.at(counts, place, np.concatenate([self.counts, weight * times]))
        return Distribution(values[counts != 0], counts[counts != 0])

    @property
    def count(self) -> int:
        """How many numbers there are."""
        return int(self.counts.sum())

    @property
    def mean(self) -> float | None:
        """The mean of the numbers; None if there are none."""
        return float(self.values @ self.counts) / self.count if self.count else None

    def quantile(self, share: float) -> int | None:
        """Return the smallest number that at least this share of the numbers does not exceed; None without numbers."""
        if not self.count:
            return None
        place = int(np.searchsorted(np.cumsum(self.counts), share * self.count))
        return int(self.values[min(place, self.values.size - 1)])

    def between(self, edges: Int64) -> Int64:
        """Return how many numbers are from each edge up to the next one, exclusive; shape (edges - 1,)."""
        totals = offsets_of(self.counts)[np.searchsorted(self.values, edges)]
        counted: Int64 = np.diff(totals)
        return counted

    def summary(self, unit: str) -> str:
        """Return the range of the numbers, their median and mean as text."""
        if not self.count:
            return f"no {unit}"
        low, median, high = (self.quantile(share) for share in (0, 0.5, 1))
        return f"{low:,} to {high:,} {unit}, median {median:,}, mean {self.mean:,.1f}"
