"""A stream of document lengths, planned window by window; pieces that fill no row are carried into the next window."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from seampack.errors import DataError
from seampack.packer.accounting import Accounting
from seampack.packer.config import PackConfig
from seampack.packer.planning import MAX_LENGTH, PackPlan, check_lengths, plan_window


class HasLengths(Protocol):
    """Documents with lengths."""

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of each document."""


Batch = TypeVar("Batch", bound=HasLengths)


@dataclass(frozen=True, slots=True)
class Window:
    """The plan of a window's parts: pieces carried from the previous window, then whole documents. Shapes (parts,)."""

    plan: PackPlan
    document: npt.NDArray[np.int64]  # number of the document in the stream
    base: npt.NDArray[np.int64]  # first token of the part within its document
    accounting: Accounting


class WindowPlanner:
    """Plans one window after another and keeps the carried pieces between them; see ``plan_window``."""

    def __init__(self, config: PackConfig, *, keep_ends: bool = False) -> None:
        self._config = config
        self._keep_ends = keep_ends
        self._windows = 0
        self._documents = 0
        self._carried_document: npt.NDArray[np.int64] = np.empty(0, np.int64)
        self._carried_base: npt.NDArray[np.int64] = np.empty(0, np.int64)
        self._carried_length: npt.NDArray[np.int64] = np.empty(0, np.int64)

    def plan(self, lengths: npt.NDArray[np.int64], *, last: bool) -> Window:
        """Plan the carried pieces and these documents. The ``last`` window carries nothing."""
        new = self._documents + np.arange(lengths.size)
        if lengths.size and int(lengths.max()) > MAX_LENGTH:
            longest = int(lengths.argmax())
            raise DataError(
                f"document {new[longest]}: expected at most {MAX_LENGTH:,} tokens; got {lengths[longest]:,}"
            )
        document = np.concatenate([self._carried_document, new])
        base: npt.NDArray[np.int64] = np.concatenate([self._carried_base, np.zeros(lengths.size, np.int64)])
        parts = check_lengths(np.concatenate([self._carried_length, lengths]))
        limit = 0 if last else self._config.window_tokens // 4
        plan = plan_window(
            parts, self._config, window=self._windows, carry_limit_tokens=limit, keep_ends=self._keep_ends
        )
        self._windows += 1
        self._documents += lengths.size
        self._carried_document = document[plan.carried.document]
        self._carried_base = base[plan.carried.document] + plan.carried.start
        self._carried_length = plan.carried.length.astype(np.int64)
        return Window(plan, document, base, plan.account(continued=base > 0))


def windows_of(batches: Iterable[Batch], config: PackConfig) -> Iterator[tuple[list[Batch], bool]]:
    """Group batches into windows of at least ``window_tokens`` tokens and documents; yield True with the last window.

    Window borders depend on the input alone, so that every run has the same windows.
    """
    window: list[Batch] = []
    tokens = 0
    for batch in batches:
        if tokens >= config.window_tokens:
            yield window, False
            window, tokens = [], 0
        window.append(batch)
        tokens += int(batch.lengths.sum()) + batch.lengths.size  # an empty document takes memory too
    yield window, True


def joined_lengths(batches: Iterable[HasLengths]) -> npt.NDArray[np.int64]:
    """Return the lengths of the documents of all batches."""
    return np.concatenate([np.empty(0, np.int64), *(batch.lengths for batch in batches)])


def plan_stream(batches: Iterable[Batch], config: PackConfig) -> Iterator[Window]:
    """Plan the windows of a stream of documents as ``pack`` does."""
    planner = WindowPlanner(config)
    for window, last in windows_of(batches, config):
        yield planner.plan(joined_lengths(window), last=last)
