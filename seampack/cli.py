"""The command line: the group of all commands; the only place that turns errors into messages and exit codes.

    0    success
    1    SeampackError, OSError, or out of memory
    2    wrong usage: an unknown command or option, a value of the wrong type or out of range
    129, 130, 143  stopped by SIGHUP, Ctrl-C or SIGTERM
    141  standard output was closed by its reader (``| head``); 0 if the output was complete by then

Results go to standard output. Messages, warnings and progress go to standard error, one line each, after ``seampack:``.
On a terminal, the remedy of an error or warning is on a second line.
"""

import errno
import os
import select
import signal
import sys
import threading
import warnings
from contextlib import suppress
from types import FrameType
from typing import Any, NoReturn

import click
from click.exceptions import NoArgsIsHelpError

from seampack._signals import STOPPING, ignore_signals
from seampack._version import __version__
from seampack.commands.doctor import doctor
from seampack.commands.inspect import inspect
from seampack.commands.merge import merge
from seampack.commands.models import models
from seampack.commands.pack import compare, pack
from seampack.commands.report import discard, interrupted, memory_advice, note, warn, written
from seampack.commands.segment import segment
from seampack.commands.terminal import ERROR
from seampack.commands.tokenize import tokenize
from seampack.commands.tokenizer import tokenizer
from seampack.commands.unpack import unpack
from seampack.commands.verify import verify
from seampack.errors import SeampackError, is_out_of_memory, reason_of_os

_INTERRUPTED = 128 + signal.SIGINT
_CLOSED_PIPE = 141  # 128 + SIGPIPE
_AGAIN = 0.02  # seconds until a signal is sent again


class _Stopped(KeyboardInterrupt):
    """A signal that stops the run; its argument is the number of the signal."""


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    raise _Stopped(number)


def _unraisable(unraisable: "sys.UnraisableHookArgs") -> None:
    """Send a signal again that arrived where Python drops exceptions, such as in a destructor; print other errors."""
    if not isinstance(unraisable.exc_value, _Stopped):
        sys.__unraisablehook__(unraisable)
        return
    again = threading.Timer(_AGAIN, os.kill, (os.getpid(), unraisable.exc_value.args[0]))
    again.daemon = True
    again.start()


class _Group(click.Group):
    """Group that turns each expected error into a message. A closed pipe (``| head``) ends it without a message."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. Handle what click would handle otherwise: interrupts, closed pipes, the end of a file."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            ignore_signals()
            note(interrupted(ctx))
            _end(128 + error.args[0] if isinstance(error, _Stopped) else _INTERRUPTED)
        except EOFError as error:
            raise RuntimeError(f"internal error: unexpected end of a file: {error}") from error
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            _fail(f"out of memory{memory_advice(ctx)}", 1)
        except OSError as error:
            out = written(ctx)
            if not _is_of_stdout(error) or (out is None and error.errno != errno.EPIPE):
                _fail_of_os(error)
            discard(sys.stdout)
            if error.errno == errno.EPIPE:
                sys.exit(_CLOSED_PIPE if out is None else 0)
            warn(f"standard output cannot be written: {reason_of_os(error)}; {out} is complete")

    def main(self, *args: Any, **settings: Any) -> NoReturn:
        """Run the command line and exit."""
        _open_closed_descriptors()
        warnings.showwarning = lambda message, *_: warn(str(message))
        sys.unraisablehook = _unraisable
        for number in STOPPING:
            if signal.getsignal(number) != signal.SIG_IGN:  # ignored by nohup, or in the background of a script
                signal.signal(number, _stop)
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
            ignore_signals()
            note("interrupted")
            _end(_INTERRUPTED)
        except click.exceptions.Exit as error:
            sys.exit(error.exit_code)
        except OSError as error:
            _fail_of_os(error)
        sys.exit(0)


def _is_of_stdout(error: OSError) -> bool:
    """Return whether an error is of standard output: a pipe that nobody reads, or a report that cannot be written.

    Files have a name in their errors. Other errors without one, as of a connection, are not raised by ``click.echo``.
    """
    if error.filename:
        return False
    if error.errno == errno.EPIPE:
        with suppress(OSError, ValueError, AttributeError):  # not a file, closed, or None
            pipe = select.poll()
            pipe.register(sys.stdout.fileno(), select.POLLOUT)
            return any(state & select.POLLERR for _, state in pipe.poll(0))
        return False
    raised = error.__traceback__
    while raised is not None and raised.tb_next is not None:
        raised = raised.tb_next
    return raised is not None and raised.tb_frame.f_code is click.echo.__code__


def _open_closed_descriptors() -> None:
    """Open /dev/null for standard streams that are closed (``2>&-``), so that no file of the run gets their numbers."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115  # open until the process ends


def _end(code: int) -> NoReturn:
    """End the process now: after an interrupt, Python may not wait for all threads and end them with an error."""
    with suppress(OSError, AttributeError):  # closed, or None
        sys.stdout.flush()
    if "multiprocessing.util" in sys.modules:  # training has workers: their semaphores are released, as at a normal end
        from multiprocessing import util

        util._exit_function()  # type: ignore[attr-defined]
    os._exit(code)


def _fail_of_os(error: OSError) -> NoReturn:
    file = f"{error.filename}: " if error.filename else ""
    _fail(f"{file}{reason_of_os(error)}", 1)


def _fail(message: str, code: int) -> NoReturn:
    note(message, ERROR)
    sys.exit(code)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="seampack")
def main() -> None:
    """Turn text corpora into training sequences, and find the words of text without spaces."""


for command in (pack, merge, tokenize, compare, inspect, verify, unpack, tokenizer, segment, models, doctor):
    main.add_command(command)


def program() -> NoReturn:
    """Run the command line as the whole process: a signal that arrives after the command has ended is ignored.

    While Python shuts down, an interrupt would only print "Exception ignored in ...".
    """
    code: Any = _INTERRUPTED
    with suppress(KeyboardInterrupt):  # between the end of the command and the next line
        try:
            main()
        except SystemExit as end:
            code = end.code
        ignore_signals()
    ignore_signals()
    sys.exit(code)


if __name__ == "__main__":
    program()
