"""Shared by all tests: the commands, as a real process or a call, and the corpus that ships with the package."""

import gc
import itertools
import os
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import click
import pytest
import tokenizers
from hypothesis import settings

from seampack._signals import STOPPING
from seampack.cli import main
from seampack.packer import tokenizing
from tests.s3 import put, s3_server

DATA = Path(__file__).parent.parent / "seampack" / "data"
CORPUS = DATA / "corpus.jsonl.zst"

# No deadline, because the first call of a kernel compiles it for seconds. Every run tests the same examples.
settings.register_profile("seampack", deadline=None, derandomize=True)
settings.load_profile("seampack")

Run = Callable[..., "subprocess.CompletedProcess[bytes]"]


def commands(group: click.Group = main, *path: str) -> dict[tuple[str, ...], click.Command]:
    """Return the group, its subgroups and all their commands by their paths, such as ("segment", "eval")."""
    tree: dict[tuple[str, ...], click.Command] = {path: group}
    for name, each in group.commands.items():
        tree |= commands(each, *path, name) if isinstance(each, click.Group) else {(*path, name): each}
    return tree


def command(*arguments: object) -> list[str]:
    """Return the command line of a seampack process."""
    return [sys.executable, "-m", "seampack.cli", *map(str, arguments)]


def obey_interrupts() -> None:
    """Undo what a test run inherits: in the background of a script it ignores Ctrl-C, and with nohup SIGHUP."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run seampack as a process in an empty folder. ``stdin=bytes`` is piped in; other keywords are environment."""

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
    """Run seampack within this process, a second faster than ``run``. Standard input is a file, not a pipe."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # restored after the test
    monkeypatch.setattr("seampack.cli._end", sys.exit)
    handlers = {number: signal.getsignal(number) for number in STOPPING}

    def start(*arguments: object, stdin: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
        with tempfile.TemporaryFile() as file, monkeypatch.context() as patch:
            file.write(stdin)
            file.seek(0)
            patch.setattr(sys, "stdin", file)
            with pytest.raises(SystemExit) as stop:
                main(list(map(str, arguments)))
        assert isinstance(stop.value.code, int)
        return subprocess.CompletedProcess(arguments, stop.value.code, *capfdbinary.readouterr())

    yield start
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session", autouse=True)
def _no_waits() -> Iterator[None]:
    """Wait for no disk, which no test could see, and load the bundled tokenizer once. Processes do both."""
    load, loaded = tokenizing._load_reference, {}

    def load_once(content: bytes, name: str) -> tokenizers.Tokenizer:
        if name != tokenizing.BUNDLED:
            return load(content, name)
        if name not in loaded:
            loaded[name] = load(content, name)
        return loaded[name]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        patch.setattr(tokenizing, "_load_reference", load_once)
        yield


_buckets = itertools.count()


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server with the interface of S3."""
    if find_spec("moto") is None:
        pytest.skip("moto is not installed: pip install 'moto[s3,server]'")
    with s3_server(tmp_path_factory.mktemp("s3") / "log") as address:
        yield address


@pytest.fixture
def bucket(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of an empty bucket, which the environment gives access to."""
    for name, value in {
        "AWS_ENDPOINT_URL": s3,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    name = f"bucket-{next(_buckets)}"
    put(f"{s3}/{name}")
    return f"s3://{name}"


def pytest_collection_finish() -> None:
    """Spare the garbage collector the million objects of what the tests import."""
    gc.collect()
    gc.freeze()


def pytest_configure(config: pytest.Config) -> None:
    if os.environ.get("NUMBA_DISABLE_JIT") == "1":
        # 64-bit random numbers wrap around: numpy's scalars warn of that, compiled machine words do not
        config.addinivalue_line("filterwarnings", "ignore:overflow encountered in scalar:RuntimeWarning")
