"""Options of planning. No heavy imports: the command line is made from these."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any, Self

from seampack.config import Config, Group, option, seed_option
from seampack.errors import ConfigError

MAX_SEQ_LEN = 1 << 24
MAX_OPTIMAL = 1 << 14
"""Longest row of the strategy ``optimal``, whose time grows with its square."""
LINEAR_COST = 6 * 4096
"""Cost of a token besides attention, for models of width 4,096; see ``PackPlan.costs``."""

_planning = partial(option, group=Group.PLANNING)


class Strategy(StrEnum):
    """How documents become rows."""

    SEAMLESS = "seamless"
    """Overlapping windows over long documents; First-Fit-Decreasing for the rest, in full rows."""
    CONCAT = "concat"
    """All documents end to end, cut every ``seq_len`` tokens (naive concatenation)."""
    BEST_FIT = "best_fit"
    """Documents cut at ``seq_len``, then Best-Fit-Decreasing: no further cut, a little padding."""
    FFD = "ffd"
    """Documents cut at ``seq_len``, then First-Fit-Decreasing: no further cut, a little padding."""
    PAD = "pad"
    """Documents cut at ``seq_len``, each piece in a row alone: no mixing, most padding."""
    KEEP_ORDER = "keep_order"
    """Documents cut at ``seq_len``, then best fit into rows that began shortly before; rows in the documents' order."""
    OPTIMAL = "optimal"
    """Documents cut at ``seq_len``, then nearly the fewest rows, by linear programming; needs scipy, and seconds."""


class ExtraRoom(StrEnum):
    """When ``seamless`` lets a bin exceed ``seq_len``; the excess is cut off the bin's tail."""

    NEEDED = "needed"
    """Only if no piece fits within ``seq_len`` any more, and then for the piece that loses the fewest tokens."""
    ALWAYS = "always"
    """For every piece: plain First-Fit-Decreasing with the larger capacity, as in the paper."""


class Leftover(StrEnum):
    """How ``seamless``, ``best_fit``, ``ffd`` and ``optimal`` write bins that are not full."""

    AUTO = "auto"
    """``fill`` for ``seamless``; ``pad`` for the others, as they are published."""
    FILL = "fill"
    """Dissolve the emptiest bins, and fill the gaps of the others with their documents: the fewest rows, few cuts."""
    PAD = "pad"
    """Make each a row: no document is cut, the rows are padded."""
    CONCAT = "concat"
    """Join their pieces end to end and cut every ``seq_len`` tokens, as in the paper: many cuts."""


class Long(StrEnum):
    """What becomes of documents of more than ``seq_len`` tokens."""

    AUTO = "auto"
    """``error`` for conversations, whose parts would lack what was said before; ``window`` for all others."""
    WINDOW = "window"
    """Every token is packed: ``seamless`` covers them by overlapping windows, other strategies cut them."""
    SPLIT = "split"
    """Every token is packed once: they are cut every ``seq_len`` tokens, without overlap."""
    TRUNCATE = "truncate"
    """Keep their first ``seq_len`` tokens, with the end token if there is one, and drop the rest."""
    DROP = "drop"
    """Drop them whole."""
    ERROR = "error"
    """Stop with an error that counts them."""


class Rest(StrEnum):
    """What becomes of the rows beyond the last multiple of ``rows_multiple_of``."""

    SPLIT = "split"
    """Split rows of several documents until their number is the next multiple: nothing is lost, a little is padded."""
    DROP = "drop"
    """Drop the last rows, fewer than ``rows_multiple_of``."""


PAPER = {
    "strategy": Strategy.SEAMLESS.value,
    "max_overlap": 0.3,
    "extra_tokens": 50,
    "extra_room": ExtraRoom.ALWAYS.value,
    "leftover": Leftover.CONCAT.value,
}
"""The options of Seamless Packing as published: Yin et al. 2025, arXiv 2505.22018."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanConfig(Config):
    """Options of planning: how lengths become rows. All lengths are in tokens.

    Raises ConfigError, naming the field, the expected values and the given one.
    """

    seq_len: int = _planning(2048, "Length of a row.", low=1, high=MAX_SEQ_LEN, unit="tokens")
    strategy: str = _planning(Strategy.SEAMLESS.value, "How documents become rows.", choices=Strategy)
    long: str = _planning(
        Long.AUTO.value,
        "What becomes of documents longer than a row. window: seamless covers them by overlapping windows, other "
        "strategies cut them. split: they are cut without overlap. truncate: their first seq-len tokens are kept. "
        "drop: they are dropped whole. error: the run stops and counts them. auto: error for conversations, window for "
        "all others.",
        choices=Long,
    )
    max_overlap: float = _planning(
        0.3,
        "seamless: largest overlap of two neighbouring windows, as a share of a row (r in the paper).",
        low=0,
        below=1,
    )
    extra_tokens: int = _planning(
        0,
        "seamless: extra capacity of a bin beyond seq-len (the paper has 50). A bin that exceeds seq-len loses its "
        "tail, up to this many tokens, but keeps its end token.",
        low=0,
        high=MAX_SEQ_LEN,
        unit="tokens",
    )
    extra_room: str = _planning(
        ExtraRoom.NEEDED.value,
        "seamless: when to use the extra capacity: only if the row would not be full otherwise, or always (the paper).",
        choices=ExtraRoom,
    )
    leftover: str = _planning(
        Leftover.AUTO.value,
        "seamless, best_fit, ffd, optimal: what becomes of bins that are not full. fill: the emptiest are dissolved "
        "into the gaps of the others, so that rows are full and few documents are cut. pad: each is a row. concat: "
        "they are joined end to end (the paper). auto: fill for seamless, pad for the others.",
        choices=Leftover,
    )
    pad_to_multiple: int = _planning(
        1,
        "Pad each segment to a multiple of this, such as 2 x the ranks of context parallelism, or 16 for FP8. seq-len "
        "must be a multiple too. Needs a token to pad with.",
        low=1,
        high=MAX_SEQ_LEN,
        unit="tokens",
    )
    max_segments: int | None = _planning(
        None,
        "Most segments of a row, which trainers need that reserve memory for each; by default any number.",
        low=1,
        high=MAX_SEQ_LEN,
        unit="segments",
    )
    rows_multiple_of: int = _planning(
        1,
        "Number of which the rows are a multiple, such as ranks times accumulated steps.",
        low=1,
        high=1 << 24,
        unit="rows",
    )
    rest: str = _planning(
        Rest.SPLIT.value,
        "What becomes of the rows beyond the last multiple of rows-multiple-of. split: rows of several documents are "
        "split until there are as many as the next multiple. drop: these rows are dropped, fewer than the multiple.",
        choices=Rest,
    )
    balance: int | None = _planning(
        None,
        "Ranks that train on consecutive rows, one each: the rows of such a step are chosen to cost alike. The steps "
        "are shuffled. By default rows are in any order.",
        low=1,
        high=1 << 24,
        unit="ranks",
    )
    linear_cost: int = _planning(
        LINEAR_COST,
        "Cost of a token for balance, besides attention, where attention within a segment of n tokens costs n x n. The "
        "default is 6 x 4,096, the width of models of 8 B parameters.",
        low=0,
        high=1 << 30,
    )
    look_back: int = _planning(
        1000,
        "Most documents, for keep_order, from the first of a row to any other of the row.",
        low=0,
        high=1 << 30,
        unit="documents",
    )
    drop_last: bool = _planning(False, "concat, and leftovers that are filled or joined: drop what fills no whole row.")
    shuffle: bool = _planning(
        True, "Shuffle the rows of each planning window. Without it, rows are sorted by length within a window."
    )
    seed: int = seed_option("Seed of the shuffle.", group=Group.PLANNING)

    @classmethod
    def paper(cls, **options: Any) -> Self:
        """Return a config with the options of the published method; ``options`` override them.

        Raises ConfigError for another strategy, which would take only some of them.
        """
        if (strategy := options.get("strategy", Strategy.SEAMLESS)) != Strategy.SEAMLESS:
            raise ConfigError(f"strategy: expected seamless, of which paper has the options; got {strategy!r}")
        return cls(**{**PAPER, **options})

    def __post_init__(self) -> None:
        """Refuse several lengths of rows by name, then check the fields."""
        if isinstance(self.seq_len, list | tuple | range):
            raise ConfigError(
                f"seq_len: expected one length; got {self.seq_len!r}; for several, call pack_lengths or compare with "
                "seq_lens"
            )
        Config.__post_init__(self)

    def check_rules(self) -> None:
        """Check the rules between fields."""
        if self.seq_len % self.pad_to_multiple:
            raise ConfigError(
                f"pad_to_multiple: expected a divisor of seq_len, {self.seq_len:,}; got {self.pad_to_multiple:,}"
            )
        if self.strategy == Strategy.OPTIMAL and self.seq_len // self.pad_to_multiple > MAX_OPTIMAL:
            raise ConfigError(
                f"seq_len: expected at most {MAX_OPTIMAL * self.pad_to_multiple:,} for optimal; got {self.seq_len:,}"
            )
        if self.strategy == Strategy.OPTIMAL and self.max_segments is not None:
            raise ConfigError(f"max_segments: expected none for optimal; got {self.max_segments}")

    def idle_options(self) -> dict[str, str]:
        """Return the options that have no effect, each with the reason on the command line."""
        idle = []
        if self.strategy != Strategy.SEAMLESS:
            idle += ["max_overlap", "extra_tokens", "extra_room"]
        if self.strategy in (Strategy.CONCAT, Strategy.PAD, Strategy.KEEP_ORDER):
            idle += ["leftover"]
        if self.strategy == Strategy.PAD:
            idle += ["max_segments"]
        if self.strategy != Strategy.CONCAT and self.leftover_rule == Leftover.PAD:
            idle += ["drop_last"]
        idle += ["shuffle", "seed", "balance"] if self.strategy == Strategy.KEEP_ORDER else ["look_back"]
        reasons = dict.fromkeys(idle, f"with --strategy {self.strategy}")
        if self.strategy == Strategy.SEAMLESS and self.long_rule != Long.WINDOW:
            reasons["max_overlap"] = f"with --long {self.long_rule}"
        if self.strategy == Strategy.SEAMLESS and not self.extra_tokens:
            reasons["extra_room"] = "without --extra-tokens"
        if not self.shuffle:
            reasons.setdefault("seed", "with --no-shuffle")
        if self.rows_multiple_of == 1:
            reasons["rest"] = "without --rows-multiple-of"
        if self.balance is None:
            reasons["linear_cost"] = "without --balance"
        return reasons

    @property
    def leftover_rule(self) -> Leftover:
        """What becomes of bins that are not full, where ``leftover`` is ``auto`` too, or idle."""
        always = self.strategy in (Strategy.PAD, Strategy.KEEP_ORDER)
        if always or (self.leftover == Leftover.AUTO and self.strategy != Strategy.SEAMLESS):
            return Leftover.PAD
        return Leftover.FILL if self.leftover == Leftover.AUTO else Leftover(self.leftover)

    @property
    def long_rule(self) -> Long:
        """What becomes of documents longer than a row, where ``long`` is ``auto`` too."""
        return Long.WINDOW if self.long == Long.AUTO else Long(self.long)

    @property
    def group_rows(self) -> int:
        """Rows that are planned together: a window of a stream that is not the last one has a multiple of them."""
        return math.lcm(self.rows_multiple_of, self.balance or 1)

    @property
    def most_segments(self) -> int:
        """Most segments of a row; each has a token, so that a row has at most ``seq_len``."""
        return min(self.max_segments or self.seq_len, self.seq_len)

    @property
    def max_overlap_tokens(self) -> int:
        """Largest overlap of two neighbouring windows in tokens; 0 without windows."""
        has_windows = self.strategy == Strategy.SEAMLESS and self.long_rule == Long.WINDOW
        return int(self.max_overlap * self.seq_len + 1e-9) if has_windows else 0

    @property
    def extra_room_tokens(self) -> int:
        """Extra capacity of a bin beyond ``seq_len``; 0 for strategies that cut nothing off."""
        return min(self.extra_tokens, self.seq_len - 1) if self.strategy == Strategy.SEAMLESS else 0


def different_lengths(seq_lens: object) -> Sequence[int]:
    """Return several lengths of rows. Raise ConfigError unless there is at least one, and each once."""
    if isinstance(seq_lens, str) or not isinstance(seq_lens, Sequence):
        raise ConfigError(f"seq_lens: expected several lengths, such as [2048, 8192]; got {seq_lens!r}")
    if not seq_lens or len(set(seq_lens)) < len(seq_lens):
        raise ConfigError(f"seq_lens: expected different lengths; got {', '.join(map(str, seq_lens)) or 'none'}")
    return seq_lens
