"""A map-style dataset over a packed folder, for torch's DataLoader and the trainers that shuffle rows themselves."""

import operator
import os
from collections.abc import Sequence
from typing import Any, SupportsIndex

from seampack.packer.noted_stores import Stores
from seampack.training.reading import RowReader


class PackedDataset:
    """The rows of a packed folder, by index.

    Arrow shards are memory-mapped, and any row is read by itself. Of other formats, one shard at a time is held in
    memory: read them in order, or by ``PackedIterableDataset``, which shuffles shard by shard.

    A row is a mapping of the folder's columns, or of the chosen ``columns``. Lists of numbers are arrays, int64 if they
    are integers. Processes that get a copy open the folder again. ``store``: see ``PackedFolder``.

    Raises ShardError for a folder that is not complete, ConfigError for a column that it lacks.
    """

    def __init__(
        self, folder: str | os.PathLike[str], *, columns: Sequence[str] | None = None, store: Stores | None = None
    ) -> None:
        self._reader = RowReader(folder, columns, store)
        self._rows = sum(self._reader.shard_rows)

    @property
    def column_names(self) -> list[str]:
        """Names of the columns of a row."""
        return list(self._reader.columns)

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        number = operator.index(index)
        if not -self._rows <= number < self._rows:
            raise IndexError(f"expected a row from 0 to {self._rows - 1}; got {number}")
        return self._reader.row(number % self._rows)

    def __getitems__(self, indices: Sequence[SupportsIndex]) -> list[dict[str, Any]]:
        """Return several rows; each shard is opened once. DataLoader calls this for a batch."""
        places = sorted(range(len(indices)), key=lambda place: operator.index(indices[place]))
        rows = {place: self[indices[place]] for place in places}
        return [rows[place] for place in range(len(indices))]
