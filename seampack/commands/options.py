"""Command-line options made from the fields of a config: name, type, default, range and help are written there once."""

import dataclasses
import typing
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def config_options(config: type, *, skip: Sequence[str] = ()) -> Callable[[Command], Command]:
    """Add an option for each field of a config class, in the order of the fields, except those in ``skip``."""

    def decorate(command: Command) -> Command:
        for field in reversed(dataclasses.fields(config)):
            if field.name not in skip:
                command = _option(field)(command)
        return command

    return decorate


def _option(field: "dataclasses.Field[Any]") -> Callable[[Command], Command]:
    flag = "--" + field.name.replace("_", "-")
    facts = field.metadata
    settings: dict[str, Any] = {"default": field.default, "help": facts["help"], "show_default": True}
    if isinstance(field.default, bool):
        flag = f"{flag}/--no-{flag.removeprefix('--')}"
    else:
        settings["type"] = _type(field)
    if facts["unit"]:
        settings["metavar"] = facts["unit"].upper()
    return click.option(flag, field.name, **settings)


def _type(field: "dataclasses.Field[Any]") -> Any:
    """Return the click type that shows and checks what the config accepts."""
    facts = field.metadata
    if facts["choices"] is not None:
        return click.Choice([member.value for member in facts["choices"]])
    kinds = {field.type, *typing.get_args(field.type)}  # the option ``int | None`` is an int on the command line
    if int in kinds:
        return click.IntRange(facts["low"], facts["high"])
    if float in kinds:
        below = facts["below"]
        return click.FloatRange(facts["low"], facts["high"] if below is None else below, max_open=below is not None)
    return str
