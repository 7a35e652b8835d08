"""Segment any amount of text, block by block, into spaced text, JSON lines or table columns.

    inputs -> blocks -> annotation of the texts of a block (annotations) -> lines | records | rows (writers) -> output

A file appears under its name when it is complete; standard output receives each block immediately.
"""

import os
from contextlib import nullcontext
from dataclasses import dataclass

from seampack.errors import ConfigError, DataError
from seampack.io.formats import Format
from seampack.io.output import output_stream
from seampack.io.sources import STDIN, Inputs, expand
from seampack.segmenter import formats
from seampack.segmenter.annotations import annotate, check_options
from seampack.segmenter.apply_config import ApplyConfig, DecodeConfig, OnBad, Output
from seampack.segmenter.dictionary import Dictionary, Words
from seampack.segmenter.inputs import Block, Lines, blocks
from seampack.segmenter.model import Segmenter
from seampack.segmenter.quarantine import Quarantine
from seampack.segmenter.writers import Writer, resolved, writer


@dataclass(slots=True)
class Applied:
    """Amount of text that was segmented."""

    texts: int = 0
    characters: int = 0


def apply(
    segmenter: Segmenter,
    inputs: Inputs,
    out: str | os.PathLike[str] = STDIN,
    config: ApplyConfig | None = None,
    *,
    decode: DecodeConfig | None = None,
    dictionary: Words | None = None,
) -> Applied:
    """Split all texts of the inputs into words and write these to ``out``; after an error, ``out`` is unchanged.

    Args:
        segmenter: The segmenter.
        inputs: One or more paths; globs are expanded, ``-`` is standard input.
        out: File to write; ``-`` is standard output.
        config: Options of reading and writing.
        decode: Options that decide where words end.
        dictionary: Words that hold regardless of the model: the path of a file, a list of entries, or a
            ``Dictionary``.

    Raises:
        ConfigError: Input and output do not fit together, the output is an input, or an option cannot change the
            output.
        DataError: An input or the dictionary cannot be read.
        ShardError: ``out`` cannot be written.
    """
    config, decode = ApplyConfig.given(config), DecodeConfig.given(decode)
    entries = Dictionary.given(dictionary)
    check_options(Output(config.output), decode, entries, segmenter)
    _check_output(inputs, out)
    quarantine = Quarantine(out) if config.on_bad == OnBad.QUARANTINE else None
    source = blocks(
        inputs,
        text_column=config.text_column,
        input_format=config.input_format,
        on_bad=config.on_bad,
        quarantine=None if quarantine is None else quarantine.add,
        advice="; --on-bad quarantine skips it",
    )
    applied = Applied()
    block_writer: Writer | None = None
    kind: type[Block] = Lines
    with output_stream(out) as sink, quarantine or nullcontext():
        for block in source:
            if block_writer is None:
                kind = type(block)
                config = resolved(config, block, os.fspath(out))
                block_writer = writer(sink, config)
            elif type(block) is not kind:
                raise DataError(f"{block.source}: expected {kind.__name__.lower()}, as in the earlier files")
            texts = [text or "" for text in block.texts]
            block_writer.write(block, annotate(texts, config, segmenter, decode, entries))
            applied.texts += len(texts)
            applied.characters += sum(map(len, texts))
        if block_writer is not None:
            block_writer.close()
    return applied


def _check_output(inputs: Inputs, out: str | os.PathLike[str]) -> None:
    """Raise ConfigError if the output file is one of the input files, which it would replace."""
    if os.fspath(out) == STDIN or not os.path.isfile(out):
        return
    for path in expand(inputs):
        if os.path.isfile(path) and os.path.samefile(path, out):
            raise ConfigError(
                f"{os.fspath(out)}: the output is also an input, which it would replace; name another file"
            )


def restore(inputs: Inputs, out: str | os.PathLike[str] = STDIN) -> None:
    """Restore the original texts from spaced text written by ``apply``.

    Raises DataError for a line that ``apply`` cannot have written. Other text that looks like its output cannot be
    recognised: it loses the single spaces between its words.
    """
    _check_output(inputs, out)
    with output_stream(out) as sink:
        ended = True
        for block in blocks(inputs, input_format=Format.LINES):
            lines = []
            for number, line in enumerate(block.texts, block.first):
                try:
                    lines.append(formats.unspaced(line or ""))
                except DataError as error:
                    raise DataError(f"{block.source}:{number}: {error}") from error
            data = ("" if ended else "\n") + "\n".join(lines)
            ended = getattr(block, "ended", True)
            sink.write((data + "\n" if ended else data).encode())
            sink.flush()
