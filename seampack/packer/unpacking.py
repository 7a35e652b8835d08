"""Unpacking: from a packed folder back to a file of documents, as text or token ids."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from seampack.errors import ConfigError
from seampack.io.arrow import arrow_of
from seampack.io.formats import COLUMNAR, Format, codec_of_name, format_of_name
from seampack.io.output import output_stream, refuse_existing
from seampack.io.places import Place
from seampack.io.ragged import offsets_of
from seampack.io.sources import STDIN
from seampack.packer.decoding import Decoder
from seampack.packer.entries import TokenizerFacts
from seampack.packer.folder import PackedFolder
from seampack.packer.noted_stores import Stores, quarantined_in_stores
from seampack.packer.tokenizing import AnyTokenizer, recorded_tokenizer
from seampack.packer.verification import check_file


@dataclass(frozen=True, slots=True)
class Unpacked:
    """The counts of what was written, and of what packing did not keep."""

    documents: int
    tokens: int
    """Tokens of the documents, with the tokens that packing put around them."""
    empty: int
    """Documents without tokens; no row has them."""
    lost: int
    """Documents of which packing dropped all tokens."""
    truncated: int
    """Documents that lost tokens at their end, also those that lost all."""
    dropped: int
    """Tokens that packing dropped, at the ends of documents."""
    quarantined: int
    """Records that could not be read when the folder was packed."""
    quarantined_in_stores: int
    """Records that could not be read when its token stores were made."""


def unpack(
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    ids: bool = False,
    special: bool | None = None,
    tokenizer: AnyTokenizer | None = None,
    store: Stores | None = None,
    overwrite: bool = False,
) -> Unpacked:
    """Write the documents of a packed folder to a file that appears when it is complete.

    Numbered documents are in the order of the input; those with ids of a column are in the order of their ids, because
    the rows are shuffled and do not hold the order of the input.

    Args:
        folder: The packed folder.
        out: Output file: JSON lines (``.jsonl``, also compressed), Parquet or Arrow, or ``"-"`` for JSON lines on
            standard output. The fields are ``text`` (or ``input_ids`` and the carried columns), ``id`` and the kept
            columns.
        ids: Whether to write token ids instead of text.
        special: Whether to keep the tokens that packing put around documents; by default only with ``ids``.
        tokenizer: The tokenizer that gives the text; by default the one that packed the folder. A
            warning names another one.
        store: The place of the token store of an index, if it was moved; of a blend, the places by name.
        overwrite: Whether to replace an existing file.

    Raises ConfigError, DataError or ShardError; ``out`` is then unchanged.
    """
    packed = PackedFolder(folder, store)
    output_format = _format_of(out)
    _check_place(packed.folder, out, overwrite)
    for shard in packed.shards:
        for file in shard.files:
            check_file(packed.folder / file.file, file)
    packed.verify_store()
    facts = packed.manifest.tokenizer
    decoder = None if ids else Decoder(recorded_tokenizer(facts, tokenizer, exact=tokenizer is None))
    index = packed.segments()
    others = {"id": "doc_ids", **{name: name for name in index.fields}}
    fields = [pa.field("text", pa.large_string())] if decoder else [index.schema.field(name) for name in index.columns]
    schema = pa.schema([*fields, *(index.schema.field(name).with_name(as_name) for as_name, name in others.items())])
    keeps_special = ids if special is None else special
    with output_stream(out) as sink, _writer(sink, output_format, schema) as writer:
        for batch in index.documents():
            lists = [batch["input_ids"]] if decoder else [batch[name] for name in index.columns]
            if not keeps_special:
                lists = _without_special(lists, facts)
            content = [decoder.decode(lists[0].values.to_numpy(), lists[0].offsets.to_numpy())] if decoder else lists
            writer.write_batch(pa.record_batch([*content, *(batch[name] for name in others.values())], schema=schema))
    accounting = packed.manifest.accounting
    return Unpacked(
        documents=len(index.ids),
        tokens=int(index.covered.sum()),
        empty=accounting.empty_documents,
        lost=max(0, accounting.documents - accounting.empty_documents - len(index.ids)),
        truncated=accounting.documents_truncated,
        dropped=accounting.dropped,
        quarantined=packed.manifest.quarantined,
        quarantined_in_stores=quarantined_in_stores(packed.manifest.notes),
    )


def _format_of(out: str | os.PathLike[str]) -> Format:
    """Return the format of the output's name. Raise ConfigError if documents cannot be written in it."""
    name = os.fspath(out)
    output_format = Format.JSONL if name == STDIN else format_of_name(name)
    if output_format not in (Format.JSONL, *COLUMNAR):
        raise ConfigError(
            f"{name}: expected a name that ends in .jsonl (also .jsonl.zst or .jsonl.gz), .parquet or .arrow, or - for "
            "standard output"
        )
    if output_format in COLUMNAR and (codec := codec_of_name(name)):
        raise ConfigError(f"{name}: {output_format} files are not compressed by {codec}; remove that ending")
    return output_format


def _check_place(folder: Place, out: str | os.PathLike[str], overwrite: bool) -> None:
    """Raise ConfigError if the output is in the packed folder; raise ShardError if it exists."""
    if os.fspath(out) == STDIN:
        return
    if isinstance(folder, Path) and folder.resolve() in Path(out).resolve().parents:
        raise ConfigError(f"{os.fspath(out)}: the output is in the packed folder {folder}; choose another place")
    refuse_existing(Path(out), overwrite=overwrite)


def _without_special(columns: list[pa.Array], facts: TokenizerFacts) -> list[pa.Array]:
    """Return documents without their begin token at the start and their end token at the end.

    ``columns`` has the token ids, and columns with a value for each of them.
    """
    offsets, ids = columns[0].offsets.to_numpy(), columns[0].values.to_numpy()
    firsts, lasts = offsets[:-1], offsets[1:] - 1  # no document is empty
    kept = np.ones(ids.size, np.bool_)
    if facts.bos_id is not None:
        kept[firsts[ids[firsts] == facts.bos_id]] = False
    if facts.eos_id is not None:
        kept[lasts[ids[lasts] == facts.eos_id]] = False
    removed = np.where(firsts == lasts, ~kept[firsts], (~kept[firsts]).astype(np.int64) + ~kept[lasts])
    ends = arrow_of(offsets_of(np.diff(offsets) - removed))
    return [pa.LargeListArray.from_arrays(ends, arrow_of(column.values.to_numpy()[kept])) for column in columns]


class _Writer(Protocol):
    """Writes record batches."""

    def write_batch(self, batch: pa.RecordBatch) -> None:
        """Write a batch."""


class _JsonWriter:
    """Writes each row as an object on a line."""

    def __init__(self, sink: Any) -> None:
        self._sink = sink
        self._encoder = msgspec.json.Encoder()

    def write_batch(self, batch: pa.RecordBatch) -> None:
        """Write a batch."""
        self._sink.write(self._encoder.encode_lines(batch.to_pylist()))


@contextmanager
def _writer(sink: Any, output_format: Format, schema: pa.Schema) -> Iterator[_Writer]:
    """Yield the writer of a format."""
    if output_format == Format.JSONL:
        yield _JsonWriter(sink)
    elif output_format == Format.PARQUET:
        with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
            yield writer
    else:
        with pa.ipc.new_stream(sink, schema) as writer:
            yield writer
