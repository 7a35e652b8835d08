"""The terminal: colours, the layout of messages, and the live line of a run. Pipes and files get plain lines."""

import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import click

ERROR, WARNING, REMEDY = "red", "yellow", "green"

# The last part of a message is a remedy if it begins with one of these, which no other part of a message does.
_VERBS = (
    "choose|convert|continue|correct|decompress|divide|give|go on|make|merge|move|name|omit|pack|pass|pip install|plan|"
    "put|remove|rename|replace|restore|run|save|set|start|stop|train|unpack|use|wait|write"
)
_LAST = re.compile(rf"^(?P<fault>.+); (?P<remedy>(?:{_VERBS}) .+)$")
_EXTRA = re.compile(r"^(?P<fault>.+): (?P<remedy>pip install '.+')$")
_USAGE = re.compile(r"^(?P<fault>.+) \((?P<remedy>see seampack.* --help)\)$")


def is_terminal(stream: Any) -> bool:
    """Return whether a standard stream is a terminal; closed ones are none."""
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):
        return False


def has_colours(stream: Any) -> bool:
    """Return whether to colour the text of a stream: on a terminal, unless NO_COLOR is set; FORCE_COLOR also elsewhere.

    See https://no-color.org and https://force-color.org. NO_COLOR wins over FORCE_COLOR.
    """
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or (is_terminal(stream) and os.environ.get("TERM") != "dumb")


def split_remedy(message: str) -> tuple[str, str]:
    """Return what is wrong and how to mend it; the remedy is empty if the message has none that is known.

    >>> split_remedy("out: the file exists; use --overwrite or another name")
    ('out: the file exists', 'use --overwrite or another name')
    """
    for pattern in (_USAGE, _EXTRA, _LAST):
        if match := pattern.match(message):
            return match["fault"], match["remedy"]
    return message, ""


def show_message(message: str, colour: str | None) -> None:
    """Print a message of one line on standard error, after the name of the program.

    An error or warning, which has a colour, has its remedy on a second line if standard error is a terminal.
    """
    colours = has_colours(sys.stderr)

    def painted(text: str, colour: str) -> str:
        return click.style(text, fg=colour, bold=True) if colours else text

    name = "seampack:" if colour is None else painted("seampack:", colour)
    fault, remedy = message, ""
    if colour is not None and is_terminal(sys.stderr):
        fault, remedy = split_remedy(message)
    with _line_hidden():
        click.echo(f"{name} {fault}", err=True, color=colours)
        if remedy:
            click.echo(f"    {painted('hint:', REMEDY)} {remedy}", err=True, color=colours)


def _line_hidden() -> AbstractContextManager[None]:
    """Hide the live line while a message is printed."""
    if (tqdm := sys.modules.get("tqdm")) is None:
        return nullcontext()
    hidden: AbstractContextManager[None] = tqdm.tqdm.external_write_mode(file=sys.stderr)
    return hidden


@contextmanager
def live_line(use: str = "packing") -> Iterator[Callable[[Any], None] | None]:
    """Show the progress of a run on one line if standard error is a terminal. Yield its update function, or None.

    The line has the documents, tokens and bytes a second; if the sizes of the inputs are known, also the share that is
    read and the time that is left; and the stage that limits the run, of which ``use`` is the name of the last. It fits
    80 columns, and disappears at the end.
    """
    if not is_terminal(sys.stderr):
        yield None
        return
    from tqdm import tqdm

    stages = {"READ": "reading", "TOKENISE": "tokenising", "USE": use}

    def amount(count: float) -> str:
        return f"{count:,.0f}" if count < 10_000 else tqdm.format_sizeof(count)

    with tqdm(desc="starting", leave=False, dynamic_ncols=True, miniters=0, bar_format="seampack: {desc}") as line:
        first: tuple[float, int] | None = None

        def show(progress: Any) -> None:
            nonlocal first
            now = time.perf_counter()
            if first is None:  # an earlier run may have read a part of the input
                first = now, progress.input_bytes
                line.n = line.last_print_n = line.initial = progress.stored_bytes
            limit = "" if progress.limit is None else f", limit: {stages[progress.limit.name]}"
            line.bar_format = f"{{desc}}{limit}"
            if progress.total_bytes:
                line.total = max(progress.total_bytes, progress.stored_bytes)
                line.bar_format = f"{{percentage:.0f}}% |{{bar}}| {{desc}}, {{remaining}} left{limit}"
            seconds, size = now - first[0], progress.input_bytes - first[1]
            rate = f", {amount(size / seconds)}B/s" if seconds > 0 else ""
            line.desc = f"{amount(progress.documents)} documents, {amount(progress.tokens)} tokens{rate}"
            line.update(progress.stored_bytes - line.n)

        yield show
