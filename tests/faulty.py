"""What the tests of faults share: small runs, how one that failed looks, what a folder holds."""

import subprocess
from pathlib import Path

SMALL = ("--tokenizer", "bundled", "--seq-len", 64, "--window-tokens", 1000, "--shard-tokens", 1000)
GOOD = '{"text": "hello world"}\n'


def failed(result: "subprocess.CompletedProcess[bytes]", code: int = 1) -> str:
    """The message of a run that failed as it should: one line, no more."""
    assert result.returncode == code
    assert result.stdout == b""
    (line,) = result.stderr.decode().splitlines()
    assert line.startswith("seampack: ")
    return line.removeprefix("seampack: ")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}
