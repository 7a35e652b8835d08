"""Other packers with one interface, so that the benchmarks can time and check them in the same way.

`PEERS` lists the planners. Each planner gets document lengths, or else the cheapest input that its interface accepts
(see `fed`). Preparing the input, compiling and reading the result are not timed. If a peer needs pieces of at most one
sequence, every document is cut at the sequence length, as the peer's pipeline does before packing. `tokenize_and_trl`
and `tokenize_and_group_texts` are the usual pipelines from JSON lines to packed sequences on disk. No code is copied:
the installed packages are called, and a missing package raises `PeerMissingError`, which names the pip command. On a
machine without a GPU, first install a CPU build: `pip install torch==2.13.0`.

    python benchmarks/peers.py --documents 100000 --seq-len 2048
"""

from __future__ import annotations

import argparse
import importlib
import importlib.machinery
import logging
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
T = TypeVar("T")


class PeerMissingError(ImportError):
    """A package to compare with is not installed; the message names the pip command."""


@dataclass(frozen=True)
class Job(Generic[T]):
    """A prepared run of a peer: `run` is timed; `row_lengths` returns the number of tokens per row of its result."""

    run: Callable[[], T]
    row_lengths: Callable[[T], IntArray]


@dataclass(frozen=True)
class Peer:
    """A packer: its algorithm, its input, and for quadratic algorithms the largest number of documents to run."""

    name: str
    algorithm: str
    fed: str
    prepare: Callable[[IntArray, int], Job[Any]]
    limit: int | None = None


@dataclass(frozen=True)
class Packed:
    """The outcome of one peer on one set of lengths."""

    rows: int
    cpu_seconds: float
    tokens: int
    fullest_row: int


def pack(peer: Peer, lengths: IntArray, seq_len: int) -> Packed:
    """Run a peer on document lengths. Only the packing is timed, after a warm-up with two documents."""
    peer.prepare(np.full(2, seq_len, dtype=np.int64), seq_len).run()
    job = peer.prepare(lengths, seq_len)
    start = time.process_time()
    result = job.run()
    seconds = time.process_time() - start
    rows = job.row_lengths(result)
    return Packed(len(rows), seconds, int(rows.sum()), int(rows.max(initial=0)))


def pack_lengths(peer: Peer, lengths: IntArray, seq_len: int) -> int:
    """Return the number of rows that a peer makes of documents of these lengths."""
    return pack(peer, lengths, seq_len).rows


# --- shared -------------------------------------------------------------------------------------------------------


def _import(module: str, pip: str, bare: bool = False) -> Any:
    """Import a module of a peer; if bare, without its parent packages, which need a whole training stack."""
    try:
        if bare:
            _stub_parents(module)
        return importlib.import_module(module)
    except ImportError as error:
        raise PeerMissingError(f"{module} cannot be imported ({error}); install it with: pip install {pip}") from error


def _stub_parents(module: str) -> None:
    path = None
    names = module.split(".")
    for depth in range(1, len(names)):
        parent = ".".join(names[:depth])
        if parent not in sys.modules:
            spec = importlib.machinery.PathFinder.find_spec(parent, path)
            if spec is None or spec.submodule_search_locations is None:
                raise ModuleNotFoundError(f"no package named {parent!r}")
            package = ModuleType(parent)
            package.__path__ = list(spec.submodule_search_locations)
            sys.modules[parent] = package
        path = list(sys.modules[parent].__path__)


def pieces(lengths: IntArray, seq_len: int) -> IntArray:
    """Return the lengths after cutting every document at multiples of the sequence length, without empty documents."""
    counts = -(-lengths // seq_len)
    cut = np.full(counts.sum(), seq_len, dtype=np.int64)
    kept = lengths[counts > 0]
    cut[np.cumsum(counts[counts > 0]) - 1] = (kept - 1) % seq_len + 1
    return cut


def _sums_of_ids(lengths: IntArray) -> Callable[[list[list[int]]], IntArray]:
    """Return a function that sums the tokens of rows given as lists of piece numbers."""

    def row_lengths(rows: list[list[int]]) -> IntArray:
        ids = np.fromiter(chain.from_iterable(rows), dtype=np.int64)
        if len(np.unique(ids)) != len(lengths) or len(ids) != len(lengths):
            raise ValueError(f"expected each of {len(lengths)} pieces once, got {len(ids)} entries")
        starts = np.cumsum([0] + [len(row) for row in rows[:-1]])
        return np.add.reduceat(lengths[ids], starts)

    return row_lengths


def _sums(rows: list[list[int]]) -> IntArray:
    """Return the number of tokens of each row, given as a list of piece lengths."""
    return np.array([sum(row) for row in rows], dtype=np.int64)


# --- planners -----------------------------------------------------------------------------------------------------


def _trl(overflow: str) -> Callable[[IntArray, int], Job[Any]]:
    """Prepare the function that `pack_dataset` maps over its batches, with all documents as one batch."""

    def prepare(lengths: IntArray, seq_len: int) -> Job[Any]:
        utils = _import("trl.data_utils", "trl==1.16.0")
        arrow = _import("pyarrow", "pyarrow")
        offsets = np.concatenate(([0], np.cumsum(lengths)))
        small = offsets[-1] < 2**31  # as in `datasets`; with 64-bit offsets, trl takes nearly twice the time
        lists = arrow.ListArray if small else arrow.LargeListArray
        column = lists.from_arrays(offsets.astype(np.int32 if small else np.int64), arrow.nulls(int(offsets[-1])))
        table = arrow.table({"input_ids": column})

        def row_lengths(packed: Any) -> IntArray:
            rows = packed["seq_lengths"].combine_chunks()
            return np.add.reduceat(rows.values.to_numpy().astype(np.int64), rows.offsets.to_numpy()[:-1])

        return Job(lambda: utils._pack_bfd(table, seq_len, overflow), row_lengths)

    return prepare


def _olmo(lengths: IntArray, seq_len: int) -> Job[Any]:
    utils = _import("olmo_core.data.utils", "ai2-olmo-core==3.0.0")
    ends = np.cumsum(cut := pieces(lengths, seq_len))
    bounds = np.stack([ends - cut, ends], axis=1)
    packer = utils.InstancePacker(seq_len)

    def row_lengths(result: Any) -> IntArray:
        rows, sorted_bounds, _ = result
        return _sums_of_ids((sorted_bounds[:, 1] - sorted_bounds[:, 0]).astype(np.int64))(rows)

    return Job(lambda: packer.pack_documents(bounds), row_lengths)


def _axolotl(lengths: IntArray, seq_len: int) -> Job[Any]:
    """Prepare axolotl with its defaults, groups of 100,000, but without its limit of 200 pieces per row."""
    pip = "--no-deps --ignore-requires-python axolotl==0.21.0 (with torch, numba, accelerate, transformers)"
    module = _import("axolotl.utils.samplers.multipack", pip, bare=True)
    sizes = (cut := pieces(lengths, seq_len)).astype(np.int32)

    def run() -> Any:
        return module.pack_parallel(sizes, seq_len, group_size=100_000, bin_size=seq_len, num_processes=1)

    return Job(run, _sums_of_ids(cut))


def _nvidia(module: Callable[[], Any]) -> Callable[[IntArray, int], Job[Any]]:
    def prepare(lengths: IntArray, seq_len: int) -> Job[Any]:
        create = module().create_packing_strategy
        histogram = np.bincount(pieces(lengths, seq_len), minlength=seq_len + 1).tolist()
        return Job(lambda: create(histogram, seq_len, "first_fit_decreasing")[0], _sums)

    return prepare


def _megatron_bridge() -> Any:
    pip = "--no-deps --ignore-requires-python megatron-bridge==0.6.2 (with numpy, tqdm)"
    return _import("megatron.bridge.data.packing.algorithms", pip, bare=True)


def _nemo() -> Any:
    module = _import("nemo.utils.sequence_packing_utils", "--no-deps nemo-toolkit==3.0.0 (with numpy, tqdm)")
    module.logging.setLevel(logging.WARNING)
    return module


def _llamafactory(lengths: IntArray, seq_len: int) -> Job[Any]:
    pip = "--no-deps llamafactory==0.9.5"
    knapsack = _import("llamafactory.data.processor.processor_utils", pip, bare=True).greedy_knapsack
    sizes = pieces(lengths, seq_len).tolist()
    return Job(lambda: knapsack(sizes, seq_len), _sums)


def _lightbinpack(algorithm: str) -> Callable[[IntArray, int], Job[Any]]:
    def prepare(lengths: IntArray, seq_len: int) -> Job[Any]:
        function = getattr(_import("lightbinpack", "lightbinpack==0.1.1 (compiles C++)"), algorithm)
        sizes = (cut := pieces(lengths, seq_len)).tolist()
        return Job(lambda: function(sizes, seq_len), _sums_of_ids(cut))

    return prepare


def _binpacking(lengths: IntArray, seq_len: int) -> Job[Any]:
    to_constant_volume = _import("binpacking", "binpacking==2.0.1").to_constant_volume
    sizes = pieces(lengths, seq_len).tolist()
    return Job(lambda: to_constant_volume(sizes, seq_len), _sums)


def _prtpy(lengths: IntArray, seq_len: int) -> Job[Any]:
    prtpy = _import("prtpy", "prtpy==0.8.3")
    sizes = pieces(lengths, seq_len).tolist()
    decreasing = prtpy.packing.first_fit_decreasing
    return Job(lambda: prtpy.pack(algorithm=decreasing, binsize=seq_len, items=sizes), _sums)


def _concatenate(seq_len: int) -> Callable[[dict[str, list[list[int]]]], dict[str, list[list[int]]]]:
    """Return a function that joins each column of a batch and cuts it every `seq_len`; the rest is dropped."""

    def group_texts(batch: dict[str, list[list[int]]]) -> dict[str, list[list[int]]]:
        joined = {name: list(chain.from_iterable(values)) for name, values in batch.items()}
        total = len(next(iter(joined.values()))) // seq_len * seq_len
        return {
            name: [values[start : start + seq_len] for start in range(0, total, seq_len)]
            for name, values in joined.items()
        }

    return group_texts


def _group_texts(lengths: IntArray, seq_len: int) -> Job[Any]:
    datasets = _import("datasets", "datasets==5.2.0")
    arrow = _import("pyarrow", "pyarrow")
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    column = arrow.LargeListArray.from_arrays(offsets, np.zeros(offsets[-1], dtype=np.int32))
    data = datasets.Dataset(arrow.table({"input_ids": column}))
    group = _concatenate(seq_len)

    def row_lengths(grouped: Any) -> IntArray:
        return np.full(len(grouped), seq_len, dtype=np.int64)

    datasets.disable_progress_bars()
    return Job(lambda: data.map(group, batched=True, keep_in_memory=True, new_fingerprint="grouped"), row_lengths)


PEERS = [
    Peer("trl-bfd", "best-fit-decreasing, long documents truncated", "Arrow lists of nulls", _trl("truncate")),
    Peer("trl-bfd_split", "best-fit-decreasing, long documents cut", "Arrow lists of nulls", _trl("split")),
    Peer("olmo-core", "best-fit-decreasing", "(start, end) of each piece", _olmo),
    Peer("axolotl", "first-fit, not decreasing, in groups of 100,000", "int32 lengths", _axolotl),
    Peer("megatron-bridge", "first-fit-decreasing", "histogram of lengths", _nvidia(_megatron_bridge)),
    Peer("nemo-toolkit", "first-fit-decreasing, quadratic", "histogram of lengths", _nvidia(_nemo), limit=10_000),
    Peer("llamafactory", "largest that still fits, quadratic", "list of lengths", _llamafactory, limit=1_000_000),
    Peer("lightbinpack-ffd", "first-fit-decreasing (C++)", "list of lengths", _lightbinpack("ffd")),
    Peer("lightbinpack-obfd", "best-fit-decreasing (C++)", "list of lengths", _lightbinpack("obfd")),
    Peer("binpacking", "fullest row first, quadratic", "list of lengths", _binpacking, limit=10_000),
    Peer("prtpy", "first-fit-decreasing, quadratic", "list of lengths", _prtpy, limit=10_000),
    Peer("group_texts", "concatenation of each 1,000 documents, rest dropped", "token ids (zeros)", _group_texts),
]


# --- whole pipelines ----------------------------------------------------------------------------------------------


def _tokenized(jsonl_path: Path, tokenizer_json: Path, cache: str, num_proc: int) -> Any:
    """Return a dataset with `input_ids` only: the masks that a tokenizer adds by default would slow down packing."""
    datasets = _import("datasets", "datasets==5.2.0")
    transformers = _import("transformers", "transformers==5.24.0")
    data = datasets.load_dataset("json", data_files=str(jsonl_path), split="train", cache_dir=cache)
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(tokenizer_json))

    def tokenize(batch: dict[str, list[str]]) -> Any:
        return tokenizer(batch["text"], return_attention_mask=False, return_token_type_ids=False)

    return data.map(tokenize, batched=True, remove_columns=data.column_names, num_proc=_processes(num_proc))


def _processes(num_proc: int) -> int | None:
    """Return the `num_proc` for `datasets`: None instead of 1, which would start a child process."""
    return num_proc if num_proc > 1 else None


def tokenize_and_trl(
    jsonl_path: Path, tokenizer_json: Path, seq_len: int, out: Path, num_proc: int = 1, strategy: str = "bfd_split"
) -> int:
    """Tokenise, pack with trl in its batches of 1,000 documents, and save. Return the number of sequences.

    The strategy keeps all tokens; trl's default, `bfd`, drops the tokens of a document beyond `seq_len`.
    """
    trl = _import("trl", "trl==1.16.0")
    with tempfile.TemporaryDirectory() as cache:
        data = _tokenized(jsonl_path, tokenizer_json, cache, num_proc)
        packed = trl.pack_dataset(data, seq_len, strategy=strategy, map_kwargs={"num_proc": _processes(num_proc)})
        packed.save_to_disk(str(out))
        return len(packed)


def tokenize_and_group_texts(jsonl_path: Path, tokenizer_json: Path, seq_len: int, out: Path, num_proc: int = 1) -> int:
    """Tokenise, concatenate and cut in batches of 1,000 documents, and save. Return the number of sequences."""
    with tempfile.TemporaryDirectory() as cache:
        data = _tokenized(jsonl_path, tokenizer_json, cache, num_proc)
        grouped = data.map(_concatenate(seq_len), batched=True, num_proc=_processes(num_proc))
        grouped.save_to_disk(str(out))
        return len(grouped)


# --- command line -------------------------------------------------------------------------------------------------


def lognormal_lengths(documents: int, mean: float = 700.0, sigma: float = 1.2, seed: int = 0) -> IntArray:
    """Return document lengths like those of a web corpus: lognormal, at least one token."""
    random = np.random.default_rng(seed)
    return np.maximum(1, random.lognormal(np.log(mean) - sigma**2 / 2, sigma, documents)).astype(np.int64)


def main() -> None:
    parser = argparse.ArgumentParser(description="Time other packers on lognormal document lengths.")
    parser.add_argument("--documents", type=int, default=100_000, help="number of documents (%(default)s)")
    parser.add_argument("--seq-len", type=int, default=2048, help="tokens in a row (%(default)s)")
    parser.add_argument("--only", nargs="+", metavar="PEER", help="run these peers only")
    options = parser.parse_args()

    lengths = lognormal_lengths(options.documents)
    print(f"{lengths.sum()} tokens in {len(lengths)} documents, at least {-(-lengths.sum() // options.seq_len)} rows")
    print(f"{'peer':18} {'documents':>9} {'rows':>8} {'fill':>7} {'fullest':>8} {'CPU-s':>8}  algorithm; fed")
    for peer in PEERS:
        if options.only and peer.name not in options.only:
            continue
        used = lengths[: peer.limit]
        try:
            packed = pack(peer, used, options.seq_len)
        except PeerMissingError as error:
            print(f"{peer.name:18} missing: {error}")
            continue
        fill = packed.tokens / (packed.rows * options.seq_len)
        figures = f"{len(used):9} {packed.rows:8} {fill:7.2%} {packed.fullest_row:8} {packed.cpu_seconds:8.3f}"
        print(f"{peer.name:18} {figures}  {peer.algorithm}; {peer.fed}", flush=True)


if __name__ == "__main__":
    main()
