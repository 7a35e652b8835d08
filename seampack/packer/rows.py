"""Reading of the columns of packed rows."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Int64 = npt.NDArray[np.int64]


def flat(table: pa.Table, name: str) -> Int64:
    """Return all values of a list column."""
    values: Int64 = pc.list_flatten(table[name]).to_numpy().astype(np.int64)
    return values


def list_lengths(table: pa.Table, name: str) -> Int64:
    """Return the length of each row's list, shape (rows,)."""
    lengths: Int64 = pc.list_value_length(table[name]).to_numpy().astype(np.int64)
    return lengths


def segment_lengths(table: pa.Table) -> Int64:
    """Return the tokens of each segment, shape (segments,), without the padding, the last length of a padded row."""
    lengths, counts = flat(table, "seq_lengths"), list_lengths(table, "seq_lengths")
    is_padded = counts > list_lengths(table, "doc_ids")
    return np.delete(lengths, np.cumsum(counts)[is_padded] - 1)
