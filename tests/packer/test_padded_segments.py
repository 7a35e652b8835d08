"""Segments that are padded to a multiple: plans against textbook ones, rows against loops, and damage that is found."""

from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import seampack
from seampack.errors import ConfigError, ShardError
from seampack.packer.folder import PackedFolder
from seampack.packer.gather import IGNORE_INDEX, apply_plan
from seampack.packer.planning import plan
from seampack.packer.windows import plan_stream
from tests import naive
from tests.packer.corpus import END, END_ID, SMALL, TEXTS, write_corpus
from tests.packer.tampering import write_shard
from tests.packer.test_planning import enough_tokens, options, rows_of
from tests.packer.test_windows import batches

cases = st.tuples(st.integers(1, 6), st.integers(1, 8)).flatmap(
    lambda sizes: st.tuples(
        st.lists(st.integers(0, 3 * sizes[0] * sizes[1]), max_size=30), st.just(sizes[0] * sizes[1]), st.just(sizes[0])
    )
)
Case = tuple[list[int], int, int]


def ceiling(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple


@given(cases, options, st.booleans(), st.integers(0, 9))
def test_every_segment_has_the_least_padding_and_every_row_has_room_for_it(
    case: Case, options: dict[str, Any], keep_ends: bool, seed: int
) -> None:
    lengths, seq_len, multiple = case
    given: dict[str, Any] = {"seq_len": seq_len, "pad_to_multiple": multiple, "seed": seed, **options}
    with enough_tokens():
        planned = plan(lengths, **given, keep_ends=keep_ends)
    accounting = planned.account()
    padding = 0
    for row in rows_of(planned):
        space = [ceiling(length, multiple) for _, _, length in row]
        assert sum(space) <= seq_len
        assert all(start % multiple == 0 < length for _, start, length in row)
        padding += seq_len - sum(length for _, _, length in row)
    assert accounting.padding == padding
    assert planned.padding.tolist() == [-length % multiple for length in planned.length.tolist()]


@given(cases, st.sampled_from(["ffd", "best_fit"]))
def test_documents_are_packed_as_if_they_were_longer(case: Case, strategy: str) -> None:
    """Each document, with its padding, is packed by the textbook; then the padding is taken off its end."""
    lengths, seq_len, multiple = case
    planned = plan(lengths, seq_len=seq_len, pad_to_multiple=multiple, strategy=strategy, shuffle=False)
    twin = {"ffd": naive.first_fit, "best_fit": naive.best_fit}[strategy]
    whole, pieces = naive.cut([ceiling(length, multiple) for length in lengths], seq_len, 0)
    bins = twin(pieces, seq_len, *([0] if strategy == "ffd" else []), seq_len)
    expected = [[(d, start, min(size, lengths[d] - start)) for d, start, size in row] for row in (*whole, *bins)]
    assert sorted(rows_of(planned)) == sorted(expected)


@given(cases, options, st.integers(1, 90))
def test_a_stream_cuts_between_blocks_only(case: Case, options: dict[str, Any], window_tokens: int) -> None:
    lengths, seq_len, multiple = case
    options = {**options, "rows_multiple_of": 1, "seq_len": seq_len, "pad_to_multiple": multiple}
    config = seampack.PackConfig(window_tokens=max(seq_len, window_tokens), **options)
    tokens = 0
    for window in plan_stream(batches(lengths, 1), config):
        assert not np.any((window.parts.base[window.plan.doc] + window.plan.start) % multiple)
        tokens += window.accounting.tokens_in
    assert tokens == sum(lengths)


@given(cases, st.booleans(), st.sampled_from(["seamless", "best_fit", "concat"]))
@settings(max_examples=50)
def test_rows_are_those_of_a_loop(case: Case, has_labels: bool, strategy: str) -> None:
    lengths, seq_len, multiple = case
    assume(multiple > 1 and any(lengths))
    documents = [[100 * d + k + 1 for k in range(length)] for d, length in enumerate(lengths)]
    planned = plan(lengths, seq_len=seq_len, pad_to_multiple=multiple, strategy=strategy)
    own = {"labels": [[token + 1000 for token in each] for each in documents]} if has_labels else {}
    table = pa.table({"input_ids": pa.array(documents, pa.list_(pa.int32())), **own})
    rows = apply_plan(table, planned, pads={"input_ids": -7, "labels": IGNORE_INDEX}, labels=True).to_pylist()
    for row, got in zip(rows_of(planned, ordered=True), rows, strict=True):
        ids: list[int] = []
        labels: list[int] = []
        for (document, start, length), repeated in zip(row, got["repeated"], strict=True):
            tokens = documents[document][start : start + length]
            padding = -length % multiple
            ids += tokens + [-7] * padding
            targets = [token + 1000 * has_labels for token in tokens]
            labels += [IGNORE_INDEX] * repeated + targets[repeated:] + [IGNORE_INDEX] * padding
        rest = seq_len - len(ids)
        assert got["input_ids"] == ids + [-7] * rest
        assert got["labels"] == labels + [IGNORE_INDEX] * rest
        assert got["padding"] == [-length % multiple for _, _, length in row]
        assert got["seq_lengths"] == [ceiling(length, multiple) for _, _, length in row] + [rest] * (rest > 0)


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    corpus = write_corpus(tmp_path / "corpus.jsonl", TEXTS)
    given = {**SMALL, "shard_tokens": 1 << 20, "pad": END, "pad_to_multiple": 4, "labels": True}
    seampack.pack(corpus, out=tmp_path / "out", **given)
    return tmp_path / "out"


def test_a_batch_has_multiples(packed: Path) -> None:
    """Each segment takes a multiple of the batch, with positions that go on, and labels of its own tokens alone."""
    table = next(iter(PackedFolder(packed).tables()))
    batch = seampack.collate(table)
    rows = table.to_pylist()
    spaces = [n for row in rows for n in row["seq_lengths"][: len(row["doc_ids"])]]
    padding = [n for row in rows for n in row["padding"]]
    assert batch["cu_seq_lens_q"].tolist() == [0, *accumulate(spaces)]
    assert not (batch["cu_seq_lens_q"] % 4).any()
    assert batch["position_ids"][0].tolist() == [place for n in spaces for place in range(n)]
    is_padding = [place >= n - m for n, m in zip(spaces, padding, strict=True) for place in range(n)]
    assert any(is_padding)
    ids, labels = batch["input_ids"][0].tolist(), batch["labels"][0].tolist()
    assert {ids[k] for k, each in enumerate(is_padding) if each} == {END_ID}
    repeated = [n for row in rows for n in row["repeated"]]
    masked = [place < max(1, r) for n, r in zip(spaces, repeated, strict=True) for place in range(n)]
    expected = [
        IGNORE_INDEX if hidden or pad else token for token, hidden, pad in zip(ids, masked, is_padding, strict=True)
    ]
    assert labels == expected


def changed(table: pa.Table, name: str, change: Any) -> pa.Table:
    values = [list(row) for row in table[name].to_pylist()]
    change(values)
    return table.set_column(table.column_names.index(name), name, pa.array(values, table.schema.field(name).type))


def test_padding_that_is_wrong_is_found(packed: Path) -> None:
    table = next(iter(PackedFolder(packed).tables())).combine_chunks()
    table = pa.Table.from_batches([pa.RecordBatch.from_pydict(table.to_pydict(), schema=table.schema)])
    row, place = next((r, p) for r, n in enumerate(table["padding"].to_pylist()) for p, m in enumerate(n) if m)
    end = sum(table["seq_lengths"][row].as_py()[: place + 1]) - 1
    segment = sum(map(len, table["padding"].to_pylist()[:row])) + place

    def token(values: list[list[int]]) -> None:
        values[row][end] = END_ID + 1

    def less(values: list[list[int]]) -> None:
        values[row][place] -= 1

    def more(values: list[list[int]]) -> None:
        values[row][place] += 4

    def a_value_less(values: list[list[int]]) -> None:
        values[row] = values[row][1:]

    for name, change, message in (
        ("input_ids", token, f"row {row}: expected padding, {END_ID}; got {END_ID + 1}"),
        ("padding", less, f"row {row}: labels: expected {END_ID}; got -100"),
        ("padding", more, f"segment {segment}: expected tokens, and padding to a multiple of 4"),
        ("padding", a_value_less, "padding: expected a value for each segment"),
    ):
        write_shard(packed, changed(table, name, change))
        with pytest.raises(ShardError, match=message):
            PackedFolder(packed).verify()
    write_shard(packed, table.drop_columns("padding"))
    with pytest.raises(ShardError, match="columns: expected"):
        PackedFolder(packed).verify()


def test_an_index_and_a_stream_pad_alike(tmp_path: Path, packed: Path) -> None:
    options = {name: value for name, value in SMALL.items() if name not in ("bos", "eos")}
    options |= {"pad": END, "pad_to_multiple": 4, "labels": True, "shard_tokens": 1 << 20}
    seampack.tokenize(tmp_path / "corpus.jsonl", out=tmp_path / "store", bos="none", eos=SMALL["eos"])
    seampack.pack(tmp_path / "store", out=tmp_path / "index", output_format="index", **options)
    index, arrow = PackedFolder(tmp_path / "index"), PackedFolder(packed)
    index.verify()
    assert pa.concat_tables(index.tables()).to_pylist() == pa.concat_tables(arrow.tables()).to_pylist()
    documents = arrow.unpack()["input_ids"].to_pylist()
    given = {"seq_len": 32, "pad_to_multiple": 4, "pads": {"input_ids": END_ID}}
    rows = list(seampack.pack_stream(documents, **given))
    assert all(len(row["input_ids"]) == 32 for row in rows)
    assert all(not np.any(row["seq_lengths"] % 4) for row in rows)
    assert sum(int(row["padding"].sum()) for row in rows) > 0


def test_what_cannot_be_padded(tmp_path: Path) -> None:
    message = "pad_to_multiple: expected a divisor of seq_len, 32; got 5"
    with pytest.raises(ConfigError, match=message):
        seampack.PlanConfig(seq_len=32, pad_to_multiple=5)
    (tmp_path / "a.txt").write_text("a\n")
    with pytest.raises(ConfigError, match="pad_to_multiple: expected a token to pad with; give --pad"):
        seampack.pack(tmp_path / "a.txt", out=tmp_path / "out", seq_len=32, pad_to_multiple=8)
    with pytest.raises(ConfigError, match="pads: expected values to pad with, because of pad_to_multiple=2"):
        apply_plan(pa.table({"input_ids": [[1]]}), seampack.plan([1], seq_len=4, pad_to_multiple=2))
    with pytest.raises(ConfigError, match="keep: expected names of different columns"):
        seampack.PackConfig(keep=("padding",))
