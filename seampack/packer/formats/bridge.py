"""Packed Parquet of Megatron-Bridge: all columns of the rows, and ``loss_mask`` and ``seq_start_id``.

input_ids     5 6 7 8 9     int32
seq_start_id  0     3       int32, of each segment and of the padding
loss_mask     1 1 0 1 0     int8: whether the next token is a label; the last token of a segment precedes none

Megatron-Bridge reads a segment of ``n`` tokens as ``n - 1``, each with its label. So segments that are padded to a
multiple, and the padding of such a row, have one more token, which repeats their last.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from seampack.io.arrow import arrow_of
from seampack.io.ragged import offsets_of, positions_of
from seampack.packer.column_types import IGNORE_INDEX, PADDING
from seampack.packer.formats import parquet
from seampack.packer.formats.columns import Array, lists_of, offsets_in, schema_in, with_schema
from seampack.packer.rows import Int64, flat, list_lengths

IS_MAPPED = False
_MASK, _STARTS = "loss_mask", "seq_start_id"
_TYPES = {"input_ids": pa.list_(pa.int32()), _MASK: pa.list_(pa.int8()), _STARTS: pa.list_(pa.int32())}
_GIVEN = "given_"
"""Prefix of columns of the rows that have a name of the format."""


def _stored(name: str) -> str:
    """Return the name of a column in the file."""
    return _GIVEN + name if name in (_MASK, _STARTS) else name


class Writer(parquet.Writer):
    """Writes rows with the columns that Megatron-Bridge reads."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        others = [field.with_name(_stored(field.name)) for field in schema if field.name != "input_ids"]
        fields = [pa.field(name, kind) for name, kind in _TYPES.items()] + others
        self._schema = with_schema(pa.schema(fields), schema)
        super().__init__(path, self._schema)

    def write_batch(self, batch: pa.RecordBatch) -> None:
        """Append rows."""
        ids, _ = lists_of(batch.column("input_ids"))
        lengths, offsets = lists_of(batch.column("seq_lengths"))
        bounds = offsets_of(lengths)
        mask = _loss_mask(batch, bounds, offsets)
        if PADDING in batch.schema.names:
            ids, mask = (np.insert(each, bounds[1:], each[bounds[1:] - 1]) for each in (ids, mask))
            bounds = offsets_of(lengths + 1)
        starts = bounds[:-1] - np.repeat(bounds[offsets[:-1]], np.diff(offsets))
        columns = {_stored(name): batch.column(name) for name in batch.schema.names}
        columns["input_ids"] = _lists(ids.astype(np.int32), bounds[offsets])
        columns[_MASK] = _lists(mask, bounds[offsets])
        columns[_STARTS] = _lists(starts.astype(np.int32), offsets)
        super().write_batch(pa.record_batch([columns[name] for name in self._schema.names], schema=self._schema))


def _loss_mask(batch: pa.RecordBatch, bounds: Int64, offsets: Int64) -> Array:
    """Return 1 for each token before a label of the same segment.

    Padding is no label, nor are the tokens that a column ``labels`` or ``loss_mask`` of the rows masks. ``bounds`` are
    the bounds of all segments and the padding among the tokens, and ``offsets`` those of the rows among the segments.
    """
    is_padded = np.diff(offsets) > np.diff(offsets_in(batch.column("doc_ids")))
    is_padding = np.zeros(bounds.size - 1, np.bool_)
    is_padding[offsets[1:][is_padded] - 1] = True
    is_label = ~np.repeat(is_padding, np.diff(bounds))
    if PADDING in batch.schema.names:
        padding = np.zeros(bounds.size - 1, np.int64)
        padding[~is_padding] = lists_of(batch.column(PADDING))[0]
        is_label[positions_of(np.diff(bounds)) >= np.repeat(np.diff(bounds) - padding, np.diff(bounds))] = False
    if "labels" in batch.schema.names:
        is_label &= lists_of(batch.column("labels"))[0] != IGNORE_INDEX
    if _MASK in batch.schema.names:
        is_label &= lists_of(batch.column(_MASK))[0] != 0
    mask = np.zeros(is_label.size, np.int8)
    mask[:-1] = is_label[1:]
    mask[bounds[1:] - 1] = 0  # the next token belongs to another document
    return mask


def _without_repeats(table: pa.Table) -> pa.Array:
    """Return the ids without the last of each segment, which repeats the one before. Raise ValueError for others."""
    ids = pc.list_flatten(table["input_ids"]).to_numpy()
    counts = list_lengths(table, "seq_lengths")
    lengths = flat(table, "seq_lengths")
    ends = np.cumsum(lengths + 1) - 1
    sums = np.diff(offsets_of(lengths + 1)[offsets_of(counts)])
    if (lengths < 1).any() or not np.array_equal(sums, list_lengths(table, "input_ids")):
        raise ValueError("input_ids: expected a token more than seq_lengths in each segment")
    return _lists(np.delete(ids, ends), offsets_of(sums - counts))


def _lists(values: Array, offsets: Int64) -> pa.Array:
    return pa.ListArray.from_arrays(arrow_of(offsets.astype(np.int32)), arrow_of(values))


def read(path: Path) -> pa.Table:
    """Return the rows of a shard."""
    table = parquet.read(path)
    schema = schema_in(table.schema)
    if PADDING in schema.names:
        table = table.set_column(table.column_names.index("input_ids"), "input_ids", _without_repeats(table))
    return pa.table([table[_stored(field.name)].cast(field.type) for field in schema], schema=schema)
