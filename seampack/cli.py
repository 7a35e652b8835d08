"""The command line: the group of all commands; the only place that turns errors into messages and exit codes.

    0    success
    1    SeampackError, OSError, or out of memory
    2    wrong usage: an unknown command or option, a value of the wrong type or out of range
    130  interrupted

Results go to standard output. Messages, warnings and progress go to standard error, one line each, after ``seampack:``.
"""

import signal
import sys
import warnings
from typing import Any, NoReturn

import click
from click.exceptions import NoArgsIsHelpError

from seampack._version import __version__
from seampack.commands.inspect import inspect
from seampack.commands.models import models
from seampack.commands.pack import compare, pack
from seampack.commands.report import interrupted, note, warn
from seampack.commands.segment import segment
from seampack.commands.tokenizer import tokenizer
from seampack.errors import SeampackError

_INTERRUPTED = 130


class _Group(click.Group):
    """Group that turns each expected error into a message. A closed pipe (``| head``) ends it without a message."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an interrupt exits here, because click's handler would print an empty line first."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            _fail(interrupted(ctx), _INTERRUPTED)

    def main(self, *args: Any, **settings: Any) -> NoReturn:
        """Run the command line and exit."""
        warnings.showwarning = lambda message, *_: warn(str(message))
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            super().main(*args, **{"prog_name": "seampack", **settings, "standalone_mode": False})
            if sys.stdout is not None:  # None if it was closed by >&-
                sys.stdout.flush()
        except SeampackError as error:
            _fail(str(error), 1)
        except NoArgsIsHelpError as error:
            error.show()
            sys.exit(error.exit_code)
        except click.UsageError as error:
            command = error.ctx.command_path if error.ctx else "seampack"
            _fail(f"{error.format_message().rstrip('.')} (see {command} --help)", error.exit_code)
        except (KeyboardInterrupt, click.Abort):
            _fail("interrupted", _INTERRUPTED)
        except click.exceptions.Exit as error:
            sys.exit(error.exit_code)
        except OSError as error:
            file = f"{error.filename}: " if error.filename else ""
            _fail(f"{file}{error.strerror or error}", 1)
        except MemoryError:
            _fail("out of memory; pack and compare need less memory with a smaller --window-tokens", 1)
        sys.exit(0)


def _fail(message: str, code: int) -> NoReturn:
    note(message)
    sys.exit(code)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="seampack")
def main() -> None:
    """Turn text corpora into training sequences, and find the words of text without spaces."""


for command in (pack, compare, inspect, tokenizer, segment, models):
    main.add_command(command)


if __name__ == "__main__":
    main()
