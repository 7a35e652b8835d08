"""Command-line options made from the fields of a frozen config: names, types, defaults and help stand there alone."""

import dataclasses
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def config_options(
    config: type, *, choices: dict[str, type[StrEnum]], leave_out: Sequence[str] = ()
) -> Callable[[Command], Command]:
    """One option for each field of a config dataclass that is not left out, in the order of the fields."""

    def decorate(command: Command) -> Command:
        for field in reversed(dataclasses.fields(config)):
            if field.name not in leave_out:
                command = _option(field, choices.get(field.name))(command)
        return command

    return decorate


def _option(field: "dataclasses.Field[Any]", members: type[StrEnum] | None) -> Callable[[Command], Command]:
    flag = "--" + field.name.replace("_", "-")
    settings: dict[str, Any] = {"default": field.default, "help": field.metadata["help"], "show_default": True}
    if isinstance(field.default, bool):
        flag = f"{flag}/--no-{flag.removeprefix('--')}"
    elif members is not None:
        settings["type"] = click.Choice([member.value for member in members])
    else:
        settings["type"] = type(field.default) if field.default is not None else str
    return click.option(flag, field.name, **settings)
