"""What a terminal shows and a pipe does not: a live line, remedies on a line of their own, colours."""

import doctest
import io
import itertools
import os
import pty
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from seampack.commands import terminal
from seampack.commands.report import note
from seampack.commands.terminal import ERROR, has_colours, live_line, split_remedy
from seampack.packer.pipeline import Progress
from seampack.packer.waits import Wait
from tests.conftest import CORPUS, command


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    return Terminal()


def on_terminal(folder: Path, *arguments: object, **environment: str) -> str:
    """Return what a process writes to a terminal as its standard error."""
    ours, its = pty.openpty()
    termios.tcsetwinsize(its, (24, 100))
    process = subprocess.Popen(
        command(*arguments),
        cwd=folder,
        stderr=its,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "TERM": "xterm", **environment},
    )
    os.close(its)
    shown = b""
    while True:
        try:
            block = os.read(ours, 1 << 16)
        except OSError:  # the process has ended
            break
        if not block:
            break
        shown += block
    process.wait()
    os.close(ours)
    return shown.decode()


@pytest.mark.parametrize(
    ("message", "remedy"),
    [
        ("a: the folder holds packed shards; use --overwrite or another folder", "use --overwrite or another folder"),
        ("'--threads': expected an integer; got 'x' (see seampack pack --help)", "see seampack pack --help"),
        ("chats need jinja2, which is not installed: pip install 'seampack[chat]'", "pip install 'seampack[chat]'"),
        ("a:3: expected text; got a number", ""),
        ("a: cannot be written: no room; the output is unchanged", ""),
        ("4 workers have died; if memory was short, give fewer workers; finished partitions are kept", ""),
        ("name a file; got none", ""),
        ("; use it", ""),
    ],
)
def test_only_a_remedy_is_split_off(message: str, remedy: str) -> None:
    fault, found = split_remedy(message)
    assert found == remedy
    assert message.startswith(fault)
    assert (fault == message) == (not remedy)


def test_example() -> None:
    assert doctest.testmod(terminal).failed == 0


def test_a_terminal_shows_the_remedy_on_a_line_of_its_own(screen: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys, "stderr", screen)
    note("out: exists; use --overwrite", ERROR)
    note("begin token: none; choose others with --bos")
    assert screen.getvalue() == (
        "seampack: out: exists\n    hint: use --overwrite\nseampack: begin token: none; choose others with --bos\n"
    )


@pytest.mark.parametrize(
    ("environment", "tty", "expected"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"NO_COLOR": ""}, True, True),
        ({"NO_COLOR": "1"}, True, False),
        ({"TERM": "dumb"}, True, False),
        ({"FORCE_COLOR": "1"}, False, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, True, False),
    ],
    ids=str,
)
def test_colours(
    screen: Terminal, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], tty: bool, expected: bool
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    stream = screen if tty else io.StringIO()
    assert has_colours(stream) is expected
    monkeypatch.setattr(sys, "stderr", stream)
    note("out: exists; use --overwrite", ERROR)
    text = stream.getvalue()
    assert ("\x1b[" in text) is expected
    assert ("\n    " in text) is tty


def test_the_live_line(screen: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", screen)
    with live_line() as show:
        assert show is not None
        show(Progress(10, 2_000, 1_000, 500, 4_000))
        monkeypatch.setattr("tqdm.tqdm.mininterval", 0, raising=False)
        note("a message between")
        show(Progress(1_234, 5_600_000, 9_000, 1_000, 4_000, Wait.TOKENISE))
        note("another")
    shown = screen.getvalue()
    assert "seampack: starting" in shown
    assert "\r12% |" in shown
    assert "1,234 documents, 5.60M tokens, " in shown
    assert "B/s, " in shown
    assert " left, limit: tokenising" in shown
    assert "\rseampack: a message between\n" in shown
    assert shown.endswith("\r")  # nothing of it is left


def test_the_live_line_fits_80_columns(screen: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr("tqdm.std._screen_shape_wrapper", lambda: lambda _: (80, 24))
    clock = itertools.count(100, 3)
    monkeypatch.setattr("seampack.commands.terminal.time.perf_counter", lambda: next(clock))
    with live_line() as show:
        assert show is not None
        show(Progress(0, 0, 0, 0, 10**13, Wait.TOKENISE))
        show(Progress(123_456_789, 987_654_321_000, 456_000_000, 10**9, 10**13, Wait.TOKENISE))
        note("a message")  # draws the line again
        last = screen.getvalue().split("\r")[-1]
    assert "| 123M documents, 988G tokens, 152MB/s, " in last
    assert last.endswith(" left, limit: tokenising")
    assert len(last) <= 80


def test_no_live_line_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with live_line() as show:
        assert show is None


def test_a_run_on_a_terminal(tmp_path: Path) -> None:
    shown = on_terminal(tmp_path, "pack", CORPUS, "-o", "out", NO_COLOR="1")
    assert "documents, " in shown
    assert "left" in shown
    again = on_terminal(tmp_path, "pack", CORPUS, "-o", "out", NO_COLOR="", FORCE_COLOR="")
    assert "\x1b[31m\x1b[1mseampack:\x1b[0m out: the folder holds packed shards" in again
    assert "\r\n    \x1b[32m\x1b[1mhint:\x1b[0m use --overwrite or another folder\r\n" in again
