"""Bins: the short pieces of documents put together by a strategy, and which of them become rows."""

from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from seampack.packer import _bin_kernels as kernels
from seampack.packer._limited_kernels import limited_patterns
from seampack.packer.optimal import optimal_patterns
from seampack.packer.plan_config import ExtraRoom, Leftover, PlanConfig, Strategy
from seampack.packer.plans import Int64

Mask = npt.NDArray[np.bool_]

FULL_ENOUGH = 15 / 16
"""Share of ``seq_len`` at which a bin becomes a row within a stream; emptier ones wait for the next window."""


class Bins(NamedTuple):
    """Bins as patterns, each with the tokens and the pieces of a bin, and the number of bins."""

    patterns: kernels.Patterns
    tokens: Int64
    pieces: Int64
    repeats: Int64

    @classmethod
    def of(cls, patterns: kernels.Patterns) -> Self:
        """Return the bins of patterns."""
        offsets, sizes, counts, _, repeats = patterns
        if not repeats.size:
            return cls(patterns, repeats, repeats, repeats)
        firsts = offsets[:-1]
        return cls(patterns, np.add.reduceat(sizes * counts, firsts), np.add.reduceat(counts, firsts), repeats)

    def closed(self, config: PlanConfig) -> Mask:
        """Return a mask of the patterns whose bins are full, or have the most segments."""
        closed: Mask = (self.tokens >= config.seq_len) | (self.pieces >= config.most_segments)
        return closed

    def rows(self, config: PlanConfig) -> int:
        """Return the number of rows that they make if leftovers that are joined fill theirs."""
        if config.leftover_rule == Leftover.PAD:
            return int(self.repeats.sum())
        closed = self.closed(config)
        return int(self.repeats[closed].sum()) - int((self.tokens * self.repeats)[~closed].sum()) // -config.seq_len

    def full_enough(self, closed: Mask, config: PlanConfig, carry_limit_tokens: int) -> Mask:
        """Return a mask of the patterns whose bins become rows; the next window gets the others."""
        full: Mask = closed | (self.tokens >= FULL_ENOUGH * config.seq_len)
        waiting = int((self.tokens * self.repeats)[~full].sum())
        return full if 0 < waiting <= carry_limit_tokens else np.ones_like(full)

    def runs(self, chosen: Mask, filled: int) -> tuple[Int64, Int64, Int64]:
        """Return the bins that are not chosen as runs (pattern, first bin, bins), in the order of their rows.

        The first are the ``filled`` fullest bins, which are kept, the emptiest of them first: their gaps are the
        largest, so that the others are cut into the fewest parts, and gaps that stay are the smallest. The others
        follow, the fullest first.
        """
        tokens, repeats = self.tokens, self.repeats
        waiting = np.flatnonzero(~chosen)
        if not filled:
            return waiting, np.zeros_like(waiting), repeats[waiting]
        order = waiting[np.argsort(-tokens[waiting], kind="stable")]
        before = np.cumsum(repeats[order]) - repeats[order]
        kept = np.clip(filled - before, 0, repeats[order])
        rows = np.flatnonzero(kept)
        rows = rows[np.argsort(tokens[order[rows]], kind="stable")]
        rest = np.flatnonzero(kept < repeats[order])
        return (
            np.concatenate([order[rows], order[rest]]),
            np.concatenate([np.zeros_like(rows), kept[rest]]),
            np.concatenate([kept[rows], (repeats[order] - kept)[rest]]),
        )


def bins_of(histogram: Int64, config: PlanConfig) -> tuple[Bins, int | None]:
    """Return the bins of a strategy for the histogram of piece lengths, and with ``optimal`` a bound of their number.

    With ``max_segments``, they are those of ``limited_patterns`` if these make fewer rows.
    """
    if config.strategy == Strategy.OPTIMAL:
        patterns, fewest = optimal_patterns(histogram, config.seq_len)
        return Bins.of(patterns), fewest
    bins = Bins.of(_patterns(histogram, config))
    if config.max_segments is not None:
        limited = Bins.of(limited_patterns(histogram, config.seq_len, config.most_segments))
        bins = min(bins, limited, key=lambda each: each.rows(config))
    return bins, None


def _patterns(histogram: Int64, config: PlanConfig) -> kernels.Patterns:
    seq_len, most = config.seq_len, config.most_segments
    if config.strategy == Strategy.BEST_FIT:
        groups, entries = kernels.best_fit_groups(histogram, seq_len, most)
        opened = np.argsort(groups[:, kernels.FIRST_BIN])
        return kernels.patterns_of(groups, opened, entries)
    sparing = config.extra_room == ExtraRoom.NEEDED
    return kernels.ffd_patterns(histogram, seq_len, config.extra_room_tokens, sparing, most)
