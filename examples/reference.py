"""Write the reference pages from the code: ``python -m examples.reference``.

The command line comes from the help of each command, Python from the names, signatures and docstrings of ``seampack``.
"""

import dataclasses
import inspect
import re
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import click

import seampack
from seampack.cli import main

PAGES = Path(__file__).parent.parent / "docs" / "reference"
WIDTH = 100


def command_line() -> str:
    """Return the page of all commands."""
    head = "# Command line\n\nThe help of each command (`python -m examples.reference`)."
    return (
        "\n\n".join(
            [head, *_commands(click.Context(main, info_name="seampack", **{**main.context_settings, **_width()}))]
        )
        + "\n"
    )


def _width() -> dict[str, int]:
    return {"terminal_width": WIDTH, "max_content_width": WIDTH}


def _commands(context: click.Context) -> Iterator[str]:
    """Yield the section of a command, then those of its commands."""
    command = context.command
    yield f"## {context.command_path}\n\n```text\n{command.get_help(context)}\n```"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = click.Context(command.commands[name], info_name=name, parent=context, **_width())
            yield from _commands(child)


def python() -> str:
    """Return the page of all public names."""
    names = [name for name in seampack.__all__ if not name.startswith("__")]
    functions = [name for name in names if inspect.isroutine(getattr(seampack, name))]
    errors = [name for name in names if name.endswith("Error")]
    classes = [name for name in names if name not in functions and name not in errors]
    parts = ["# Python", "The public names of `seampack`, with their docstrings (`python -m examples.reference`)."]
    for title, group in (("Functions", functions), ("Classes", classes), ("Errors", errors)):
        parts += [f"## {title}", *(_entry(name, getattr(seampack, name)) for name in group)]
    return "\n\n".join(parts) + "\n"


def _entry(name: str, value: Any) -> str:
    parts = [f"### {name}", _signature(name, value), _text(value)]
    if isinstance(value, type) and not issubclass(value, Exception):
        if dataclasses.is_dataclass(value) and (rows := _options(value)):
            parts.append("\n".join(["| option | default | meaning |", "| --- | --- | --- |", *rows]))
        elif dataclasses.is_dataclass(value):
            parts.append("Fields: " + ", ".join(f"`{field.name}`" for field in dataclasses.fields(value)) + ".")
        elif issubclass(value, Enum):
            parts.append("Values: " + ", ".join(f"`{member.value}`" for member in value) + ".")
        for method, member in vars(value).items():
            if not method.startswith("_") and (text := _text(member)):
                call = f"`.{method}`" if isinstance(member, property) else f"`.{method}(...)`"
                parts.append(f"{call}: {text}")
    return "\n\n".join(part for part in parts if part)


def _signature(name: str, value: Any) -> str:
    """Return the parameters of a function with their defaults; the options of a class are in its table."""
    if isinstance(value, type):
        return ""
    lines, by_name = [], False
    for parameter in inspect.signature(value).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not by_name:
            by_name = True
            lines.append("*")
        lines.append(str(parameter.replace(annotation=parameter.empty)))
    listed = re.sub(r"<[A-Z]\w+\.\w+: (.+?)>", r"\1", "".join(f"    {line},\n" for line in lines))  # members of enums
    return f"```python\nseampack.{name}(\n{listed})\n```"


def _text(value: Any) -> str:
    """Return a docstring: its first paragraph as Markdown, the rest as it is; nothing for other values."""
    if isinstance(value, classmethod | staticmethod):
        value = value.__func__
    if not (inspect.isroutine(value) or isinstance(value, type | property)):
        return ""
    first, _, rest = inspect.cleandoc(value.__doc__ or "").partition("\n\n")
    head = re.sub(r"``(.+?)``", r"`\1`", first)
    plain = rest.replace("``", "")
    return f"{head}\n\n```text\n{plain}\n```" if rest else head


def _options(config: type) -> list[str]:
    return [
        f"| `{field.name}` | `{field.default!r}` | {_cell(field.metadata['help'])} |"
        for field in dataclasses.fields(config)
        if "help" in field.metadata
    ]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    PAGES.mkdir(exist_ok=True)
    (PAGES / "command_line.md").write_text(command_line(), encoding="utf-8")
    (PAGES / "python.md").write_text(python(), encoding="utf-8")
