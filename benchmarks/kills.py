"""Kill packing runs at random points, resume them, and compare the result with that of a run that was not killed.

    python -m benchmarks.kills --kills 200

Each case is a kind of input and output. A run is killed (SIGKILL) after a random time and resumed, until it completes.
Runs of two processes, which pack partitions at the same time, and their merge are killed and started again. Every file
of the result must have the same bytes. Writes the table of ``docs/resuming.md``.
"""

import argparse
import json
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import measure

PAGE = Path(__file__).parent.parent / "docs" / "resuming.md"
KILLS = 8
"""The most kills of a run before it may end."""
WORDS = "seam pack token row window document corpus train model text".split()  # noqa: SIM905
OPTIONS = ("--seq-len", "256", "--partition-bytes", "200000", "--window-tokens", "20000", "--shard-tokens", "30000")
CASES: dict[str, tuple[str, tuple[str, ...]]] = {
    "JSON lines": ("corpus.jsonl", ()),
    "JSON lines, through a pipe": ("-", ()),
    "JSON lines in zstd, to Parquet": ("corpus.jsonl.zst", ("--output-format", "parquet")),
    "JSON lines with bad records": ("bad.jsonl", ("--on-bad", "quarantine", "--id-column", "id")),
    "Parquet, best_fit": ("corpus.parquet", ("--strategy", "best_fit")),
    "text, concat": ("corpus.txt", ("--strategy", "concat", "--labels")),
    "JSON lines, by two processes": ("corpus.jsonl", ("--labels",)),
}
SHARED = "JSON lines, by two processes"


def write_corpora(folder: Path, documents: int) -> None:
    """Write the same documents in several formats."""
    draw = random.Random(0)
    texts = [" ".join(draw.choices(WORDS, k=draw.randint(3, 200))) for _ in range(documents)]
    lines = [json.dumps({"id": f"d{number}", "text": text}) for number, text in enumerate(texts)]
    (folder / "corpus.jsonl").write_text("\n".join(lines) + "\n")
    broken = [line if number % 50 else line[:-1] for number, line in enumerate(lines)]
    (folder / "bad.jsonl").write_text("\n".join(broken) + "\n")
    (folder / "corpus.txt").write_text("\n".join(texts) + "\n")
    pq.write_table(pa.table({"text": texts}), folder / "corpus.parquet", row_group_size=200)
    with pa.CompressedOutputStream(str(folder / "corpus.jsonl.zst"), "zstd") as stream:
        stream.write(("\n".join(lines) + "\n").encode())


def contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of each file of a folder."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def start(folder: Path, command: list[str], **process: Any) -> "subprocess.Popen[bytes]":
    """Start a command in a folder."""
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **process)


def pack(case: str, out: str, *way: str) -> list[str]:
    """Return the command of a packing run; ``way`` is ``--resume`` or ``--partition I/N``."""
    source, options = CASES[case]
    command = [sys.executable, "-m", "seampack.cli", "pack", source, "-o", out, *way, *OPTIONS, *options, "--json"]
    if source == "-":  # a real pipe; the shell becomes the run
        return ["bash", "-c", 'exec "$@" < <(cat corpus.jsonl)', "bash", *command]
    return command


def stages(case: str, out: str) -> list[list[list[str]]]:
    """Return the commands that make a result: stage after stage, those of a stage at the same time."""
    if case != SHARED:
        return [[pack(case, out, "--resume")]]
    merge = [sys.executable, "-m", "seampack.cli", "merge", out]
    return [[pack(case, out, "--partition", f"{number}/2") for number in range(2)], [merge]]


def complete(folder: Path, seconds: float, command: list[str], draw: random.Random) -> int:
    """Start a command again and again until it is not killed. Return the number of kills."""
    killed = 0
    while True:
        run = start(folder, command)
        try:
            _, errors = run.communicate(timeout=draw.uniform(0.2, 1) * seconds if killed < KILLS else None)
        except subprocess.TimeoutExpired:
            run.send_signal(signal.SIGKILL)
            run.communicate()
            killed += 1
            hidden = [name for name in os.listdir(folder) if name.startswith(".")]
            if len(hidden) > 1:
                raise SystemExit(f"{shlex.join(command)}: a kill left {hidden}") from None
            continue
        if run.returncode:
            raise SystemExit(f"{shlex.join(command)}: {errors.decode()}")
        return killed


def killed_runs(folder: Path, case: str, kills: int, draw: random.Random) -> Iterator[tuple[int, int]]:
    """Kill and resume runs until ``kills`` are done. Yield the kills of each result, and 1 if its bytes differ."""
    for name in ("first", "reference"):  # the first run may compile kernels
        started = time.perf_counter()
        run = start(folder, pack(case, name, "--resume"))
        _, errors = run.communicate()
        if run.returncode:
            raise SystemExit(f"{case}: {errors.decode()}")
    seconds = time.perf_counter() - started
    expected = contents(folder / "reference")
    done = 0
    while done < kills:
        killed = 0
        for commands in stages(case, "killed"):
            draws = [random.Random(draw.random()) for _ in commands]
            with ThreadPoolExecutor(len(commands)) as pool:
                killed += sum(pool.map(partial(complete, folder, seconds), commands, draws))
        got = contents(folder / "killed")
        wrong = [name for name in {*got, *expected} if got.get(name) != expected.get(name)]
        wrong += [name for name in os.listdir(folder) if name.startswith(".")]
        if wrong:
            print(f"{case}: another result: {', '.join(sorted(wrong))}", file=sys.stderr, flush=True)
        shutil.rmtree(folder / "killed")
        done += killed
        yield killed, int(bool(wrong))


def main() -> None:
    """Kill runs of each case, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="number of kills, over all cases")
    parser.add_argument("--documents", type=int, default=6_000)
    options = parser.parse_args()
    rows = []
    draw = random.Random(1)
    for case in CASES:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_corpora(folder, options.documents)
            results = list(killed_runs(folder, case, -(-options.kills // len(CASES)), draw))
        rows.append(
            [case, str(sum(killed for killed, _ in results)), str(len(results)), str(sum(d for _, d in results))]
        )
        print(" | ".join(rows[-1]), flush=True)
    table = measure.table(["input and output", "kills", "results", "results with another byte"], rows)
    if PAGE.exists():
        measure.write_between(PAGE, "kills", table)


if __name__ == "__main__":
    main()
