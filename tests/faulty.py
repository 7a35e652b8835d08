"""Shared by the tests of faults: options of small runs, the message of a failed run, the contents of a folder."""

import subprocess
from pathlib import Path

UNFRAMED = ("--tokenizer", "bundled", "--bos", "none", "--eos", "none")
"""Options of a run without notes on standard error."""
SMALL = (*UNFRAMED, "--seq-len", 64, "--window-tokens", 1000, "--shard-tokens", 1000)
GOOD = '{"text": "hello world"}\n'


def failed(result: "subprocess.CompletedProcess[bytes]", code: int = 1) -> str:
    """Return the message of a run that failed: one line on standard error, nothing on standard output."""
    assert result.returncode == code, result.stderr.decode()
    assert result.stdout == b""
    (line,) = result.stderr.decode().splitlines()
    assert line.startswith("seampack: ")
    return line.removeprefix("seampack: ")


def contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of each file of a folder by its name."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}
