"""Reading of packed folders: rows, verification, and the original documents."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa

from seampack.errors import ConfigError, ShardError
from seampack.io.places import Place, on_disk, place_of
from seampack.io.ragged import offsets_of
from seampack.packer.column_types import ADDED_COLUMNS
from seampack.packer.entries import Shard
from seampack.packer.formats.registry import OutputFormat
from seampack.packer.indexed import IndexedRows
from seampack.packer.manifest import Manifest, is_manifest
from seampack.packer.names import MANIFEST
from seampack.packer.noted_stores import Stores
from seampack.packer.plan_config import LINEAR_COST
from seampack.packer.plans import imbalance, row_costs
from seampack.packer.rows import list_lengths, segment_lengths
from seampack.packer.segments import SegmentIndex, index_segments
from seampack.packer.store_manifest import MARKER
from seampack.packer.verification import check_columns, check_size, verify_files, verify_rows

_COLUMNS = ("input_ids", *ADDED_COLUMNS)
_UNFINISHED = re.compile(r"\.([0-9]+)\.partial")
"""The name of a hidden folder with the rows of one length, while it is packed."""


class PackedFolder:
    """A folder that ``pack`` completed, local or at an address such as ``s3://bucket/folder``.

    Of a remote folder, shards are copied into temporary files as they are needed. Of an index, the rows are made from
    its token store, which is at ``store`` if it was moved; of a blend, ``store`` has the places of moved ones by name.

    Raises ShardError if the manifest is missing (the run that wrote the folder did not finish) or damaged, or if a
    shard that it lists is missing; ConfigError for a ``store`` of a folder that has its rows.
    """

    def __init__(self, folder: str | os.PathLike[str], store: Stores | None = None) -> None:
        self.folder = place_of(folder)
        if not self.folder.is_dir():
            unfinished = self.folder.parent / f".{self.folder.name}.partial"
            left = f"; a run that did not finish is in {unfinished}" if unfinished.is_dir() else ""
            raise ShardError(f"{self.folder}: no such folder{left}")
        present = {entry.name for entry in self.folder.iterdir() if entry.is_file()}
        if MARKER in present and MANIFEST not in present:
            raise ShardError(f"{self.folder}: a token store, not packed rows; pack it with: seampack pack")
        if MANIFEST not in present and (inside := folders_inside(self.folder)):
            names = ", ".join(each.name for each in inside)
            raise ShardError(f"{self.folder}: no {MANIFEST}, but packed folders: {names}; name one of them")
        self.manifest = Manifest.read(self.folder / MANIFEST)
        self.shards = self.manifest.shards
        for shard in self.shards:
            for file in shard.files:
                if file.file not in present:
                    raise ShardError(f"{self.folder / file.file}: the shard is missing; pack again")
        is_index = self.manifest.config["output_format"] == OutputFormat.INDEX
        if store is not None and not is_index:
            raise ConfigError(f"store: {self.folder} is no index: it has its rows, and needs no token store; omit it")
        self._indexed = IndexedRows(self.folder, self.manifest, store) if is_index else None

    @property
    def rows(self) -> int:
        """Number of rows."""
        return sum(shard.rows for shard in self.shards)

    def tables(self) -> Iterator[pa.Table]:
        """Return the shards in order, memory-mapped if the format allows it. Raise ShardError for a damaged shard."""
        return map(self._table, self.shards)

    def table(self, number: int) -> pa.Table:
        """Return the rows of one shard; see ``tables``."""
        return self._table(self.shards[number])

    def _table(self, shard: Shard, row: int | None = None) -> pa.Table:
        """Return the rows of a shard, or one of them."""
        path = self.folder / shard.file
        output_format = OutputFormat(self.manifest.config["output_format"])
        with _reading(path, shard, f"rows in the format {output_format}"):
            with on_disk(path, *(self.folder / part.file for part in shard.parts)) as local:
                table: pa.Table = output_format.load().read(local)
            names = table.column_names
        if table.num_rows != shard.rows:
            raise ShardError(f"{path}: expected {shard.rows} rows; got {table.num_rows}")
        if row is not None:
            table = table.slice(row, 1)
        if self._indexed is not None:
            table = self._indexed.rows(table, path)
            names = table.column_names
        if missing := [name for name in _COLUMNS if name not in names]:
            raise ShardError(f"{path}: expected a column {missing[0]}; got {', '.join(names)}")
        return table

    def row(self, index: int) -> dict[str, Any]:
        """Return one row as Python values; only its shard is opened. Raise ShardError for an index out of range."""
        position = index
        for shard in self.shards:
            if 0 <= position < shard.rows:
                path = self.folder / shard.file
                table = self._table(shard, position)
                check_columns(table, path, self.manifest)
                with _reading(path, shard, f"a row {index}"):
                    table.validate(full=True)
                    row: dict[str, Any] = table.to_pylist()[0]
                return row
            position -= shard.rows
        if not self.rows:
            raise ShardError(f"{self.folder}: expected no index, because the folder has no rows; got {index}")
        raise ShardError(f"{self.folder}: expected a row from 0 to {self.rows - 1}; got {index}")

    def verify_store(self) -> None:
        """Compare the token stores of an index with their checksums. Raise ShardError for another."""
        if self._indexed is not None:
            self._indexed.store.verify()

    def verify(self) -> None:
        """Check every file of the folder against the manifest, and the manifest against the rows.

        Raises ShardError at the first difference. Folders of format version 1 have checksums of the shards only.
        """
        verify_files(self.folder, self.manifest)
        self.verify_store()
        verify_rows(self.folder, self.manifest, self.tables())

    def imbalance(self) -> float | None:
        """Return what the ranks of ``balance`` wait for each other; see ``PackPlan.imbalance``. All rows are read.

        None for rows that were packed without ``balance``, or that make no step.
        """
        config = self.manifest.config
        if (ranks := config.get("balance")) is None:
            return None
        costs = [np.empty(0, np.int64)]
        for table in self.tables():
            row_offsets = offsets_of(list_lengths(table, "doc_ids"))
            costs.append(row_costs(row_offsets, segment_lengths(table), config.get("linear_cost", LINEAR_COST)))
        return imbalance(np.concatenate(costs), ranks)

    def segments(self) -> SegmentIndex:
        """Return the index of all segments, document by document.

        Raises ShardError if the segments of a document do not follow each other, or several documents share an id.
        """
        return index_segments(self.folder, self.manifest, self.tables())

    def documents(self) -> Iterator[pa.RecordBatch]:
        """Iterate over the documents of the rows in batches: ``doc_ids``, ``input_ids``, carried and kept columns.

        They are in the order of ``doc_ids``: numbered documents as in the input. Repeated tokens appear once; tokens
        that packing dropped are missing at the end of their document. The memory needed is that of ``segments``.

        Raises ShardError as ``segments`` does.
        """
        return self.segments().documents()

    def unpack(self) -> pa.Table:
        """Return all ``documents`` as a table. All tokens are held in memory."""
        segments = self.segments()
        return pa.Table.from_batches(list(segments.documents()), segments.schema)


def folders_inside(folder: Place) -> list[Place]:
    """Return the folders of a run for several lengths, which are in a folder without a manifest, shortest rows first.

    Those that the run has not finished yet are among them.
    """
    if not folder.is_dir() or (folder / MANIFEST).is_file():
        return []
    names = {entry.name for entry in folder.iterdir() if entry.is_dir()}
    packed = {name for name in names if not name.startswith(".") and is_manifest(folder / name / MANIFEST)}
    unfinished = {found[1] for name in names if (found := _UNFINISHED.fullmatch(name))} if packed else set()
    return [folder / name for name in sorted(packed | unfinished, key=lambda name: (len(name), name))]


@contextmanager
def _reading(path: Place, shard: Shard, expected: str) -> Iterator[None]:
    """Convert the errors of a damaged shard to a ShardError."""
    try:
        yield
    except (OSError, ValueError, LookupError, pa.ArrowException) as error:
        for file in shard.files:
            check_size(path.parent / file.file, file)
        raise ShardError(f"{path}: the shard is damaged: expected {expected}; got other data; pack again") from error
