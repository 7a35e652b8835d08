"""Options that are short for others, and options that the others make useless."""

from typing import Any

import click
from click.core import ParameterSource

from seampack.commands.report import warn
from seampack.packer.config import PackConfig
from seampack.packer.formats.registry import OutputFormat
from seampack.packer.plan_config import PAPER, Leftover


def presets(paper: bool, fill: bool, index_only: bool) -> dict[str, Any]:
    """Return the options that ``--paper``, ``--fill`` and ``--index-only`` mean, except those on the command line.

    Raises click.UsageError for an option on the command line that contradicts one of them.
    """
    context = click.get_current_context()
    fixed = {}
    if paper:
        fixed["strategy"] = ("--paper", PAPER["strategy"])
    if fill:
        fixed["leftover"] = ("--fill", Leftover.FILL.value)
    if index_only:
        fixed["output_format"] = ("--index-only", OutputFormat.INDEX.value)
    chosen = (PAPER if paper else {}) | {name: value for name, (_, value) in fixed.items()}
    given = {name for name in chosen if context.get_parameter_source(name) == ParameterSource.COMMANDLINE}
    for name, (flag, value) in fixed.items():
        if name in given and context.params[name] != value:
            option_name = _flag(name)
            raise click.UsageError(
                f"{flag} means {option_name} {value}; got {option_name} {context.params[name]} too; omit one of the two"
            )
    return {name: value for name, value in chosen.items() if name not in given}


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def warn_of_idle_options(config: PackConfig) -> None:
    """Warn of each option on the command line that the other options make useless."""
    context = click.get_current_context()
    idle = config.idle_options()
    if context.params["mix"]:
        idle.pop("seed", None)  # it draws the documents of a mix
    if "leftover" in idle:
        idle["fill"] = idle["leftover"]
    for name, reason in idle.items():
        if context.get_parameter_source(name) == ParameterSource.COMMANDLINE:
            warn(f"{_flag(name)} has no effect {reason}")
