"""Verification of packed folders: the files against the manifest, and the manifest against the rows."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from seampack.errors import ShardError
from seampack.io.places import Place
from seampack.io.ragged import offsets_of
from seampack.packer import _copy_kernels as kernels
from seampack.packer.checksums import checksum
from seampack.packer.column_types import (
    IGNORE_INDEX,
    LABELS,
    MASKS,
    PADDING,
    TRAINED,
    carried_types,
    kept_types,
    pad_of,
)
from seampack.packer.documents import id_type
from seampack.packer.entries import File, Shard
from seampack.packer.formats.registry import OutputFormat
from seampack.packer.manifest import Manifest
from seampack.packer.names import DATASET_FILES, MANIFEST, QUARANTINE, is_packed_name
from seampack.packer.numbering import BITS, places_of
from seampack.packer.plan_config import Rest
from seampack.packer.rows import Int64, flat, list_lengths, segment_lengths, segment_starts

_NEVER_LOST = ("rows", "segments", "tokens_out", "repeated")
"""Counts that are exact even if the last rows are dropped."""
_IN_ROWS = "documents - empty_documents - documents_dropped"


def verify_files(folder: Place, manifest: Manifest) -> None:
    """Raise ShardError for a file that is missing, damaged or not listed. Other kinds of files are not looked at."""
    for name in manifest.other_files:
        if not (folder / name).is_file():
            raise ShardError(f"{folder / name}: the file is missing; pack again")
    shards = [file for shard in manifest.shards for file in shard.files]
    for file in (*shards, *manifest.files):
        check_file(folder / file.file, file)
    listed = {MANIFEST, *manifest.other_files, *(file.file for file in shards)}
    entries: list[Place] = sorted(folder.iterdir(), key=lambda entry: entry.name)
    for path in entries:
        if path.name not in listed and _is_read_as_rows(path.name):
            raise ShardError(f"{path}: the manifest does not list this file, but readers of the folder use it; move it")
    if manifest.quarantined:
        check_quarantine(folder / QUARANTINE, manifest.quarantined)
    if set(DATASET_FILES) <= listed:
        _check_dataset_files(folder, manifest)


def _is_read_as_rows(name: str) -> bool:
    """Return whether readers of the folder take a file for a part of it.

    ``datasets`` keeps its caches there too, and litdata an index of Parquet shards, with the name of that of MDS.
    """
    is_table = name.endswith((".arrow", ".parquet")) and not name.startswith((".", "cache-"))
    return is_table or (is_packed_name(name) and name not in OutputFormat.MDS.folder_files)


def check_size(path: Place, file: Shard | File) -> None:
    """Raise ShardError if a file has another size than in the manifest."""
    size = path.stat().st_size
    if size != file.bytes:
        raise ShardError(f"{path}: expected {file.bytes} bytes; got {size}: it is damaged; pack again")


def check_file(path: Place, file: Shard | File) -> None:
    """Raise ShardError if a file has another size or checksum than in the manifest."""
    check_size(path, file)
    if checksum(path) != file.checksum:
        raise ShardError(f"{path}: the checksum differs: it is damaged; pack again")


def check_quarantine(path: Place, expected: int, remedy: str = "pack again") -> None:
    """Raise ShardError if the quarantine has another number of records than the manifest says."""
    with path.open("rb") as file:
        records = sum(1 for _ in file)
    if records != expected:
        raise ShardError(f"{path}: expected {expected} records; got {records}; {remedy}")


def _check_dataset_files(folder: Place, manifest: Manifest) -> None:
    """Raise ShardError unless ``datasets.load_from_disk`` reads each shard once, with all columns."""
    info, state = (folder / name for name in DATASET_FILES)
    shards = [{"filename": shard.file} for shard in manifest.shards]
    for path, name, expected in ((info, "features", list(manifest.columns)), (state, "_data_files", shards)):
        try:
            content = msgspec.json.decode(path.read_bytes())
            given = content[name] if name == "_data_files" else list(content[name])
        except (OSError, ValueError, RecursionError, LookupError, TypeError) as error:
            raise ShardError(f"{path}: {name} cannot be read: {error!r}; pack again") from error
        if given != expected:
            raise ShardError(f"{path}: {name}: expected {_short(expected)}; got {_short(given)}; pack again")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."


def verify_rows(folder: Place, manifest: Manifest, tables: Iterable[pa.Table]) -> None:
    """Raise ShardError if the rows of the shards contradict the manifest, as far as rows can prove its entries."""
    accounting = manifest.accounting
    is_numbered = manifest.config.get("id_column") is None
    counted: Counter[str] = Counter()
    split = [np.empty(0, np.int64)]
    for shard, table in zip(manifest.shards, tables, strict=True):
        path = folder / shard.file
        check_segments(table, path, manifest)
        _check_ids(table, path, manifest)
        if carried := carried_types(manifest.config):
            _check_carried(table, path, manifest)
        if LABELS in manifest.columns and LABELS not in carried:
            _check_labels(table, path)
        starts, lengths = flat(table, "doc_starts"), segment_lengths(table)
        counted["rows"] += table.num_rows
        counted["segments"] += lengths.size
        counted["tokens_out"] += int(lengths.sum())
        counted["repeated"] += int(flat(table, "repeated").sum())
        counted[_IN_ROWS] += int(np.count_nonzero(starts == 0))
        if is_numbered:
            documents = flat(table, "doc_ids")
            _check_numbers(documents, path, manifest.partitions)
            split.append(np.unique(documents[starts > 0]))
    counted["cuts"] = counted["segments"] - counted[_IN_ROWS]
    if is_numbered:
        counted["documents_split"] = np.unique(np.concatenate(split)).size
    drops_rows = manifest.config["drop_last"] or manifest.config.get("rest") == Rest.DROP
    for name, count in counted.items():
        in_rows = accounting.documents - accounting.empty_documents - (accounting.documents_dropped or 0)
        stated = getattr(accounting, name, in_rows)
        # the last rows, if they are dropped, may hold parts of documents that are counted as cut
        may_lose = name not in _NEVER_LOST and (name != _IN_ROWS or accounting.documents_dropped is None)
        is_lost = count < stated and drops_rows and may_lose
        if count != stated and not is_lost:
            raise ShardError(f"{folder}: {name}: the manifest says {stated}, the shards hold {count}; pack again")


def check_columns(table: pa.Table, path: Place, manifest: Manifest) -> None:
    """Raise ShardError unless the columns have their types in the manifest, and ``input_ids`` that of the tokenizer."""
    given = {field.name: _type_name(str(field.type)) for field in table.schema}
    stated = {name: _type_name(kind) for name, kind in manifest.columns.items()}
    ids = id_type(manifest.tokenizer.vocab_size)
    carried, kept = carried_types(manifest.config), kept_types(manifest.config)
    of_tokens = f"fixed_size_list<item: {{}}>[{manifest.accounting.seq_len}]"
    of_tokens = "list<item: {}>" if manifest.tokenizer.pad_id is None else of_tokens
    expected = {
        **stated,
        "input_ids": of_tokens.format(ids),
        **{name: of_tokens.format(pa.type_for_alias(kind)) for name, kind in carried.items()},
        **{name: f"list<item: {pa.type_for_alias(kind)}>" for name, kind in kept.items()},
        **({PADDING: "list<item: int32>"} if _multiple(manifest) > 1 else {}),
    }
    for values in (stated, given):
        if values != expected:
            raise ShardError(f"{path}: columns: expected {expected}; got {values}; pack again")


def _type_name(kind: str) -> str:
    """Return the name of a list type with the name of the items that Arrow uses; Parquet uses another."""
    return kind.replace("<element: ", "<item: ")


def check_segments(table: pa.Table, path: Place, manifest: Manifest) -> None:
    """Raise ShardError for other columns, or if the segments of a row do not add up to its tokens, or lack values."""
    check_columns(table, path, manifest)
    try:
        table.validate(full=True)
    except pa.ArrowException as error:
        raise ShardError(f"{path}: the shard is damaged: expected rows; got other data; pack again") from error
    for name in manifest.columns:
        if table[name].null_count or pc.list_flatten(table[name]).null_count:
            raise ShardError(f"{path}: {name}: expected a value everywhere; got a null; pack again")
    seq_len = manifest.accounting.seq_len
    tokens, counts, segments = (list_lengths(table, name) for name in ("input_ids", "seq_lengths", "doc_ids"))
    row_ends = offsets_of(flat(table, "seq_lengths"))[offsets_of(counts)]
    in_segments = np.diff(row_ends)
    # version 1 has no entry for the padding
    may_lack = manifest.tokenizer.pad_id is not None and manifest.format_version == 1
    wrong = (tokens > seq_len) | ((in_segments > tokens) if may_lack else (in_segments != tokens))
    if wrong.any():
        row = int(np.argmax(wrong))
        limit = f"{'at most ' * may_lack}{tokens[row]} tokens (of {seq_len}) in its segments"
        raise ShardError(f"{path}: row {row}: expected {limit}; got {in_segments[row]}; pack again")
    is_padded = counts == segments + 1 if manifest.tokenizer.pad_id is not None else False
    padded = [PADDING] if _multiple(manifest) > 1 else []
    for name, given in (
        ("doc_ids", np.where(is_padded, counts - 1, counts)),
        ("doc_starts", list_lengths(table, "doc_starts")),
        ("repeated", list_lengths(table, "repeated")),
        *((name, list_lengths(table, name)) for name in (*kept_types(manifest.config), *padded)),
    ):
        if not np.array_equal(given, segments):
            raise ShardError(f"{path}: {name}: expected a value for each segment of seq_lengths; pack again")
    for name in carried_types(manifest.config):
        if not np.array_equal(list_lengths(table, name), tokens):
            raise ShardError(f"{path}: {name}: expected a value for each token id of the rows; pack again")
    lengths, repeated, starts = segment_lengths(table), flat(table, "repeated"), flat(table, "doc_starts")
    if padded:
        _check_padding(lengths, flat(table, PADDING), path, manifest)
    outside = np.flatnonzero((repeated < 0) | (repeated > lengths) | (starts < 0))
    if outside.size:
        first = int(outside[0])
        raise ShardError(
            f"{path}: segment {first}: expected a start of at least 0 and 0 to {lengths[first]} repeated tokens; got "
            f"{starts[first]} and {repeated[first]}; pack again"
        )


def _multiple(manifest: Manifest) -> int:
    """Return the number of which the length of each segment is a multiple when it is padded."""
    multiple: int = manifest.config.get("pad_to_multiple", 1)
    return multiple


def _check_padding(lengths: Int64, padding: Int64, path: Place, manifest: Manifest) -> None:
    """Raise ShardError unless each segment has the least padding that makes it a multiple."""
    multiple = _multiple(manifest)
    wrong = np.flatnonzero((padding != -lengths % multiple) | (lengths < 1))
    if wrong.size:
        first = int(wrong[0])
        raise ShardError(
            f"{path}: segment {first}: expected tokens, and padding to a multiple of {multiple:,}; got "
            f"{lengths[first]:,} and {padding[first]:,}; pack again"
        )


def _is_padding(table: pa.Table) -> npt.NDArray[np.uint8]:
    """Return 1 for each position of the rows that is in no segment, else 0."""
    mask = np.ones(int(list_lengths(table, "input_ids").sum()), np.uint8)
    kernels.mask_segments(segment_starts(table), segment_lengths(table), 0, mask)
    return mask


def _check_ids(table: pa.Table, path: Place, manifest: Manifest) -> None:
    """Raise ShardError for an id outside the vocabulary, and for another than that of padding outside segments."""
    ids = pc.list_flatten(table["input_ids"]).to_numpy()
    facts = manifest.tokenizer
    if ids.size and int(ids.max()) >= facts.vocab_size:
        raise ShardError(f"{path}: input_ids: expected ids below {facts.vocab_size}; got {ids.max()}; pack again")
    if facts.pad_id is None:
        return
    wrong = np.flatnonzero((ids != facts.pad_id) & (_is_padding(table) == 1))
    if wrong.size:
        row, got = wrong[0] // manifest.accounting.seq_len, ids[wrong[0]]
        raise ShardError(f"{path}: row {row}: expected padding, {facts.pad_id}; got {got}; pack again")


def _check_labels(table: pa.Table, path: Place) -> None:
    """Raise ShardError for a label that is not the id at its place, or -100 for a repeated token and padding."""
    row = 0
    for batch in table.to_batches():
        part = pa.Table.from_batches([batch])
        ids, labels = (batch.column(name).flatten().to_numpy() for name in ("input_ids", "labels"))
        repeated = flat(part, "repeated")
        targets, new = segment_starts(part) + repeated, segment_lengths(part) - repeated
        expected = np.full(ids.size, IGNORE_INDEX, np.int32)
        ids = ids.astype(np.int32)
        kernels.copy_segments(ids.ctypes.data + targets * 4, new.astype(np.int32), targets, 4, expected.ctypes.data)
        if not np.array_equal(list_lengths(part, "labels"), list_lengths(part, "input_ids")):
            raise ShardError(f"{path}: labels: expected as many as token ids in each row; pack again")
        wrong = np.flatnonzero(labels != expected)
        if wrong.size:
            first = int(wrong[0])
            row += int(np.searchsorted(offsets_of(list_lengths(part, "labels"))[1:], first, side="right"))
            raise ShardError(f"{path}: row {row}: labels: expected {expected[first]}; got {labels[first]}; pack again")
        row += batch.num_rows


def _check_carried(table: pa.Table, path: Place, manifest: Manifest) -> None:
    """Raise ShardError for a wrong value of a carried column, as far as the rows can prove it."""
    tokens = list_lengths(table, "input_ids")
    is_padding = _is_padding(table)
    is_repeated = np.zeros(is_padding.size, np.uint8)
    kernels.mask_segments(segment_starts(table), flat(table, "repeated"), 1, is_repeated)
    for name in carried_types(manifest.config):
        values = pc.list_flatten(table[name]).to_numpy()
        rules: list[tuple[str, Any, Any, Any]] = [("padding", is_padding == 1, values == pad_of(name), pad_of(name))]
        if name in TRAINED and manifest.config.get("labels"):
            rules.append(("a repeated token", is_repeated == 1, values == pad_of(name), pad_of(name)))
        if name in MASKS:
            rules.append(("a mask", np.ones(values.size, np.bool_), (values == 0) | (values == 1), "0 or 1"))
        for what, where, is_right, expected in rules:
            wrong = np.flatnonzero(where & ~is_right)
            if wrong.size:
                row = int(np.searchsorted(offsets_of(tokens)[1:], wrong[0], side="right"))
                got = values[wrong[0]]
                raise ShardError(f"{path}: row {row}: {name}: expected {expected} of {what}; got {got}; pack again")


def _check_numbers(documents: Int64, path: Place, partitions: Sequence[int]) -> None:
    """Raise ShardError unless the documents have numbers of the partitions."""
    wrong = np.flatnonzero(places_of(documents, partitions) < 0)
    if wrong.size:
        number = int(documents[wrong[0]])
        partition, within = number >> BITS, number & ((1 << BITS) - 1)
        given = partitions[partition] if 0 <= partition < len(partitions) else 0
        raise ShardError(
            f"{path}: doc_ids: expected one of the {given:,} documents of partition {partition}; got number {number}, "
            f"document {within} of it; pack again"
        )
