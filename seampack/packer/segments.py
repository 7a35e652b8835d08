"""The index of a packed folder: for each document, its segments and the places of their tokens in memory."""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from seampack.errors import ShardError
from seampack.io.arrow import arrow_of
from seampack.io.output import writing
from seampack.io.places import Place
from seampack.io.ragged import offsets_of
from seampack.packer import _copy_kernels as kernels
from seampack.packer.column_types import carried_types, kept_types
from seampack.packer.columns import field_type
from seampack.packer.documents import id_type
from seampack.packer.formats.registry import OutputFormat
from seampack.packer.manifest import Manifest
from seampack.packer.rows import Int32, Int64, flat, segment_lengths, segment_starts
from seampack.packer.verification import check_segments

_BATCH_TOKENS = 1 << 21


def gathered(addresses: Int64, lengths: Int32, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Copy the tokens at the addresses in memory, one after another."""
    kind = np.dtype(dtype)
    offsets = offsets_of(lengths)
    out = np.empty(int(offsets[-1]), kind)
    kernels.copy_segments(addresses, lengths, offsets[:-1], kind.itemsize, out.ctypes.data)
    return out


class Located(NamedTuple):
    """A column with a value for each token, by the places of the segments in memory."""

    address: Int64  # of each segment's first value, shape (segments,)
    dtype: np.dtype[Any]
    buffers: list[Any]  # the addresses point into these; kept alive

    def values(self, segments: Int64 | slice, skipped: Int32 | int, lengths: Int32) -> npt.NDArray[Any]:
        """Return ``lengths`` values of segments, one segment after another, each after its ``skipped`` first ones."""
        first = self.address[segments] + np.asarray(skipped, np.int64) * self.dtype.itemsize
        return gathered(first, lengths, self.dtype)


@dataclass(frozen=True, slots=True)
class SegmentIndex:
    """The segments of a folder, document by document in the order of their ids, each in the order of its tokens.

    It takes about 110 bytes of memory per segment, 8 more for each carried column, and the ids and kept columns. The
    tokens stay in the shards, which are mapped into memory; those of formats that cannot be are copied into temporary
    files.
    """

    ids: pa.ChunkedArray  # of the documents: int64 numbers or names, shape (documents,)
    offsets: Int64  # document d has the segments offsets[d]:offsets[d + 1], shape (documents + 1,)
    start: Int64  # first token within the document, shape (segments,)
    length: Int32  # shape (segments,), tokens
    repeated: Int32  # shape (segments,), tokens at the start that another segment has too
    columns: dict[str, Located]  # input_ids, and the carried columns
    fields: dict[str, pa.ChunkedArray]  # the kept columns, shapes (documents,)

    @property
    def covered(self) -> Int64:
        """Tokens of each document that are in the rows, shape (documents,)."""
        last = self.offsets[1:] - 1
        return self.start[last] + self.length[last]

    def segments_of(self, documents: Int64) -> tuple[Int64, Int64]:
        """Return the segments of documents, one document after another, and the number of segments of each."""
        counts = np.diff(self.offsets)[documents]
        ends = offsets_of(counts)
        return np.repeat(self.offsets[documents] - ends[:-1], counts) + np.arange(ends[-1]), counts

    @property
    def schema(self) -> pa.Schema:
        """The columns of the batches of ``documents``."""
        lists = [(name, pa.large_list(pa.from_numpy_dtype(each.dtype))) for name, each in self.columns.items()]
        fields = [(name, column.type) for name, column in self.fields.items()]
        return pa.schema([("doc_ids", self.ids.type), *lists, *fields])

    def documents(self) -> Iterator[pa.RecordBatch]:
        """Iterate over the documents in batches of about two million tokens; repeated tokens appear once."""
        ends = np.cumsum(self.covered)
        first = 0
        while first < ends.size:
            limit = (int(ends[first - 1]) if first else 0) + _BATCH_TOKENS
            last = max(first + 1, int(np.searchsorted(ends, limit, side="right")))
            yield self._batch(first, last)
            first = last

    def _batch(self, first: int, last: int) -> pa.RecordBatch:
        segments = slice(int(self.offsets[first]), int(self.offsets[last]))
        repeated = self.repeated[segments]
        new = self.length[segments] - repeated
        ends = arrow_of(offsets_of(new)[self.offsets[first : last + 1] - segments.start])
        lists = [
            pa.LargeListArray.from_arrays(ends, arrow_of(column.values(segments, repeated, new)))
            for column in self.columns.values()
        ]
        each = [column.slice(first, last - first).combine_chunks() for column in (self.ids, *self.fields.values())]
        return pa.record_batch([each[0], *lists, *each[1:]], schema=self.schema)


def index_segments(folder: Place, manifest: Manifest, tables: Iterable[pa.Table]) -> SegmentIndex:
    """Return the index of the folder whose shards are ``tables``, read one by one.

    Raises ShardError if the segments of a row contradict its tokens, or those of a document do not follow each other
    from its first token on.
    """
    is_numbered = manifest.config.get("id_column") is None
    kinds: dict[str, npt.DTypeLike] = {"input_ids": id_type(manifest.tokenizer.vocab_size)}
    kinds |= carried_types(manifest.config)
    field_types = {name: field_type(kind) for name, kind in kept_types(manifest.config).items()}
    ids: list[pa.Array] = []
    fields: dict[str, list[pa.Array]] = {name: [] for name in field_types}
    columns: list[tuple[Int64, Int32, Int32]] = []
    addresses: dict[str, list[Int64]] = {name: [] for name in kinds}
    is_mapped = OutputFormat(manifest.config["output_format"]).load().IS_MAPPED
    with ExitStack() as stack:
        values = {
            name: stack.enter_context(_Values(np.dtype(kind), is_mapped=is_mapped)) for name, kind in kinds.items()
        }
        for shard, table in zip(manifest.shards, tables, strict=True):
            check_segments(table, folder / shard.file, manifest)
            for batch in table.to_batches():
                names = pc.list_flatten(batch.column("doc_ids"))
                ids.append(names.cast(pa.int64() if is_numbered else pa.large_string()))
                for name, kind in field_types.items():
                    fields[name].append(pc.list_flatten(batch.column(name)).cast(kind))
                rows = pa.Table.from_batches([batch])
                starts = segment_starts(rows)
                columns.append(_columns(rows))
                for name, column in values.items():
                    addresses[name].append(column.add(batch.column(name)) + starts * column.dtype.itemsize)
        mapped = {name: column.mapped() for name, column in values.items()}
    names = pa.chunked_array(ids, pa.int64() if is_numbered else pa.large_string())
    empty = (np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0, np.int32))
    start, length, repeated = map(np.concatenate, zip(empty, *columns, strict=True))
    columns.clear()  # here and below, memory is freed early: a folder may have billions of segments
    # Sorting by length too puts a segment of repeated tokens alone (length 0) before the next at the same start.
    keys = pa.table({"document": names, "start": start + repeated, "length": length - repeated})
    order = pc.sort_indices(keys, sort_keys=[(name, "ascending") for name in keys.column_names])
    del keys
    names = names.take(order)
    places = order.to_numpy()
    start, length, repeated = (column[places] for column in (start, length, repeated))
    changes = pc.not_equal(names[1:], names[:-1]).to_numpy()
    is_first = np.concatenate([np.ones(min(1, len(names)), np.bool_), changes])
    _check_order(folder, names, is_first, start + repeated, length - repeated, is_numbered)
    firsts = np.flatnonzero(is_first)
    offsets = np.append(firsts, len(names))
    located = {}
    for name, (base, buffers) in mapped.items():
        address = np.concatenate([np.empty(0, np.int64), *addresses.pop(name)])[places] + base
        located[name] = Located(address, values[name].dtype, buffers)
    chosen = pc.take(order, arrow_of(firsts))
    kept = {name: pa.chunked_array(fields.pop(name), kind).take(chosen) for name, kind in field_types.items()}
    return SegmentIndex(names.take(arrow_of(firsts)), offsets, start, length, repeated, located, kept)


def _columns(rows: pa.Table) -> tuple[Int64, Int32, Int32]:
    """Return start, length and repeated tokens of each segment of some rows."""
    lengths, repeated = segment_lengths(rows).astype(np.int32), flat(rows, "repeated").astype(np.int32)
    return flat(rows, "doc_starts"), lengths, repeated


def _check_order(
    folder: Place, ids: pa.ChunkedArray, is_first: npt.NDArray[np.bool_], starts: Int64, lengths: Int64, numbered: bool
) -> None:
    """Raise ShardError unless each document's sorted segments are consecutive from its first token on."""
    expected = np.where(is_first, 0, np.roll(starts + lengths, 1))
    wrong = np.flatnonzero(starts != expected)
    if wrong.size:
        segment = int(wrong[0])
        several = "several documents share this id; pack with an id column of unique ids, or none"
        raise ShardError(
            f"{folder}: document {ids[segment].as_py()!r}: expected a segment from token {expected[segment]}; "
            f"got one from {starts[segment]}: {'a segment is missing or there twice; pack again' * numbered}"
            f"{several * (not numbered)}"
        )


class _Values:
    """The values of a column of the rows, batch by batch: where they are if mapped, else in a temporary file."""

    def __init__(self, dtype: np.dtype[Any], *, is_mapped: bool) -> None:
        self.dtype = dtype
        self._arrays: list[npt.NDArray[Any]] = []
        self._file: Any = None if is_mapped else tempfile.TemporaryFile()  # noqa: SIM115

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, lists: pa.Array) -> int:
        """Add the values of rows. Return the address of the first, relative to the base that ``mapped`` returns."""
        tokens = lists.flatten().to_numpy()
        if self._file is None:
            self._arrays.append(tokens)
            return int(tokens.ctypes.data)
        with writing(tempfile.gettempdir()):
            position: int = self._file.tell()
            self._file.write(tokens)
        return position

    def mapped(self) -> tuple[int, list[Any]]:
        """Return the base of the addresses, and the buffers that must be kept alive."""
        if self._file is None:
            return 0, self._arrays
        with writing(tempfile.gettempdir()):
            self._file.flush()
        if not self._file.tell():
            return 0, []
        mapped = np.memmap(self._file, self.dtype, "r")
        return int(mapped.ctypes.data), [mapped]
