"""What 1 TB of text and 15 T tokens take: measured rates, extrapolated; write the tables of ``docs/many_machines.md``.

    python -m benchmarks.scale --corpus corpus-500MB.jsonl --tokenizer gpt2/tokenizer.json

A process packs all partitions of the corpus, and merges them. Its rates, the sizes of its files and tails are
extrapolated in proportion. Planning of 10^10 documents is run, from a histogram of lengths.
"""

import argparse
import dataclasses
import json
import math
import sys
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks import measure
from seampack.packer import _bin_kernels as kernels
from seampack.packer.config import PackConfig
from seampack.packer.folder import PackedFolder

PAGE = Path(__file__).parent.parent / "docs" / "many_machines.md"
SEQ_LEN = 2048
DOCUMENTS = 10**10
# Ray's own tests go to this many actors (release/benchmarks/README.md in its repository).
RAY_ACTORS = 10_000
HOURS = 1
SMALL_PARTITION = 1 << 20
CORES = 64
"""Cores of a machine."""


@dataclass(frozen=True)
class Rates:
    """What packing and merging a corpus took."""

    stored: int
    """Bytes of the corpus as stored."""
    tokens: int
    partitions: int
    pack_seconds: float
    """CPU seconds of packing the partitions."""
    merge_seconds: float
    """CPU seconds of merging, for each partition."""
    megabytes: float
    """Peak memory of a process that packs."""
    tail_tokens: float
    """Tokens that fill no row, of each partition."""
    output: int
    """Bytes of the folder."""


def measured(corpus: Path, tokenizer: str) -> Rates:
    """Pack a corpus by one process with one thread. The cost of merging is that of small partitions, less one's."""
    whole, _ = _packed(corpus, tokenizer, PackConfig().partition_bytes)
    divided = [_packed(corpus, tokenizer, size)[1] for size in (corpus.stat().st_size + 1, SMALL_PARTITION)]
    (first, _, one), (last, tails, many) = divided
    return dataclasses.replace(whole, merge_seconds=max(0.0, last - first) / (many - one), tail_tokens=tails / many)


def _packed(corpus: Path, tokenizer: str, partition_bytes: int) -> tuple[Rates, tuple[float, int, int]]:
    """Pack and merge a corpus. Return the rates, and the CPU seconds of merging, tokens in tails, and partitions."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        command = [sys.executable, "-m", "seampack.cli"]
        options = ["-o", str(out), "--tokenizer", tokenizer, "--seq-len", str(SEQ_LEN), "--threads", "1"]
        options += ["--partition-bytes", str(partition_bytes), "--partition", "0/1"]
        pack = measure.process([*command, "pack", str(corpus), *options])
        receipts = [json.loads(path.read_text()) for path in (Path(folder) / ".out.partial").glob("receipt-*")]
        merge = measure.process([*command, "merge", str(out)])
        manifest = PackedFolder(out).manifest
    rates = Rates(
        stored=corpus.stat().st_size,
        tokens=manifest.accounting.tokens_in,
        partitions=len(manifest.partitions),
        pack_seconds=pack.cpu_seconds,
        merge_seconds=0.0,
        megabytes=pack.peak_megabytes,
        tail_tokens=0.0,
        output=sum(shard.bytes for shard in manifest.shards),
    )
    tails = sum(receipt["tail_tokens"] for receipt in receipts)
    return rates, (merge.cpu_seconds, tails, len(manifest.partitions))


def extrapolated(rates: Rates, stored: float) -> dict[str, str]:
    """Return what a corpus of ``stored`` bytes takes."""
    factor = stored / rates.stored
    partitions = math.ceil(stored / PackConfig().partition_bytes)
    hours = rates.pack_seconds * factor / 3600
    workers = math.ceil(hours / HOURS)
    tails = rates.tail_tokens * partitions
    merge_hours = rates.merge_seconds * partitions / 3600
    shards = partitions * math.ceil(rates.tokens * factor / partitions / PackConfig().shard_tokens)
    bandwidth = (stored + rates.output * factor) / HOURS / 3600
    limits = {
        f"the number of workers: {workers / RAY_ACTORS:.1%} of those that Ray is tested with": workers / RAY_ACTORS,
        f"the merge, which is one process: {merge_hours:.2g} hours": merge_hours / HOURS,
    }
    return {
        "tokens": f"{rates.tokens * factor:.3g}",
        "partitions": f"{partitions:,}",
        "CPU-hours": f"{hours:,.0f}",
        "workers for an hour": f"{workers:,} ({math.ceil(workers / CORES):,} machine(s) of {CORES} cores)",
        "memory of a worker": f"{rates.megabytes / 1000:.1f} GB",
        "read and written": f"{bandwidth / 1e9:.2g} GB/s in all",
        "output": f"{rates.output * factor / 1e12:.3g} TB in {shards:,} shards",
        "tokens in tails": f"{tails:.2g} ({tails / (rates.tokens * factor):.3%})",
        "merge": f"{merge_hours:.2g} CPU-hours of one process",
        "what limits first": max(limits, key=lambda name: limits[name]),
    }


def planned() -> list[list[str]]:
    """Plan 10^10 documents of web-like lengths from their histogram, by First- and Best-Fit-Decreasing."""
    lengths = np.random.default_rng(0).lognormal(np.log(700) - 1.2**2 / 2, 1.2, 10_000_000).astype(np.int64) + 1
    rows = []
    for seq_len in (2048, 8192):
        counts = np.bincount(lengths[lengths <= seq_len], minlength=seq_len + 1) * (DOCUMENTS // lengths.size)
        tokens = int((counts * np.arange(counts.size)).sum())
        for name, plan in (("ffd", _first_fit), ("best_fit", _best_fit)):
            bins = plan(counts, seq_len)
            seconds = min(measure.cpu_seconds(partial(plan, counts, seq_len)) for _ in range(3))
            rows.append([f"{seq_len:,}", name, f"{seconds:.2g}", f"{bins:.4g}", f"{tokens / bins / seq_len:.4%}"])
    return rows


def _first_fit(counts: npt.NDArray[np.int64], seq_len: int) -> int:
    """Return the number of bins."""
    return int(kernels.ffd_patterns(counts, seq_len, 0, False, seq_len)[-1].sum())


def _best_fit(counts: npt.NDArray[np.int64], seq_len: int) -> int:
    """Return the number of bins."""
    groups, entries = kernels.best_fit_groups(counts, seq_len, seq_len)
    return int(kernels.patterns_of(groups, np.arange(len(groups)), entries)[-1].sum())


def main() -> None:
    """Measure, extrapolate, and write both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--tokenizer", required=True)
    options = parser.parse_args()
    rates = measured(options.corpus, options.tokenizer)
    sizes = {"1 TB of text": 1e12, "15 T tokens": 15e12 * rates.stored / rates.tokens}
    columns = {name: extrapolated(rates, stored) for name, stored in sizes.items()}
    rows = [[entry, *(column[entry] for column in columns.values())] for entry in next(iter(columns.values()))]
    table = measure.table(["", *columns], rows)
    basis = (
        f"Measured on {rates.stored / 1e6:,.0f} MB ({rates.tokens / 1e6:,.0f} M tokens): "
        f"{rates.stored / rates.pack_seconds / 1e6:.0f} MB per CPU-second, one thread. "
        f"{measure.machine(['seampack', 'ray'])}"
    )
    measure.write_between(PAGE, "scale", f"{table}\n\n{basis}")
    plans = measure.table(["row", "strategy", "CPU-s", "bins", "fill"], planned())
    measure.write_between(PAGE, "planned", plans)
    print(table, basis, plans, sep="\n\n")


if __name__ == "__main__":
    main()
