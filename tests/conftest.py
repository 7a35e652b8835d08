"""Shared fixtures: the command as a real process, and the small corpus that ships with the package."""

import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from seampack.cli import main

DATA = Path(__file__).parent.parent / "seampack" / "data"
CORPUS = DATA / "corpus.jsonl.zst"

# A first call compiles kernels for seconds; the same examples in every run.
settings.register_profile("seampack", deadline=None, derandomize=True)
settings.load_profile("seampack")

Run = Callable[..., "subprocess.CompletedProcess[bytes]"]


def command(*arguments: object) -> list[str]:
    """The command line of a real seampack process."""
    return [sys.executable, "-m", "seampack.cli", *map(str, arguments)]


def obey_interrupts() -> None:
    """A test run in the background of a script inherits that Ctrl-C is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run seampack in an empty folder; standard input by ``stdin=bytes``."""

    def start(
        *arguments: object, stdin: bytes | None = None, **environment: str
    ) -> "subprocess.CompletedProcess[bytes]":
        return subprocess.run(
            command(*arguments),
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            cwd=tmp_path,
            env={**os.environ, **environment},
            timeout=120,
            check=False,
        )

    return start


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Iterator[Run]:
    """As ``run``, but inside this process: a second less each."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # put back behind the test
    handler = signal.getsignal(signal.SIGTERM)

    def start(*arguments: object) -> "subprocess.CompletedProcess[bytes]":
        with pytest.raises(SystemExit) as stop:
            main(list(map(str, arguments)))
        assert isinstance(stop.value.code, int)
        return subprocess.CompletedProcess(arguments, stop.value.code, *capfdbinary.readouterr())

    yield start
    signal.signal(signal.SIGTERM, handler)


def pytest_configure(config: pytest.Config) -> None:
    if os.environ.get("NUMBA_DISABLE_JIT") == "1":
        # 64-bit random numbers wrap around, which only numpy's scalars, in place of machine words, warn of
        config.addinivalue_line("filterwarnings", "ignore:overflow encountered in scalar:RuntimeWarning")
