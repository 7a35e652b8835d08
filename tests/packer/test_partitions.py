"""Partitions: every document belongs to exactly one, and any processes that pack them give the bytes of one process."""

import fcntl
import gzip
import itertools
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import seampack
from benchmarks import kills
from seampack.errors import ConfigError, DataError, ShardError
from seampack.packer import packing
from seampack.packer.against import verify_against
from seampack.packer.config import PackConfig
from seampack.packer.folder import PackedFolder
from seampack.packer.journal import Journal
from seampack.packer.memory_sources import opened
from seampack.packer.numbering import BITS, numbers_of, places_of
from seampack.packer.packing import merge, pack_partitions
from seampack.packer.partitions import Piece, partitions_of, total_bytes
from seampack.packer.pipeline import Progress
from seampack.packer.readers import Ended, read_blocks, read_partitions
from seampack.packer.tokenizing import TextTokenizer
from tests.conftest import Run
from tests.faulty import UNFRAMED, failed
from tests.packer.tampering import flip

DOCUMENTS = 700
OPTIONS: dict[str, Any] = {
    "seq_len": 64,
    "partition_bytes": 1 << 16,
    "window_tokens": 4_000,
    "shard_tokens": 6_000,
    "bos": "none",
    "eos": "none",
}
WORDS = [word for name, value in OPTIONS.items() if name not in ("bos", "eos") for word in (f"--{name}", str(value))]
COMMAND = (*(word.replace("_", "-") if word.startswith("--") else word for word in WORDS), *UNFRAMED)


def sized(partition_bytes: int, **options: Any) -> PackConfig:
    """Return a config with fewer bytes than an option allows, so that small files are divided."""
    config = PackConfig(**options)
    object.__setattr__(config, "partition_bytes", partition_bytes)
    return config


def documents(blocks: Iterator[Any]) -> list[str]:
    return [text for block in blocks for text in block.decode().texts]


def by_partition(paths: Sequence[str], config: PackConfig) -> list[list[str]]:
    """Return the documents of each partition, each read alone and in reverse order, as other processes might."""
    partitions = list(enumerate(partitions_of(paths, config)))
    read: dict[int, list[str]] = {}
    for number, pieces in reversed(partitions):
        *blocks, end = read_partitions(paths, [(number, pieces)], config)
        assert isinstance(end[1], Ended)
        assert [(each.part, each.parts) for each in end[1].inputs] == [(piece.part, piece.parts) for piece in pieces]
        read[number] = documents(block for _, block in blocks)
    return [read[number] for number, _ in partitions]


def parts_of_lines(lines: Sequence[bytes], separator: int, mark: int, size: int, parts: int) -> list[int]:
    """The slow twin: the part of each line with text is the one in which its first byte is."""
    borders = [size * part // parts for part in range(parts)]
    found = []
    start = 0
    for number, line in enumerate(lines):
        if line:
            found.append(sum(border <= start for border in borders) - 1)
        start += len(line) + separator + (mark if number == 0 else 0)
    return found


short = st.sampled_from([b"", b"a", b"\xc3\xa4"])
lines = st.lists(st.one_of(short, st.integers(1, 400).map(lambda n: b"x" * n)), max_size=20)


@given(lines, st.sampled_from([b"\n", b"\r\n"]), st.booleans(), st.booleans(), st.integers(8, 500))
@settings(max_examples=60)
def test_a_line_belongs_to_the_part_in_which_it_starts(
    tmp_path_factory: pytest.TempPathFactory, content: list[bytes], end: bytes, final: bool, bom: bool, size: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "lines.txt"
    content = [b"%d%s" % (number, line) if line else line for number, line in enumerate(content)]
    data = b"\xef\xbb\xbf" * bom + end.join(content) + end * final
    path.write_bytes(data)
    config = sized(size)
    partitions = partitions_of([str(path)], config)
    parts = len(partitions)
    piece = Piece(str(path)) if parts == 1 else Piece(str(path), 0, parts, len(data))
    assert partitions == [(piece._replace(part=part),) for part in range(parts)]
    assert parts == (1 if len(data) <= size else max(1, min(len(data), len(data) // size + 1)))
    read = by_partition([str(path)], config)
    assert list(itertools.chain(*read)) == documents(read_blocks([str(path)], PackConfig()))
    assert list(itertools.chain(*read)) == [line.decode() for line in content if line]
    given = [part for part, texts in enumerate(read) for _ in texts]
    assert given == parts_of_lines(content, len(end), 3 * bom, len(data), parts)
    ends = [
        block for _, block in read_partitions([str(path)], enumerate(partitions), config) if isinstance(block, Ended)
    ]
    assert sum(each.bytes for end in ends for each in end.inputs) == len(data)


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
@given(st.lists(st.integers(0, 9), min_size=1, max_size=12), st.integers(200, 5_000))
@settings(max_examples=25)
def test_tables_are_divided_between_groups_of_rows(
    tmp_path_factory: pytest.TempPathFactory, kind: str, groups: list[int], size: int
) -> None:
    path = tmp_path_factory.getbasetemp() / f"table.{kind}"
    numbers = itertools.count()
    columns = [pa.array([f"text {next(numbers)}" for _ in range(rows)], pa.string()) for rows in groups]
    tables = [pa.table({"text": column}) for column in columns]
    if kind == "parquet":
        with pq.ParquetWriter(path, tables[0].schema) as writer:
            for table in tables:
                writer.write_table(table)
    else:
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, tables[0].schema) as writer:
            for table in tables:
                writer.write_batch(pa.record_batch([table["text"].combine_chunks()], tables[0].schema))
    config = sized(size)
    read = by_partition([str(path)], config)
    assert list(itertools.chain(*read)) == [f"text {number}" for number in range(sum(groups))]
    parts = len(read)
    count = pq.ParquetFile(path).num_row_groups if kind == "parquet" else pa.ipc.open_file(path).num_record_batches
    assert parts == (1 if path.stat().st_size <= size else max(1, min(count, path.stat().st_size // size + 1)))


@given(st.lists(st.integers(0, 40), min_size=1, max_size=15), st.integers(1, 40))
@settings(max_examples=60)
def test_small_files_share_a_partition(tmp_path_factory: pytest.TempPathFactory, sizes: list[int], room: int) -> None:
    """Files in order, as many as have room together; compressed ones are never divided."""
    folder = tmp_path_factory.mktemp("files")
    paths = [str(folder / f"{number:02d}.txt.gz") for number in range(len(sizes))]
    for path, size in zip(paths, sizes, strict=True):
        Path(path).write_bytes(gzip.compress(b"", mtime=0)[:20].ljust(20 + size, b"\0"))
    partitions = partitions_of(paths, sized(room + 20))
    assert [piece.path for pieces in partitions for piece in pieces] == paths
    assert all(piece.parts == 1 for pieces in partitions for piece in pieces)
    totals = [sum(os.path.getsize(piece.path) for piece in pieces) for pieces in partitions]
    for pieces, total in zip(partitions, totals, strict=True):
        assert total <= room + 20 or len(pieces) == 1
    for total, following in itertools.pairwise(zip(totals, partitions, strict=True)):
        assert total[0] + os.path.getsize(following[1][0].path) > room + 20


@pytest.mark.parametrize("name", ["a.jsonl.zst", "a.json", "a.csv", "a.arrows"])
def test_what_cannot_be_divided_is_one_partition(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    texts = [f"text {number}" for number in range(3_000)]
    if name == "a.jsonl.zst":
        with pa.CompressedOutputStream(str(path), "zstd") as stream:
            stream.write("".join(json.dumps({"text": text}) + "\n" for text in texts).encode())
    elif name == "a.json":
        path.write_text(json.dumps([{"text": text} for text in texts]))
    elif name == "a.csv":
        path.write_text("\n".join(["text", *texts]))
    else:
        table = pa.table({"text": texts})
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table, 100)
    assert partitions_of([str(path)], sized(1_000)) == [(Piece(str(path)),)]
    assert by_partition([str(path)], sized(1_000)) == [texts]


def test_a_carriage_return_in_a_part_without_line_feed_is_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"a" * 98 + b"\n" + b"b\rb")
    assert by_partition([str(path)], sized(99)) == [["a" * 98], ["b\rb"]]
    path.write_bytes(b"a\rb\r" * 60)
    with pytest.raises(DataError, match="line feed"):
        by_partition([str(path)], sized(99))


def test_a_byte_order_mark_within_a_file_is_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("\ufeff" + "a" * 95 + "\n" + "\ufeffb", "utf-8")
    assert by_partition([str(path)], sized(99)) == [["a" * 95], ["\ufeffb"]]


def test_the_format_of_a_file_is_guessed_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    records = [json.dumps({"text": f"text {number}"}) for number in range(5)]
    path.write_text("\n".join(["a" * 200, *records]))
    assert by_partition([str(path)], sized(250)) == [["a" * 200], records]


@pytest.mark.parametrize("more", [b"c\n", b""])
def test_a_divided_file_that_changes_its_size_is_refused(tmp_path: Path, more: bytes) -> None:
    """Otherwise, lines between the borders before and after the change would be lost."""
    path = tmp_path / "a.txt"
    path.write_bytes(b"a\n" * 100)
    partitions = partitions_of([str(path)], sized(90))
    path.write_bytes(b"a\n" * 99 + more * 9)
    with pytest.raises(DataError, match=r"a\.txt: has changed since the run began"):
        list(read_partitions([str(path)], enumerate(partitions), PackConfig()))


def test_a_pipe_is_one_partition(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "a.txt").write_text("a\n")
    paths = [str(tmp_path / "a.txt"), str(tmp_path / "pipe"), str(tmp_path / "a.txt")]
    assert partitions_of(paths, PackConfig()) == [(Piece(path),) for path in paths]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=9))
def test_numbers_and_places_of_documents(counts: list[int]) -> None:
    numbers = [(partition << BITS) + n for partition, count in enumerate(counts) for n in range(count)]
    places = np.arange(sum(counts))
    assert numbers_of(places, counts).tolist() == numbers
    assert places_of(np.array(numbers, np.int64), counts).tolist() == places.tolist()
    none = [(partition << BITS) + count for partition, count in enumerate(counts)] + [len(counts) << BITS, -1]
    assert places_of(np.array(none), counts).tolist() == [-1] * len(none)


def texts(count: int = DOCUMENTS) -> list[str]:
    draw = random.Random(0)
    return [" ".join(draw.choices(kills.WORDS, k=draw.randint(1, 120))) for _ in range(count)]


def write(folder: Path, kind: str) -> Path:
    """Write a corpus of several partitions; a bad record is in each file of JSON lines."""
    records = [json.dumps({"id": f"d{number}", "text": text}) for number, text in enumerate(texts())]
    records[200] = records[600] = '{"id": "bad"'
    table = pa.table({"text": texts(), "id": [f"d{number}" for number in range(DOCUMENTS)]})
    source = folder / "corpus"
    source.mkdir()
    if kind in ("jsonl", "mixed"):
        (source / "a.jsonl").write_text("\n".join(records))
    if kind in ("zst", "mixed"):
        with pa.CompressedOutputStream(str(source / "b.jsonl.zst"), "zstd") as stream:
            stream.write("\n".join(records).encode())
    if kind in ("parquet", "mixed"):
        pq.write_table(table, source / "c.parquet", row_group_size=50, compression="none", use_dictionary=False)
    if kind == "mixed":
        (source / "d.jsonl").write_text("\n".join(records[:20]))
        (source / "e.jsonl").write_text("")
    if kind == "txt":
        (source / "a.txt").write_text("\n".join(texts()))
    return source


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("jsonl", {"id_column": "id", "labels": True}),
        ("txt", {"strategy": "concat"}),
        ("txt", {"strategy": "ffd", "leftover": "fill"}),
        ("parquet", {"strategy": "best_fit", "output_format": "parquet", "id_column": "id"}),
        ("zst", {"strategy": "pad", "pad": "<|endoftext|>"}),
        ("mixed", {"id_column": "id"}),
        ("mixed", {"shuffle": False, "drop_last": True, "labels": True}),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:.* of the tokens are dropped", "ignore:.*the id of another one")
def test_any_processes_in_any_order_give_the_same_bytes(tmp_path: Path, kind: str, options: dict[str, Any]) -> None:
    source = write(tmp_path, kind)
    given: dict[str, Any] = OPTIONS | options | {"on_bad": "quarantine"}
    draw = random.Random(kind)
    whole = seampack.pack(source, out=tmp_path / "whole", **given)
    count = len(whole.partitions)
    assert count > 3 or kind == "zst"  # a single partition in several sections
    assert whole.shards[-1].file.startswith(f"shard-{count:05d}-") == (options.get("strategy") != "pad")
    expected = kills.contents(tmp_path / "whole")
    assert ("quarantine.jsonl" in expected) == (kind not in ("txt", "parquet"))

    for processes in (2, count + 1):  # the last of the second has nothing to do
        out = tmp_path / f"by-{processes}"
        shares = [[*range(first, count, processes)] for first in range(processes)]
        for share in draw.sample(shares, len(shares)):
            packed = pack_partitions(source, out=out, chosen=lambda _, share=share: share, threads=1, **given)
            assert (list(packed.numbers), packed.partitions) == (share, count)
        assert merge(out) == whole
        assert kills.contents(out) == expected

    pack_partitions(source, out=tmp_path / "resumed", chosen=lambda count: range(0, count, 2), **given)
    seampack.pack(source, out=tmp_path / "resumed", resume=True, **given)
    assert kills.contents(tmp_path / "resumed") == expected
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]


def test_the_folder_is_right(tmp_path: Path) -> None:
    """It verifies, matches its source, and gives back the documents in their order."""
    source = write(tmp_path, "mixed")
    pack_partitions(source, out=tmp_path / "out", chosen=range, **OPTIONS, on_bad="quarantine")
    manifest = merge(tmp_path / "out")
    folder = PackedFolder(tmp_path / "out")
    folder.verify()
    assert not verify_against(folder, source).differences
    unpacked = folder.unpack()
    assert sum(manifest.partitions) == manifest.accounting.documents == unpacked.num_rows
    numbers = np.unique([number for table in folder.tables() for ids in table["doc_ids"].to_pylist() for number in ids])
    assert places_of(numbers, manifest.partitions).tolist() == list(range(manifest.accounting.documents))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "corpus.txt").write_text("\n".join(texts()))
    return tmp_path / "corpus.txt"


def pack_some(source: Path, chosen: Callable[[int], Any] = range, **options: Any) -> packing.Packed:
    return pack_partitions(source, out=source.parent / "out", chosen=chosen, **OPTIONS | options)


def test_missing_partitions_are_named(source: Path) -> None:
    pack_some(source, lambda count: range(1, count, 2))
    with pytest.raises(ShardError, match=r"out: 2 of 4 partitions are not finished: 0, 2; pack them with the same"):
        merge(source.parent / "out")
    pack_some(source)
    merge(source.parent / "out")


def test_merging_nothing(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"out: no partitions to merge in .*\.out\.partial; pack them with"):
        merge(tmp_path / "out")


def test_merging_a_run_without_a_finished_partition(source: Path) -> None:
    """An earlier output is not taken for its result."""
    seampack.pack(source, out=source.parent / "out", **OPTIONS)
    pack_some(source, lambda count: [], overwrite=True, seq_len=32)
    with pytest.raises(ShardError, match=r"no partition in .*\.out\.partial is finished; pack them with --partition"):
        merge(source.parent / "out", overwrite=True)


@pytest.mark.parametrize(
    "name", ["run.json", "receipt-00001-00000.json", "tail-00001-00000.arrow", "output/shard-00001-00000.arrow"]
)
@pytest.mark.parametrize("damage", ["shorter", "removed"])
def test_merging_damaged_files(source: Path, name: str, damage: str) -> None:
    pack_some(source)
    path = source.parent / ".out.partial" / name
    if damage == "shorter":
        os.truncate(path, path.stat().st_size - 9)
    else:
        path.unlink()
    message = rf"{path.name} is damaged: .*; remove .*/\.out\.partial and pack again"
    if (name, damage) == ("receipt-00001-00000.json", "removed"):
        message = "1 of 4 partitions are not finished: 1; pack them"
    if (path.suffix, damage) == (".arrow", "removed") and path.parent.name == "output":
        message = "the shard is missing; something has removed it"
    with pytest.raises(ShardError, match=message):
        merge(source.parent / "out")
    assert not (source.parent / "out").exists()


def test_merging_what_another_version_has_packed(source: Path) -> None:
    pack_some(source, lambda count: [0])
    path = source.parent / ".out.partial" / "run.json"
    run = json.loads(path.read_text())
    run = run | {"given": run["given"] | {"seampack": "9.9", "options": {"new": 1}}}
    path.unlink()
    Journal(path.parent, "out").begin({name: run[name] for name in ("given", "tokenizer", "modified")})
    with pytest.raises(ConfigError, match=r"seampack 9\.9 has packed the partitions; expected .*; merge them with"):
        merge(source.parent / "out")


def test_numbers_of_partitions_that_do_not_exist(source: Path) -> None:
    for number in (-1, 4):
        with pytest.raises(ConfigError, match=f"chosen: expected numbers from 0 to 3; got {number}"):
            pack_some(source, lambda count, number=number: [0, number])
    assert os.listdir(source.parent) == ["corpus.txt"]


def test_merging_a_changed_tail(source: Path) -> None:
    pack_some(source)
    flip(source.parent / ".out.partial" / "tail-00002-00000.arrow")
    with pytest.raises(ShardError, match=r"tail-00002-00000\.arrow is damaged: its checksum is another"):
        merge(source.parent / "out")


def test_a_partition_has_one_process_at_a_time(source: Path) -> None:
    pack_some(source, lambda count: [0])
    with (source.parent / ".out.partial" / "partition-00001.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ShardError, match="another process is packing partition 1; wait for it, or stop it"):
            pack_some(source)
    pack_some(source)


def test_a_shared_folder_is_not_for_others(source: Path) -> None:
    """While processes pack partitions, neither merge nor a run of one process touches the folder, and the reverse."""
    pack_some(source, lambda count: [0])
    root = os.open(source.parent / ".out.partial", os.O_RDONLY)
    fcntl.flock(root, fcntl.LOCK_SH)
    pack_some(source, lambda count: [1])
    for call in (
        lambda: merge(source.parent / "out"),
        lambda: seampack.pack(source, out=source.parent / "out", resume=True, **OPTIONS),
        lambda: seampack.pack(source, out=source.parent / "out", overwrite=True, **OPTIONS),
    ):
        with pytest.raises(ShardError, match="another run is writing there; wait for it"):
            call()
    fcntl.flock(root, fcntl.LOCK_EX)
    with pytest.raises(ShardError, match="another run is writing there alone; wait for it"):
        pack_some(source)
    os.close(root)


def test_another_config_is_refused(source: Path) -> None:
    pack_some(source, lambda count: [0])
    with pytest.raises(ConfigError, match=r"options seq_len was 64, is now 128; give the same, or remove .*\.partial"):
        pack_some(source, seq_len=128, overwrite=True)
    source.write_text("\n".join(texts(400)))
    with pytest.raises(ConfigError, match="cannot resume: partitions was 4, is now 3; sizes"):
        pack_some(source)


def test_a_finished_process_does_nothing_again(source: Path) -> None:
    first = pack_some(source)
    receipts = {path: path.stat().st_mtime_ns for path in (source.parent / ".out.partial").glob("receipt-*.json")}
    assert pack_some(source) == first
    assert {path: path.stat().st_mtime_ns for path in receipts} == receipts
    manifest = merge(source.parent / "out")
    made = (source.parent / "out" / "manifest.json").stat().st_mtime_ns
    assert merge(source.parent / "out").to_dict() == manifest.to_dict()
    assert (source.parent / "out" / "manifest.json").stat().st_mtime_ns == made
    assert pack_some(source).partitions == 4  # complete
    assert not (source.parent / ".out.partial").exists()


def test_a_merge_that_was_killed_at_its_end(source: Path) -> None:
    """The folder is in place, but the hidden one is not removed yet."""
    pack_some(source)
    hidden = source.parent / ".out.partial"
    shutil.copytree(hidden, source.parent / "kept", ignore=lambda folder, names: ["output"])
    manifest = merge(source.parent / "out")
    (source.parent / "kept").rename(hidden)
    assert merge(source.parent / "out").to_dict() == manifest.to_dict()
    assert not hidden.exists()


def test_an_earlier_output_is_replaced_only_on_demand(source: Path) -> None:
    out = source.parent / "out"
    seampack.pack(source, out=out, **OPTIONS | {"seq_len": 32})
    with pytest.raises(ShardError, match="use --overwrite"):
        pack_some(source)
    before = kills.contents(out)
    pack_some(source, overwrite=True)
    assert kills.contents(out) == before
    with pytest.raises(ShardError, match="use --overwrite"):
        merge(out)
    assert merge(out, overwrite=True).accounting.seq_len == 64
    assert sorted(os.listdir(source.parent)) == ["corpus.txt", "out"]


def test_each_partition_decides_whether_to_trust_the_fast_path(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seampack.packer.tokenizing._FAST_FROM", 0.0)
    seampack.pack(source, out=source.parent / "expected", **OPTIONS)
    wrong = [text for text in texts()[300:] if len(text) > 300]
    monkeypatch.setattr(TextTokenizer, "_agree", lambda self, sample: not any(text in wrong for text in sample))
    pack_some(source, lambda count: reversed(range(count)))
    receipts = sorted((source.parent / ".out.partial").glob("receipt-*.json"))
    assert [json.loads(path.read_text())["trusts_fast"] for path in receipts] == [True, True, False, False]
    merge(source.parent / "out")
    assert kills.contents(source.parent / "out") == kills.contents(source.parent / "expected")


def test_bad_records_name_the_byte_where_their_part_starts(tmp_path: Path) -> None:
    records = [json.dumps({"text": text}) for text in texts()]
    start = len("\n".join(records[:500])) + 1
    records[500] = "{}" + " " * 9
    (tmp_path / "a.jsonl").write_text("\n".join(records) + "\n")
    message = r"a\.jsonl from byte \d+,\d+:\d+: "
    with pytest.raises(DataError, match=message) as error, pytest.warns(match="are kept in"):
        seampack.pack(tmp_path / "a.jsonl", out=tmp_path / "out", **OPTIONS)
    place, line = str(error.value).split("from byte ")[1].split(":")[:2]
    content = (tmp_path / "a.jsonl").read_bytes()[int(place.replace(",", "")) :]
    assert sum(map(len, content.splitlines(keepends=True)[: int(line) - 1])) + int(place.replace(",", "")) == start


def test_the_command(source: Path, call: Run) -> None:
    give = ("pack", "corpus.txt", "-o", "out", *COMMAND)
    first = call(*give, "--partition", "0/2")
    assert first.returncode == 0
    assert first.stdout.decode().splitlines()[0].split() == ["partitions", "2", "of", "4:", "0,", "2"]
    assert "when all processes have finished: seampack merge out" in first.stderr.decode()
    assert "2 of 4 partitions are not finished: 1, 3" in failed(call("merge", "out"))
    report = json.loads(call(*give, "--partition", "1/2", "--json").stdout)
    assert (report["numbers"], report["partitions"]) == ([1, 3], 4)
    none = call(*give, "--partition", "7/8").stdout.decode()
    assert "0   of 4: none; there are fewer partitions than processes" in none
    merged = json.loads(call("merge", "out", "--json").stdout)
    assert merged["accounting"]["documents"] == DOCUMENTS
    seampack.pack("corpus.txt", out="whole", **OPTIONS)
    assert kills.contents(Path("out")) == kills.contents(Path("whole"))
    assert call("merge", "out").returncode == 0
    assert "standard input: expected files, which several processes can read" in failed(
        call("pack", "-", "-o", "x", *COMMAND, "--partition", "0/2", stdin=b"a\n")
    )


def test_an_interrupt_says_how_to_go_on(source: Path, call: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "pack_partitions", mock.Mock(side_effect=KeyboardInterrupt))
    message = failed(call("pack", "corpus.txt", "-o", "out", *COMMAND, "--partition", "0/2"), 130)
    assert message == "interrupted; finished partitions are kept: the same command goes on after them"


@pytest.mark.parametrize("share", ["2/2", "1", "/", "-1/2", "1/0", "a/b", "1/2/3", "0/2 "])
def test_wrong_shares(call: Run, share: str) -> None:
    result = call("pack", "corpus.txt", "-o", "out", "--partition", share)
    assert result.returncode == 2
    assert f"expected I/N with I from 0 to N - 1, such as 3/16; got {share!r}" in result.stderr.decode()


@pytest.mark.parametrize("compressed", [False, True])
def test_progress_reaches_the_stored_bytes_of_the_chosen_partitions(tmp_path: Path, compressed: bool) -> None:
    lines = "".join(f'{{"text": "{"words " * 30}{n}"}}\n' for n in range(2_000)).encode()
    path = tmp_path / ("a.jsonl.gz" if compressed else "a.jsonl")
    path.write_bytes(gzip.compress(lines) if compressed else lines)
    (tmp_path / "b.jsonl").write_bytes(lines)
    whole: list[Progress] = []
    inputs = [path, tmp_path / "b.jsonl"]
    seampack.pack(inputs, out=tmp_path / "whole", on_progress=whole.append, **OPTIONS)
    total = sum(each.stat().st_size for each in inputs)
    assert {each.total_bytes for each in whole} == {total}
    assert whole[-1].stored_bytes == total
    assert [each.stored_bytes for each in whole] == sorted(each.stored_bytes for each in whole)
    some: list[Progress] = []
    pack_partitions(inputs, out=tmp_path / "some", chosen=lambda count: [1, 2], on_progress=some.append, **OPTIONS)
    assert some[-1].total_bytes is not None
    assert 0 < some[-1].total_bytes < total
    assert some[-1].stored_bytes == pytest.approx(some[-1].total_bytes, abs=500)  # parts begin and end at lines


def test_the_bytes_of_a_pipe_and_of_memory_are_not_known(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert total_bytes([(Piece(str(tmp_path / "pipe")),)]) is None
    assert total_bytes(partitions_of(opened(iter(["text"])), PackConfig())) is None
