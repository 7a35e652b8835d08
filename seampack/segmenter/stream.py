"""Segment any amount of text, block by block: the words go out as text, JSON lines or table columns.

    inputs -> blocks -> segmenter.spans(texts of a block) -> annotation of each text -> lines | records | rows -> out

A file gets its name when it is whole (see ``sink``); standard output gets each block at once.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from seampack.errors import ConfigError, DataError
from seampack.io.formats import format_of_name
from seampack.io.sources import STDIN
from seampack.segmenter import formats
from seampack.segmenter.apply_config import ApplyConfig, FileFormat, Output
from seampack.segmenter.inputs import Block, Lines, Records, Rows, blocks
from seampack.segmenter.sink import codec_of, output_file

_GROUP_BYTES = 64 << 20  # of a Parquet row group
_TABLES = (FileFormat.ARROW, FileFormat.PARQUET)
_Missing = npt.NDArray[np.bool_]


_COLUMN = {
    Output.TEXT: "segmented",
    Output.WORDS: "words",
    Output.OFFSETS: "offsets",
    Output.BYTES: "byte_offsets",
    Output.POSTERIORS: "end_probabilities",
    Output.N_BEST: "n_best",
}
_DECODERS = {Output.POSTERIORS: ("posterior", "boundary"), Output.N_BEST: ("product",)}
"""The decoders that take their words from what these outputs show."""


class Splitter(Protocol):
    """What is used of ``seampack.Segmenter``."""

    def spans(
        self,
        texts: list[str],
        *,
        exact: bool = False,
        decoder: str | None = None,
        threshold: float | None = None,
        dictionary: Any = None,
    ) -> formats.Spans:
        """Where the words are."""

    def end_probabilities(
        self, texts: list[str], *, exact: bool = False, dictionary: Any = None
    ) -> list[npt.NDArray[np.float32]]:
        """For each text, the probability that a word ends behind each character."""

    def n_best(self, texts: list[str], count: int) -> list[list[tuple[float, list[str]]]]:
        """For each text its best segmentations with their scores."""


@dataclass(slots=True)
class Applied:
    """How much was segmented."""

    texts: int = 0
    characters: int = 0


def apply(
    segmenter: Splitter,
    inputs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str] = STDIN,
    config: ApplyConfig | None = None,
    **options: Any,
) -> Applied:
    """Segment all texts of the inputs and write them to ``out``, a file or ``-`` for standard output.

    ``options``: those of ``Segmenter.spans`` (``exact``, ``decoder``, ``threshold``, ``dictionary``).

    Raises ConfigError where input and output do not fit, or an option cannot change the output, DataError for what
    cannot be read; ``out`` is then as before.
    """
    config = config or ApplyConfig()
    if isinstance(inputs, str | os.PathLike):
        inputs = [inputs]
    found = blocks(
        [os.fspath(path) for path in inputs],
        text_column=config.text_column,
        input_format=config.input_format,
        on_bad=config.on_bad,
    )
    return annotate(found, out, config, segmenter, options)


def annotate(
    found: Iterator[Block],
    out: str | os.PathLike[str],
    config: ApplyConfig,
    segmenter: Splitter,
    options: dict[str, Any],
) -> Applied:
    """``apply`` of blocks that are read already."""
    done = Applied()
    writer: Any = None
    kind: type[Block] | None = None
    _check_options(Output(config.output), options)
    with output_file(out) as sink:
        for block in found:
            if kind is None:
                kind = type(block)
                writer = _writer(sink, block, os.fspath(out), config)
            elif type(block) is not kind:
                raise DataError(f"{block.source}: expected {kind.__name__.lower()}, as in the files before")
            annotation = _annotate(writer.output, [text or "" for text in block.texts], config, segmenter, options)
            writer.write(block, annotation)
            done.texts += len(block.texts)
            done.characters += sum(len(text or "") for text in block.texts)
        if writer is not None:
            writer.close()
    return done


def _check_options(output: Output, options: dict[str, Any]) -> None:
    """Raise ConfigError for an option that could not change such an output."""
    if output not in _DECODERS:
        return
    decoder = options.get("decoder")
    if decoder not in (None, *_DECODERS[output]):
        raise ConfigError(
            f"decoder: output {output} is made before words are chosen, as for {' and '.join(_DECODERS[output])}; got "
            f"{decoder!r}: leave it out (--exact gives what the language models say), or write words"
        )
    for name in ("threshold", "dictionary") if output == Output.N_BEST else ("threshold",):
        if options.get(name) is not None:
            raise ConfigError(f"{name}: output {output} does not depend on it: leave it out, or write words")


@dataclass(frozen=True, slots=True)
class _Annotation:
    """What is known of each text: as Python values for JSON, and as an Arrow column, each made when asked for."""

    values: Callable[[], Sequence[Any]]
    column: Callable[[_Missing], pa.Array]


def _annotate(
    output: Output, texts: list[str], config: ApplyConfig, segmenter: Splitter, options: dict[str, Any]
) -> _Annotation:
    if output == Output.POSTERIORS:
        exact = bool(options.get("exact")) or options.get("decoder") is not None
        ends = segmenter.end_probabilities(texts, exact=exact, dictionary=options.get("dictionary"))
        return _plain([values.astype(np.float64).round(6).tolist() for values in ends], pa.list_(pa.float32()))
    if output == Output.N_BEST:
        ranked = segmenter.n_best(texts, config.n_best)
        kind = pa.list_(pa.struct([("score", pa.float64()), ("words", pa.list_(pa.string()))]))
        return _plain([[{"score": s, "words": w} for s, w in best] for best in ranked], kind)
    spans = segmenter.spans(texts, **options)
    if output == Output.TEXT:
        return _plain(formats.spaced_texts(texts, spans), pa.string())
    if output == Output.WORDS:
        return _Annotation(
            lambda: formats.word_lists(texts, spans), lambda missing: formats.words_array(texts, spans, missing)
        )
    if output == Output.OFFSETS:
        return _Annotation(
            lambda: formats.character_offsets(spans),
            lambda missing: formats.offsets_array(spans.begin, spans.end, spans.offsets, missing),
        )
    return _Annotation(
        lambda: formats.byte_offsets(texts, spans),
        lambda missing: formats.offsets_array(*formats.byte_spans(texts, spans), spans.offsets, missing),
    )


def _plain(values: list[Any], kind: pa.DataType) -> _Annotation:
    return _Annotation(
        lambda: values,
        lambda missing: pa.array([None if m else v for v, m in zip(values, missing, strict=True)], kind),
    )


def _writer(sink: Any, block: Block, out: str, config: ApplyConfig) -> Any:
    """The writer for an output format, of those that a kind of input can go into."""
    like_input = {Lines: FileFormat.LINES, Records: FileFormat.JSONL}.get(type(block), FileFormat.ARROW)
    kind = FileFormat(config.output_format)
    compressed = out != STDIN and codec_of(out) is not None
    if kind == FileFormat.AUTO:
        named = None if out == STDIN else format_of_name(out)
        kind = named or like_input
    fitting = {Lines: tuple(FileFormat), Records: (FileFormat.JSONL, FileFormat.LINES)}
    fits = fitting.get(type(block), (*_TABLES, FileFormat.LINES))
    if kind not in fits:
        known = ", ".join(member.value for member in fits)
        raise ConfigError(f"output_format: {like_input} input can be written as {known}; got {kind.value!r}")
    if compressed and kind in _TABLES:
        raise ConfigError(f"{out}: {kind} is compressed inside: name a file without .gz and .zst")
    output = Output(config.output)
    if output == Output.AUTO:
        output = Output.TEXT if kind == FileFormat.LINES else Output.WORDS
    if kind == FileFormat.LINES:
        return _LineWriter(sink, output)
    column = config.output_column or _COLUMN[output]
    if kind == FileFormat.JSONL:
        return _JsonWriter(sink, output, config.text_column, column)
    return _TableWriter(sink, output, kind, config.text_column, column)


class _LineWriter:
    """A line a text: spaced text, or JSON."""

    def __init__(self, sink: Any, output: Output) -> None:
        self.output = output
        self._sink = sink
        self._open = False

    def write(self, block: Block, annotation: _Annotation) -> None:
        values = annotation.values()
        if self.output == Output.TEXT:
            if not isinstance(block, Lines) and any("\n" in value for value in values):
                raise DataError(
                    f"{block.source}: a text of several lines cannot be a line; use --output words, or JSONL"
                )
            lines = [value.encode() for value in values]
        else:
            lines = list(map(msgspec.json.encode, values))
        # the last line has a newline where the input had one, or another file follows
        data = b"\n".join([*([b""] if self._open else []), *lines])
        self._open = isinstance(block, Lines) and not block.ended and self.output == Output.TEXT
        self._sink.write(data if self._open or not lines else data + b"\n")
        self._sink.flush()

    def close(self) -> None:
        """Nothing is held back."""


class _JsonWriter:
    """JSON lines: a record with one more field, blank lines kept; or a text and its annotation."""

    def __init__(self, sink: Any, output: Output, text_column: str, column: str) -> None:
        self.output = output
        self._sink = sink
        self._text_column = text_column
        self._column = column

    def write(self, block: Any, annotation: _Annotation) -> None:
        records = block.records if isinstance(block, Records) else [{self._text_column: text} for text in block.texts]
        lines = []
        for at, (text, record, value) in enumerate(zip(block.texts, records, annotation.values(), strict=True)):
            if record is None:
                lines.append(b"")
                continue
            if self._column in record:
                raise DataError(
                    f"{block.source}:{block.first_line + at}: the record has a field {self._column!r}; "
                    "name another with --output-column"
                )
            lines.append(msgspec.json.encode({**record, self._column: None if text is None else value}))
        self._sink.write(b"".join(line + b"\n" for line in lines))
        self._sink.flush()

    def close(self) -> None:
        """Nothing is held back."""


class _TableWriter:
    """Arrow or Parquet: the columns of the input, and one more."""

    def __init__(self, sink: Any, output: Output, kind: FileFormat, text_column: str, column: str) -> None:
        self.output = output
        self._sink = sink
        self._kind = kind
        self._text_column = text_column
        self._column = column
        self._writer: Any = None
        self._held: list[pa.RecordBatch] = []

    def write(self, block: Any, annotation: _Annotation) -> None:
        if isinstance(block, Rows):
            rows = block.rows
        else:
            rows = pa.RecordBatch.from_arrays([pa.array(block.texts, pa.string())], [self._text_column])
        if self._column in rows.schema.names:
            raise DataError(
                f"{block.source}: the table has a column {self._column!r}; name another with --output-column"
            )
        missing = np.fromiter((text is None for text in block.texts), np.bool_, len(block.texts))
        column = annotation.column(missing)
        schema = rows.schema.append(pa.field(self._column, column.type))
        # what `datasets` keeps there lists the columns, and would not list the new one
        facts = {key: value for key, value in (schema.metadata or {}).items() if key != b"huggingface"}
        schema = schema.with_metadata(facts or None)
        if self._writer is None:
            self._schema = schema
            if self._kind == FileFormat.PARQUET:
                self._writer = pq.ParquetWriter(self._sink, schema, compression="zstd")
            else:
                self._writer = pa.ipc.new_stream(self._sink, schema)
        elif not schema.equals(self._schema):
            raise DataError(f"{block.source}: expected the columns of the files before: {self._schema.names}")
        batch = pa.RecordBatch.from_arrays([*rows.columns, column], schema=schema)
        if self._kind == FileFormat.ARROW:
            self._writer.write_batch(batch)
            return
        self._held.append(batch)
        if sum(held.nbytes for held in self._held) >= _GROUP_BYTES:
            self._write_group()

    def _write_group(self) -> None:
        self._writer.write_table(pa.Table.from_batches(self._held, self._schema).combine_chunks())
        self._held = []

    def close(self) -> None:
        if self._held:
            self._write_group()
        self._writer.close()


def restore(inputs: Sequence[str], out: str | os.PathLike[str] = STDIN) -> None:
    """Write the texts of which ``apply`` made spaced text. Raises DataError, with file and line, for any other text."""
    with output_file(out) as sink:
        ended = True
        for block in blocks(inputs, input_format=FileFormat.LINES):
            lines = []
            for number, line in enumerate(block.texts, getattr(block, "first_line", 1)):
                try:
                    lines.append(formats.unspaced(line or ""))
                except DataError as error:
                    raise DataError(f"{block.source}:{number}: {error}") from error
            data = ("" if ended else "\n") + "\n".join(lines)
            ended = getattr(block, "ended", True)
            sink.write((data + "\n" if ended else data).encode())
            sink.flush()
