"""Tools of the benchmarks: measure CPU seconds and whole processes, describe the machine, write tables to pages."""

import importlib.metadata
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seampack._version import __version__

# A process counts the peak memory of the one that started it as its own; this one has little.
_LAUNCHER = """
import json, resource, subprocess, sys, time
started = time.perf_counter()
code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)
wall = time.perf_counter() - started
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([code, usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss / 1000]))
"""


@dataclass(frozen=True)
class Usage:
    """Resources used by a finished process and its children."""

    cpu_seconds: float
    wall_seconds: float
    peak_megabytes: float


def cpu_seconds(function: Callable[[], Any]) -> float:
    """Return the CPU seconds of one call in this process, summed over all threads."""
    started = time.process_time()
    function()
    return time.process_time() - started


def paired(ours: Callable[[], Any], theirs: Callable[[], Any], runs: int) -> tuple[float, float, float]:
    """Run both functions in turn; return the median CPU seconds of each, and the median of the ratio ours / theirs.

    The ratio is reliable even on a busy machine.
    """
    pairs = [(cpu_seconds(ours), cpu_seconds(theirs)) for _ in range(runs)]
    return (
        statistics.median(a for a, _ in pairs),
        statistics.median(b for _, b in pairs),
        statistics.median(a / b for a, b in pairs),
    )


def process(command: Sequence[str]) -> Usage:
    """Run a command and wait for it. Raise CalledProcessError with its standard error if it fails."""
    with tempfile.TemporaryFile() as errors:
        launched = subprocess.run(
            [sys.executable, "-c", _LAUNCHER, *command], stdout=subprocess.PIPE, stderr=errors, check=True
        )
        code, *usage = json.loads(launched.stdout)
        if code:
            errors.seek(0)
            raise subprocess.CalledProcessError(code, command, stderr=errors.read()[-2000:])
    return Usage(*usage)


def python(code: str) -> Usage:
    """Run Python code in a separate process."""
    return process([sys.executable, "-c", code])


def machine(packages: Sequence[str]) -> str:
    """Return one line with the processor, the system and the versions of packages."""
    model = "unknown processor"
    if (info := Path("/proc/cpuinfo")).exists():
        names = re.findall(r"model name\s*:\s*(.+)", info.read_text())
        model = names[0] if names else model
    versions = []
    for package in packages:
        try:
            version = __version__ if package == "seampack" else importlib.metadata.version(package)
            versions.append(f"{package} {version}")
        except importlib.metadata.PackageNotFoundError:
            continue
    cores = len(os.sched_getaffinity(0))
    return f"{model}, {cores} cores, {platform.system()}, Python {platform.python_version()}; {', '.join(versions)}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write_between(path: Path, marker: str, text: str) -> None:
    """Replace the text of a page between ``<!-- marker -->`` and ``<!-- /marker -->``."""
    begin, end = f"<!-- {marker} -->", f"<!-- /{marker} -->"
    document = path.read_text("utf-8")
    if begin not in document or end not in document:
        raise SystemExit(f"{path}: no {begin} ... {end} to write the table into")
    head, rest = document.split(begin, 1)
    path.write_text(f"{head}{begin}\n{text}\n{end}{rest.split(end, 1)[1]}", encoding="utf-8")
