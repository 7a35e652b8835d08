"""Reading packed folders back: open, show, verify, unpack."""

import os
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from seampack.errors import SeampackError, ShardError
from seampack.packer.accounting import Accounting
from seampack.packer.config import OutputFormat
from seampack.packer.shards import checksum
from seampack.packer.staging import FORMAT, FORMAT_VERSION, MANIFEST, shard_name

_Count = Annotated[int, msgspec.Meta(ge=0)]
_COUNTS = tuple(field.name for field in fields(Accounting))
_COLUMNS = ("input_ids", "seq_lengths", "doc_ids", "doc_starts", "repeated")


class _Shard(msgspec.Struct):
    file: str
    rows: _Count
    bytes: _Count
    checksum: str


class _Tokenizer(msgspec.Struct):
    name: str
    fingerprint: str
    vocab_size: _Count


class _Config(msgspec.Struct):
    strategy: str
    output_format: OutputFormat
    seq_len: Annotated[int, msgspec.Meta(ge=1)]


_Counts = msgspec.defstruct(
    "_Counts",
    [*((name, _Count) for name in (*_COUNTS, "padding")), ("fill", Annotated[float, msgspec.Meta(ge=0)])],
)
_Manifest = msgspec.defstruct(  # what must stand in a manifest: all that this program reads of it
    "_Manifest",
    [
        ("format_version", int),
        ("seampack_version", str),
        ("tokenizer", _Tokenizer),
        ("config", _Config),
        ("accounting", _Counts),
        ("shards", Annotated[list[_Shard], msgspec.Meta(min_length=1)]),
    ],
)


class PackedFolder:
    """A folder that ``pack`` completed.

    Raises ShardError when it has no manifest (then the run that wrote it did not finish), a damaged one, or one that
    lists missing files.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise ShardError(f"{self.folder}: no such folder")
        self.manifest: dict[str, Any] = _read_manifest(self.folder / MANIFEST)
        self.shards: list[dict[str, Any]] = self.manifest["shards"]
        for shard in self.shards:
            if not (self.folder / shard["file"]).is_file():
                raise ShardError(f"{self.folder / shard['file']}: the shard is missing; pack again")

    @property
    def rows(self) -> int:
        """Number of rows."""
        return sum(shard["rows"] for shard in self.shards)

    def tables(self) -> Iterator[pa.Table]:
        """The shards in order, Arrow ones memory-mapped. Raises ShardError for a damaged one."""
        return map(self._table, self.shards)

    def _table(self, shard: dict[str, Any]) -> pa.Table:
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
        if missing := [name for name in _COLUMNS if name not in table.column_names]:
            raise ShardError(f"{path}: expected a column {missing[0]}; got {', '.join(table.column_names)}")
        return table

    def row(self, index: int) -> dict[str, Any]:
        """One row as Python values; opens its shard alone. Raises ShardError when there is none of that number."""
        at = index
        for shard in self.shards:
            if 0 <= at < shard["rows"]:
                row: dict[str, Any] = self._table(shard).slice(at, 1).to_pylist()[0]
                return row
            at -= shard["rows"]
        if not self.rows:
            raise ShardError(f"{self.folder}: expected rows; the folder has none; got {index}")
        raise ShardError(f"{self.folder}: expected a row from 0 to {self.rows - 1}; got {index}")

    def verify(self) -> None:
        """Check every shard's size and checksum, and the accounting against itself and what the rows really hold.

        Raises ShardError at the first difference.
        """
        for shard in self.shards:
            path = self.folder / shard["file"]
            size = path.stat().st_size
            if size != shard["bytes"]:
                raise ShardError(f"{path}: expected {shard['bytes']} bytes; got {size}: it is damaged; pack again")
            if checksum(path) != shard["checksum"]:
                raise ShardError(f"{path}: the checksum differs: it is damaged; pack again")
        accounting = self._accounting()
        counted = dict.fromkeys(("rows", "segments", "tokens_out", "repeated", "documents"), 0)
        for shard in self.shards:
            table = self._table(shard)
            _check_rows(table, self.folder / shard["file"], accounting.seq_len)
            starts, lengths, repeated = (_flat(table, name) for name in ("doc_starts", "seq_lengths", "repeated"))
            counted["rows"] += table.num_rows
            counted["segments"] += lengths.size
            counted["tokens_out"] += int(lengths.sum())
            counted["repeated"] += int(repeated.sum())
            counted["documents"] += int(np.count_nonzero(starts == 0))  # what is dropped is never a document's begin
        seen = counted.pop("documents")
        if seen > accounting.documents - accounting.empty_documents:
            told = f"{accounting.documents} documents, {accounting.empty_documents} empty"
            raise ShardError(f"{self.folder}: documents: the manifest says {told}; the shards hold {seen}; pack again")
        for name, count in counted.items():
            if count != getattr(accounting, name):
                told = f"{name}: the manifest says {getattr(accounting, name)}, the shards hold {count}"
                raise ShardError(f"{self.folder}: {told}; pack again")

    def _accounting(self) -> Accounting:
        """The manifest's accounting, balanced. Raises ShardError where it contradicts itself."""
        told = self.manifest["accounting"]
        path = self.folder / MANIFEST
        try:
            accounting = Accounting(**{name: told[name] for name in _COUNTS})
        except SeampackError as error:
            raise ShardError(f"{path}: the accounting does not balance: it is damaged; pack again") from error
        follows = {**accounting.to_dict(), "seq_len": self.manifest["config"]["seq_len"]}
        for name, value in follows.items():
            if told[name] != value:
                raise ShardError(f"{path}: accounting: {name}: expected {value}; got {told[name]}; pack again")
        return accounting

    def unpack(self) -> pa.Table:
        """The documents that the rows were made of: columns ``doc_ids`` and ``input_ids``, in the order of ``doc_ids``.

        Repeated tokens appear once; what was dropped in packing is missing at a document's end. Holds all tokens in
        memory.

        Raises ShardError where several documents share an id: their segments cannot be told apart.
        """
        parts = [_segments(table) for table in self.tables()]
        ids = pa.concat_arrays([part[0] for part in parts])
        starts, lengths = (np.concatenate([part[k] for part in parts]) for k in (1, 2))
        tokens = np.concatenate([part[4] for part in parts])
        shifts = np.cumsum([0, *(part[4].size for part in parts)])[:-1]
        sources = np.concatenate([part[3] + shift for part, shift in zip(parts, shifts, strict=True)])
        keys = pa.table({"doc": ids, "start": starts, "length": lengths})  # what is all repeated before what is not
        order = pc.sort_indices(keys, sort_keys=[(name, "ascending") for name in keys.column_names]).to_numpy()
        sizes = lengths[order]
        ends = np.cumsum(sizes)
        which = np.repeat(sources[order] - (ends - sizes), sizes) + np.arange(sizes.sum())
        sorted_ids = ids.take(pa.array(order))
        changes = pc.not_equal(sorted_ids[1:], sorted_ids[:-1]).to_numpy(zero_copy_only=False)
        first = np.concatenate([[True] if order.size else [], changes]).astype(bool)
        self._check_order(sorted_ids, first, starts[order], sizes)
        offsets = np.concatenate([(ends - sizes)[first], [int(sizes.sum())]])
        lists = pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), pa.array(tokens[which]))
        return pa.table({"doc_ids": sorted_ids.filter(pa.array(first)), "input_ids": lists})

    def _check_order(self, ids: pa.Array, first: npt.NDArray[np.bool_], starts: Any, sizes: Any) -> None:
        """Raise ShardError where a document's segments, sorted, do not follow each other from its first token on."""
        expected = np.where(first, 0, np.roll(starts + sizes, 1))
        wrong = np.flatnonzero(starts != expected)
        if wrong.size:
            at = int(wrong[0])
            raise ShardError(
                f"{self.folder}: document {ids[at].as_py()!r}: expected a segment from token {expected[at]}; got one "
                f"from {starts[at]}: several documents share this id; pack with an id column of unique ids, or none"
            )


def _read_manifest(path: Path) -> dict[str, Any]:
    """A manifest in which everything stands that is read from it. Raises ShardError otherwise."""
    if not path.is_file():
        raise ShardError(f"{path.parent}: no {MANIFEST}: no packed folder, or a run that did not finish")
    try:
        manifest = msgspec.json.decode(path.read_bytes())
    except (OSError, ValueError, RecursionError, msgspec.DecodeError) as error:
        raise ShardError(f"{path}: not a manifest of packed shards: {error}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ShardError(f'{path}: not a manifest of packed shards: expected "format": "{FORMAT}"')
    version = manifest.get("format_version")
    if version != FORMAT_VERSION:
        raise ShardError(f"{path}: format version {version}; this program reads version {FORMAT_VERSION}")
    try:
        msgspec.convert(manifest, _Manifest)
    except msgspec.ValidationError as error:
        raise ShardError(f"{path}: the manifest is damaged: {error}; pack again") from error
    for number, shard in enumerate(manifest["shards"]):
        name, given = shard_name(number, manifest["config"]["output_format"]), shard["file"]
        if given != name:
            raise ShardError(f"{path}: the manifest is damaged: expected shard {name}; got {given!r}; pack again")
    return manifest


def _flat(table: pa.Table, name: str) -> npt.NDArray[np.int64]:
    """All values of a list column."""
    values: npt.NDArray[np.int64] = pc.list_flatten(table[name]).to_numpy().astype(np.int64)
    return values


def _counts(table: pa.Table, name: str) -> npt.NDArray[np.int64]:
    """Length of each row's list."""
    counts: npt.NDArray[np.int64] = pc.list_value_length(table[name]).to_numpy().astype(np.int64)
    return counts


def _check_rows(table: pa.Table, path: Path, seq_len: int) -> None:
    """Raise ShardError where a row's segments do not make up the row; in padded rows they may end before it."""
    tokens, segments = _counts(table, "input_ids"), _counts(table, "seq_lengths")
    ends = np.concatenate([[0], np.cumsum(_flat(table, "seq_lengths"))])
    row_ends = np.concatenate([[0], np.cumsum(segments)])
    told = np.diff(ends[row_ends])
    padded = pa.types.is_fixed_size_list(table.schema.field("input_ids").type)
    wrong = (told > tokens) | (tokens > seq_len) | (~np.bool_(padded) & (told != tokens))
    if wrong.any():
        row = int(np.argmax(wrong))
        limit = f"{'at most ' * padded}{tokens[row]} tokens (of {seq_len}) in its segments"
        raise ShardError(f"{path}: row {row}: expected {limit}; got {told[row]}; pack again")
    for name in ("doc_ids", "doc_starts", "repeated"):
        if not np.array_equal(_counts(table, name), segments):
            raise ShardError(f"{path}: {name}: expected as many values in each row as seq_lengths has; pack again")


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
