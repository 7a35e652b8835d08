"""Count what reading an index over a token store at an address fetches; write the table of ``docs/stores.md``.

    python -m benchmarks.remote_index [--documents 400000] [--write]

The store is in memory, in a file system that counts. Documents have drawn lengths, mean about 100 tokens. Fetched
ranges are computed: the tokens of the documents that an index refers to, in ranges that are joined if the gap between
them is small. What ranges would need besides (offsets, and another proof of the bytes than the checksum of a file) is
not counted.
"""

import argparse
import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from fsspec.implementations.memory import MemoryFileSystem

import seampack
from benchmarks import measure
from seampack.io.arrow import arrow_of
from seampack.io.ragged import offsets_of
from seampack.packer.blends import Blend
from seampack.packer.formats import arrow
from seampack.packer.numbering import BITS

PAGE = Path(__file__).parent.parent / "docs" / "stores.md"
GAPS = {"ranges": 0, "ranges, gaps of 64 KiB": 1 << 16, "ranges, gaps of 1 MiB": 1 << 20}
TOKENS = 5_000_000
"""Tokens of a shard of the index, and of about a partition of the store: a twelfth of the defaults."""

Int64 = npt.NDArray[np.int64]


class _File(io.BytesIO):
    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        Counting.requests += bool(data)
        Counting.fetched += len(data)
        return data


class Counting(MemoryFileSystem):  # type: ignore[misc]
    """Files in memory at ``counting://``, whose reads are counted."""

    protocol = "counting"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    cachable = False
    requests: ClassVar[int] = 0
    fetched: ClassVar[int] = 0

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return super()._strip_protocol(path.removeprefix("counting://"))  # type: ignore[no-any-return]

    def _open(self, path: str, mode: str = "rb", **settings: Any) -> Any:
        opened = super()._open(path, mode, **settings)
        return _File(opened.getvalue()) if mode == "rb" else opened


def make_store(folder: Path, name: str, documents: int, seed: int) -> str:
    """Tokenise drawn documents, which are token ids already, in partitions of about ``TOKENS`` tokens."""
    chance = np.random.default_rng(seed)
    corpus = folder / name
    corpus.mkdir()
    lengths = np.minimum(chance.lognormal(4.1, 1.0, documents), 50_000).astype(np.int64) + 1
    parts = np.split(lengths, np.searchsorted(np.cumsum(lengths), np.arange(TOKENS, lengths.sum(), TOKENS)))
    for number, part in enumerate(parts):
        offsets = offsets_of(part)
        ids = chance.integers(1, 8192, offsets[-1], np.uint16)
        table = pa.table({"input_ids": pa.LargeListArray.from_arrays(arrow_of(offsets), arrow_of(ids))})
        with pa.OSFile(str(corpus / f"{number:03d}.arrow"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as out:
            out.write_table(table)
    seampack.tokenize(corpus, out=f"counting://{name}", partition_bytes=2 * TOKENS)
    return f"counting://{name}"


def counted(read: Callable[[], object]) -> tuple[int, int]:
    """Return the requests and bytes of a call."""
    before = Counting.requests, Counting.fetched
    read()
    return Counting.requests - before[0], Counting.fetched - before[1]


def ranged(store: seampack.TokenStore, documents: Int64, gap: int) -> tuple[int, int]:
    """Return the requests and bytes of the ranges that have the tokens of some documents."""
    requests, size = 0, 0
    for partition in np.unique(documents >> BITS).tolist():
        ends = np.cumsum(np.concatenate([block.lengths for block in store._partition(partition).blocks])) * 2
        chosen = np.unique(documents[documents >> BITS == partition] & ((1 << BITS) - 1))
        first, last = np.concatenate([[0], ends])[chosen], ends[chosen]
        begins = np.flatnonzero(np.concatenate([[True], first[1:] - last[:-1] > gap]))
        stops = np.concatenate([begins[1:], [chosen.size]]) - 1
        requests += begins.size
        size += int((last[stops] - first[begins]).sum())
    return requests, size


def cells(index: Path) -> list[list[str]]:
    """Return the lines of an index: a row, a shard, and all shards in order."""
    folder = seampack.PackedFolder(index)
    tables = [arrow.read(index / shard.file) for shard in folder.shards]
    documents = [np.unique(table["documents"].combine_chunks().flatten().to_numpy()) for table in tables]
    row = np.array(tables[0]["documents"][0].as_py())
    lines = []
    for name, read, chosen in (
        ("a row", lambda: seampack.PackedFolder(index).row(0), [row]),
        ("a shard", lambda: seampack.PackedFolder(index).table(0), documents[:1]),
        ("all shards", lambda: [None for _ in seampack.PackedFolder(index).tables()], documents),
    ):
        found = [counted(read)]
        for gap in GAPS.values():
            each = [_ranged(folder, numbers, gap) for numbers in chosen]
            found.append((sum(requests for requests, _ in each), sum(size for _, size in each)))
        lines.append([name, *(f"{size / 1e6:,.2f} MB, {requests:,}" for requests, size in found)])
    return lines


def _ranged(folder: seampack.PackedFolder, documents: Int64, gap: int) -> tuple[int, int]:
    assert folder._indexed is not None
    store = folder._indexed.store
    if not isinstance(store, Blend):
        return ranged(store, documents, gap)
    places = documents & ((1 << BITS) - 1)
    counts = [
        ranged(each, store._number[places[store._source[places] == number]], gap)
        for number, each in enumerate(store._stores.values())
    ]
    return sum(requests for requests, _ in counts), sum(size for _, size in counts)


def main() -> None:
    """Print the table, or write it to the page."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--documents", type=int, default=400_000)
    parser.add_argument("--write", action="store_true", help="write the table to the page")
    arguments = parser.parse_args()
    fsspec.register_implementation("counting", Counting, clobber=True)
    rows = []
    options: dict[str, Any] = {"seq_len": 2048, "output_format": "index", "shard_tokens": TOKENS}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        web = make_store(folder, "web", arguments.documents, 0)
        seampack.pack(web, out=folder / "index", **options)
        rows += [["one store", *line] for line in cells(folder / "index")]
        code = make_store(folder, "code", arguments.documents // 4, 1)
        mix = seampack.Mix(stores={"web": web, "code": code}, weights={"web": 1, "code": 1})
        seampack.pack(mix, out=folder / "blend", partition_bytes=1 << 30, **options)
        rows += [["a blend", *line] for line in cells(folder / "blend")]
    text = measure.table(["index of", "read", "whole partitions", *GAPS], rows)
    if arguments.write:
        measure.write_between(PAGE, "remote", text)
    print(text)


if __name__ == "__main__":
    main()
