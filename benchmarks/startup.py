"""Measure what a run costs before and after its documents: the stages of a run of one document, and short commands.

    python -m benchmarks.startup --tokenizer gpt2/tokenizer.json --tokenizer qwen3/tokenizer.json

The stages are measured in the order of a run, each run in a new process, and then the run as a whole; medians of CPU
seconds.
Also measures from how much text on the fast tokenizer pays for its loading, on which ``_FAST_FROM`` in
``seampack/packer/tokenizing.py`` is based. Results: ``benchmarks/results/startup.json``, and a table of
``BENCHMARKS.md``.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import measure

RESULTS = Path(__file__).parent / "results" / "startup.json"
PAGE = Path(__file__).parent.parent / "BENCHMARKS.md"
PACKAGES = ("seampack", "numpy", "numba", "pyarrow", "tokenizers", "fastokens")
BUNDLED = Path("seampack/data/tokenizer.json")
TEXT = Path("seampack/data/corpus.jsonl.zst")

# What a process of one document does, step by step; each prints its CPU seconds.
_STAGES = """
import json, sys, time
clock = time.process_time
times, last = {"Python": clock()}, clock()
def stage(name):
    global last
    now = clock()
    times[name] = now - last
    last = now
import seampack.cli
stage("command line")
import numpy
stage("import numpy")
import pyarrow
stage("import pyarrow")
import tokenizers, msgspec, xxhash
stage("import tokenizers and others")
from seampack._pandas import leave_out_pandas
leave_out_pandas()
from seampack.packer import packing, pipeline, planning
from seampack.packer.windows import End
stage("import the packer")
planning.plan([1]).account()
stage("load the kernels")
config = packing.PackConfig()
tokenizer = packing.TextTokenizer(sys.argv[2], config)
stage("load the tokenizer and its vocabulary")
batches = list(pipeline.token_batches([sys.argv[1]], tokenizer, config))
stage("read and tokenise")
facts = packing._facts(tokenizer)
with packing.RunFolder(sys.argv[3], config, overwrite=True) as folder:
    packing.Stage(config, facts, folder, partitions=1).run(batches, End.PARTITION)
    stage("plan, gather and write")
    packing._finish(folder, config, facts, 1, {})
stage("complete the folder")
json.dump(times, sys.stdout)
"""
_THRESHOLD = """
import json, sys, time
from seampack.packer import tokenizing
clock = time.process_time
content = tokenizing._tokenizer_json(sys.argv[1])
texts = [json.loads(line)["text"] for line in open(sys.argv[2], encoding="utf-8")]
size = sum(len(text.encode()) for text in texts)
tokenizer = tokenizing.TextTokenizer(sys.argv[1])
started = clock()
tokenizer.trusts_fast([])
load = clock() - started
speeds = []
for encode in (tokenizer._encode_reference, tokenizer._encode_fast):
    encode(texts)
    started = clock()
    encode(texts)
    speeds.append((clock() - started) / size)
print(load / (speeds[0] - speeds[1]), len(content))
"""


def stages(tokenizer: Path, folder: Path, runs: int) -> dict[str, float]:
    """Return the CPU seconds of the stages of a run, and of the run as a whole."""
    corpus = folder / "corpus.jsonl"
    corpus.write_text('{"text": "A document of a few words."}\n')
    command = [sys.executable, "-c", _STAGES, str(corpus), str(tokenizer), str(folder / "stages")]
    times = [
        json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout) for _ in range(runs)
    ]
    whole = [sys.executable, "-m", "seampack.cli", "pack", str(corpus), "--tokenizer", str(tokenizer), "--overwrite"]
    medians = {name: statistics.median(each[name] for each in times) for name in times[0]}
    medians["the whole command"] = cpu([*whole, "-o", str(folder / "whole")], runs)
    return medians


def cpu(command: list[str], runs: int, code: int = 0) -> float:
    """Return the median CPU seconds of a process that ends with the exit code."""
    shell = ["sh", "-c", '"$@"; test $? = ' + str(code), "sh", *command]
    return statistics.median(measure.process(shell).cpu_seconds for _ in range(runs))


def threshold(tokenizer: Path, folder: Path) -> float:
    """Return the bytes of text, for each byte of a tokenizer, from which on the fast path pays for its loading."""
    import pyarrow as pa

    texts = folder / "texts.jsonl"
    with pa.input_stream(str(TEXT), compression="zstd") as source:
        texts.write_bytes(source.read())
    command = [sys.executable, "-c", _THRESHOLD, str(tokenizer), str(texts)]
    pays, size = subprocess.run(command, capture_output=True, check=True, text=True).stdout.split()
    return float(pays) / float(size)


def short_commands(runs: int) -> dict[str, float]:
    """Return the CPU seconds of commands that process nothing."""
    seampack = [sys.executable, "-m", "seampack.cli"]
    return {
        "the help": cpu([*seampack, "--help"], runs),
        "`seampack models list METHOD`": cpu([*seampack, "models", "list", "ranmask"], runs),
        "an option that does not exist": cpu([*seampack, "pack", "x", "-o", "y", "--no-such-option"], runs, 2),
    }


def write_table(results: dict[str, Any]) -> None:
    """Write the table of BENCHMARKS.md."""
    columns = results["tokenizers"]
    names = list(next(iter(columns.values()))["stages"])
    rows = [[name, *(f"{each['stages'][name]:.3f}" for each in columns.values())] for name in names]
    ratios = [f"{each['threshold']:.2f} x" for each in columns.values()]
    rows.append(["text from which on the fast tokenizer pays, by the size of the tokenizer.json", *ratios])
    rows += [[name, *[f"{seconds:.3f}"] * len(columns)] for name, seconds in results["commands"].items()]
    note = f"Made by `python -m benchmarks.startup` on {results['machine']}."
    header = ["CPU-s of one document", *columns]
    measure.write_between(PAGE, "startup", f"{note}\n\n{measure.table(header, rows)}")


def main() -> None:
    """Measure each tokenizer, save the results and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", type=Path, action="append", default=[], help="besides the bundled one")
    parser.add_argument("--runs", type=int, default=7)
    options = parser.parse_args()
    tokenizers: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for tokenizer in (BUNDLED, *options.tokenizer):
            times = stages(tokenizer, folder, options.runs)
            label = "bundled" if tokenizer == BUNDLED else tokenizer.parent.name
            tokenizers[label] = {"stages": times, "threshold": threshold(tokenizer, folder)}
            print(label, json.dumps(tokenizers[label], indent=2), flush=True)
    machine = measure.machine(PACKAGES)
    results = {"machine": machine, "tokenizers": tokenizers, "commands": short_commands(options.runs)}
    print(json.dumps(results["commands"], indent=2))
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    write_table(results)


if __name__ == "__main__":
    main()
