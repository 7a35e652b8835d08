"""Reading of packed folders: rows, verification, and the original documents."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from seampack.errors import ShardError
from seampack.io.ragged import offsets_of
from seampack.packer.config import OutputFormat
from seampack.packer.gather import ADDED_COLUMNS
from seampack.packer.manifest import MANIFEST, Manifest, Shard
from seampack.packer.rows import Int64, flat, list_lengths, segment_lengths
from seampack.packer.verification import check_columns, check_size, verify_files, verify_rows

_COLUMNS = ("input_ids", *ADDED_COLUMNS)


class PackedFolder:
    """A folder that ``pack`` completed.

    Raises ShardError if the manifest is missing (the run that wrote the folder did not finish) or damaged, or if a
    shard that it lists is missing.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise ShardError(f"{self.folder}: no such folder")
        self.manifest = Manifest.read(self.folder / MANIFEST)
        self.shards = self.manifest.shards
        for shard in self.shards:
            if not (self.folder / shard.file).is_file():
                raise ShardError(f"{self.folder / shard.file}: the shard is missing; pack again")

    @property
    def rows(self) -> int:
        """Number of rows."""
        return sum(shard.rows for shard in self.shards)

    def tables(self) -> Iterator[pa.Table]:
        """Return the shards in order, Arrow shards memory-mapped. Raise ShardError for a damaged shard."""
        return map(self._table, self.shards)

    def _table(self, shard: Shard) -> pa.Table:
        path = self.folder / shard.file
        output_format = self.manifest.config["output_format"]
        with _reading(path, shard, f"rows in the format {output_format}"):
            if output_format == OutputFormat.PARQUET:
                table = pq.read_table(path)
            else:
                table = pa.ipc.open_stream(pa.memory_map(str(path))).read_all()
            names = table.column_names
        if table.num_rows != shard.rows:
            raise ShardError(f"{path}: expected {shard.rows} rows; got {table.num_rows}")
        if missing := [name for name in _COLUMNS if name not in names]:
            raise ShardError(f"{path}: expected a column {missing[0]}; got {', '.join(names)}")
        return table

    def row(self, index: int) -> dict[str, Any]:
        """Return one row as Python values; only its shard is opened. Raise ShardError for an index out of range."""
        position = index
        for shard in self.shards:
            if 0 <= position < shard.rows:
                path = self.folder / shard.file
                table = self._table(shard).slice(position, 1)
                check_columns(table, path, self.manifest)
                with _reading(path, shard, f"a row {index}"):
                    table.validate(full=True)
                    row: dict[str, Any] = table.to_pylist()[0]
                return row
            position -= shard.rows
        if not self.rows:
            raise ShardError(f"{self.folder}: expected no index, because the folder has no rows; got {index}")
        raise ShardError(f"{self.folder}: expected a row from 0 to {self.rows - 1}; got {index}")

    def verify(self) -> None:
        """Check every file of the folder against the manifest, and the manifest against the rows.

        Raises ShardError at the first difference. Folders of format version 1 have checksums of the shards only.
        """
        verify_files(self.folder, self.manifest)
        verify_rows(self.folder, self.manifest, self.tables())

    def unpack(self) -> pa.Table:
        """Return the documents of the rows: columns ``doc_ids`` and ``input_ids``, in the order of ``doc_ids``.

        Repeated tokens appear once; tokens that packing dropped are missing at the end of their document. All tokens
        are held in memory.

        Raises ShardError if several documents share an id, because their segments are then indistinguishable.
        """
        shards = [_segments(table) for table in self.tables()]
        ids = pa.concat_arrays([shard.ids for shard in shards])
        starts = np.concatenate([shard.starts for shard in shards])
        lengths = np.concatenate([shard.lengths for shard in shards])
        tokens = np.concatenate([shard.tokens for shard in shards])
        shard_starts = offsets_of([shard.tokens.size for shard in shards])
        sources = np.concatenate(
            [shard.sources + start for shard, start in zip(shards, shard_starts[:-1], strict=True)]
        )
        # Sorting by length too puts a segment of repeated tokens alone (length 0) before the next at the same start.
        keys = pa.table({"doc": ids, "start": starts, "length": lengths})
        order = pc.sort_indices(keys, sort_keys=[(name, "ascending") for name in keys.column_names]).to_numpy()
        ids, starts, lengths, sources = ids.take(pa.array(order)), starts[order], lengths[order], sources[order]
        changes = pc.not_equal(ids[1:], ids[:-1]).to_numpy(zero_copy_only=False)
        is_first = np.concatenate([[True] if order.size else [], changes]).astype(bool)
        self._check_order(ids, is_first, starts, lengths)
        offsets = offsets_of(lengths)
        token_sources = np.repeat(sources - offsets[:-1], lengths) + np.arange(offsets[-1])
        document_offsets = np.append(offsets[:-1][is_first], offsets[-1])
        documents = pa.LargeListArray.from_arrays(pa.array(document_offsets), pa.array(tokens[token_sources]))
        return pa.table({"doc_ids": ids.filter(pa.array(is_first)), "input_ids": documents})

    def _check_order(self, ids: pa.Array, is_first: npt.NDArray[np.bool_], starts: Int64, lengths: Int64) -> None:
        """Raise ShardError unless each document's sorted segments are consecutive from its first token on."""
        expected = np.where(is_first, 0, np.roll(starts + lengths, 1))
        wrong = np.flatnonzero(starts != expected)
        if wrong.size:
            segment = int(wrong[0])
            raise ShardError(
                f"{self.folder}: document {ids[segment].as_py()!r}: expected a segment from token {expected[segment]}; "
                f"got one from {starts[segment]}: several documents share this id; pack with an id column of unique "
                "ids, or none"
            )


@contextmanager
def _reading(path: Path, shard: Shard, expected: str) -> Iterator[None]:
    """Convert the errors of a damaged shard to a ShardError."""
    try:
        yield
    except (OSError, ValueError, pa.ArrowException) as error:
        check_size(path, shard)
        raise ShardError(f"{path}: the shard is damaged: expected {expected}; got other data; pack again") from error


class _Segments(NamedTuple):
    """The new tokens of each segment of a shard: the tokens after the repeated ones. Shapes (segments,)."""

    ids: pa.Array
    """Id of the document."""
    starts: Int64
    """First token within the document."""
    lengths: Int64
    sources: Int64
    """Index of the first token in ``tokens``."""
    tokens: npt.NDArray[Any]
    """All tokens of the shard, shape (tokens,)."""


def _segments(table: pa.Table) -> _Segments:
    seq_lengths, starts, repeated = segment_lengths(table), flat(table, "doc_starts"), flat(table, "repeated")
    ids = pc.list_flatten(table["doc_ids"]).combine_chunks()
    tokens = pc.list_flatten(table["input_ids"]).combine_chunks().to_numpy()
    counts = list_lengths(table, "doc_ids")
    ends = offsets_of(seq_lengths)
    padding = offsets_of(list_lengths(table, "input_ids"))[:-1] - ends[offsets_of(counts)[:-1]]  # in the preceding rows
    sources = ends[:-1] + np.repeat(padding, counts)
    return _Segments(ids, starts + repeated, seq_lengths - repeated, sources + repeated, tokens)
