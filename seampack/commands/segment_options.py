"""Options that several commands of ``seampack segment`` have, and what they mean."""

from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

import click

from seampack.commands.options import config_options
from seampack.segmenter.apply_config import ApplyConfig, DecodeConfig

if TYPE_CHECKING:
    from seampack.segmenter.dictionary import Dictionary
    from seampack.segmenter.model import Segmenter

Command = TypeVar("Command", bound=Callable[..., Any])
WRITING = ("output", "n_best", "output_column", "output_format")

raw = click.argument("inputs", nargs=-1, required=True, metavar="RAW...")
inputs = click.argument("inputs", nargs=-1, metavar="[INPUT]...")
reading = config_options(ApplyConfig, skip=WRITING)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")


def decoding(command: Command) -> Command:
    """Add the options that decide where words end."""
    dictionary = click.option(
        "--dictionary",
        default=None,
        metavar="FILE",
        help="File of words that hold regardless of the model, one per line; a word is cut at its spaces.",
    )
    return config_options(DecodeConfig)(dictionary(command))


def load(model: str) -> "Segmenter":
    """Load a segmenter, of a folder or bundled."""
    from seampack.segmenter.model import Segmenter

    return Segmenter.load(model)


def taken_decoding(options: dict[str, Any]) -> "tuple[DecodeConfig, Dictionary | None]":
    """Remove the options of ``decoding`` from ``options``; return their config, and the dictionary in the file."""
    config = DecodeConfig(**{field.name: options.pop(field.name) for field in fields(DecodeConfig)})
    path = options.pop("dictionary")
    if path is None:
        return config, None
    from seampack.segmenter.dictionary import Dictionary

    return config, Dictionary.load(path)
