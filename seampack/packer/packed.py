"""Reading packed folders back: open, show, verify, unpack."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from seampack.errors import ShardError
from seampack.packer.config import OutputFormat
from seampack.packer.shards import FORMAT_VERSION, MANIFEST, checksum


class PackedFolder:
    """A folder that ``pack`` completed.

    Raises ShardError when it has no manifest (then the run that wrote it did not finish), or lists missing files.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        path = self.folder / MANIFEST
        if not self.folder.is_dir():
            raise ShardError(f"{self.folder}: no such folder")
        if not path.is_file():
            raise ShardError(f"{self.folder}: no {MANIFEST}: no packed folder, or a run that did not finish")
        try:
            self.manifest: dict[str, Any] = json.loads(path.read_text("utf-8"))
            version = self.manifest["format_version"]
            if version != FORMAT_VERSION:
                raise ShardError(f"{path}: format version {version}; this program reads version {FORMAT_VERSION}")
            self.shards: list[dict[str, Any]] = self.manifest["shards"]
            files = [self.folder / shard["file"] for shard in self.shards]
        except (ValueError, KeyError, TypeError) as error:
            raise ShardError(f"{path}: not a manifest of packed shards: {error!r}") from error
        for file in files:
            if not file.is_file():
                raise ShardError(f"{file}: the shard is missing; pack again")

    @property
    def rows(self) -> int:
        """Number of rows."""
        return sum(shard["rows"] for shard in self.shards)

    def tables(self) -> Iterator[pa.Table]:
        """The shards in order, Arrow ones memory-mapped. Raises ShardError for a damaged one."""
        for shard in self.shards:
            path = self.folder / shard["file"]
            try:
                if self.manifest["config"]["output_format"] == OutputFormat.PARQUET:
                    table = pq.read_table(path)
                else:
                    table = pa.ipc.open_stream(pa.memory_map(str(path))).read_all()
            except (OSError, pa.ArrowException) as error:
                raise ShardError(f"{path}: the shard cannot be read: {' '.join(str(error).split())}") from error
            if table.num_rows != shard["rows"]:
                raise ShardError(f"{path}: expected {shard['rows']} rows; got {table.num_rows}")
            yield table

    def row(self, index: int) -> dict[str, Any]:
        """One row as Python values. Raises ShardError when there is none of that number."""
        at = index
        for shard, table in zip(self.shards, self.tables(), strict=True):
            if 0 <= at < shard["rows"]:
                row: dict[str, Any] = table.slice(at, 1).to_pylist()[0]
                return row
            at -= shard["rows"]
        raise ShardError(f"{self.folder}: expected a row from 0 to {self.rows - 1}; got {index}")

    def verify(self) -> None:
        """Check every shard's size and checksum, and the accounting against what the rows really hold.

        Raises ShardError at the first difference.
        """
        for shard in self.shards:
            path = self.folder / shard["file"]
            size = path.stat().st_size
            if size != shard["bytes"]:
                raise ShardError(f"{path}: expected {shard['bytes']} bytes; got {size}: it is damaged; pack again")
            if checksum(path) != shard["checksum"]:
                raise ShardError(f"{path}: the checksum differs: it is damaged; pack again")
        counted = dict.fromkeys(("rows", "segments", "tokens_out", "repeated"), 0)
        for table in self.tables():
            counted["rows"] += table.num_rows
            counted["segments"] += pc.sum(pc.list_value_length(table["seq_lengths"])).as_py() or 0
            counted["tokens_out"] += pc.sum(pc.list_flatten(table["seq_lengths"])).as_py() or 0
            counted["repeated"] += pc.sum(pc.list_flatten(table["repeated"])).as_py() or 0
        for name, count in counted.items():
            expected = self.manifest["accounting"][name]
            if count != expected:
                raise ShardError(f"{self.folder}: {name}: the manifest says {expected}, the shards hold {count}")

    def unpack(self) -> pa.Table:
        """The documents that the rows were made of: columns ``doc_ids`` and ``input_ids``, in the order of ``doc_ids``.

        Repeated tokens appear once; what was dropped in packing is missing at a document's end. Holds all tokens in
        memory.
        """
        parts = [_segments(table) for table in self.tables()]
        ids = pa.concat_arrays([part[0] for part in parts])
        starts, lengths = (np.concatenate([part[k] for part in parts]) for k in (1, 2))
        tokens = np.concatenate([part[4] for part in parts])
        shifts = np.cumsum([0, *(part[4].size for part in parts)])[:-1]
        sources = np.concatenate([part[3] + shift for part, shift in zip(parts, shifts, strict=True)])
        keys = pa.table({"doc": ids, "start": starts})
        order = pc.sort_indices(keys, sort_keys=[("doc", "ascending"), ("start", "ascending")]).to_numpy()
        sizes = lengths[order]
        ends = np.cumsum(sizes)
        which = np.repeat(sources[order] - (ends - sizes), sizes) + np.arange(sizes.sum())
        sorted_ids = ids.take(pa.array(order))
        changes = pc.not_equal(sorted_ids[1:], sorted_ids[:-1]).to_numpy(zero_copy_only=False)
        first = np.concatenate([[True] if order.size else [], changes]).astype(bool)
        offsets = np.concatenate([(ends - sizes)[first], [int(sizes.sum())]])
        lists = pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), pa.array(tokens[which]))
        return pa.table({"doc_ids": sorted_ids.filter(pa.array(first)), "input_ids": lists})


def _segments(table: pa.Table) -> tuple[pa.Array, Any, Any, Any, Any]:
    """Of a shard: document, start, length and position of what each segment holds for the first time; all tokens."""
    flat = table.combine_chunks()
    seq_lengths, starts, repeated = (
        pc.list_flatten(flat[name]).combine_chunks().to_numpy().astype(np.int64)
        for name in ("seq_lengths", "doc_starts", "repeated")
    )
    ids = pc.list_flatten(flat["doc_ids"]).combine_chunks()
    tokens = pc.list_flatten(flat["input_ids"]).combine_chunks().to_numpy()
    counts = pc.list_value_length(flat["seq_lengths"]).to_numpy()
    row_lengths = pc.list_value_length(flat["input_ids"]).to_numpy().astype(np.int64)
    ends = np.cumsum(seq_lengths)
    first = np.cumsum(counts) - counts
    row_starts = np.cumsum(row_lengths) - row_lengths
    before = ends - seq_lengths  # tokens before a segment where no row is padded
    positions = before + np.repeat(row_starts - before[first], counts)
    return ids, starts + repeated, seq_lengths - repeated, positions + repeated, tokens
