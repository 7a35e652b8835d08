"""``seampack tokenizer``: train a tokenizer for the packer."""

import dataclasses
import sys
from typing import Any

import click

from seampack.commands import options as shared
from seampack.packer.config import PackConfig

_NOT_READING = [
    field.name for field in dataclasses.fields(PackConfig) if field.name not in ("input_format", "text_column")
]
_LARGEST = 1 << 31


@click.group()
def tokenizer() -> None:
    """Train tokenizers."""


@tokenizer.command()
@shared.corpus
@click.option("-o", "--out", required=True, metavar="FILE", help="File for the trained tokenizer, a tokenizer.json.")
@click.option(
    "--vocab-size",
    type=click.IntRange(1, _LARGEST),
    default=32_000,
    show_default=True,
    metavar="TOKENS",
    help="Largest size of the vocabulary, with the special tokens.",
)
@click.option(
    "--min-frequency",
    type=click.IntRange(0, _LARGEST),
    default=2,
    show_default=True,
    help="Fewest occurrences of a pair that is merged.",
)
@click.option(
    "--special-token",
    "special_tokens",
    multiple=True,
    default=("<|endoftext|>",),
    show_default=True,
    help="Special token to add to the vocabulary. Can be repeated.",
)
@shared.pre_segment
@shared.config_options(PackConfig, skip=_NOT_READING)
def train(
    inputs: tuple[str, ...],
    out: str,
    vocab_size: int,
    min_frequency: int,
    special_tokens: tuple[str, ...],
    pre_segment: str | None,
    **options: Any,
) -> None:
    """Train a byte-level BPE tokenizer on a corpus.

    INPUT: as for pack.
    """
    config = PackConfig(**options)
    from seampack.packer.train_tokenizer import train_tokenizer

    size = train_tokenizer(
        inputs,
        out,
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=special_tokens,
        config=config,
        split=shared.splitter(pre_segment),
        show_progress=sys.stderr.isatty(),
    )
    click.echo(f"{out}: {size:,} tokens")
