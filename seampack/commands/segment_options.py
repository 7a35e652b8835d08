"""Options that several commands of ``seampack segment`` have, and what they mean."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from seampack.commands.options import config_options
from seampack.segmenter.apply_config import ApplyConfig

if TYPE_CHECKING:
    from seampack.segmenter.model import Segmenter

Command = TypeVar("Command", bound=Callable[..., Any])
WRITING = ("output", "n_best", "output_column", "output_format")

raw = click.argument("inputs", nargs=-1, required=True, metavar="RAW...")
inputs = click.argument("inputs", nargs=-1, metavar="[INPUT]...")
reading = config_options(ApplyConfig, skip=WRITING)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")


def decoding(command: Command) -> Command:
    """The options that decide where words end."""
    for option in (
        click.option(
            "--dictionary",
            default=None,
            metavar="FILE",
            help="Words that hold whatever the model says, one a line; a space in one says where it is cut.",
        ),
        click.option(
            "--threshold",
            type=click.FloatRange(0, 1),
            default=None,
            help="Probability from which a word ends: below 0.5 for finer words, above for coarser ones.",
        ),
        click.option(
            "--decoder",
            default=None,
            metavar="NAME",
            help="How both directions of the language model are combined: posterior, product, mean, likelier, merge, "
            "boundary, forward or backward. Means --exact.",
        ),
        click.option("--exact", is_flag=True, help="Use the language model, slower, in place of the fast student."),
    ):
        command = option(command)
    return command


def load(model: str) -> "Segmenter":
    """Load a segmenter, of a folder or bundled."""
    from seampack.segmenter.model import Segmenter

    return Segmenter.load(model)


def settings(exact: bool, decoder: str | None, threshold: float | None, dictionary: str | None) -> dict[str, Any]:
    """The options of ``Segmenter.spans``."""
    words: Any = dictionary
    if dictionary is not None:
        from seampack.segmenter.dictionary import Dictionary

        words = Dictionary.load(dictionary)
    return {"exact": exact, "decoder": decoder, "threshold": threshold, "dictionary": words}
