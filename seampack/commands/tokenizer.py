"""``seampack tokenizer``: train a tokenizer for the packer."""

import dataclasses
import sys
from typing import Any

import click

from seampack.commands import options as shared
from seampack.commands.grouped import PATH
from seampack.commands.report import note_lines, set_memory_advice, set_written
from seampack.packer.config import PackConfig
from seampack.packer.tokenizer_config import TokenizerConfig

_READING = ("input_format", "text_column", "on_bad", "max_document_bytes")
_NOT_READING = [field.name for field in dataclasses.fields(PackConfig) if field.name not in _READING]


@click.group()
def tokenizer() -> None:
    """Train tokenizers."""


@tokenizer.command()
@shared.corpus
@click.option(
    "-o",
    "--out",
    required=True,
    type=PATH,
    metavar="FILE",
    help="File for the trained tokenizer, a tokenizer.json.",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
@shared.config_options(TokenizerConfig)
@shared.pre_segment
@shared.config_options(PackConfig, skip=_NOT_READING)
def train(
    inputs: tuple[str, ...],
    out: str,
    overwrite: bool,
    pre_segment: str | None,
    **options: Any,
) -> None:
    """Train a byte-level BPE tokenizer on a corpus.

    INPUT: as for pack.
    """
    reading = PackConfig(**{name: options.pop(name) for name in _READING})
    config = TokenizerConfig(**options)
    from seampack._pandas import leave_out_pandas

    leave_out_pandas()
    from seampack.packer.train_tokenizer import train_tokenizer

    set_memory_advice("train on a part of the corpus")
    note_lines(inputs, reading.input_format)
    size = train_tokenizer(
        inputs,
        out,
        config,
        reading=reading,
        split=shared.splitter(pre_segment),
        overwrite=overwrite,
        show_progress=sys.stderr.isatty(),
    )
    set_written(out)
    click.echo(f"{out}: {size:,} tokens")
