"""The columns of the rows of a batch, which are mappings or in Arrow."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from seampack.errors import DataError
from seampack.io.ragged import lengths_of
from seampack.packer.rows import list_lengths

Array = npt.NDArray[Any]
Int64 = npt.NDArray[np.int64]


def row_name(number: int) -> str:
    """Return how messages name a row."""
    return f"row {number} of the batch"


class RowColumns:
    """The columns of rows, each as one flat array and the lengths of the rows' lists."""

    def __init__(self, rows: Any) -> None:
        if not len(rows):
            raise DataError("expected at least one row; got none")
        self._rows = pa.Table.from_batches([rows]) if isinstance(rows, pa.RecordBatch) else rows
        self._names = self._rows.column_names if isinstance(self._rows, pa.Table) else list(rows[0])
        if missing := [name for name in ("input_ids", "seq_lengths") if name not in self._names]:
            raise DataError(
                f"expected rows with a column {missing[0]}; got {', '.join(self._names) or 'no column'}; transformers' "
                "Trainer removes columns unless remove_unused_columns=False"
            )

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def lengths(self, name: str) -> Int64:
        """Return the number of values in each row."""
        return list_lengths(self._rows, name) if isinstance(self._rows, pa.Table) else lengths_of(self._lists(name))

    def values(self, name: str) -> Array:
        """Return all values."""
        if isinstance(self._rows, pa.Table):
            values: Array = pc.list_flatten(self._rows[name]).to_numpy()
            return values
        return np.concatenate([np.asarray(each) for each in self._lists(name)])

    def integers(self, name: str) -> tuple[Int64, Int64]:
        """Return all values, and the number of values in each row."""
        return self.values(name).astype(np.int64), self.lengths(name)

    def per_token(self, name: str, row_lengths: Int64) -> Array:
        """Return the values of a column that has one for each token. Raise DataError if it has not."""
        lengths = self.lengths(name)
        wrong = np.flatnonzero(lengths != row_lengths)
        if wrong.size:
            row = int(wrong[0])
            raise DataError(
                f"{row_name(row)}: {name}: expected a value for each of {row_lengths[row]:,} tokens; "
                f"got {lengths[row]:,}"
            )
        return self.values(name)

    def segments(self, counts: Int64) -> Int64:
        """Return the number of segments of each row, by a column that has no entry for padding; else ``counts``."""
        name = next((name for name in ("repeated", "doc_ids") if name in self), None)
        return counts if name is None else self.lengths(name)

    def _lists(self, name: str) -> list[Any]:
        try:
            return [row[name] for row in self._rows]
        except KeyError as error:
            raise DataError(f"expected a column {name} in each row of the batch, as in the first") from error
