"""pack_dataset: a Dataset in, a Dataset out, compared with the documented output of trl."""

from typing import Any

import datasets
import pytest

import seampack
from seampack.errors import DataError

ROWS = {
    "input_ids": [[1, 2, 3, 4, 5], [6, 7], [8, 9, 10], [11]],
    "attention_mask": [[1, 1, 1, 0, 0], [1, 0], [1, 1, 0], [1]],
}


def pack(dataset: Any, **options: Any) -> Any:
    return seampack.pack_dataset(dataset, 4, "best_fit", **{"shuffle": False, **options})


def test_trl_example() -> None:
    """The output that trl documents for bfd_split on these rows."""
    packed = pack(datasets.Dataset.from_dict(ROWS))
    assert isinstance(packed, datasets.Dataset)
    assert packed["input_ids"][:] == [[1, 2, 3, 4], [8, 9, 10, 5], [6, 7, 11]]
    assert packed["attention_mask"][:] == [[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 1]]
    assert packed["seq_lengths"][:] == [[4], [3, 1], [2, 1]]
    assert packed["doc_ids"][:] == [[0], [2, 0], [1, 3]]
    assert packed["doc_starts"][:] == [[0], [0, 4], [0, 0]]


def test_indices_columns_and_format() -> None:
    dataset = datasets.Dataset.from_dict({**ROWS, "text": list("abcd")}).select([3, 0, 2]).with_format("numpy")
    packed = pack(dataset, columns=["input_ids"])
    assert packed.format["type"] == "numpy"
    assert [row["input_ids"].tolist() for row in packed] == [[1, 2, 3, 4], [8, 9, 10, 11], [5]]
    assert [row["doc_ids"].tolist() for row in packed] == [[1], [2, 0], [1]]


def test_a_format_of_columns_that_are_not_packed() -> None:
    dataset = datasets.Dataset.from_dict(ROWS).with_format("numpy", columns=["attention_mask"])
    packed = pack(dataset, columns=["input_ids"])
    assert packed.format["columns"] == []
    assert pack(dataset).format["columns"] == ["attention_mask"]


def test_texts_and_numbers_are_kept_for_each_segment() -> None:
    kept = {"source": ["a", "b", None, "d"], "score": [0.5, 1.5, 2.5, 3.5], "is_new": [True, False, True, False]}
    packed = pack(datasets.Dataset.from_dict({**ROWS, **kept}))
    assert packed["doc_ids"][:] == [[0], [2, 0], [1, 3]]
    for name, values in kept.items():
        assert packed[name][:] == [[values[document] for document in row] for row in packed["doc_ids"]]
    with pytest.raises(DataError, match="column 'labels': packing adds a column of this name"):
        pack(datasets.Dataset.from_dict({**ROWS, "labels": [1, 2, 3, 4]}), labels=True)


def test_dataset_dict() -> None:
    packed = pack(datasets.DatasetDict(train=datasets.Dataset.from_dict(ROWS), test=datasets.Dataset.from_dict(ROWS)))
    assert sorted(packed) == ["test", "train"]
    assert packed["train"]["input_ids"][:] == packed["test"]["input_ids"][:]


def test_labels_and_padding() -> None:
    packed = seampack.pack_dataset(
        datasets.Dataset.from_dict({"input_ids": [list(range(1, 8))]}),
        5,
        pads={"input_ids": 0},
        labels=True,
        shuffle=False,
    )
    assert packed["input_ids"][:] == [[1, 2, 3, 4, 5], [6, 7, 0, 0, 0]]
    assert packed["labels"][:] == [[1, 2, 3, 4, 5], [6, 7, -100, -100, -100]]


def test_it_can_be_saved_and_mapped(tmp_path: Any) -> None:
    packed = pack(datasets.Dataset.from_dict(ROWS))
    packed.save_to_disk(tmp_path / "saved")
    again = datasets.load_from_disk(tmp_path / "saved").map(lambda row: {"total": sum(row["seq_lengths"])})
    assert again["total"][:] == [4, 4, 3]


@pytest.mark.parametrize(
    ("dataset", "options", "message"),
    [
        (datasets.Dataset.from_dict({"text": ["a"]}), {}, "expected a column of lists, such as input_ids; the dataset"),
        (
            datasets.Dataset.from_dict({"input_ids": [[1]], "meta": [{"a": 1}]}),
            {},
            "column 'meta': expected lists, texts or numbers; got struct",
        ),
        (datasets.Dataset.from_dict(ROWS), {"columns": ["ids"]}, "no column 'ids'; the dataset has input_ids"),
        (datasets.Dataset.from_dict({"input_ids": [[1], None]}), {}, "expected a list in every row; got 1 nulls"),
        ([[1, 2]], {}, "expected a datasets.Dataset or DatasetDict; got list"),
        (
            datasets.Dataset.from_dict({"a": [[1, 2]], "b": [[1]]}),
            {},
            "column 'b': expected lists with the 1 lengths of the plan",
        ),
    ],
)
def test_errors(dataset: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        pack(dataset, **options)
