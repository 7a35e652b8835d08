"""Packing on the fly gives the rows of ``pack``, and goes on after any row."""

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import seampack
from seampack.errors import ConfigError, DataError
from seampack.packer import text_blocks
from seampack.packer.config import PackConfig
from seampack.packer.streaming import PackStream, pack_stream
from seampack.packer.windows import plan_stream
from tests.packer.corpus import END, END_ID, SMALL, STRATEGIES, TEXTS, TOKENS, write_corpus
from tests.packer.test_planning import enough_tokens
from tests.packer.test_planning import options as planning
from tests.packer.test_windows import Batch

WINDOWS = {"seq_len": 32, "window_tokens": 256}

documents = st.lists(st.integers(0, 40), max_size=40).map(
    lambda lengths: [[100 * d + k for k in range(length)] for d, length in enumerate(lengths)]
)


def plain(rows: Any) -> list[dict[str, Any]]:
    return [{name: list(np.asarray(value).tolist()) for name, value in row.items()} for row in rows]


@STRATEGIES
@pytest.mark.parametrize(
    ("options", "pads"), [({}, None), ({"labels": True}, None), ({"pad": END, "labels": True}, {"input_ids": END_ID})]
)
def test_the_rows_are_those_of_pack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strategy: str, options: dict[str, Any], pads: dict[str, int] | None
) -> None:
    monkeypatch.setattr(text_blocks, "BLOCK_BYTES", 1)  # a block for each document: windows end where they are full
    source = write_corpus(tmp_path / "corpus.jsonl", TEXTS)
    seampack.pack(source, out=tmp_path / "out", strategy=strategy, **SMALL, **options)
    expected = [row for table in seampack.PackedFolder(tmp_path / "out").tables() for row in table.to_pylist()]
    stream = pack_stream(TOKENS, strategy=strategy, labels="labels" in options, pads=pads, **WINDOWS)
    assert plain(stream) == expected


@given(documents, planning, st.integers(1, 20), st.integers(1, 6))
def test_the_rows_are_those_of_the_windows(
    tokens: list[list[int]], options: dict[str, Any], seq_len: int, rows: int
) -> None:
    config = PackConfig(seq_len=seq_len, window_tokens=rows * seq_len, **options)
    expected = []
    with enough_tokens():
        windows = list(plan_stream([Batch(np.array([len(document)])) for document in tokens], config))
    for window in windows:
        planned = window.plan
        segments = [
            (int(window.parts.document[d]), int(window.parts.base[d] + start), int(length), int(repeated))
            for d, start, length, repeated in zip(
                planned.doc, planned.start, planned.length, planned.repeated, strict=True
            )
        ]
        for row in planned.row_order:
            some = segments[planned.row_offsets[row] : planned.row_offsets[row + 1]]
            expected.append(
                {
                    "input_ids": [tokens[d][k] for d, start, length, _ in some for k in range(start, start + length)],
                    "seq_lengths": [length for _, _, length, _ in some],
                    "doc_ids": [d for d, _, _, _ in some],
                    "doc_starts": [start for _, start, _, _ in some],
                    "repeated": [repeated for _, _, _, repeated in some],
                }
            )
    assert plain(pack_stream(tokens, config)) == expected


@settings(max_examples=40)
@given(documents, planning, st.integers(1, 6), st.data())
def test_a_stream_goes_on_after_any_row(
    tokens: list[list[int]], options: dict[str, Any], rows: int, data: st.DataObject
) -> None:
    def stream() -> PackStream:
        columns = [{"input_ids": ids, "loss_mask": [k % 2 for k in ids]} for ids in tokens]
        return pack_stream(columns, seq_len=10, window_tokens=10 * rows, **options)

    with enough_tokens():
        whole = plain(stream())
    first = stream()
    done = data.draw(st.integers(0, len(whole)))
    before = plain(islice(iter(first), done))
    state = json.loads(json.dumps(first.state_dict()))
    second = stream()
    second.load_state_dict(state)
    assert second.state_dict() == state
    again = data.draw(st.integers(0, len(whole) - done))
    middle = plain(islice(iter(second), again))
    third = stream()
    third.load_state_dict(second.state_dict())
    if done + again < len(whole):
        assert before + middle + plain(third) == whole
        assert plain(third) == whole  # the next iteration begins anew


def test_columns_travel_alike() -> None:
    """Windows, cuts and padding are the same in each column."""
    tokens = [
        {"input_ids": ids, "loss_mask": [k % 3 == 0 for k in ids], "score": [k / 2 for k in ids]} for ids in TOKENS
    ]
    rows = list(pack_stream(tokens, pads={"input_ids": 0}, **WINDOWS))
    assert any(sum(row["repeated"]) for row in rows)
    for row in rows:
        end = sum(row["seq_lengths"][: len(row["doc_ids"])])
        ids = row["input_ids"][:end]
        assert row["loss_mask"].tolist() == [int(k % 3 == 0) for k in ids] + [0] * (32 - end)
        assert row["score"].tolist() == [k / 2 for k in ids] + [0.0] * (32 - end)
    chosen = pack_stream([{"text": "a", **each} for each in tokens], columns=["input_ids"], **WINDOWS)
    assert plain(chosen) == plain(pack_stream(TOKENS, **WINDOWS))


def test_only_a_window_is_read_ahead() -> None:
    read = []

    def endless() -> Iterator[list[int]]:
        while True:
            read.append(1)
            yield [1] * 7

    rows = list(islice(pack_stream(endless(), seq_len=16, window_tokens=160), 500))
    assert len(rows) == 500
    assert len(read) * 7 < 500 * 16 + 2 * 160 + 7


def test_shares_have_each_document_once() -> None:
    whole = {
        (d, s) for row in pack_stream(TOKENS, **WINDOWS) for d, s in zip(row["doc_ids"], row["doc_starts"], strict=True)
    }
    assert whole
    tokens: list[tuple[int, int]] = []
    for number in range(3):
        for inner in range(2):
            for row in pack_stream(TOKENS, max_overlap=0, **WINDOWS).share(number, 3).share(inner, 2):
                assert {d % 3 for d in row["doc_ids"]} == {number}
                at = 0
                for d, start, length in zip(row["doc_ids"], row["doc_starts"], row["seq_lengths"], strict=True):
                    assert row["input_ids"][at : at + length].tolist() == TOKENS[d][start : start + length]
                    tokens += [(int(d), int(start) + k) for k in range(length)]
                    at += length
    assert sorted(tokens) == [(d, k) for d, ids in enumerate(TOKENS) for k in range(len(ids))]
    with pytest.raises(ConfigError, match="share: expected a number from 0 to 1; got 2"):
        pack_stream(TOKENS).share(2, 2)


def test_a_stream_as_a_dataset_of_hugging_face() -> None:
    expected = plain(pack_stream(TOKENS, **WINDOWS))
    dataset = pack_stream(TOKENS, **WINDOWS).to_datasets()
    assert plain(dataset) == expected
    rows = iter(dataset)
    _ = list(islice(rows, 7))
    again = pack_stream(TOKENS, **WINDOWS).to_datasets()
    again.load_state_dict(dataset.state_dict())
    assert plain(again) == expected[7:]


def test_documents_of_hugging_face() -> None:
    """Both kinds are read, and skipped without reading."""
    table = datasets.Dataset.from_dict({"input_ids": TOKENS})
    expected = plain(pack_stream(TOKENS, **WINDOWS))
    for source in (table, table.to_iterable_dataset()):
        stream = pack_stream(source, **WINDOWS)
        rows = iter(stream)
        before = plain(islice(rows, 30))
        again = pack_stream(source, **WINDOWS)
        again.load_state_dict(stream.state_dict())
        assert before + plain(again) == expected


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ([[1], "text"], "document 1: column input_ids: expected a list of numbers; got str"),
        ([[1], ["a"]], "document 1: column input_ids: expected a list of numbers; got list"),
        ([[1], [[1], [2, 3]]], "document 1: column input_ids: expected a list of numbers; got list"),
        ([None], "document 0: column input_ids: expected a list of numbers; got NoneType"),
        ([{"text": "a"}], "document 0: expected a column input_ids; got text"),
        ([{"input_ids": [1], "labels": [1, 2]}], "document 0: column labels: expected 1 values; got 2"),
        ([{"input_ids": [1]}, {"input_ids": [1], "labels": [1]}], "document 1: column labels: the documents before it"),
        (
            [{"input_ids": [1], "labels": [1]}, {"input_ids": [1]}],
            "document 1: expected a column labels; got input_ids",
        ),
        ([{"input_ids": [1], "doc_ids": [1]}], "document 0: column doc_ids: packing adds a column of this name"),
        ([[1], [3, -5]], "document 1: column input_ids: expected integers of at least 0; got -5"),
        ([[1.5]], r"document 0: column input_ids: expected integers of at least 0; got 1\.5"),
        (
            [{"input_ids": [1, 2], "loss_mask": [1, 2]}],
            "document 0: column loss_mask: expected 0 or 1 in a mask; got 2",
        ),
    ],
)
def test_documents_that_cannot_be_packed(tokens: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        list(pack_stream(tokens))


def test_documents_that_can_be_read_once() -> None:
    """A second iteration is refused: it would give no rows, or lack those of the first."""
    stream = pack_stream(iter(TOKENS), **WINDOWS)
    expected = plain(pack_stream(TOKENS, **WINDOWS))
    assert plain(stream) == expected
    with pytest.raises(DataError, match=r"expected an object that can be iterated again, .*; got list_iterator, whose"):
        list(stream)
    state = pack_stream(TOKENS, **WINDOWS)
    before = plain(islice(state, 9))
    again = pack_stream(iter(TOKENS), **WINDOWS)
    again.load_state_dict(state.state_dict())
    assert before + plain(again) == expected
    with pytest.raises(DataError, match="documents: expected an iterable of lists of token ids; got int"):
        pack_stream(5)  # type: ignore[arg-type]


def test_options_are_checked() -> None:
    for options, message in [
        ({"tokenizer": "gpt2"}, "tokenizer: no such option"),
        ({"pad_to_multiple": 4}, "pad_to_multiple: expected values to pad with, such as pads="),
        ({"text_column": "a"}, "text_column: has no effect on a stream of tokens; expected some of seq_len"),
        ({"columns": ["labels"]}, "columns: expected input_ids among them; got labels"),
        ({"seq_len": 0}, "seq_len: expected an integer from 1"),
    ]:
        with pytest.raises(ConfigError, match=message):
            pack_stream([], **options)
    state = pack_stream([[1]], **WINDOWS).state_dict()
    with pytest.raises(DataError, match="state: expected seq_len 2048, as now; got 32, from the earlier run"):
        pack_stream([[1]]).load_state_dict(state)


def test_no_documents() -> None:
    assert list(pack_stream([])) == []
    assert list(pack_stream([[], []])) == []
    assert plain(pack_stream([pa.array([1, 2]).to_numpy()]))[0]["input_ids"] == [1, 2]
