"""Documents that stay together, against a twin that joins them, plans the joined documents and takes them apart."""

from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import assume, given
from hypothesis import strategies as st

import seampack
from seampack.errors import ConfigError, DataError
from seampack.packer.plan_config import PlanConfig
from seampack.packer.planning import plan
from tests.packer.test_planning import lengths_and_seq_len, options, rows_of


@given(lengths_and_seq_len, options, st.data())
def test_groups_are_planned_as_documents(
    case: tuple[list[int], int], options: dict[str, Any], data: st.DataObject
) -> None:
    lengths, seq_len = case
    options = {**options, "max_segments": None, "rows_multiple_of": 1}
    labels = data.draw(st.lists(st.integers(0, 9), min_size=len(lengths), max_size=len(lengths)))
    config = PlanConfig(seq_len=seq_len, shuffle=False, **options)
    planned = plan(lengths, config, groups=labels, split_groups=True)
    planned.account()
    groups = {label: [d for d, each in enumerate(labels) if each == label] for label in labels}
    tokens = [[(d, k) for d in members for k in range(lengths[d])] for members in groups.values()]
    joined = plan([len(group) for group in tokens], config)
    expected = [[token for g, s, n in row for token in tokens[g][s : s + n]] for row in rows_of(joined)]
    assert [[(d, s + k) for d, s, n in row for k in range(n)] for row in rows_of(planned)] == expected
    assert planned.account().repeated == joined.account().repeated
    assert planned.account().dropped == joined.account().dropped


@given(lengths_and_seq_len, st.sampled_from(["seamless", "best_fit", "ffd", "pad", "keep_order"]), st.data())
def test_a_group_that_fits_is_in_one_row(case: tuple[list[int], int], strategy: str, data: st.DataObject) -> None:
    lengths, seq_len = case
    labels = data.draw(st.lists(st.sampled_from("abcdef"), min_size=len(lengths), max_size=len(lengths)))
    sizes = {label: sum(n for n, each in zip(lengths, labels, strict=True) if each == label) for label in labels}
    assume(max(sizes.values(), default=0) <= seq_len)
    for row in rows_of(plan(lengths, seq_len=seq_len, strategy=strategy, groups=labels)):
        in_row = [labels[document] for document, _, _ in row]
        for label in set(in_row):
            members = [d for d, each in enumerate(labels) if each == label and lengths[d]]
            at = in_row.index(label)
            assert row[at : at + len(members)] == [(d, 0, lengths[d]) for d in members]


def test_an_end_is_kept_where_a_group_loses_its_tail() -> None:
    planned = plan(
        [6, 5, 9], seq_len=10, groups=[0, 0, 1], split_groups=True, extra_tokens=1, keep_ends=True, shuffle=False
    )
    planned.account()


def test_a_group_longer_than_a_row_is_a_long_document() -> None:
    given: dict[str, Any] = {"seq_len": 10, "strategy": "ffd", "shuffle": False, "keep_ends": True}
    lengths, labels = [4, 7, 3, 5], ["a", "b", "c", "b"]
    truncated = plan(lengths, groups=labels, long="truncate", **given)
    assert rows_of(truncated) == [[(1, 0, 7), (3, 0, 3)], [(0, 0, 4), (2, 0, 3)]]
    assert [column.tolist() for column in truncated.dropped] == [[3], [2], [2]]  # its last token is kept
    assert (truncated.account().documents_truncated, truncated.account().documents_dropped) == (1, 0)
    dropped = plan(lengths, groups=labels, long="drop", **given)
    assert rows_of(dropped) == [[(0, 0, 4), (2, 0, 3)]]
    assert (dropped.account().dropped, dropped.account().documents_dropped) == (12, 2)
    for split_groups in (False, True):
        with pytest.raises(DataError, match="at most 10 tokens in a group; got 12 in that of 'b'"):
            plan(lengths, groups=labels, long="error", split_groups=split_groups, **given)
    with pytest.raises(DataError, match="document 2: expected at most seq_len, 10 tokens; got 25"):
        plan([4, 6, 25], groups=["a", "b", "c"], long="error", **given)


def test_groups_that_cannot_be() -> None:
    message = (
        "at most 10 tokens in a group; got 12 in that of 'b'; give a larger seq_len, split_groups, or long=truncate or"
    )
    with pytest.raises(DataError, match=message):
        plan([4, 6, 25, 6], seq_len=10, groups=["a", "b", "c", "b"])
    assert plan([4, 6, 25], seq_len=10, groups=["a", "b", "c"]).account().documents_split == 1  # alone in its group
    for labels in ([1, 2], [1.5, 2, 3], [None, 1, 2], [[1], [2], [3]]):
        with pytest.raises(DataError, match="groups: expected an integer or text for each of 3 documents"):
            plan([1, 2, 3], groups=labels)
    with pytest.raises(ConfigError, match="max_segments: expected none for groups"):
        plan([1, 2], groups=[0, 0], max_segments=2)
    assert plan([], groups=[]).rows == 0


def test_a_dataset_is_packed_by_group() -> None:
    lengths = np.random.default_rng(0).integers(1, 20, 60)
    dataset = Dataset.from_dict(
        {"repo": [f"r{d % 17}" for d in range(60)], "input_ids": [list(range(n)) for n in lengths.tolist()]}
    )
    packed = seampack.pack_dataset(dataset, 128, "best_fit", group_column="repo")
    row_of = {document: row for row, documents in enumerate(packed["doc_ids"]) for document in documents}
    assert all(row_of[d] == row_of[d % 17] for d in range(60))
    with pytest.raises(DataError, match="no column 'none'"):
        seampack.pack_dataset(dataset, 128, group_column="none")
    with pytest.raises(DataError, match="column 'input_ids': expected an integer in every row, or a text"):
        seampack.pack_dataset(dataset, 128, group_column="input_ids")
