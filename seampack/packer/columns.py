"""Carried and kept columns within a run: the values of added tokens, and the columns of several batches."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from seampack.packer import _copy_kernels as kernels
from seampack.packer.column_types import IGNORE_INDEX, LABELS, KeptType
from seampack.packer.documents import TokenBatch

Array = npt.NDArray[Any]
Int64 = npt.NDArray[np.int64]


def framed_columns(
    columns: Mapping[str, Array], ids: Array, offsets: Int64, framed_ids: Array, ends: Int64
) -> dict[str, Array]:
    """Return the carried columns of documents, of which ``framed_ids`` are the token ids between the added tokens.

    ``ids[offsets[d]:offsets[d + 1]]`` are the ids of document ``d`` before, ``framed_ids[ends[d]:ends[d + 1]]`` after.
    An added token takes the value of its neighbour; but in ``labels`` its own id, unless the neighbour's label is -100.
    """
    added = np.diff(ends) - np.diff(offsets)
    changed = np.flatnonzero(added)
    is_before = np.zeros(added.size, np.bool_)
    # a document with one token more got it before if its first token is another than before, or it has both
    is_before[changed] = (framed_ids[ends[changed]] != ids[offsets[changed]]) | (added[changed] == 2)
    before, after = np.flatnonzero(is_before), np.flatnonzero(added > is_before)
    lengths = np.diff(offsets)
    places = ((ends[before], offsets[before]), (ends[after + 1] - 1, offsets[after + 1] - 1))
    framed = {}
    for name, values in columns.items():
        values = np.ascontiguousarray(values)
        size = values.itemsize
        out = np.empty(framed_ids.size, values.dtype)
        kernels.copy_segments(
            values.ctypes.data + offsets[:-1] * size, lengths, ends[:-1] + is_before, size, out.ctypes.data
        )
        for target, neighbour in places:
            near = values[neighbour]
            out[target] = np.where(near == IGNORE_INDEX, near, framed_ids[target]) if name == LABELS else near
        framed[name] = out
    return framed


def joined_fields(batches: Iterable[Mapping[str, pa.Array]], types: Mapping[str, str]) -> dict[str, pa.Array]:
    """Return the kept columns of several batches, one after another; a batch without documents may lack them."""
    several = list(batches)
    return {
        name: pa.concat_arrays([pa.nulls(0, field_type(kind)), *(batch[name] for batch in several if name in batch)])
        for name, kind in types.items()
    }


def field_type(kind: str) -> pa.DataType:
    """Return the Arrow type in which a run holds a kept column."""
    return pa.large_string() if kind == KeptType.STRING else pa.type_for_alias(kind)


def token_columns(batch: TokenBatch, types: Mapping[str, str]) -> dict[str, Array]:
    """Return the values that a batch has for each token: the ids, and the carried columns."""
    if not batch.ids.size:
        return {"input_ids": batch.ids, **{name: np.empty(0, kind) for name, kind in types.items()}}
    return {"input_ids": batch.ids, **{name: batch.columns[name] for name in types}}
