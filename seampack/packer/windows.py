"""A stream of documents, planned partition by partition, and window by window within a partition.

A *window* is what is planned at once; it bounds memory. Pieces that fill no row are carried into the next window. A
*partition* is packed by itself: it begins with nothing carried. One that turns out to be large when it is read, such as
a pipe, is packed in *sections*, which begin with nothing carried too. What the last window of a section carries is its
*tail*. In the end, all tails are planned together. Borders depend on the input alone, so that every run has the same.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from seampack.errors import DataError
from seampack.packer.accounting import Accounting
from seampack.packer.config import PackConfig
from seampack.packer.groups import Groups
from seampack.packer.numbering import BITS
from seampack.packer.plan_config import Long
from seampack.packer.planning import check_lengths, check_long, plan_window
from seampack.packer.plans import MAX_LENGTH, Int64, PackPlan

Mask = npt.NDArray[np.bool_]


class HasLengths(Protocol):
    """Documents with lengths, read from a block of input."""

    @property
    def lengths(self) -> Int64:
        """Tokens of each document."""

    @property
    def input_bytes(self) -> int:
        """Bytes of the block."""

    @property
    def ends_partition(self) -> bool:
        """Whether the partition ends with this batch."""

    @property
    def begins(self) -> Mask | None:
        """Whether each document begins a group, or goes on with that of the one before; None without groups."""

    @property
    def long_at(self) -> tuple[int, str] | None:
        """The first document that is longer than a row, if that is an error: see ``Origin``."""


Batch = TypeVar("Batch", bound=HasLengths)


class Parts(NamedTuple):
    """Parts of documents: number of the document in the stream, first token within it, and length. Shapes (parts,).

    ``group`` is the number of the first document of the group, or of the document without groups.
    """

    document: Int64
    base: Int64
    length: Int64
    group: Int64

    @classmethod
    def joined(cls, several: Iterable["Parts"]) -> "Parts":
        """Return the parts of several."""
        columns = zip(*several, strict=True)
        return cls(*(np.concatenate([np.empty(0, np.int64), *column]) for column in columns))


def no_parts() -> Parts:
    """Return no parts."""
    return Parts(*(np.empty(0, np.int64) for _ in Parts._fields))


@dataclass(frozen=True, slots=True)
class Window:
    """The plan of a window's parts: those carried from the previous window, then new ones."""

    plan: PackPlan
    parts: Parts
    accounting: Accounting


class WindowPlanner:
    """Plans one window after another and keeps the carried parts between them; see ``plan_window``."""

    def __init__(self, config: PackConfig, *, keep_ends: bool = False) -> None:
        self._config = config
        self._keep_ends = keep_ends
        self.begin(0)

    def begin(
        self,
        partition: int,
        section: int = 0,
        documents: int = 0,
        *,
        window: int = 0,
        carried: Parts | None = None,
    ) -> None:
        """Begin a section of a partition, or go on with a ``window`` and the parts that are carried into it.

        ``documents`` are those of the partition so far.
        """
        self._partition = partition
        self._section = section
        self._documents = documents
        self._open_group = -1
        self.window = window
        """Number of the next window."""
        self.carried = no_parts() if carried is None else carried
        """The parts that are carried into the next window: the tail, if the section ends here."""

    def plan(self, lengths: Int64, *, last: bool, begins: Mask | None = None, long_place: str | None = None) -> Window:
        """Plan the carried parts and the next documents of the partition. The ``last`` window carries nothing.

        ``begins``: see ``HasLengths``. The last group is carried, because the next window may go on with it.
        ``long_place``: place of the first document that is longer than a row, for messages, if it is known.

        Raises DataError for a document or a partition that is too long.
        """
        numbers = (self._partition << BITS) + self._documents + np.arange(lengths.size)
        if lengths.size and int(lengths.max()) > MAX_LENGTH:
            longest = int(lengths.argmax())
            raise DataError(
                f"document {numbers[longest]}: expected at most {MAX_LENGTH:,} tokens; got {lengths[longest]:,}"
            )
        check_long(lengths, self._config, self._documents, long_place)
        self._documents += lengths.size
        if self._documents > 1 << BITS:
            raise DataError(
                f"partition {self._partition}: expected at most {1 << BITS:,} documents in one compressed file or "
                "pipe; divide it"
            )
        groups = numbers
        if begins is not None and lengths.size:
            groups = np.maximum.accumulate(np.where(begins, numbers, self._open_group))
            self._open_group = int(groups[-1])
        return self.plan_parts(Parts(numbers, np.zeros(lengths.size, np.int64), lengths, groups), last=last)

    def plan_parts(self, new: Parts, *, last: bool) -> Window:
        """Plan the carried parts and new ones. The ``last`` window carries nothing."""
        parts = Parts.joined([self.carried, new])
        lengths = check_lengths(parts.length)
        has_groups = self._config.group_column is not None
        end = lengths.size
        if has_groups and not last and end and parts.group[-1] == self._open_group:
            end = int(np.argmax(parts.group == self._open_group))
        plan = plan_window(
            lengths[:end],
            self._config,
            window=(self._partition, self._section, self.window),
            carry_limit_tokens=0 if last else max(1, self._config.window_tokens // 4),
            keep_ends=self._keep_ends,
            bases=None if has_groups else parts.base,
            groups=Groups.of(lengths[:end], parts.group[:end], self._config, may_be_long=True) if has_groups else None,
        )
        if end < lengths.size:
            plan = plan.with_carried(lengths)
        self.window += 1
        document, start, length = (column.astype(np.int64) for column in plan.carried)
        self.carried = Parts(parts.document[document], parts.base[document] + start, length, parts.group[document])
        return Window(plan, parts, plan.account(continued=parts.base > 0))


class End(Enum):
    """What ends with a window."""

    WINDOW = auto()
    SECTION = auto()
    PARTITION = auto()


def windows_of(batches: Iterable[Batch], config: PackConfig) -> Iterator[tuple[list[Batch], End]]:
    """Group batches into windows of at least ``window_tokens`` tokens and documents, and yield what ends with each.

    A section that is not the last of its partition has at least ``partition_bytes`` bytes of input, and ends with a
    group. A partition ends with a batch that says so, or with the last batch.
    """
    window: list[Batch] = []
    tokens = size = 0
    for batch in batches:
        if batch.ends_partition:
            yield [*window, batch], End.PARTITION
            window, tokens, size = [], 0, 0
            continue
        if size >= config.partition_bytes and (batch.begins is None or batch.begins[:1].any()):
            yield window, End.SECTION
            window, tokens, size = [], 0, 0
        elif tokens >= config.window_tokens:
            yield window, End.WINDOW
            window, tokens = [], 0
        window.append(batch)
        size += batch.input_bytes
        tokens += int(batch.lengths.sum()) + batch.lengths.size  # an empty document takes memory too
    if window:
        yield window, End.PARTITION


def windows_of_tails(tokens: Sequence[int], config: PackConfig) -> Iterator[tuple[range, bool]]:
    """Group tails, given their ``tokens``, into windows; yield the numbers of tails, and True with the last window."""
    first = 0
    total = 0
    for tail, count in enumerate(tokens):
        if total >= config.window_tokens:
            yield range(first, tail), False
            first, total = tail, 0
        total += count
    yield range(first, len(tokens)), True


def joined_lengths(batches: Iterable[HasLengths]) -> Int64:
    """Return the lengths of the documents of all batches."""
    return np.concatenate([np.empty(0, np.int64), *(batch.lengths for batch in batches)])


def joined_begins(batches: Iterable[HasLengths]) -> Mask | None:
    """Return whether each document of all batches begins a group; None without groups."""
    several = [batch.begins for batch in batches if batch.begins is not None]
    return np.concatenate(several) if several else None


def long_place(batches: Iterable[HasLengths], config: PackConfig) -> str | None:
    """Return the place of the first document of all batches that is longer than a row, if that is an error and known.

    Another length of rows, for which the batches were made too, may allow the document whose place is known.
    """
    for batch in batches if config.long_rule == Long.ERROR else ():
        long = np.flatnonzero(batch.lengths > config.seq_len)
        if long.size:
            index, where = batch.long_at or (-1, None)
            return where if index == long[0] else None
    return None


def plan_stream(batches: Iterable[Batch], config: PackConfig) -> Iterator[Window]:
    """Plan the windows of a stream of documents as ``pack`` does."""
    planner = WindowPlanner(config)
    tails: list[Parts] = []
    partition = section = documents = 0
    for (window, end), is_last in _with_last(windows_of(batches, config)):
        lengths = joined_lengths(window)
        documents += lengths.size
        is_alone = is_last and not tails
        place = long_place(window, config)
        yield planner.plan(lengths, last=is_alone, begins=joined_begins(window), long_place=place)
        if end == End.WINDOW or is_alone:
            continue
        tails.append(planner.carried)
        if end == End.SECTION:
            section += 1
        else:
            partition, section, documents = partition + 1, 0, 0
        planner.begin(partition, section, documents)
    if tails:
        planner.begin(partition)
        for numbers, is_last in windows_of_tails([int(tail.length.sum()) for tail in tails], config):
            yield planner.plan_parts(Parts.joined(tails[number] for number in numbers), last=is_last)


Item = TypeVar("Item")


def _with_last(items: Iterable[Item]) -> Iterator[tuple[Item, bool]]:
    """Yield each item, and whether it is the last."""
    before = None
    for item in items:
        if before is not None:
            yield before, False
        before = item
    if before is not None:
        yield before, True
