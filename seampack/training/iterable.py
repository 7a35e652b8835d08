"""An iterable dataset over a packed folder: shuffled, divided between ranks and workers, resumed at any row."""

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from seampack.config import Config, option, seed_option
from seampack.errors import ConfigError, MissingExtraError
from seampack.packer.noted_stores import Stores
from seampack.packer.plan_config import Strategy
from seampack.packer.states import checked_state
from seampack.training.order import RowOrder, part
from seampack.training.reading import RowReader

try:
    import torch.distributed
    from torch.utils.data import IterableDataset, get_worker_info
except ModuleNotFoundError as error:
    raise MissingExtraError("torch", "torch", "seampack.PackedIterableDataset") from error

_ADDED = {"interleave": False, "balance": 1}
"""Entries that states of earlier versions lack, with what they mean."""
_REMEDIES = {
    "folder": "open the folder of the earlier run",
    "balance": "open the folder with the version of seampack that has saved the state",
    "rank": "load on each rank the state that it has saved, with as many ranks; for another number, give the epoch to "
    "set_epoch, which begins it anew",
    "worker": "give the DataLoader as many workers as before",
}


class Remainder(StrEnum):
    """Rows that are over when each rank has equally many."""

    SKIP = "skip"
    """Skip them, fewer than there are ranks. Others in each epoch, as the rows are shuffled anew."""
    KEEP = "keep"
    """Read them: some ranks have one row more than others, and may take one step more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadConfig(Config):
    """Options of ``PackedIterableDataset``.

    Raises ConfigError, naming the field, the expected values and the given one.
    """

    shuffle: bool | None = option(
        None,
        "Shuffle the rows, in another order in each epoch; of a folder that was packed with balance, the steps, whose "
        "rows stay together. By default, unless the folder was packed with keep_order.",
    )
    seed: int = seed_option("Seed of the shuffle.")
    rank: int | None = option(None, "Number of this process among those that train together, from 0.", low=0)
    world_size: int | None = option(None, "Number of processes that train together.", low=1)
    remainder: str = option(
        Remainder.SKIP.value,
        "Rows that are over when each rank has equally many: skip them, so that all ranks take equally many steps, or "
        "keep them.",
        choices=Remainder,
    )
    interleave: bool | None = option(
        None,
        "Ranks, and the workers of each, take rows in turn, so that those of a step are neighbours in the order; else "
        "each takes a contiguous part. By default, where neighbours belong together: without shuffle, and if the "
        "folder was packed with balance. Each process then reads every shard.",
    )

    def check_rules(self) -> None:
        """Check the rules between fields."""
        if (self.rank is None) != (self.world_size is None):
            raise ConfigError("rank, world_size: expected both or none")
        if self.rank is not None and self.world_size is not None and self.rank >= self.world_size:
            raise ConfigError(f"rank: expected a number below world_size, {self.world_size}; got {self.rank}")


class PackedIterableDataset(IterableDataset[dict[str, Any]]):
    """The rows of a packed folder as a stream: each once in an epoch, over all ranks and workers of a DataLoader.

    An iteration is an epoch, and the next one has another order. The order depends on the folder, the seed and the
    epoch alone. Ranks get equal parts of it (see ``remainder`` and ``interleave``), and their workers equal parts of
    these.

    A folder that was packed with ``balance`` is read step by step: the ranks read the rows of a step at the same time,
    and the steps are shuffled. The rows that make no whole step come last in each epoch. Rows that were packed with
    ``keep_order`` keep their order. A warning says if ``balance`` is no multiple of ``world_size``.

    Arrow shards are memory-mapped, and shuffled row by row. Other formats are shuffled shard by shard, and the rows
    within each; one shard at a time is in memory.

    ``state_dict`` is exact to the row. In a DataLoader without workers it is the state after the rows that the loop has
    received; with workers, which hold copies, use torchdata's StatefulDataLoader, and call ``set_epoch`` before each
    epoch.

    Args:
        folder: The packed folder.
        config: The options; by default ``ReadConfig()``.
        columns: The columns of a row; by default all.
        store: The place of the token store of an index, if it was moved; see ``PackedFolder``.
        options: Fields of ReadConfig; they override ``config``.

    Raises ShardError for a folder that is not complete; ConfigError for a column that it lacks, and where several
    processes train together but ``rank`` is not given.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        config: ReadConfig | None = None,
        *,
        columns: Sequence[str] | None = None,
        store: Stores | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        self.config = ReadConfig.given(config, **options)
        if self.config.rank is None and _is_distributed():
            raise ConfigError(
                "rank: expected rank and world_size, because several processes train together; give rank=0 and "
                "world_size=1 where the trainer itself divides the rows"
            )
        self._reader = RowReader(folder, columns, store)
        packed = self._reader.folder.manifest.config
        keeps_order = packed["strategy"] == Strategy.KEEP_ORDER
        self._step_rows: int = 1 if keeps_order else packed.get("balance") or 1
        self._shuffle = not keeps_order if self.config.shuffle is None else self.config.shuffle
        neighbours = self._step_rows > 1 or not self._shuffle
        self._interleave = neighbours if self.config.interleave is None else self.config.interleave
        if self._step_rows > 1 and self._step_rows % self._ranks:
            warnings.warn(
                f"world_size: expected a divisor of {self._step_rows}, the --balance of {self._reader.folder.folder}; "
                f"got {self._ranks}: rows of a step do not cost alike; pack with --balance {self._ranks}",
                stacklevel=2,
            )
        self._epoch = 0
        self._done = 0  # rows of this epoch that the current iteration has yielded
        self._resume_at = 0
        self._has_ended = False  # the last iteration, and no other has begun

    @property
    def epoch(self) -> int:
        """Number of the epoch that is or will be read, from 0."""
        return self._epoch

    def set_epoch(self, epoch: int) -> None:
        """Begin another epoch with the next iteration. The current one goes on where a loaded state has left it."""
        if epoch != self._epoch:
            self._epoch, self._done, self._resume_at, self._has_ended = epoch, 0, 0, False

    def __len__(self) -> int:
        """Return the rows of this rank in an epoch."""
        return len(self._of_rank())

    def __iter__(self) -> Iterator[dict[str, Any]]:
        self._has_ended = False
        return self._rows()

    def _rows(self) -> Iterator[dict[str, Any]]:
        self._done, self._resume_at = self._resume_at, 0
        share = self._share()
        order = RowOrder(
            self._reader.shard_rows,
            is_mapped=self._reader.is_mapped,
            seed=self.config.seed,
            epoch=self._epoch,
            shuffle=self._shuffle,
            step_rows=self._step_rows,
        )
        for number in order.numbers(share[self._done :]):
            row = self._reader.row(number)
            self._done += 1  # before the row is given away: the loop may ask for the state now
            yield row
        self._epoch, self._done, self._has_ended = self._epoch + 1, 0, True

    def state_dict(self) -> dict[str, Any]:
        """Return the place of the current iteration: plain values, to be saved with a checkpoint.

        After an epoch, this is the beginning of the next one; but the end of the epoch in a worker of a DataLoader,
        which must give no further row while others finish.
        """
        epoch, rows = self._epoch, self._done or self._resume_at
        if self._has_ended and get_worker_info() is not None:
            epoch, rows = epoch - 1, len(self._share())
        return {"epoch": epoch, "rows": rows, **self._identity()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on, with the next iteration, after the rows that had been read.

        Raises DataError if the state is that of another folder, order, rank or worker, or none.
        """
        found = checked_state(state, self._identity(), ["epoch", "rows"], added=_ADDED, remedies=_REMEDIES)
        self._epoch, self._done, self._resume_at, self._has_ended = found["epoch"], 0, found["rows"], False

    def _identity(self) -> dict[str, Any]:
        """Return what the order of the rows depends on."""
        manifest = self._reader.folder.manifest.to_dict()
        worker, workers = this_worker()
        return {
            "folder": manifest.get("digest", ""),
            "seed": self.config.seed,
            "shuffle": self._shuffle,
            "remainder": self.config.remainder,
            "interleave": self._interleave and (self._ranks > 1 or workers > 1),  # else the order is the same
            "balance": self._step_rows,
            "rank": [self._rank, self._ranks],
            "worker": [worker, workers],
        }

    @property
    def _rank(self) -> int:
        return self.config.rank or 0

    @property
    def _ranks(self) -> int:
        return self.config.world_size or 1

    def _of_rank(self) -> range:
        """Return the places of this rank in the order."""
        rows = sum(self._reader.shard_rows)
        if self.config.remainder == Remainder.SKIP:
            rows -= rows % self._ranks
        return self._part(range(rows), self._rank, self._ranks)

    def _share(self) -> range:
        """Return the places of this worker of the rank."""
        return self._part(self._of_rank(), *this_worker())

    def _part(self, places: range, number: int, parts: int) -> range:
        return places[number::parts] if self._interleave else part(places, number, parts)


def this_worker() -> tuple[int, int]:
    """Return the number of this worker of a DataLoader, and the number of its workers."""
    worker = get_worker_info()
    return (0, 1) if worker is None else (worker.id, worker.num_workers)


def _is_distributed() -> bool:
    distributed = torch.distributed
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1
