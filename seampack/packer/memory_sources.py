"""Documents in memory as an input: Arrow tables, data frames, ``datasets``, and iterables of records or texts.

A source in memory is one partition: it cannot be read again, so a run over it cannot be resumed.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

import msgspec
import pyarrow as pa

from seampack.errors import DataError
from seampack.io.sources import expand
from seampack.io.tables import TableReader
from seampack.packer.column_blocks import ColumnBlock, table_blocks
from seampack.packer.config import PackConfig
from seampack.packer.documents import BadBlock, IdKinds
from seampack.packer.text_blocks import BLOCK_BYTES, TextBlock, json_block

MEMORY = "documents in memory"
"""The name of such an input in messages and manifests."""
_UNIT = "document"
_ROWS = 1000
_EXPECTED = (
    "expected paths, a datasets.Dataset or IterableDataset, a pyarrow.Table or RecordBatchReader, a data frame, or an "
    "iterable of dicts or texts"
)


class MemorySource:
    """Documents in memory, which are read once, in order."""

    def __init__(self, documents: Any) -> None:
        self._documents = documents

    @property
    def bytes(self) -> int:
        """Size of the documents, as far as it is known before they are read."""
        return int(self._documents.nbytes) if isinstance(self._documents, pa.Table) else 0

    def blocks(
        self, config: PackConfig, vocab_size: int, id_kinds: IdKinds
    ) -> Iterator[TextBlock | ColumnBlock | BadBlock]:
        """Iterate over blocks of documents. Raise DataError for an item that is no document."""
        batches = _batches(self._documents)
        if batches is None:
            yield from _record_blocks(self._documents, config, vocab_size, id_kinds)
        elif (first := next(batches, None)) is not None:
            table = TableReader.of_batches(MEMORY, first.schema, _alike(chain([first], batches), first.schema))
            yield from table_blocks(table, config, vocab_size, id_kinds, [])


def opened(source: Any) -> list[str] | MemorySource:
    """Return the paths of an input, or the source of documents in memory. A list of texts is a list of paths.

    Raises DataError as ``expand`` does, and for an object that is neither.
    """
    if isinstance(source, str | os.PathLike):
        return expand(source)
    if isinstance(source, list | tuple) and all(isinstance(item, str | os.PathLike) for item in source):
        try:
            return expand(source)
        except DataError as error:  # tuples are those of the command line
            if isinstance(source, list) and source and not any(map(os.path.lexists, source)):
                raise DataError(f"{error}; a list of texts is a list of paths: for texts, give iter(texts)") from error
            raise
    if isinstance(source, bytes | Mapping) or not isinstance(source, Iterable | pa.Table):
        of_splits = "; choose a split" if isinstance(source, Mapping) else ""
        raise DataError(f"{_EXPECTED}; got {type(source).__name__}{of_splits}")
    return MemorySource(_rows_of(source))


def _rows_of(source: Any) -> Any:
    """Return a data frame (of pandas, polars, DuckDB and others) as a stream of Arrow, since iterating gives columns.

    Raises DataError for one that Arrow cannot read.
    """
    if isinstance(source, pa.Table | pa.RecordBatchReader) or not hasattr(source, "columns"):
        return source
    kind = f"{type(source).__module__.partition('.')[0]} {type(source).__name__}"
    if not hasattr(source, "__arrow_c_stream__"):
        raise DataError(f"{_EXPECTED}; got a {kind} that Arrow cannot read; convert it to a pyarrow.Table")
    try:
        return pa.RecordBatchReader.from_stream(source)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise DataError(f"{MEMORY}: expected columns of texts and numbers; got a {kind}: {error}") from error


def _batches(documents: Any) -> Iterator[pa.RecordBatch] | None:
    """Return the record batches of a table or dataset; None for an iterable of records, also a stream of no schema."""
    if isinstance(documents, pa.Table):
        return iter(documents.to_batches() or [pa.RecordBatch.from_pylist([], documents.schema)])
    if isinstance(documents, pa.RecordBatchReader):
        return (batch for batch in documents)
    is_dataset = type(documents).__module__.partition(".")[0] == "datasets" and hasattr(documents, "with_format")
    if is_dataset and documents.features is not None:
        tables = documents.with_format("arrow").iter(batch_size=_ROWS)
        return (batch for table in tables for batch in table.to_batches())
    return None


def _alike(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Yield the batches in one schema: a stream of records may have only nulls in some. Raise DataError for others."""
    for batch in batches:
        if batch.schema.equals(schema):
            yield batch
            continue
        try:
            yield batch.cast(schema)
        except (pa.ArrowException, ValueError) as error:
            raise DataError(f"{MEMORY}: expected rows of one schema; got others: {error}") from error


def _record_blocks(
    records: Iterable[Any], config: PackConfig, vocab_size: int, id_kinds: IdKinds
) -> Iterator[TextBlock]:
    """Iterate over blocks of records, as JSON lines."""
    encoder = msgspec.json.Encoder(enc_hook=_plain)
    decoder = None
    for first, lines in _grouped(_line(*each, config.text_column, encoder) for each in enumerate(records, 1)):
        block = json_block(lines, MEMORY, _UNIT, first, config, vocab_size, id_kinds, decoder)
        decoder = block.decoder
        yield block


def _grouped(lines: Iterable[bytes]) -> Iterator[tuple[int, list[bytes]]]:
    """Yield groups of lines of about BLOCK_BYTES, each with the number of its first line."""
    group: list[bytes] = []
    number = size = 0
    for number, line in enumerate(lines, 1):
        group.append(line)
        size += len(line)
        if size >= BLOCK_BYTES:
            yield number + 1 - len(group), group
            group, size = [], 0
    if group:
        yield number + 1 - len(group), group


def _line(number: int, record: Any, text_column: str, encoder: msgspec.json.Encoder) -> bytes:
    """Return a record, or a text, as a line of JSON."""
    record = {text_column: record} if isinstance(record, str) else record
    where = f"{MEMORY}, {_UNIT} {number:,}"
    if not isinstance(record, Mapping) or isinstance(record.get(text_column), bytes):
        got = "bytes" if isinstance(record, Mapping) else type(record).__name__
        raise DataError(f"{where}: expected a dict or a text; got {got}")
    try:
        return encoder.encode(dict(record))
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise DataError(
            f"{where}: expected texts and numbers; got a record that JSON cannot express: {error}"
        ) from error


def _plain(value: Any) -> Any:
    """Return an array or tensor as a list, and nothing for an object that is no text or number."""
    return value.tolist() if hasattr(value, "tolist") else None
