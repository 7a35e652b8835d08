"""Indexed rows: a plan whose segments refer to the documents of a token store or a blend, and the rows that it means.

A blend is drawn again when its index is opened, so that an index of a blend is that of a store.
"""

from typing import Any

import numpy as np
import pyarrow as pa

from seampack.errors import ShardError
from seampack.io.arrow import arrow_of
from seampack.io.places import Place
from seampack.io.ragged import offsets_of
from seampack.packer.column_types import carried_types, kept_types, pad_of
from seampack.packer.gather import gather
from seampack.packer.manifest import Manifest
from seampack.packer.noted_stores import Stores, noted_stores
from seampack.packer.plans import Int32, Int64, PackPlan, Pieces
from seampack.packer.rows import list_lengths
from seampack.packer.store_files import NAMES
from seampack.packer.windows import Parts

_COLUMNS = {
    "documents": pa.int64(),
    "starts": pa.int64(),
    "lengths": pa.int32(),
    "repeated": pa.int32(),
    "keeps_end": pa.bool_(),
}
"""Columns of an index, with a value for each segment: number of the document in the store, first token, tokens, tokens
that another row has too, and whether the last token is the last of the document in place of a dropped one."""


def index_of(plan: PackPlan, parts: Parts) -> pa.RecordBatch:
    """Return the rows of a window as an index."""
    counts = np.diff(plan.row_offsets)[plan.row_order]
    offsets = offsets_of(counts)
    segment = np.repeat(plan.row_offsets[plan.row_order] - offsets[:-1], counts) + np.arange(offsets[-1])
    doc, start = plan.doc[segment], plan.start[segment]
    values = (
        parts.document[doc],
        parts.base[doc] + start,
        plan.length[segment],
        plan.repeated[segment],
        plan.kept_ends()[segment],
    )
    bounds = arrow_of(offsets.astype(np.int32))
    lists = (pa.ListArray.from_arrays(bounds, arrow_of(column)) for column in values)
    return pa.record_batch(dict(zip(_COLUMNS, lists, strict=True)))


class IndexedRows:
    """The rows of a packed folder that has only an index, of a token store or of a blend of several.

    Raises ShardError if a store is missing or damaged, or is not the one that was packed.
    """

    def __init__(self, folder: Place, manifest: Manifest, store: Stores | None = None) -> None:
        self.store = noted_stores(folder, manifest, store)
        self._manifest = manifest
        self._carried, self._kept = carried_types(manifest.config), kept_types(manifest.config)
        pads = {name: pad_of(name) for name in self._carried}
        pad = manifest.tokenizer.pad_id
        self._pads = None if pad is None else {"input_ids": pad, **pads}

    def rows(self, index: pa.Table, path: Place) -> pa.Table:
        """Return the rows that an index means. Raise ShardError if it is damaged, or does not fit the store."""
        try:
            index.validate(full=True)
        except pa.ArrowException as error:
            raise ShardError(f"{path}: the shard is damaged: {error}; pack again") from error
        schema = pa.schema({name: pa.list_(kind) for name, kind in _COLUMNS.items()})
        if not index.schema.equals(schema) or any(column.null_count for column in index.columns):
            raise ShardError(f"{path}: expected the columns {', '.join(_COLUMNS)} of an index; pack again")
        counts = list_lengths(index, "documents")
        if any(not np.array_equal(counts, list_lengths(index, name)) for name in _COLUMNS):
            raise ShardError(f"{path}: expected a value of each column for each segment; pack again")
        documents, start, length, repeated, keeps_end = (_values(index, name) for name in _COLUMNS)
        numbers, doc = np.unique(documents, return_inverse=True)
        tokens, fields = self.store.documents(numbers)
        whole = tokens["input_ids"].lengths
        wrong = (start < 0) | (length < 1) | (repeated < 0) | (repeated > length) | (start + length > whole[doc])
        if wrong.any():
            segment = int(np.argmax(wrong))
            raise ShardError(
                f"{path}: segment {segment}: expected tokens of document {documents[segment]}, which has "
                f"{whole[doc[segment]]}; got {start[segment]} to {start[segment] + length[segment]}; pack again"
            )
        plan = _plan(self._manifest, whole, counts, doc, start, length, repeated, keeps_end)
        return pa.Table.from_batches(
            list(
                gather(
                    {name: tokens[name] for name in ("input_ids", *self._carried)},
                    plan,
                    doc_ids=fields.get(NAMES, numbers),
                    pads=self._pads,
                    labels=bool(self._manifest.config["labels"]),
                    fields={name: fields[name] for name in self._kept},
                )
            )
        )


def _values(index: pa.Table, name: str) -> Any:
    return np.concatenate(
        [np.empty(0, _COLUMNS[name].to_pandas_dtype())]
        + [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in index[name].chunks]
    )


def _plan(
    manifest: Manifest,
    lengths: Int64,
    counts: Int64,
    doc: Int64,
    start: Int64,
    length: Int32,
    repeated: Int32,
    keeps_end: Any,
) -> PackPlan:
    """Return the plan of an index, in which documents are numbered by their place in ``lengths``."""
    ends = np.flatnonzero(keeps_end)
    first = start[ends] + length[ends] - 1
    dropped = (doc[ends], first, lengths[doc[ends]] - first - 1)
    return PackPlan(
        manifest.accounting.seq_len,
        lengths.astype(np.int32),
        offsets_of(counts),
        doc.astype(np.int32),
        start.astype(np.int32),
        length,
        repeated,
        np.arange(counts.size, dtype=np.int32),
        dropped=Pieces(*(column.astype(np.int32) for column in dropped)),
        pad_to_multiple=manifest.config.get("pad_to_multiple", 1),
    )
