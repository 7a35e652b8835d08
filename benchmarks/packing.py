"""Compare the packer with a counting sort, plain pyarrow and other packers; write the tables of the README.

    python -m benchmarks.corpus --size 100MB --size 500MB --size 2GB     # once, on Debian
    python -m benchmarks.packing --tokenizer gpt2/tokenizer.json         # all sections
    python -m benchmarks.packing --only plan peers                       # some sections

Each section prints its rows and saves them in ``benchmarks/results/packing.json``; the tables are made from that file,
so that sections can be run one at a time. Times are medians of CPU seconds. Both sides of a ratio are measured in the
same run: on a busy machine, seconds are unreliable, but ratios are less affected.
"""

import argparse
import json
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

import seampack
from benchmarks import measure
from benchmarks.authors import authors_rows
from seampack._jit import kernel
from seampack.io.ragged import offsets_of
from seampack.packer.gather import Ragged, gather

RESULTS = Path(__file__).parent / "results" / "packing.json"
README = Path(__file__).parent.parent / "README.md"
PACKAGES = ("seampack", "numpy", "numba", "pyarrow", "tokenizers", "fastokens", "datasets", "transformers", "trl")

Row = dict[str, str]


def counting_sort(lengths: npt.NDArray[np.int32], largest: int) -> npt.NDArray[np.int32]:
    """Return the documents sorted by length with one stable counting sort, whose time is a lower bound for planning."""
    order = np.empty(lengths.size, np.int32)
    _counting_sort(lengths, np.zeros(largest + 2, np.int64), order)
    return order


@kernel
def _counting_sort(lengths, first, order):
    for document in range(lengths.size):
        first[lengths[document] + 1] += 1
    for length in range(first.size - 1):
        first[length + 1] += first[length]
    for document in range(lengths.size):
        order[first[lengths[document]]] = document
        first[lengths[document]] += 1


def lognormal(documents: int) -> npt.NDArray[np.int32]:
    """Draw document lengths with mean 700 tokens, as in web text."""
    sigma = 1.2
    draws = np.random.default_rng(0).lognormal(np.log(700) - sigma**2 / 2, sigma, documents)
    return np.maximum(draws, 1).astype(np.int32)


def plan_rows(options: argparse.Namespace) -> list[Row]:
    """Measure planning 10 M documents against the counting sort."""
    lengths = lognormal(10_000_000)
    rows = []
    for seq_len in (2048, 8192):
        for strategy, shuffle in (("seamless", False), ("seamless", True), ("ffd", False), ("best_fit", False)):
            config = seampack.PlanConfig(seq_len=seq_len, strategy=strategy, shuffle=shuffle)
            seampack.plan(lengths[:1000], config)
            counting_sort(lengths[:1000], int(lengths.max()))
            ours, floor, ratio = measure.paired(
                lambda config=config: seampack.plan(lengths, config),  # type: ignore[misc]
                lambda: counting_sort(lengths, int(lengths.max())),
                7,
            )
            work = f"plan 10 M documents, C = {seq_len}, {strategy}{', rows shuffled' if shuffle else ''}"
            rows.append(_row(work, f"{ours:.2f} CPU-s", f"counting sort {floor:.3f}", f"{ratio:.1f} x its time"))
    return rows


def peer_rows(options: argparse.Namespace) -> list[Row]:
    """Measure planning 1 M documents against other packers."""
    from benchmarks import peers

    lengths = lognormal(1_000_000)
    config = seampack.PlanConfig(seq_len=2048, strategy="ffd")
    seampack.plan(lengths[:1000], config)
    ours = statistics.median(measure.cpu_seconds(lambda: seampack.plan(lengths, config)) for _ in range(9))
    mine = seampack.plan(lengths, config).rows
    rows = []
    for peer in peers.PEERS:
        # group_texts moves tokens, trl-bfd drops tokens beyond seq_len
        is_comparable = peer.name not in ("group_texts", "trl-bfd")
        if not is_comparable or (peer.limit is not None and peer.limit < lengths.size):
            continue
        try:
            packed = peers.pack(peer, lengths.astype(np.int64), 2048)
        except peers.PeerMissingError as missing:
            print(f"skipped: {missing}", file=sys.stderr)
            continue
        work = f"plan 1 M documents, C = 2048, against {peer.name}"
        theirs = f"{packed.cpu_seconds:.2f} CPU-s, {packed.rows:,} rows"
        rows.append(
            _row(work, f"{ours:.4f} CPU-s, {mine:,} rows", theirs, f"{packed.cpu_seconds / ours:,.0f} x faster")
        )
    return rows


def gather_rows(options: argparse.Namespace) -> list[Row]:
    """Measure gathering and writing rows as Arrow against pyarrow, which only writes the same bytes."""
    lengths = lognormal(60_000).astype(np.int64)
    offsets = offsets_of(lengths)
    tokens = np.random.default_rng(0).integers(0, 50_000, int(offsets[-1])).astype(np.uint16)
    columns = {"input_ids": Ragged.of_values(tokens, offsets)}
    planned = seampack.plan(lengths, seq_len=2048)
    batches = list(gather(columns, planned))
    with tempfile.TemporaryDirectory() as folder:

        def write(batches: Any) -> None:
            with pa.OSFile(f"{folder}/shard", "wb") as sink, pa.ipc.new_stream(sink, _first.schema) as writer:
                for batch in batches:
                    writer.write_batch(batch)

        _first = batches[0]
        ours, plain, ratio = measure.paired(lambda: write(gather(columns, planned)), lambda: write(batches), 15)
    out = int(planned.length.sum())
    speed = f"{out / ours / 1e6:,.0f} Mtok per CPU-s"
    return [
        _row(
            "gather and write Arrow, uint16",
            speed,
            f"pyarrow alone {out / plain / 1e6:,.0f}",
            f"{1 / ratio:.2f} x its speed",
        )
    ]


def parquet_rows(options: argparse.Namespace) -> list[Row]:
    """Measure packing to Parquet (zstd) against pyarrow and datasets, which only write the same packed rows."""
    import datasets
    import pyarrow.parquet as pq

    from seampack.packer.config import PackConfig
    from seampack.packer.shards import ShardWriter

    datasets.disable_progress_bars()
    lengths = lognormal(20_000).astype(np.int64)
    offsets = offsets_of(lengths)
    tokens = np.minimum(np.random.default_rng(0).zipf(1.3, int(offsets[-1])), 50_000).astype(np.uint16)
    columns = {"input_ids": Ragged.of_values(tokens, offsets)}
    config = PackConfig(seq_len=2048, output_format="parquet")
    planned = seampack.plan(lengths, config)
    batches = list(gather(columns, planned))
    dataset = datasets.Dataset(pa.Table.from_batches(batches))
    with tempfile.TemporaryDirectory() as folder:

        def ours() -> None:
            writer = ShardWriter(Path(folder), config, shown=Path(folder))
            for batch in gather(columns, planned):
                writer.write(batch)
            writer.close()

        def plain() -> None:
            with pq.ParquetWriter(f"{folder}/plain", batches[0].schema, compression="zstd") as writer:
                for batch in batches:
                    writer.write_batch(batch)

        peers = {"pyarrow alone": plain, "datasets' to_parquet": lambda: dataset.to_parquet(f"{folder}/datasets")}
        measured = {name: measure.paired(ours, write, 5) for name, write in peers.items()}
    out = int(planned.length.sum())
    return [
        _row(
            "gather and write Parquet (zstd), uint16",
            f"{out / mine / 1e6:,.0f} Mtok per CPU-s",
            f"{name} {out / theirs / 1e6:,.0f}",
            f"{1 / ratio:.2f} x its speed",
        )
        for name, (mine, theirs, ratio) in measured.items()
    ]


def end_to_end_rows(options: argparse.Namespace) -> list[Row]:
    """Measure whole processes from JSON lines to shards."""
    corpus = options.corpus / "corpus-500MB.jsonl"
    text = _text_megabytes(corpus)
    pairs = [
        (measure.process(_pack_command(options, corpus)), measure.python(_floor_code(options, corpus)))
        for _ in range(5)
    ]
    runs = [run for run, _ in pairs]
    ours = statistics.median(run.cpu_seconds for run in runs)
    wall = statistics.median(run.wall_seconds for run in runs)
    overlap = statistics.median(run.wall_seconds / run.cpu_seconds for run in runs)
    floor = statistics.median(alone.cpu_seconds for _, alone in pairs)
    ratio = statistics.median(run.cpu_seconds / alone.cpu_seconds for run, alone in pairs)
    size = corpus.stat().st_size / 1e6
    rows = [
        _row(
            "500 MB of JSON lines to shards",
            f"{ours:.1f} CPU-s",
            f"{size / ours:.0f} MB of JSON lines, {text / ours:.0f} MB of text per CPU-s",
            f"wall {wall:.1f} s, {overlap:.2f} x the CPU-s",
        ),
        _row(
            "the same, against its floor: the libraries alone in one thread",
            f"{ours:.1f} CPU-s",
            f"{floor:.1f} CPU-s",
            f"{ratio:.2f} x its time",
        ),
    ]
    small = options.peer_corpus.stat().st_size / 1e6
    mine = statistics.median(measure.process(_pack_command(options, options.peer_corpus)).cpu_seconds for _ in range(5))
    for name, call in (("trl bfd_split", "tokenize_and_trl"), ("group_texts", "tokenize_and_group_texts")):
        with tempfile.TemporaryDirectory() as folder:
            paths = f"{str(options.peer_corpus)!r}, {str(options.tokenizer)!r}, 2048, {folder + '/out'!r}"
            code = f"from benchmarks import peers; peers.{call}({paths})"
            theirs = measure.python(code).cpu_seconds
        work = f"{small:.0f} MB, against datasets.map(tokenize) + {name}"
        rows.append(_row(work, f"{mine:.1f} CPU-s", f"{theirs:.0f} CPU-s", f"{theirs / mine:.0f} x faster"))
        work = f"{size:.0f} MB, against {name} at the CPU-s a MB that it took for {small:.0f} MB"
        scaled = theirs * size / small
        rows.append(_row(work, f"{ours:.1f} CPU-s", f"{scaled:.0f} CPU-s, reckoned", f"{scaled / ours:.0f} x faster"))
    return rows


def _floor_code(options: argparse.Namespace, corpus: Path) -> str:
    """Return a program that reads, parses and tokenises with the libraries alone and writes the ids to a file."""
    return f"""
import os
os.environ["FASTOKENS_BPE_THREADS"] = "1"
from seampack._memory import keep_freed_memory
keep_freed_memory()
import fastokens, msgspec, numpy as np, pyarrow as pa
record = msgspec.defstruct("Record", [("text", str)], gc=False)
decoder = msgspec.json.Decoder(record)
tokenizer = fastokens.Tokenizer.from_file({str(options.tokenizer)!r})
rest = b""
with open({str(corpus)!r}, "rb", buffering=0) as file, pa.OSFile({str(options.corpus / "ids")!r}, "wb") as sink:
    while data := file.read(8 << 20):
        end = data.rfind(b"\\n") + 1
        records = decoder.decode_lines(rest + data[:end])
        rest = data[end:]
        ids, _ = tokenizer.encode_batch_flat([r.text for r in records], split_special_tokens=True)
        sink.write(np.frombuffer(ids, np.uint32).astype(np.uint16))
"""


def dataset_rows(options: argparse.Namespace) -> list[Row]:
    """Measure pack_dataset on tokenised Arrow data against trl's."""
    import datasets
    import trl

    lengths = lognormal(100_000)
    tokens = np.random.default_rng(0).integers(0, 50_000, int(lengths.sum())).astype(np.int32)
    offsets = offsets_of(lengths).astype(np.int32)
    with tempfile.TemporaryDirectory() as folder:
        arrays = pa.ListArray.from_arrays(pa.array(offsets), pa.array(tokens))
        datasets.Dataset(pa.table({"input_ids": arrays})).save_to_disk(f"{folder}/data", num_shards=1)
        dataset = datasets.load_from_disk(f"{folder}/data")
        datasets.disable_caching()
        datasets.disable_progress_bars()
        fills: dict[str, float] = {}

        def ours() -> None:
            packed = seampack.pack_dataset(dataset, 2048)
            fills["ours"] = _fill(packed)

        def theirs() -> None:
            packed = trl.pack_dataset(dataset, 2048, "bfd_split")
            fills["theirs"] = _fill(packed)

        ours()
        mine, other, ratio = measure.paired(ours, theirs, 5)
    return [
        _row(
            "pack_dataset, 100,000 tokenised documents",
            f"{mine:.2f} CPU-s, fill {fills['ours']:.3%}",
            f"trl bfd_split {other:.2f} CPU-s, fill {fills['theirs']:.3%}",
            f"{1 / ratio:.1f} x faster",
        )
    ]


def _fill(packed: Any) -> float:
    table = packed.data.table
    return float(pa.compute.sum(pa.compute.list_value_length(table["input_ids"])).as_py() / (2048 * table.num_rows))


def memory_rows(options: argparse.Namespace) -> list[Row]:
    """Measure the peak memory of whole runs."""
    peaks = {}
    for size in ("100MB", "500MB", "2GB"):
        corpus = options.corpus / f"corpus-{size}.jsonl"
        peaks[size] = statistics.median(
            measure.process(_pack_command(options, corpus)).peak_megabytes for _ in range(3)
        )
    shown = ", ".join(f"{size}: {peak:,.0f} MB" for size, peak in peaks.items())
    spread = max(peaks.values()) / min(peaks.values()) - 1
    return [_row("peak memory, by size of the input", shown, "", f"{spread:.1%} between least and most")]


def loss_rows(options: argparse.Namespace) -> list[Row]:
    """Count the padding, drops, repeats and splits of each strategy and of the authors' code on the 500 MB corpus."""
    from seampack.packer.config import PackConfig
    from seampack.packer.pipeline import token_batches
    from seampack.packer.plan_config import PAPER
    from seampack.packer.tokenizing import TextTokenizer

    config = PackConfig(bos="none", eos="none")  # the authors' code adds no tokens
    tokenizer = TextTokenizer(options.tokenizer, config)
    batches = [
        b.lengths.astype(np.int32)
        for b in token_batches([str(options.corpus / "corpus-500MB.jsonl")], tokenizer, config)
    ]
    lengths = np.concatenate(batches)
    from seampack.packer.comparison import compare_lengths

    rows = []
    for name, changes in (
        ("seamless", {}),
        ("seamless, no overlap", {"max_overlap": 0.0}),
        ("seamless as published (--paper)", PAPER),
        ("concat (naive concatenation)", {"strategy": "concat"}),
        ("best_fit", {"strategy": "best_fit"}),
        ("best_fit, filled", {"strategy": "best_fit", "leftover": "fill"}),
        ("ffd", {"strategy": "ffd"}),
        ("pad", {"strategy": "pad"}),
    ):
        a = compare_lengths(batches, config.replace(**changes)).accounting
        rows.append(_loss(name, a.rows, a.fill, a.padding, a.dropped, a.repeated, a.documents_split, a.tokens_in))
        whole = seampack.plan(lengths, config.replace(**changes)).account()
        print(f"{name}: planning in windows costs {whole.fill - a.fill:+.5%} of fill against a single plan")
    theirs, lost = authors_rows(lengths.tolist(), seq_len=2048, max_overlap=0.3, extra_tokens=50)
    out = sum(length for row in theirs for _, _, length in row)
    total = int(lengths.sum())
    pieces = np.bincount([document for row in theirs for document, _, _ in row], minlength=lengths.size)
    split = int((pieces > 1).sum())
    name = "a port of the authors' released code"
    rows.append(
        _loss(
            name,
            len(theirs),
            out / (len(theirs) * 2048),
            len(theirs) * 2048 - out,
            lost,
            out + lost - total,
            split,
            total,
        )
    )
    return rows


def _loss(name: str, rows: int, fill: float, padding: int, dropped: int, repeated: int, split: int, total: int) -> Row:
    return {
        "strategy": name,
        "rows": f"{rows:,}",
        "fill": f"{fill:.4%}",
        "padding": f"{padding:,}",
        "dropped": f"{dropped:,} ({dropped / total:.4%})",
        "repeated": f"{repeated:,} ({repeated / total:.2%})",
        "documents split": f"{split:,}",
    }


def _row(work: str, ours: str, theirs: str, result: str) -> Row:
    return {"work": work, "seampack": ours, "compared with": theirs, "result": result}


def _pack_command(options: argparse.Namespace, corpus: Path) -> list[str]:
    out = options.corpus / "packed"
    shutil.rmtree(out, ignore_errors=True)
    tokenizer = ["--tokenizer", str(options.tokenizer), "--bos", "none", "--eos", "none"]  # as in the other pipelines
    return [
        sys.executable,
        "-m",
        "seampack.cli",
        "pack",
        str(corpus),
        *tokenizer,
        "--json",
        "--overwrite",
        "-o",
        str(out),
    ]


def _text_megabytes(corpus: Path) -> float:
    with corpus.open("rb") as file:
        return sum(len(json.loads(line)["text"].encode()) for line in file) / 1e6


SECTIONS: dict[str, Callable[[argparse.Namespace], list[Row]]] = {
    "plan": plan_rows,
    "peers": peer_rows,
    "gather": gather_rows,
    "parquet": parquet_rows,
    "end_to_end": end_to_end_rows,
    "dataset": dataset_rows,
    "memory": memory_rows,
    "losses": loss_rows,
}


def write_tables(results: dict[str, Any]) -> None:
    """Write the README's tables from the results."""
    speed = [row for name in SECTIONS if name != "losses" for row in results.get(name, {}).get("rows", [])]
    facts = sorted({f"{section['machine']}; {section['tokenizer']}" for section in results.values()})
    command = "`python -m benchmarks.packing`"
    note = f"Made by {command} on {'; '.join(facts)}."
    parts = [note, "", measure.table(list(speed[0]), [list(row.values()) for row in speed])] if speed else [note]
    measure.write_between(README, "benchmark", "\n".join(parts))
    losses = results.get("losses", {}).get("rows", [])
    if losses:
        measure.write_between(README, "losses", measure.table(list(losses[0]), [list(row.values()) for row in losses]))


def main() -> None:
    """Run the chosen sections, save their rows, write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, default=Path(".work/corpus"), help="folder written by benchmarks.corpus")
    parser.add_argument("--peer-corpus", type=Path, help="corpus for the slow peers; by default the 100 MB corpus")
    parser.add_argument("--tokenizer", type=Path, default=Path("seampack/data/tokenizer.json"))
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    options = parser.parse_args()
    options.peer_corpus = options.peer_corpus or options.corpus / "corpus-100MB.jsonl"
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in options.only:
        started = time.perf_counter()
        rows = SECTIONS[name](options)
        vocabulary = f"tokenizer {options.tokenizer.parent.name}/{options.tokenizer.name}"
        results[name] = {"machine": measure.machine(PACKAGES), "tokenizer": vocabulary, "rows": rows}
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(results, indent=2) + "\n")
        for row in rows:
            print(" | ".join(row.values()))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
        print(f"-- {name}: {time.perf_counter() - started:.0f} s, {peak:,.0f} MB", flush=True)
    write_tables(results)


if __name__ == "__main__":
    main()
