"""Measure how long a token store takes to be planned again; write the table of ``docs/stores.md``.

    python -m benchmarks.repacking [--documents 10000000] [--write]

Documents have drawn lengths (mean about 100 tokens) and random ids of two bytes. The store takes 2 bytes a token, and
as much again while it is made. Each number is the median of several runs.
"""

import argparse
import shutil
import statistics
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import seampack
from benchmarks import measure
from seampack.io.arrow import arrow_of
from seampack.io.ragged import offsets_of

PAGE = Path(__file__).parent.parent / "docs" / "stores.md"
VOCABULARY = 8_192
PER_FILE = 1_000_000
REPEATS = 5
RUNS = (
    ("the first plan", ("--seq-len", "2048")),
    ("another length", ("--seq-len", "8192")),
    ("another seed", ("--seq-len", "2048", "--seed", "1")),
    ("best_fit", ("--seq-len", "2048", "--strategy", "best_fit")),
    ("concat", ("--seq-len", "2048", "--strategy", "concat")),
)


def make_store(folder: Path, documents: int) -> Path:
    """Tokenise drawn documents, which are token ids already."""
    chance = np.random.default_rng(0)
    corpus = folder / "corpus"
    corpus.mkdir()
    for first in range(0, documents, PER_FILE):
        count = min(PER_FILE, documents - first)
        lengths = np.minimum(chance.lognormal(4.1, 1.0, count), 50_000).astype(np.int64) + 1
        offsets = offsets_of(lengths)
        ids = chance.integers(1, VOCABULARY, offsets[-1], np.uint16)
        lists = pa.LargeListArray.from_arrays(arrow_of(offsets), arrow_of(ids))
        path = corpus / f"{first:010d}.parquet"
        pq.write_table(pa.table({"input_ids": lists}), path, compression="none", use_dictionary=False)
    seampack.tokenize(corpus, out=folder / "store")
    shutil.rmtree(corpus)
    return folder / "store"


def main() -> None:
    """Print the table, or write it to the page."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--documents", type=int, default=10_000_000)
    parser.add_argument("--write", action="store_true", help="write the table to the page")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        store = make_store(folder, arguments.documents)
        tokens = seampack.TokenStore(store).manifest.tokens
        rows = []
        for label, options in RUNS:
            for kind, flags in (("index", ("--index-only",)), ("rows", ())):
                if kind == "rows" and label != RUNS[0][0]:
                    continue
                out = folder / "packed"
                command = ["seampack", "pack", str(store), "-o", str(out), "--overwrite", *options, *flags]
                runs = [measure.process(command) for _ in range(REPEATS)]
                cpu = statistics.median(run.cpu_seconds for run in runs)
                wall = statistics.median(run.wall_seconds for run in runs)
                size = sum(path.stat().st_size for path in out.iterdir())
                name = f"{label}: `{' '.join((*options, *flags))}`"
                rows.append([name, f"{cpu:.2f}", f"{wall:.2f}", f"{size / 1e6:,.0f}"])
                print(rows[-1], flush=True)
    text = measure.table(("run", "CPU s", "s", "MB written"), rows)
    many = f"medians of {REPEATS} runs, on a machine that others use too"
    machine = measure.machine(("numpy", "pyarrow"))
    text += f"\n\n{arguments.documents:,} documents, {tokens:,} tokens; {many}; {machine}."
    if arguments.write:
        measure.write_between(PAGE, "repacking", text)
    print(text)


if __name__ == "__main__":
    main()
