"""Comparison of the strategies on one corpus. It is read and tokenised once; only the planning is repeated."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from seampack.config import choice_names, underscored
from seampack.errors import ConfigError
from seampack.io.bad_records import Skipped
from seampack.packer.accounting import Accounting
from seampack.packer.blends import tokens_of
from seampack.packer.config import PackConfig
from seampack.packer.documents import TokenBatch
from seampack.packer.group_column import with_groups
from seampack.packer.memory_sources import opened
from seampack.packer.pipeline import Progress, known_bytes, token_batches
from seampack.packer.plan_config import PAPER, Strategy, different_lengths
from seampack.packer.planning import fewest_rows
from seampack.packer.plans import imbalance
from seampack.packer.row_groups import warn_without_step
from seampack.packer.tokenizing import BUNDLED, AnyTokenizer, TextTokenizer
from seampack.packer.windows import plan_stream
from seampack.packer.work import Inputs

_PAPER = "paper"
_PARTS_GROUPS = (Strategy.CONCAT, _PAPER)
"""Strategies that cannot keep the documents of a group together."""
STRATEGIES = (*(strategy for strategy in Strategy if strategy != Strategy.OPTIMAL), _PAPER)


@dataclass(frozen=True, slots=True)
class Comparison:
    """The accounting of one strategy on a corpus."""

    strategy: str
    """The strategy, or ``paper`` for Seamless Packing with the options as published."""
    accounting: Accounting
    plan_seconds: float
    """CPU seconds of planning and of checking the plan."""
    imbalance: float | None = None
    """Cost of the dearest rows of all steps of ``balance`` ranks over the mean cost; None without such steps."""
    balance: int | None = None
    """Ranks of a step; None if rows are not balanced."""
    rows_over_bound: int | None = None
    """The most rows beyond the fewest in which no document that fits a row is cut, for ``optimal``."""

    def to_dict(self) -> dict[str, Any]:
        """Return the accounting with the strategy and seconds, for JSON and tables."""
        row = {"strategy": self.strategy, **self.accounting.to_dict(), "plan_seconds": round(self.plan_seconds, 4)}
        if self.balance is not None:
            row["imbalance"] = None if self.imbalance is None else round(self.imbalance, 4)
        return row if self.rows_over_bound is None else {**row, "rows_over_bound": self.rows_over_bound}


@dataclass(frozen=True, slots=True)
class _Lengths:
    lengths: npt.NDArray[np.int64]
    input_bytes: int = 0
    ends_partition: bool = False
    begins: npt.NDArray[np.bool_] | None = None
    long_at: tuple[int, str] | None = None


def compare(
    source: Inputs | Any,
    config: PackConfig | None = None,
    *,
    tokenizer: AnyTokenizer = BUNDLED,
    strategies: Sequence[str] = STRATEGIES,
    seq_lens: Sequence[int] | None = None,
    threads: int | None = None,
    on_tokenizer: Callable[[TextTokenizer], None] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    **options: Any,
) -> list[Comparison]:
    """Plan a corpus by each strategy, in the same windows as ``pack``; by default by all but ``optimal``.

    ``source`` and ``tokenizer``: as for ``pack``. ``seq_lens``: several lengths of rows, in place of
    ``config.seq_len``; the corpus is read once, and the comparisons of one length follow those of another.

    The strategy ``paper`` is Seamless Packing with the options as published, ``PlanConfig.paper()``. Needs four
    bytes of memory per document. With ``on_bad="quarantine"``, warns of the number of records that cannot be read.

    Raises ConfigError or DataError as ``pack`` does.
    """
    config = PackConfig.given(config, **options)
    if seq_lens is not None:
        config = config.replace(seq_len=min(different_lengths(seq_lens)))
    skipped = Skipped()
    batches: Iterable[TokenBatch]
    if (tokens := tokens_of(source, config)) is not None:
        tokens.refuse_tokenizer(tokenizer)
        config = tokens.config_for(config)
        batches = tokens.batches(on_progress=on_progress)
    else:
        paths = opened(source)
        loaded = TextTokenizer(tokenizer, config, input_bytes=known_bytes(paths))
        if on_tokenizer is not None:
            on_tokenizer(loaded)
        batches = token_batches(paths, loaded, config, threads=threads, on_bad=skipped.add, on_progress=on_progress)
    planned = [
        (name, each)
        for seq_len in seq_lens or [config.seq_len]
        for name, each in strategy_configs(config.replace(seq_len=seq_len), strategies).items()
    ]
    lengths = [
        (batch.lengths.astype(np.int32), batch.input_bytes, batch.ends_partition, batch.begins, batch.long_at)
        for batch in with_groups(batches, config)
    ]
    skipped.warn()
    for _, each in planned:
        _plan([(np.ones(1, np.int32),)], each.replace(rows_multiple_of=1), "")  # load the kernels
    comparisons = [_plan(lengths, each, name) for name, each in planned]
    warn_without_step(min((each.accounting.rows for each in comparisons), default=0), config)
    return comparisons


def strategy_configs(config: PackConfig, strategies: Sequence[str] = STRATEGIES) -> dict[str, PackConfig]:
    """Return the options of each strategy, given those of one. Raise ConfigError for a strategy that does not exist."""
    if isinstance(strategies, str) or not isinstance(strategies, Sequence):
        raise ConfigError(f"strategies: expected a list, such as ['seamless', 'concat']; got {strategies!r}")
    for name in strategies:
        if name != _PAPER and (not isinstance(name, str) or underscored(name) not in list(Strategy)):
            raise ConfigError(f"strategies: expected some of {choice_names(Strategy)}, {_PAPER}; got {name!r}")
    if config.group_column is not None:
        strategies = [name for name in strategies if name not in _PARTS_GROUPS]
    return {name: config.replace(**(PAPER if name == _PAPER else {"strategy": name})) for name in strategies}


def compare_lengths(
    batches: Iterable[npt.NDArray[np.int32]], config: PackConfig, name: str | None = None
) -> Comparison:
    """Plan batches of document lengths (in tokens) by the strategy of the config, as a single partition.

    ``name`` is that of the comparison, by default the strategy.
    """
    return _plan(((lengths,) for lengths in batches), config, name or config.strategy)


def _plan(batches: Iterable[tuple[Any, ...]], config: PackConfig, name: str) -> Comparison:
    """Plan batches of document lengths, and of the other facts of ``_Lengths``."""
    started = time.process_time()
    accounting = Accounting(seq_len=config.seq_len)
    costs = [np.empty(0, np.int64)]
    read: list[npt.NDArray[np.int32]] = []
    bounds: list[int | None] = []
    if config.strategy == Strategy.OPTIMAL:
        batches = list(batches)
        read = [lengths for lengths, *_ in batches]
    for window in plan_stream((_Lengths(lengths.astype(np.int64), *facts) for lengths, *facts in batches), config):
        accounting += window.accounting
        bounds.append(window.plan.rows_over_bound)
        if config.balance is not None:
            costs.append(window.plan.costs(config.linear_cost))
    seconds = time.process_time() - started
    over_bound = bounds[0] if len(bounds) == 1 else None
    if read and over_bound is None:  # several windows, whose bounds prove nothing about all documents
        over_bound = max(0, accounting.rows - fewest_rows(np.concatenate(read), config))
    ratio = None if config.balance is None else imbalance(np.concatenate(costs), config.balance)
    return Comparison(name, accounting, seconds, ratio, config.balance, over_bound)
