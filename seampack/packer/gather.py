"""Gathering: copy the documents' tokens into packed rows in Arrow, as the plan says."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from seampack.errors import ConfigError, DataError
from seampack.io.arrow import arrow_of
from seampack.io.ragged import offsets_of
from seampack.packer import _copy_kernels as kernels
from seampack.packer.column_types import ADDED_COLUMNS, IGNORE_INDEX, LOSS_MASKS, PADDING
from seampack.packer.plans import PackPlan

_BATCH_TOKENS = 1 << 21

Array = npt.NDArray[Any]


def apply_plan(
    table: pa.Table,
    plan: PackPlan,
    *,
    doc_ids: pa.Array | None = None,
    pads: Mapping[str, int] | None = None,
    labels: bool = False,
    fields: Mapping[str, pa.Array] | None = None,
) -> pa.Table:
    """Pack the list columns of a table; row ``d`` of the table is document ``d`` of the plan.

    Args:
        table: List columns with the plan's lengths (``input_ids``, ``attention_mask``, ``labels``, ...).
        plan: The rows.
        doc_ids: The id of each document; by default its number.
        pads: Padding value of each column, which fills rows up to ``seq_len``; for columns that are not named 0, for
            ``labels`` -100. By default rows are not padded, and rows that are not full are shorter.
        labels: Whether to add ``labels``: the ids as int32, with -100 for repeated tokens and padding. If the table has
            a column ``labels``, that column is masked instead. Repeated tokens are 0 in ``loss_mask``,
            ``completion_mask`` and ``assistant_masks``.
        fields: Arrays with one value for each document; the rows have the value of each segment's document.

    Added columns, with one value per segment:
        seq_lengths: Number of tokens. In a padded row, the padding is one more entry at the end, so that the lengths
            of a row always add up to its tokens.
        doc_ids: Id of the document.
        doc_starts: Index of the first token within the document.
        repeated: Number of leading tokens that also appear in another row.
        padding: Only with ``pad_to_multiple``: padding after the tokens, which is counted in ``seq_lengths``.

    >>> packed = apply_plan(pa.table({"input_ids": [[1, 2, 3], [4, 5]]}), plan([3, 2], seq_len=5, shuffle=False))
    >>> packed["input_ids"].to_pylist(), packed["seq_lengths"].to_pylist()
    ([[1, 2, 3, 4, 5]], [[3, 2]])

    Raises DataError for a column that is not a list column, or whose lengths differ from the plan's.
    """
    if not table.num_columns:
        raise DataError("the table has no column to pack")
    fields = fields or {}
    names = [*table.column_names, *fields]
    added = (*ADDED_COLUMNS, PADDING)
    if taken := [name for name in names if name in added or (labels and name == "labels" and name in fields)]:
        raise DataError(f"column '{taken[0]}': packing adds a column of this name; rename or drop yours")
    if twice := [name for name in fields if name in table.column_names]:
        raise DataError(f"fields: expected other names than those of the table; got '{twice[0]}'")
    if doc_ids is not None and len(doc_ids) != plan.lengths.size:
        raise DataError(f"doc_ids: expected one id for each of {plan.lengths.size:,} documents; got {len(doc_ids):,}")
    for name, values in fields.items():
        if len(values) != plan.lengths.size:
            raise DataError(
                f"fields: expected a value of '{name}' for each of {plan.lengths.size:,} documents; got {len(values):,}"
            )
    named = [*table.column_names, *(["labels"] if labels else [])]
    if unknown := [name for name in pads or () if name not in named]:
        raise ConfigError(f"pads: no column {unknown[0]!r} to pad; expected some of {', '.join(named)}")
    columns = {name: Ragged.of_column(table[name], name) for name in table.column_names}
    for name, column in columns.items():
        if not np.array_equal(column.lengths, plan.lengths):
            raise DataError(
                f"column '{name}': expected lists with the {plan.lengths.size:,} lengths of the plan; "
                f"got {column.lengths.size:,} lists with other lengths"
            )
    return pa.Table.from_batches(list(gather(columns, plan, doc_ids=doc_ids, pads=pads, labels=labels, fields=fields)))


@dataclass(frozen=True, slots=True)
class Ragged:
    """The lists of a column by their addresses in memory; no value is copied."""

    addresses: npt.NDArray[np.int64]  # of each list's first value, shape (documents,)
    lengths: npt.NDArray[np.int64]  # shape (documents,)
    dtype: np.dtype[Any]
    buffers: list[Array]  # the addresses point into these; kept alive

    @classmethod
    def of_values(cls, values: Array, offsets: npt.NDArray[np.int64]) -> "Ragged":
        """Return the lists ``values[offsets[d]:offsets[d + 1]]`` of an array."""
        if offsets.size and not 0 <= offsets[0] <= offsets[-1] <= values.size:
            raise DataError(f"offsets: expected values from 0 to {values.size}; got {offsets[0]} to {offsets[-1]}")
        values = np.ascontiguousarray(values)
        addresses = values.ctypes.data + offsets[:-1] * values.itemsize
        return cls(addresses, np.diff(offsets), values.dtype, [values])

    @classmethod
    def of_column(cls, column: pa.ChunkedArray, name: str) -> "Ragged":
        """Return the lists of a table's column. Raise DataError unless it has lists of numbers without nulls."""
        kind = column.type
        if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
            raise DataError(f"column '{name}': expected lists; got {kind}")
        item = kind.value_type
        if not (pa.types.is_integer(item) or pa.types.is_floating(item) or pa.types.is_boolean(item)):
            raise DataError(f"column '{name}': expected lists of numbers; got {kind}")
        import pyarrow.compute as pc  # slow, and the other ways to make lists do not need it

        if column.null_count:
            raise DataError(f"column '{name}': expected a list in every row; got {column.null_count} nulls")
        parts = []
        for chunk in column.chunks:
            values = chunk.flatten()
            if values.null_count:
                raise DataError(f"column '{name}': expected numbers; got a null")
            offsets = offsets_of(pc.list_value_length(chunk).to_numpy(zero_copy_only=False))
            parts.append(cls.of_values(values.to_numpy(zero_copy_only=False), offsets))
        return cls.joined(parts, np.dtype(kind.value_type.to_pandas_dtype()))

    def taken(self, places: npt.NDArray[np.int64]) -> "Ragged":
        """Return the lists at some places."""
        return Ragged(self.addresses[places], self.lengths[places], self.dtype, self.buffers)

    @classmethod
    def joined(cls, parts: Sequence["Ragged"], dtype: np.dtype[Any]) -> "Ragged":
        """Return the lists of all parts, whose values have one type."""
        empty = np.empty(0, np.int64)
        return cls(
            np.concatenate([empty, *(part.addresses for part in parts)]),
            np.concatenate([empty, *(part.lengths for part in parts)]),
            dtype,
            [buffer for part in parts for buffer in part.buffers],
        )


def gather(
    columns: Mapping[str, Ragged],
    plan: PackPlan,
    *,
    doc_ids: pa.Array | Array | None = None,
    bases: npt.NDArray[np.int64] | None = None,
    pads: Mapping[str, int] | None = None,
    labels: bool = False,
    fields: Mapping[str, pa.Array] | None = None,
) -> Iterator[pa.RecordBatch]:
    """Yield the packed rows in record batches of about two million tokens; see ``apply_plan``.

    ``columns`` has the documents of the plan, and ``fields`` a value for each. ``bases[d]`` is added to the
    ``doc_starts`` of document ``d``.
    """
    if labels and "input_ids" not in columns:
        raise ConfigError(f"labels: expected a column 'input_ids' to make them from; got {', '.join(columns)}")
    if pads is None and plan.pad_to_multiple > 1:
        raise ConfigError(
            f"pads: expected values to pad with, because of pad_to_multiple={plan.pad_to_multiple}, "
            "such as {'input_ids': 0, 'labels': -100}"
        )
    for name, column in columns.items():
        is_masked = labels and name in ("input_ids", "labels")
        _check_values(name, column.dtype, 0 if pads is None else _pad(name, pads, is_masked), is_masked)
    kept_ends = plan.kept_ends() if plan.dropped.document.size else None
    step = max(1, _BATCH_TOKENS // plan.seq_len)
    for first in range(0, max(plan.rows, 1), step):  # a plan without rows gives one empty batch, for the schema
        rows = plan.row_order[first : first + step]
        yield _batch(columns, plan, rows, kept_ends, doc_ids, bases, pads, labels, fields or {})


def _batch(
    columns: Mapping[str, Ragged],
    plan: PackPlan,
    rows: npt.NDArray[np.int32],
    kept_ends: npt.NDArray[np.bool_] | None,
    doc_ids: pa.Array | Array | None,
    bases: npt.NDArray[np.int64] | None,
    pads: Mapping[str, int] | None,
    labels: bool,
    fields: Mapping[str, pa.Array],
) -> pa.RecordBatch:
    counts = np.diff(plan.row_offsets)[rows]
    row_offsets = offsets_of(counts)
    segment = np.repeat(plan.row_offsets[rows] - row_offsets[:-1], counts) + np.arange(row_offsets[-1])
    doc, start, length, repeated = (column[segment] for column in (plan.doc, plan.start, plan.length, plan.repeated))

    space = length + -length % np.int32(plan.pad_to_multiple)
    bounds = offsets_of(space)
    row_ends = bounds[row_offsets]
    targets = bounds[:-1]
    ends = np.empty(0, np.int64) if kept_ends is None else np.flatnonzero(kept_ends[segment])
    row_gaps = gap_starts = gap_lengths = np.empty(0, np.int64)
    if pads is not None:
        shift = np.arange(rows.size) * plan.seq_len - row_ends[:-1]
        targets = targets + np.repeat(shift, counts)
        row_gaps = plan.seq_len - np.diff(row_ends)
        gap_starts, gap_lengths = row_ends[1:] + shift, row_gaps
        if plan.pad_to_multiple > 1:
            gap_starts = np.concatenate([gap_starts, targets + length])
            gap_lengths = np.concatenate([gap_lengths, space - length])
        row_ends = np.arange(rows.size + 1) * plan.seq_len

    packed: dict[str, pa.Array] = {}
    total = int(row_ends[-1])
    for name, column in columns.items():
        out = np.empty(total, column.dtype)
        addresses = column.addresses[doc] + start.astype(np.int64) * column.dtype.itemsize
        kernels.copy_segments(addresses, length, targets, column.dtype.itemsize, out.ctypes.data)
        if ends.size:
            last = column.addresses[doc[ends]] + (column.lengths[doc[ends]] - 1) * column.dtype.itemsize
            ones = np.ones(ends.size, length.dtype)
            kernels.copy_segments(last, ones, targets[ends] + length[ends] - 1, column.dtype.itemsize, out.ctypes.data)
        if pads is not None:
            kernels.mask_segments(gap_starts, gap_lengths, _pad(name, pads, labels), out)
        if labels and name in LOSS_MASKS:
            kernels.mask_segments(targets, repeated, 0, out)
        packed[name] = _rows(out, row_ends, plan.seq_len if pads is not None else None)
    if labels:
        ids = _values(packed.get("labels", packed["input_ids"]))
        if ids.size and int(ids.max()) > np.iinfo(np.int32).max:
            raise DataError(f"labels: expected ids below 2^31; got {ids.max()}")
        out = ids.astype(np.int32)
        kernels.mask_segments(targets, repeated, IGNORE_INDEX, out)
        kernels.mask_segments(gap_starts, gap_lengths, IGNORE_INDEX, out)
        packed["labels"] = _rows(out, row_ends, plan.seq_len if pads is not None else None)
    packed["seq_lengths"] = _rows(*_with_padding(space, row_offsets, row_gaps))
    packed["doc_ids"] = _rows(_names(doc, doc_ids), row_offsets)
    packed["doc_starts"] = _rows(start.astype(np.int64) + (bases[doc] if bases is not None else 0), row_offsets)
    packed["repeated"] = _rows(repeated, row_offsets)
    if plan.pad_to_multiple > 1:
        packed[PADDING] = _rows(space - length, row_offsets)
    for name, values in fields.items():
        packed[name] = _rows(_names(doc, values), row_offsets)
    return pa.record_batch(packed)


def _pad(name: str, pads: Mapping[str, int], is_masked: bool) -> int:
    """Return the padding value of a column; labels that packing masks anyway may be of a type without -100."""
    return pads.get(name, IGNORE_INDEX if name == "labels" and not is_masked else 0)


def _names(doc: npt.NDArray[np.int32], doc_ids: pa.Array | Array | None) -> pa.Array | Array:
    """Return the names of documents, or other values that each has: by default their numbers."""
    if doc_ids is None:
        return doc.astype(np.int64)
    if isinstance(doc_ids, np.ndarray):
        return doc_ids[doc]
    names = doc_ids.take(arrow_of(doc))
    return names.cast(pa.string()) if pa.types.is_large_string(names.type) else names


def _with_padding(
    length: npt.NDArray[np.int32], row_offsets: npt.NDArray[np.int64], row_gaps: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Append the length of its padding to each padded row. Return all lengths and the offsets of the rows."""
    padded = np.flatnonzero(row_gaps)
    if not padded.size:
        return length, row_offsets
    with_padding = np.insert(length, row_offsets[padded + 1], row_gaps[padded])
    return with_padding, row_offsets + offsets_of(row_gaps > 0)


def _check_values(name: str, dtype: np.dtype[Any], pad: int, labelled: bool) -> None:
    """Raise ConfigError if a column's type cannot hold the padding value or labels."""
    if dtype.kind in "iu" and not np.iinfo(dtype).min <= pad <= np.iinfo(dtype).max:
        raise ConfigError(f"pads: expected a value that fits {dtype} for column '{name}'; got {pad}")
    if labelled and dtype.kind not in "iu":
        raise ConfigError(f"labels: expected a column '{name}' of integers; got {dtype}")


def _values(column: pa.Array) -> Array:
    values: Array = column.values.to_numpy()
    return values


def _rows(values: Array | pa.Array, offsets: npt.NDArray[np.int64], width: int | None = None) -> pa.Array:
    """Return a list column; a fixed-size one if all lists have the same ``width``."""
    flat = arrow_of(values) if isinstance(values, np.ndarray) else values
    if width is not None:
        return pa.FixedSizeListArray.from_arrays(flat, width)
    return pa.ListArray.from_arrays(arrow_of(offsets.astype(np.int32)), flat)
