"""Writers of blocks of texts with their annotations: plain lines, JSON lines, and Arrow or Parquet tables.

A writer takes a config that ``resolved`` returned, and blocks of one kind.
"""

import sys
import warnings
from typing import Any, Protocol

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from seampack.errors import ConfigError, DataError
from seampack.io.formats import COLUMNAR, Format, codec_of_name, format_of_name
from seampack.io.sources import STDIN, listed
from seampack.segmenter.annotations import COLUMNS, Annotation
from seampack.segmenter.apply_config import ApplyConfig, Output
from seampack.segmenter.inputs import Block, Lines, Records, Rows

_GROUP_BYTES = 64 << 20  # size of a Parquet row group
_ALLOWED: dict[type[Block], tuple[Format, ...]] = {
    Lines: (Format.LINES, Format.JSONL, *COLUMNAR),
    Records: (Format.JSONL, Format.LINES),
    Rows: (*COLUMNAR, Format.JSONL, Format.LINES),
}
"""Output formats of each kind of block."""


class Writer(Protocol):
    """Writes blocks to a binary file."""

    def write(self, block: Block, annotation: Annotation) -> None:
        """Write a block. Raise DataError if it does not fit the output."""

    def close(self) -> None:
        """Write the remaining data; the file stays open."""


def resolved(config: ApplyConfig, block: Block, out: str) -> ApplyConfig:
    """Replace each auto of the config, based on the first block of the input and the name of the output.

    Warns if the name of the output means lines, which lose the columns of the input.

    Raises ConfigError if the input cannot be written in the output format, or an option cannot change the output.
    """
    output_format = config.output_format
    is_chosen = output_format != Format.AUTO
    if not is_chosen:
        output_format = (None if out == STDIN else format_of_name(out)) or _like_input(block)
    allowed = _ALLOWED[type(block)]
    if output_format not in allowed:
        expected = f"{_words(block)} can be written as {', '.join(allowed)}; got {str(output_format)!r}"
        if is_chosen:
            raise ConfigError(f"output_format: {expected}; choose one of them")
        raise ConfigError(f"{out}: {expected}, by its name; name it {_endings(block)}, or give --output-format")
    if output_format in COLUMNAR and out != STDIN and codec_of_name(out) is not None:
        raise ConfigError(f"{out}: {output_format} is compressed internally; remove .gz or .zst from the name")
    if output_format in COLUMNAR and out == STDIN and sys.stdout is not None and sys.stdout.isatty():
        raise ConfigError(
            f"standard output: {output_format} is binary, which a terminal cannot show; name a file with -o, or give "
            "--output-format jsonl"
        )
    if output_format == Format.LINES and block.texts:
        _refuse_columns(config, block)
        if not is_chosen:
            _warn_of_lost_columns(config, block, out)
    output = Output(config.output)
    if output == Output.AUTO:
        output = Output.TEXT if output_format == Format.LINES else Output.WORDS
    column = config.output_column or COLUMNS[output]
    return config.replace(output=output, output_format=output_format, output_column=column)


def _refuse_columns(config: ApplyConfig, block: Block) -> None:
    """Raise ConfigError for the name of a column that neither the input nor lines have."""
    if config.output_column:
        raise ConfigError(
            f"output_column: lines have no columns; got {config.output_column!r}; remove it, or write --output-format "
            "jsonl"
        )
    if isinstance(block, Lines) and config.text_column != ApplyConfig().text_column:
        raise ConfigError(
            f"text_column: {block.source} is plain text, without columns; got {config.text_column!r}; remove it, or "
            "name the format with --input-format"
        )


def _warn_of_lost_columns(config: ApplyConfig, block: Block, out: str) -> None:
    """Warn of the columns of a table, or the fields of its first record, that lines do not have."""
    if isinstance(block, Lines):
        return
    columns = block.rows.schema.names if isinstance(block, Rows) else next(filter(None, block.records), {})
    lost = [name for name in columns if name != config.text_column]
    if lost:
        warnings.warn(
            f"{out}: lines do not have {listed(lost)} of {block.source}, and a null becomes an empty line; name it "
            f"{_endings(block)} to keep all, or give --output-format lines if lines are meant",
            stacklevel=1,
        )


def _endings(block: Block) -> str:
    """Return the endings of names of outputs that keep all that a block has."""
    return ".jsonl or .parquet" if Format.PARQUET in _ALLOWED[type(block)] else ".jsonl"


def _like_input(block: Block) -> Format:
    """Return the output format for the kind of the input; CSV cannot hold lists, so its rows become JSON lines."""
    if isinstance(block, Rows):
        return Format.ARROW if block.is_typed else Format.JSONL
    return Format.LINES if isinstance(block, Lines) else Format.JSONL


def _words(block: Block) -> str:
    return {Lines: "plain text", Records: "JSON lines"}.get(type(block), "a table")


def writer(sink: Any, config: ApplyConfig) -> Writer:
    """Return the writer for the format of a resolved config."""
    if config.output_format == Format.LINES:
        return _LineWriter(sink, config)
    if config.output_format == Format.JSONL:
        return _JsonWriter(sink, config)
    return _TableWriter(sink, config)


class _LineWriter:
    """One line per text: spaced text or JSON."""

    def __init__(self, sink: Any, config: ApplyConfig) -> None:
        self._sink = sink
        self._is_spaced = config.output == Output.TEXT
        self._open = False

    def write(self, block: Block, annotation: Annotation) -> None:
        values = annotation.values()
        if self._is_spaced:
            if not isinstance(block, Lines) and any("\n" in value for value in values):
                raise DataError(
                    f"{block.source}: a text of several lines cannot be written as a line; use --output words, or JSONL"
                )
            lines = [value.encode() for value in values]
        else:
            lines = list(map(msgspec.json.encode, values))
        # the last line has a newline if the input had one, or if another file follows
        data = b"\n".join([*([b""] if self._open else []), *lines])
        self._open = isinstance(block, Lines) and not block.ended and self._is_spaced
        self._sink.write(data if self._open or not lines else data + b"\n")
        self._sink.flush()

    def close(self) -> None:
        """Do nothing: each block is written at once."""


class _JsonWriter:
    """JSON lines: each record with one more field (blank lines are kept), or an object of text and annotation."""

    def __init__(self, sink: Any, config: ApplyConfig) -> None:
        self._sink = sink
        self._config = config

    def write(self, block: Any, annotation: Annotation) -> None:
        column = self._config.output_column
        if isinstance(block, Records):
            records = block.records
        elif isinstance(block, Rows):
            records = block.rows.to_pylist()
        else:
            records = [{self._config.text_column: text} for text in block.texts]
        lines = []
        for index, (text, record, value) in enumerate(zip(block.texts, records, annotation.values(), strict=True)):
            if record is None:
                lines.append(b"")
                continue
            if column in record:
                raise DataError(
                    f"{block.source}:{block.first + index}: the record already has a field {column!r}; "
                    "choose another name with --output-column"
                )
            try:
                lines.append(msgspec.json.encode({**record, column: None if text is None else value}))
            except (TypeError, ValueError) as error:  # JSON lacks the type of a column
                raise DataError(
                    f"{block.source}:{block.first + index}: the row cannot be written as JSON: {error}; "
                    "write Arrow or Parquet"
                ) from error
        self._sink.write(b"".join(line + b"\n" for line in lines))
        self._sink.flush()

    def close(self) -> None:
        """Do nothing: each block is written at once."""


class _TableWriter:
    """Arrow or Parquet: the columns of the input and one more."""

    def __init__(self, sink: Any, config: ApplyConfig) -> None:
        self._sink = sink
        self._config = config
        self._schema: pa.Schema | None = None
        self._writer: Any = None
        self._held: list[pa.RecordBatch] = []

    def write(self, block: Any, annotation: Annotation) -> None:
        batch = self._with_column(block, annotation)
        if self._schema is None:
            self._schema = batch.schema
            if self._config.output_format == Format.PARQUET:
                self._writer = pq.ParquetWriter(self._sink, batch.schema, compression="zstd")
            else:
                self._writer = pa.ipc.new_stream(self._sink, batch.schema)
        elif not batch.schema.equals(self._schema):
            raise DataError(f"{block.source}: expected the columns of the earlier files: {self._schema.names}")
        if self._config.output_format == Format.ARROW:
            self._writer.write_batch(batch)
            return
        self._held.append(batch)
        if sum(held.nbytes for held in self._held) >= _GROUP_BYTES:
            self._write_group()

    def _with_column(self, block: Any, annotation: Annotation) -> pa.RecordBatch:
        """Return the rows of a block with the column of its annotation."""
        name = self._config.output_column
        if isinstance(block, Rows):
            rows = block.rows
        else:
            rows = pa.RecordBatch.from_arrays([pa.array(block.texts, pa.string())], [self._config.text_column])
        if name in rows.schema.names:
            raise DataError(
                f"{block.source}: the table already has a column {name!r}; choose another name with --output-column"
            )
        missing = np.fromiter((text is None for text in block.texts), np.bool_, len(block.texts))
        column = annotation.column(missing)
        schema = rows.schema.append(pa.field(name, column.type))
        # `datasets` keeps a list of the columns in the metadata, which would lack the new column
        metadata = {key: value for key, value in (schema.metadata or {}).items() if key != b"huggingface"}
        return pa.RecordBatch.from_arrays([*rows.columns, column], schema=schema.with_metadata(metadata or None))

    def _write_group(self) -> None:
        self._writer.write_table(pa.Table.from_batches(self._held, self._schema).combine_chunks())
        self._held = []

    def close(self) -> None:
        if self._held:
            self._write_group()
        self._writer.close()
