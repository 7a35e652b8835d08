"""Shared fixtures: the command as a real process, and the small corpus that ships with the package."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

DATA = Path(__file__).parent.parent / "seampack" / "data"
CORPUS = DATA / "corpus.jsonl.zst"

# A first call compiles kernels for seconds; the same examples in every run.
settings.register_profile("seampack", deadline=None, derandomize=True)
settings.load_profile("seampack")

Run = Callable[..., "subprocess.CompletedProcess[bytes]"]


def command(*arguments: object) -> list[str]:
    """The command line of a real seampack process."""
    return [sys.executable, "-m", "seampack.cli", *map(str, arguments)]


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


def pytest_configure(config: pytest.Config) -> None:
    if os.environ.get("NUMBA_DISABLE_JIT") == "1":
        # 64-bit random numbers wrap around, which only numpy's scalars, in place of machine words, warn of
        config.addinivalue_line("filterwarnings", "ignore:overflow encountered in scalar:RuntimeWarning")
