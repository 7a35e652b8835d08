"""The index of a packed folder: for each document, its segments and the places of their tokens in memory."""

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Self

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


@dataclass(frozen=True, slots=True)
class SegmentIndex:
    """The segments of a folder, document by document in the order of their ids, each in the order of its tokens.

    It takes about 110 bytes of memory per segment, and with an id column the ids too. The tokens stay in the shards,
    which are mapped into memory; those of formats that cannot be are copied into a temporary file.
    """

    ids: pa.ChunkedArray  # of the documents: int64 numbers or names, shape (documents,)
    offsets: Int64  # document d has the segments offsets[d]:offsets[d + 1], shape (documents + 1,)
    start: Int64  # first token within the document, shape (segments,)
    length: Int32  # shape (segments,), tokens
    repeated: Int32  # shape (segments,), tokens at the start that another segment has too
    address: Int64  # of the first token, shape (segments,)
    dtype: np.dtype[Any]
    buffers: list[Any]  # the addresses point into these; kept alive

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
        tokens = pa.large_list(pa.from_numpy_dtype(self.dtype))
        return pa.schema([("doc_ids", self.ids.type), ("input_ids", tokens)])

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
        tokens = gathered(self.address[segments] + repeated.astype(np.int64) * self.dtype.itemsize, new, self.dtype)
        ends = offsets_of(new)[self.offsets[first : last + 1] - segments.start]
        lists = pa.LargeListArray.from_arrays(arrow_of(ends), arrow_of(tokens))
        ids = self.ids.slice(first, last - first).combine_chunks()
        return pa.record_batch([ids, lists], schema=self.schema)


def index_segments(folder: Place, manifest: Manifest, tables: Iterable[pa.Table]) -> SegmentIndex:
    """Return the index of the folder whose shards are ``tables``, read one by one.

    Raises ShardError if the segments of a row contradict its tokens, or those of a document do not follow each other
    from its first token on.
    """
    is_numbered = manifest.config.get("id_column") is None
    dtype = np.dtype(id_type(manifest.tokenizer.vocab_size))
    ids: list[pa.Array] = []
    columns: list[tuple[Int64, Int32, Int32, Int64]] = []
    with _Tokens(dtype, is_mapped=OutputFormat(manifest.config["output_format"]).load().IS_MAPPED) as tokens:
        for shard, table in zip(manifest.shards, tables, strict=True):
            check_segments(table, folder / shard.file, manifest)
            for batch in table.to_batches():
                names = pc.list_flatten(batch.column("doc_ids"))
                ids.append(names.cast(pa.int64() if is_numbered else pa.large_string()))
                columns.append(_columns(pa.Table.from_batches([batch]), tokens.add(batch.column("input_ids"))))
        base, buffers = tokens.mapped()
    names = pa.chunked_array(ids, pa.int64() if is_numbered else pa.large_string())
    empty = (np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.int64))
    start, length, repeated, address = map(np.concatenate, zip(empty, *columns, strict=True))
    columns.clear()  # here and below, memory is freed early: a folder may have billions of segments
    # Sorting by length too puts a segment of repeated tokens alone (length 0) before the next at the same start.
    keys = pa.table({"document": names, "start": start + repeated, "length": length - repeated})
    order = pc.sort_indices(keys, sort_keys=[(name, "ascending") for name in keys.column_names])
    del keys
    names = names.take(order)
    start, length, repeated, address = (column[order.to_numpy()] for column in (start, length, repeated, address))
    changes = pc.not_equal(names[1:], names[:-1]).to_numpy()
    is_first = np.concatenate([np.ones(min(1, len(names)), np.bool_), changes])
    _check_order(folder, names, is_first, start + repeated, length - repeated, is_numbered)
    firsts = np.flatnonzero(is_first)
    offsets = np.append(firsts, len(names))
    return SegmentIndex(names.take(arrow_of(firsts)), offsets, start, length, repeated, address + base, dtype, buffers)


def _columns(rows: pa.Table, address: int) -> tuple[Int64, Int32, Int32, Int64]:
    """Return start, length, repeated tokens and address of each segment of rows whose tokens are at ``address``."""
    itemsize = rows.schema.field("input_ids").type.value_type.bit_width // 8
    lengths, repeated = segment_lengths(rows).astype(np.int32), flat(rows, "repeated").astype(np.int32)
    return flat(rows, "doc_starts"), lengths, repeated, address + segment_starts(rows) * itemsize


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


class _Tokens:
    """The tokens of the rows, batch by batch: where they are if they are mapped, else in a temporary file."""

    def __init__(self, dtype: np.dtype[Any], *, is_mapped: bool) -> None:
        self._dtype = dtype
        self._arrays: list[npt.NDArray[Any]] = []
        self._file: Any = None if is_mapped else tempfile.TemporaryFile()  # noqa: SIM115

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, lists: pa.Array) -> int:
        """Add the tokens of rows. Return the address of the first, relative to the base that ``mapped`` returns."""
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
        mapped = np.memmap(self._file, self._dtype, "r")
        return int(mapped.ctypes.data), [mapped]
