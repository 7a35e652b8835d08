"""Groups of a stream: they are in one row however the stream is divided, in folders, stores and comparisons."""

import json
import random
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import seampack
from benchmarks import kills
from seampack.errors import ConfigError, DataError
from seampack.packer import text_blocks
from seampack.packer.against import verify_against
from seampack.packer.comparison import compare
from seampack.packer.config import PackConfig
from seampack.packer.documents import TokenBatch
from seampack.packer.folder import PackedFolder
from seampack.packer.group_column import with_groups
from seampack.packer.mixes import Mix
from seampack.packer.numbering import BITS
from seampack.packer.planning import plan
from seampack.packer.windows import Batch as AnyBatch
from seampack.packer.windows import plan_stream
from tests.packer.corpus import UNFRAMED
from tests.packer.test_planning import rows_of
from tests.packer.test_resume import pack_until_killed
from tests.packer.test_windows import Batch

STRATEGIES = ["seamless", "best_fit", "ffd", "pad", "keep_order"]
groups_of = st.lists(st.lists(st.integers(0, 7), min_size=1, max_size=5), max_size=25)
"""Lengths of the documents of each group."""


@given(
    groups_of,
    st.sampled_from(STRATEGIES),
    st.integers(1, 6),
    st.integers(20, 90),
    st.sampled_from([1, 4]),
    st.sets(st.integers(0, 60)),
)
def test_a_group_is_in_one_row_whatever_the_windows(
    groups: list[list[int]], strategy: str, step: int, window_tokens: int, multiple: int, ends: set[int]
) -> None:
    """Groups of at most 20 tokens; also with sections, and partitions, which end after some of the documents."""
    given: dict[str, Any] = {"strategy": strategy, "pad_to_multiple": multiple, "look_back": 9}
    config = PackConfig(
        seq_len=40, group_column="g", window_tokens=max(40, window_tokens), partition_bytes=1 << 16, **given
    )
    lengths = [length for group in groups for length in group]
    begins = [k == 0 for group in groups for k, _ in enumerate(group)]
    batches: list[AnyBatch] = []
    for first in range(0, len(lengths), step):
        some = slice(first, first + step)
        size = 1 << 15 if first % 3 else 0
        batches.append(Batch(np.array(lengths[some]), size, begins=np.array(begins[some])))
        if first in ends and begins[first + step : first + step + 1] == [True]:
            batches.append(Batch(np.empty(0, np.int64), ends_partition=True))
    rows, seen = [], 0
    for window in plan_stream(batches, config):
        parts = window.parts
        rows += [
            [(int(parts.document[d]), int(parts.base[d]) + s, n) for d, s, n in row] for row in rows_of(window.plan)
        ]
        seen += window.accounting.documents
    assert seen == len(lengths)
    numbers = _numbers(batches)
    place = 0
    for group in groups:
        members = [(numbers[place + k], 0, n) for k, n in enumerate(group) if n]
        place += len(group)
        assert not members or any(row[k : k + len(members)] == members for row in rows for k in range(len(row)))
    assert sum(n for row in rows for _, _, n in row) == sum(lengths)


def _numbers(batches: list[AnyBatch]) -> list[int]:
    """Return the number of each document in the stream."""
    numbers: list[int] = []
    partition = within = 0
    for batch in batches:
        numbers += [(partition << BITS) + within + k for k in range(len(batch.lengths))]
        within += len(batch.lengths)
        if batch.ends_partition:
            partition, within = partition + 1, 0
    return numbers


@given(groups_of, st.sampled_from(STRATEGIES))
def test_one_window_is_planned_as_groups_are(groups: list[list[int]], strategy: str) -> None:
    labels = [number for number, group in enumerate(groups) for _ in group]
    lengths = [length for group in groups for length in group]
    begins = np.array([k == 0 for group in groups for k, _ in enumerate(group)], np.bool_)
    config = PackConfig(seq_len=40, strategy=strategy, group_column="g", shuffle=False)
    (window,) = plan_stream([Batch(np.array(lengths, np.int64), begins=begins)], config)
    expected = plan(lengths, seq_len=40, strategy=strategy, shuffle=False, groups=labels)
    assert rows_of(window.plan) == rows_of(expected)


def batch_of(values: list[str], lengths: list[int]) -> TokenBatch:
    offsets = np.append(0, np.cumsum(lengths)).astype(np.int64)
    fields = {"g": pa.array(values, pa.large_string())}
    return TokenBatch(np.zeros(sum(lengths), np.uint16), offsets, fields=fields)


@given(st.lists(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 9)), max_size=6), max_size=6))
def test_groups_are_runs_of_equal_values(batches: list[list[tuple[str, int]]]) -> None:
    flat = [item for batch in batches for item in batch]
    runs = [list(run) for _, run in groupby(flat, lambda item: item[0])]
    config = PackConfig(seq_len=20, group_column="g")
    given = [batch_of([value for value, _ in batch], [length for _, length in batch]) for batch in batches]
    long = [run for run in runs if len(run) > 1 and sum(length for _, length in run) > 20]
    if long:
        with pytest.raises(
            DataError, match=f"group_column: expected at most 20 tokens.* of g '{long[0][0][0]}'; choose"
        ):
            list(with_groups(given, config))
        return
    begins = [begin for batch in with_groups(given, config) for begin in batch.begins.tolist()]  # type: ignore[union-attr]
    assert begins == [k == 0 for run in runs for k, _ in enumerate(run)]


def write(path: Path, first: int, count: int) -> None:
    """Write documents of repositories of one to five documents each; ids say which are together."""
    draw = random.Random(first)
    repo = place = 0
    with path.open("w") as file:
        for number in range(first, first + count):
            if not place:
                repo, place = number, draw.randint(1, 5)
            place -= 1
            record = {"text": "seam " * draw.randint(1, 30), "repo": f"r{repo}", "uid": f"{number:05d}"}
            file.write(json.dumps(record) + "\n")


READING: dict[str, Any] = {"group_column": "repo", "id_column": "uid", "partition_bytes": 1 << 16, **UNFRAMED}
OPTIONS = {"seq_len": 256, "window_tokens": 2048, **READING}


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(text_blocks, "BLOCK_BYTES", 2048)  # windows, and sections, end at blocks
    (tmp_path / "corpus").mkdir()
    for number in range(3):
        write(tmp_path / f"corpus/{number}.jsonl", 1000 * number, 900)
    return tmp_path / "corpus"


def assert_together(folder: Path) -> None:
    """Assert that each repository is in one row, in its order."""
    places: dict[str, list[tuple[int, str]]] = {}
    for number, row in enumerate(row for table in PackedFolder(folder).tables() for row in table.to_pylist()):
        for repo, document in zip(row["repo"], row["doc_ids"], strict=True):
            places.setdefault(repo, []).append((number, document))
    assert len(places) > 500
    for repo, found in places.items():
        assert len({number for number, _ in found}) == 1
        first = int(repo[1:])
        assert [int(document) for _, document in found] == list(range(first, first + len(found)))


def test_a_folder_keeps_groups_together(corpus: Path, tmp_path: Path) -> None:
    """In several partitions, of several sections each."""
    manifest = seampack.pack(corpus, out=tmp_path / "out", **OPTIONS)
    assert len(manifest.partitions) == 3
    assert_together(tmp_path / "out")
    folder = PackedFolder(tmp_path / "out")
    folder.verify()
    assert not verify_against(folder, corpus).differences
    assert manifest.accounting.documents_split == 0
    assert folder.unpack()["repo"].to_pylist()[:1] == ["r0"]


def test_a_run_with_groups_goes_on(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seampack.pack(corpus, out=tmp_path / "whole", **OPTIONS)
    pack_until_killed(monkeypatch, 2, corpus, **OPTIONS)
    seampack.pack(corpus, out=tmp_path / "out", resume=True, **OPTIONS)
    assert kills.contents(tmp_path / "out") == kills.contents(tmp_path / "whole")


def test_a_store_keeps_groups_together(corpus: Path, tmp_path: Path) -> None:
    seampack.tokenize(corpus, out=tmp_path / "store", **READING)
    seampack.pack(tmp_path / "store", out=tmp_path / "out", seq_len=256, window_tokens=2048)
    assert_together(tmp_path / "out")
    seampack.pack(tmp_path / "store", out=tmp_path / "index", seq_len=256, output_format="index")
    assert_together(tmp_path / "index")
    seampack.tokenize(corpus, out=tmp_path / "plain", **{**READING, "group_column": None})
    with pytest.raises(ConfigError, match=r"plain: kept: expected that of the folder, {'repo': 'string'}; got"):
        verify_against(PackedFolder(tmp_path / "out"), tmp_path / "plain")
    with pytest.raises(ConfigError, match="group_column: a mix draws documents one by one"):
        seampack.pack(Mix(stores={"a": tmp_path / "store"}, weights={"a": 1.0}), out=tmp_path / "mix")


def test_groups_are_compared_where_they_can_be(corpus: Path) -> None:
    compared = {each.strategy: each.accounting for each in compare(corpus, **OPTIONS)}
    assert list(compared) == ["seamless", *STRATEGIES[1:]]
    assert {each.documents for each in compared.values()} == {2700}
    assert {each.documents_split for each in compared.values()} == {0}


def test_groups_of_numbers_in_a_table(tmp_path: Path) -> None:
    table = pa.table({"text": ["seam"] * 9, "n": [1, 1, 2, 2, 2, 1, 3, 3, 3]})
    pq.write_table(table, tmp_path / "a.parquet")
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))
    given: dict[str, Any] = {"seq_len": 8, "shuffle": False, **UNFRAMED}
    for name in ("a.parquet", "a.jsonl"):
        with pytest.raises(DataError, match=r"'n'.* --group-column n:"):
            seampack.pack(tmp_path / name, out=tmp_path / "untyped", group_column="n", **given)
        seampack.pack(tmp_path / name, out=tmp_path / "typed" / name, group_column="n:int64", **given)
    seampack.pack(tmp_path / "a.parquet", out=tmp_path / "out", group_column="n", keep=("n:int64",), **given)
    for name in ("a.parquet", "a.jsonl"):
        typed, kept = (next(iter(PackedFolder(tmp_path / each).tables())) for each in (f"typed/{name}", "out"))
        assert typed.equals(kept)
    rows = next(iter(PackedFolder(tmp_path / "out").tables())).to_pylist()
    runs = [[0, 1], [2, 3, 4], [5], [6, 7, 8]]
    assert all(any(set(run) <= set(row["doc_ids"]) for row in rows) for run in runs)
    assert rows[0]["n"] == table["n"].take(rows[0]["doc_ids"]).to_pylist()


def test_a_long_group_is_split_where_that_is_asked(tmp_path: Path) -> None:
    lines = [{"text": "seam " * 9, "g": "x"}] * 9 + [{"text": "seam", "g": "y"}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    given: dict[str, Any] = {"seq_len": 16, "group_column": "g", **UNFRAMED}
    with pytest.raises(
        DataError, match="expected at most 16 tokens in a group of several documents; got 171 in that of g 'x'"
    ):
        seampack.pack(tmp_path / "a.jsonl", out=tmp_path / "out", **given)
    split = seampack.pack(tmp_path / "a.jsonl", out=tmp_path / "split", long="split", **given).accounting
    assert (split.dropped, split.documents) == (0, 10)
    for long in ("truncate", "drop"):
        with pytest.warns(UserWarning, match="of the tokens are dropped"):
            accounting = seampack.pack(tmp_path / "a.jsonl", out=tmp_path / long, long=long, **given).accounting
        assert accounting.dropped == split.tokens_in - accounting.tokens_out > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strategy": "concat"}, "strategy: expected another than concat with group_column"),
        ({"leftover": "fill"}, "leftover: expected auto or pad with group_column"),
        ({"max_segments": 3}, "max_segments: expected none with group_column"),
        ({"rows_multiple_of": 3}, "rest: expected drop, with rows_multiple_of, with group_column"),
        ({"group_column": "body", "text_column": "body"}, "expected columns that no other option names; got 'body'"),
        ({"group_column": "g:int64", "keep": ("g:float64",)}, "keep: expected g:int64, the type in group_column"),
        ({"group_column": "g:int"}, "group_column: expected NAME or NAME:TYPE"),
        ({"group_column": "padding"}, "group_column: expected names of different columns"),
    ],
)
def test_options_that_part_groups(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PackConfig(**{"group_column": "g", **options})


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"text": "a"}\n', "a.jsonl:1: .*'g'.*--group-column"),
        ("a.jsonl", '{"text": "a", "g": null}\n', "a.jsonl:1: field 'g': expected str, got null; skip such records"),
        ("a.txt", "a\n", "plain text has no field 'g'; omit --group-column"),
        ("a.csv", "text\na\n", "a.csv: .*'g'.*--group-column"),
    ],
)
def test_documents_without_the_column(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        seampack.pack(tmp_path / name, out=tmp_path / "out", group_column="g")
