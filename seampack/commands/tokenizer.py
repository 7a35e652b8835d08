"""``seampack tokenizer``: train a tokenizer for the packer."""

import dataclasses
import sys
from typing import Any

import click

from seampack.commands import options as shared
from seampack.commands.report import note_lines, set_memory_advice, set_written
from seampack.packer.config import PackConfig, TokenizerConfig

_READING = ("input_format", "text_column", "on_bad")
_NOT_READING = [field.name for field in dataclasses.fields(PackConfig) if field.name not in _READING]


@click.group()
def tokenizer() -> None:
    """Train tokenizers."""


@tokenizer.command()
@shared.corpus
@click.option("-o", "--out", required=True, metavar="FILE", help="File for the trained tokenizer, a tokenizer.json.")
@shared.config_options(TokenizerConfig)
@shared.pre_segment
@shared.config_options(PackConfig, skip=_NOT_READING)
def train(
    inputs: tuple[str, ...],
    out: str,
    pre_segment: str | None,
    text_column: str,
    input_format: str,
    on_bad: str,
    **options: Any,
) -> None:
    """Train a byte-level BPE tokenizer on a corpus.

    INPUT: as for pack.
    """
    config = TokenizerConfig(**options)
    reading = PackConfig(text_column=text_column, input_format=input_format, on_bad=on_bad)
    from seampack._pandas import leave_out_pandas

    leave_out_pandas()
    from seampack.packer.train_tokenizer import train_tokenizer

    set_memory_advice("train on a part of the corpus")
    note_lines(inputs, input_format)
    size = train_tokenizer(
        inputs,
        out,
        config,
        reading=reading,
        split=shared.splitter(pre_segment),
        show_progress=sys.stderr.isatty(),
    )
    set_written(out)
    click.echo(f"{out}: {size:,} tokens")
