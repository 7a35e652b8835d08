"""Commands with many options: ``--help`` lists them by the stages of a run, which each option names."""

from collections.abc import Callable
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from seampack.config import Group

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


class GroupedOption(click.Option):
    """An option that knows its stage."""

    def __init__(self, *arguments: Any, group: Group | None = None, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.group = group


def option(*names: str, group: Group | None = None, **settings: Any) -> Callable[[Decorated], Decorated]:
    """Add an option of a stage to a command; otherwise as ``click.option``."""
    return click.option(*names, cls=GroupedOption, group=group, **settings)


class GroupedCommand(click.Command):
    """A command whose help has a section for each stage. Options without a stage, such as --help, are in the last."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options under the names of their stages."""
        sections: dict[Group, list[tuple[str, str]]] = {group: [] for group in Group}
        for parameter in self.get_params(ctx):
            if isinstance(parameter, click.Option) and (record := parameter.get_help_record(ctx)) is not None:
                sections[getattr(parameter, "group", None) or Group.RUN].append(record)
        for group, records in sections.items():
            if records:
                with formatter.section(group.value):
                    formatter.write_dl(records)


class Path(click.types.StringParamType):
    """Text that names a file or folder, which shells complete."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the text. Raise click.BadParameter for an empty one, which a variable of the shell may be."""
        if value == "":
            self.fail("expected a path or a name; got an empty text, such as that of an unset variable", param, ctx)
        return super().convert(value, param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return the item that lets the shell complete names of files."""
        return [CompletionItem(incomplete, type="file")]


PATH = Path()
