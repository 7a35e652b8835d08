"""The numbers of a report, read from the rows of a packed folder shard by shard: no token is looked at.

Memory is bounded by a shard and by the number of distinct lengths, not by the number of documents or rows.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa

from seampack.errors import ShardError
from seampack.io.ragged import offsets_of
from seampack.packer.comparison import Comparison, compare_lengths, strategy_configs
from seampack.packer.config import PackConfig
from seampack.packer.distributions import Distribution
from seampack.packer.folder import PackedFolder
from seampack.packer.manifest import Manifest
from seampack.packer.numbering import places_of
from seampack.packer.plan_config import PlanConfig
from seampack.packer.rows import Int32, Int64, flat, list_lengths, segment_lengths
from seampack.packer.verification import check_segments

TOKEN_COST = 24_576
"""Cost of a token, where that of attention between two tokens of a segment is 1: six times a hidden size of 4,096."""
RANKS = (8, 64)
SAMPLED_ROWS = 50
_COST_STEPS = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """How evenly steps of consecutive rows, one for each rank, divide the cost: the dearest row by the mean one."""

    ranks: int
    steps: int
    """Number of whole steps."""
    mean: float | None
    """Mean over the steps; None without a whole step."""
    worst: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the rows of a folder show."""

    lengths: Distribution
    """Tokens of the documents, as far as they are in the rows."""
    row_tokens: Distribution
    row_segments: Distribution
    row_costs: Distribution
    """Costs of the rows in units of ``cost_step``, rounded down: see ``row_cost``."""
    cost_step: int
    balances: tuple[Balance, ...]
    begun: int
    """Rows that begin with the first token of a document."""
    ordered: Int32 | None
    """Tokens in the rows of each document, in the order of the input; None if it was not requested, or is unknown."""
    sample: pa.Table
    """Rows that are evenly distributed over the folder."""
    sampled: Int64
    """Their numbers."""


def row_cost(tokens: Int64, squares: Int64) -> Int64:
    """Return the cost of rows of given lengths, and sums of the squares of their segments' lengths."""
    return TOKEN_COST * tokens + squares


class _Balancer:
    """Measures the balance over a stream of costs."""

    def __init__(self, ranks: int) -> None:
        self.ranks = ranks
        self._rest: Int64 = np.empty(0, np.int64)
        self._steps, self._total, self._worst = 0, 0.0, 0.0

    def add(self, costs: Int64) -> None:
        """Add the costs of the next rows."""
        costs = np.concatenate([self._rest, costs])
        whole = costs.size // self.ranks * self.ranks
        self._rest = costs[whole:]
        if whole:
            steps = costs[:whole].reshape(-1, self.ranks)
            shares = steps.max(1) / steps.mean(1)
            self._steps += shares.size
            self._total += float(shares.sum())
            self._worst = max(self._worst, float(shares.max()))

    def balance(self) -> Balance:
        """Return the balance of all whole steps."""
        if not self._steps:
            return Balance(ranks=self.ranks, steps=0, mean=None, worst=None)
        return Balance(ranks=self.ranks, steps=self._steps, mean=self._total / self._steps, worst=self._worst)


class _Counter:
    """Counts the rows of a folder, batch by batch."""

    def __init__(self, manifest: Manifest, ordered: Int32 | None) -> None:
        seq_len = manifest.accounting.seq_len
        self._partitions = manifest.partitions
        self._ordered = ordered
        self._lengths = self._tokens = self._segments = self._costs = Distribution()
        most = row_cost(np.array([seq_len]), np.array([seq_len**2]))
        self._step = max(1, int(most[0]) // _COST_STEPS)
        self._balancers = [_Balancer(ranks) for ranks in RANKS]
        self._begun = 0

    def add(self, rows: pa.Table) -> Self:
        """Count more rows."""
        lengths, starts, repeated = segment_lengths(rows), flat(rows, "doc_starts"), flat(rows, "repeated")
        counts = list_lengths(rows, "doc_ids")
        borders = offsets_of(counts)
        tokens, squares = (np.diff(offsets_of(values)[borders]) for values in (lengths, lengths * lengths))
        costs = row_cost(tokens, squares)
        # Each segment of a document but the first continues where another ends. So the ends of all segments, without
        # those at which another continues, are the lengths of the documents.
        ends, continued = starts + lengths, starts + repeated
        self._lengths = self._lengths.plus(ends).plus(continued[continued > 0], -1)
        self._tokens = self._tokens.plus(tokens)
        self._segments = self._segments.plus(counts)
        self._costs = self._costs.plus(costs // self._step)
        for balancer in self._balancers:
            balancer.add(costs)
        self._begun += int(np.count_nonzero(starts[borders[:-1][counts > 0]] == 0))
        if self._ordered is not None:
            np.maximum.at(self._ordered, places_of(flat(rows, "doc_ids"), self._partitions), ends.astype(np.int32))
        return self

    def facts(self, folder: PackedFolder, sample: pa.Table, sampled: Int64) -> Facts:
        """Return what was counted. Raise ShardError if the segments of a document do not follow each other."""
        if (self._lengths.counts < 0).any():
            missing = int(self._lengths.values[self._lengths.counts < 0][0])
            raise ShardError(
                f"{folder.folder}: expected a segment that ends at token {missing} of its document, because one goes "
                "on there; got none; pack again"
            )
        return Facts(
            lengths=self._lengths,
            row_tokens=self._tokens,
            row_segments=self._segments,
            row_costs=self._costs,
            cost_step=self._step,
            balances=tuple(balancer.balance() for balancer in self._balancers),
            begun=self._begun,
            ordered=self._ordered,
            sample=sample,
            sampled=sampled,
        )


def facts_of(folder: PackedFolder, *, ordered: bool = False) -> Facts:
    """Return the facts of a folder; each shard is read once.

    ``ordered``: whether to collect the lengths of the documents in order too, which takes four bytes of memory for
    each; without effect if the documents have ids of a column.

    Raises ShardError for a damaged shard, or segments of a document that do not follow each other.
    """
    manifest = folder.manifest
    is_numbered = manifest.config.get("id_column") is None
    lengths = np.zeros(manifest.accounting.documents, np.int32) if ordered and is_numbered else None
    counter = _Counter(manifest, lengths)
    size = min(SAMPLED_ROWS, folder.rows)
    sampled = np.arange(size) * folder.rows // max(1, size)
    parts = []
    first = 0
    for shard, table in zip(folder.shards, folder.tables(), strict=True):
        path = folder.folder / shard.file
        check_segments(table, path, manifest)
        if lengths is not None and (places_of(flat(table, "doc_ids"), manifest.partitions) < 0).any():
            raise ShardError(f"{path}: doc_ids: expected numbers of the documents of its partitions; pack again")
        for rows in _batches(table):
            counter.add(rows)
        here = sampled[(sampled >= first) & (sampled < first + shard.rows)]
        parts.append(table.take(pa.array(here - first)))
        first += shard.rows
    return counter.facts(folder, pa.concat_tables(parts), sampled)


def _batches(table: pa.Table) -> Iterator[pa.Table]:
    return (pa.Table.from_batches([batch]) for batch in table.to_batches())


def compared(facts: Facts, manifest: Manifest) -> list[Comparison]:
    """Plan the documents of the rows by each strategy, with the options of the folder, as a single partition.

    The order of documents with ids of a column is not known: they are shuffled.

    Raises ConfigError if this version does not know the options.
    """
    names = (*PlanConfig.__dataclass_fields__, "window_tokens")
    config = PackConfig(**{name: manifest.config[name] for name in names if name in manifest.config})
    lengths = facts.ordered
    if lengths is None:
        lengths = np.repeat(facts.lengths.values, facts.lengths.counts).astype(np.int32)
        np.random.default_rng(config.seed).shuffle(lengths)
    return [compare_lengths([lengths], planned, name) for name, planned in strategy_configs(config).items()]
