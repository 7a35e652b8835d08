"""Gathered rows against a loop over tokens; tables read back as Arrow and by datasets."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seampack.errors import ConfigError, DataError
from seampack.packer.column_types import ATTENTION_MASK, IGNORE_INDEX, LOSS_MASKS
from seampack.packer.gather import apply_plan
from seampack.packer.planning import plan
from seampack.packer.plans import PackPlan
from tests.packer.test_planning import enough_tokens, lengths_and_seq_len, options, rows_of


def documents(lengths: list[int]) -> list[list[int]]:
    """Documents whose tokens encode their document and position."""
    return [[1000 * document + position for position in range(length)] for document, length in enumerate(lengths)]


def column(values: list[Any], kind: pa.DataType | None = None) -> pa.Table:
    return pa.table({"input_ids": pa.array(values, kind or pa.list_(pa.int64()))})


@given(lengths_and_seq_len, options, st.booleans(), st.booleans())
def test_rows_have_the_tokens_of_the_plan(
    case: tuple[list[int], int], options: dict[str, Any], padded: bool, labels: bool
) -> None:
    lengths, seq_len = case
    texts = documents(lengths)
    with enough_tokens():
        planned = plan(lengths, seq_len=seq_len, **options)
    packed = apply_plan(column(texts), planned, pads={"input_ids": -7} if padded else None, labels=labels)
    assert packed.num_rows == planned.rows
    repeated = planned.repeated.tolist()
    for k, (row, got) in enumerate(zip(rows_of(planned, ordered=True), packed.to_pylist(), strict=True)):
        tokens = [token for document, start, length in row for token in texts[document][start : start + length]]
        missing = [-7] * (seq_len - len(tokens)) if padded else []
        assert got["input_ids"] == tokens + missing
        names, starts, segments = map(list, zip(*row, strict=True))
        assert (got["doc_ids"], got["doc_starts"]) == (names, starts)
        assert got["seq_lengths"] == [*segments, *([len(missing)] if missing else [])]
        first = planned.row_offsets[planned.row_order[k]]
        assert got["repeated"] == repeated[first : first + len(row)]
        if labels:
            masked = []
            for (document, start, length), again in zip(row, got["repeated"], strict=True):
                masked += [IGNORE_INDEX] * again + texts[document][start + again : start + length]
            assert got["labels"] == masked + [IGNORE_INDEX] * len(missing)


def test_booleans_are_packed_too() -> None:
    mask = [[True, False, True], [False, True], [True] * 9]
    planned = plan(list(map(len, mask)), seq_len=14, shuffle=False)
    (row,) = apply_plan(column(mask, pa.list_(pa.bool_())), planned).to_pylist()
    assert row["input_ids"] == [value for document in row["doc_ids"] for value in mask[document]]


@given(lengths_and_seq_len, options, st.booleans())
def test_truncated_documents_keep_their_end_token(
    case: tuple[list[int], int], options: dict[str, Any], labels: bool
) -> None:
    """A document that loses tokens loses them before its EOS, and its last segment ends with the EOS."""
    lengths, seq_len = case
    with enough_tokens():
        planned = plan(lengths, seq_len=seq_len, keep_ends=True, **options)
    texts = documents(lengths)
    packed = apply_plan(column(texts), planned, labels=labels)
    account = planned.account()
    assert account.dropped == plan(lengths, seq_len=seq_len, **options).account().dropped
    written: dict[int, set[int]] = {}
    for row in packed.to_pylist():
        ends = np.cumsum(row["seq_lengths"]).tolist()
        assert not labels or set(row["labels"]) <= {IGNORE_INDEX, *row["input_ids"]}
        for document, end, length in zip(row["doc_ids"], ends, row["seq_lengths"], strict=True):
            written.setdefault(document, set()).update(row["input_ids"][end - length : end])
    for document, start, length in zip(*(column.tolist() for column in planned.dropped), strict=True):
        lost = set(texts[document]) - written.get(document, set())
        assert lost == set(texts[document][start : start + length])
        assert start == 0 or texts[document][-1] in written[document]
    complete = (
        set(range(len(lengths))) - set(planned.dropped.document.tolist()) - {d for d, n in enumerate(lengths) if not n}
    )
    assert all(written[document] == set(texts[document]) for document in complete)


@given(lengths_and_seq_len, options)
def test_every_token_is_a_target_once(case: tuple[list[int], int], options: dict[str, Any]) -> None:
    lengths, seq_len = case
    options = {**options, "extra_tokens": 0, "drop_last": False, "rest": "split", "long": "window"}
    with enough_tokens():
        planned = plan(lengths, seq_len=seq_len, **options)
    table = column(documents(lengths))
    masks = [[token % 3 != 0 for token in document] for document in documents(lengths)]
    for name, kind in {**dict.fromkeys(LOSS_MASKS, pa.uint8()), ATTENTION_MASK: pa.bool_()}.items():
        table = table.append_column(name, pa.array(masks, pa.list_(pa.bool_())).cast(pa.list_(kind)))
    rows = apply_plan(table, planned, labels=True).to_pylist()
    tokens = sorted(token for document in documents(lengths) for token in document)
    assert sorted(label for row in rows for label in row["labels"] if label != IGNORE_INDEX) == tokens
    for name in LOSS_MASKS:
        trained = [token for row in rows for token, mask in zip(row["input_ids"], row[name], strict=True) if mask]
        assert sorted(trained) == [token for token in tokens if token % 3]
    assert all(row[ATTENTION_MASK] == [token % 3 != 0 for token in row["input_ids"]] for row in rows)
    again = apply_plan(table, planned).to_pylist()
    assert all(row[LOSS_MASKS[0]] == [int(token % 3 != 0) for token in row["input_ids"]] for row in again)


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.uint16()),
        pa.large_list(pa.int32()),
        pa.list_(pa.int8()),
        pa.list_(pa.float32()),
        pa.list_(pa.int64(), 3),
    ],
)
def test_column_types_are_kept(kind: pa.DataType) -> None:
    table = pa.concat_tables([column([[1, 2, 3], [4, 5, 6]], kind), column([[7, 8, 9]], kind)])
    packed = apply_plan(table, plan([3, 3, 3], seq_len=6, strategy="concat", shuffle=False))
    assert packed.schema.field("input_ids").type.value_type == kind.value_type
    assert packed["input_ids"].to_pylist() == [[1, 2, 3, 4, 5, 6], [7, 8, 9]]


def test_slices_and_several_columns() -> None:
    table = pa.table({"input_ids": [[0], [1, 2], [3], [4, 5]], "attention_mask": [[0], [1, 1], [1], [1, 0]]}).slice(
        1, 3
    )
    packed = apply_plan(table, plan([2, 1, 2], seq_len=5, strategy="concat", shuffle=False), doc_ids=pa.array("abc"))
    assert packed.to_pylist() == [
        {
            "input_ids": [1, 2, 3, 4, 5],
            "attention_mask": [1, 1, 1, 1, 0],
            "seq_lengths": [2, 1, 2],
            "doc_ids": ["a", "b", "c"],
            "doc_starts": [0, 0, 0],
            "repeated": [0, 0, 0],
        }
    ]


def test_given_labels_are_masked_not_replaced() -> None:
    table = pa.table({"input_ids": [list(range(9))], "labels": [[5] * 9]})
    packed = apply_plan(table, plan([9], seq_len=5, shuffle=False), labels=True)
    assert packed["labels"].to_pylist() == [[5] * 5, [IGNORE_INDEX, 5, 5, 5, 5]]


def test_many_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = list(np.random.default_rng(0).integers(0, 30, 500))
    planned = plan(lengths, seq_len=20)
    whole = apply_plan(column(documents(lengths)), planned)
    monkeypatch.setattr("seampack.packer.gather._BATCH_TOKENS", 100)
    parts = apply_plan(column(documents(lengths)), planned)
    assert parts["input_ids"].num_chunks == -(-planned.rows // 5)
    assert parts.combine_chunks().equals(whole.combine_chunks())


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pa.table({"text": ["a", "b"]}), "column 'text': expected lists; got string"),
        (column([[1, 2], [3, 4]]), "column 'input_ids': expected lists with the 2 lengths of the plan"),
        (column([[1, 2]]), "got 1 lists"),
        (column([[1, 2], None]), "expected a list in every row; got 1 nulls"),
        (column([[1, 2], [None]]), "expected numbers; got a null"),
        (pa.table({}), "no column to pack"),
        (pa.table({"words": [["a", "b"], ["c"]]}), r"column 'words': expected lists of numbers; got list<"),
        (pa.table({"boxes": [[[1], [2]], [[3]]]}), "column 'boxes': expected lists of numbers"),
        (pa.table({"repeated": [[1, 2], [3]]}), "column 'repeated': packing adds a column of this name"),
    ],
)
def test_bad_tables(table: pa.Table, message: str) -> None:
    with pytest.raises(DataError, match=message):
        apply_plan(table, plan([2, 1], seq_len=4))


def test_values_that_do_not_fit() -> None:
    table = column([[1, 2], [3]], pa.list_(pa.uint16()))
    for pad in (70_000, -1):
        with pytest.raises(ConfigError, match=f"a value that fits uint16 for column 'input_ids'; got {pad}"):
            apply_plan(table, plan([2, 1], seq_len=4), pads={"input_ids": pad})
    with pytest.raises(ConfigError, match="labels: expected a column 'input_ids' of integers; got float32"):
        apply_plan(column([[1, 2], [3]], pa.list_(pa.float32())), plan([2, 1], seq_len=4), labels=True)
    with pytest.raises(DataError, match=r"labels: expected ids below 2\^31; got 3000000000"):
        apply_plan(column([[3_000_000_000]]), plan([1], seq_len=4), labels=True)
    with pytest.raises(DataError, match="doc_ids: expected one id for each of 2 documents; got 1"):
        apply_plan(table, plan([2, 1], seq_len=4), doc_ids=pa.array(["a"]))


def test_labels_need_input_ids() -> None:
    with pytest.raises(ConfigError, match="expected a column 'input_ids'"):
        apply_plan(pa.table({"ids": [[1]]}), plan([1]), labels=True)


def test_empty_table_keeps_its_schema() -> None:
    packed = apply_plan(column([]), plan([]))
    assert packed.num_rows == 0
    assert packed.column_names == ["input_ids", "seq_lengths", "doc_ids", "doc_starts", "repeated"]
    assert isinstance(plan([]), PackPlan)


def test_labels_are_padded_so_that_no_loss_is_taken() -> None:
    """Also those of the table; -100 is what PyTorch ignores."""
    table = pa.table({"input_ids": [[1, 2, 3]], "labels": [[1, 2, 3]], "mask": [[1, 1, 1]]})
    planned = plan([3], seq_len=5)
    packed = apply_plan(table, planned, pads={"input_ids": 9})
    assert packed.select(["input_ids", "labels", "mask"]).to_pylist() == [
        {"input_ids": [1, 2, 3, 9, 9], "labels": [1, 2, 3, -100, -100], "mask": [1, 1, 1, 0, 0]}
    ]
    assert apply_plan(table, planned, pads={"labels": 0})["labels"].to_pylist() == [[1, 2, 3, 0, 0]]
    narrow = pa.table({"labels": pa.array([[1, 2, 3]], pa.list_(pa.uint8()))})
    with pytest.raises(ConfigError, match="pads: expected a value that fits uint8 for column 'labels'; got -100"):
        apply_plan(narrow, planned, pads={})


def test_a_padding_value_of_no_column_is_refused() -> None:
    table = pa.table({"input_ids": [[1, 2, 3]]})
    for labels, known in ((False, "input_ids"), (True, "input_ids, labels")):
        with pytest.raises(ConfigError, match=f"pads: no column 'input_id' to pad; expected some of {known}$"):
            apply_plan(table, plan([3], seq_len=5), pads={"input_id": 0}, labels=labels)
    apply_plan(table, plan([3], seq_len=5), pads={"labels": -100}, labels=True)
