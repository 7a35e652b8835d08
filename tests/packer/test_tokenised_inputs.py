"""Documents that are token ids: labels, attention masks and ids outside the vocabulary are never lost silently."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import seampack
from seampack.errors import DataError
from seampack.packer.folder import PackedFolder


def write(path: Path, records: list[dict[str, Any]], kind: str) -> Path:
    if kind == "jsonl":
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
    else:
        names = dict.fromkeys(name for record in records for name in record)
        pq.write_table(pa.Table.from_pylist([{name: record.get(name) for name in names} for record in records]), path)
    return path


def ids_of(folder: Path) -> list[list[int]]:
    return PackedFolder(folder).unpack()["input_ids"].to_pylist()  # type: ignore[no-any-return]


KINDS = pytest.mark.parametrize("kind", ["jsonl", "parquet"])


@KINDS
@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"input_ids": [4, 5], "labels": [-100, 5], "attention_mask": [1, 1]}, "labels differ from the token ids"),
        ({"input_ids": [4, 5], "labels": [4], "attention_mask": [1, 1]}, "labels differ from the token ids"),
        ({"input_ids": [4, 5], "labels": [4, 5], "attention_mask": [1, 0]}, "attention_mask has a 0"),
        (
            {"input_ids": [4, 5], "loss_mask": [0, 1]},
            "loss_mask has a 0: packing would lose it and train on",
        ),
        ({"input_ids": [4, 5], "completion_mask": [True, False]}, "completion_mask has a 0: packing would lose it"),
    ],
)
def test_masks_that_packing_would_lose_are_refused(
    tmp_path: Path, kind: str, second: dict[str, Any], message: str
) -> None:
    first = {"input_ids": [1, 2, 3], "labels": [1, 2, 3], "attention_mask": [1, 1, 1]}
    path = write(tmp_path / "a", [first, second], kind)
    where = f"{path}:2" if kind == "jsonl" else f"{path}, row 2"
    with pytest.raises(DataError) as error:
        seampack.pack(path, out=tmp_path / "out", seq_len=8)
    assert str(error.value).startswith(f"{where}: {message}")
    seampack.pack(path, out=tmp_path / "out", seq_len=8, on_bad="quarantine", labels=True)
    assert ids_of(tmp_path / "out")[0][:3] == [1, 2, 3]
    (bad,) = (tmp_path / "out/quarantine.jsonl").read_text().splitlines()
    assert json.loads(bad)["unit"] == ("line" if kind == "jsonl" else "row")


@KINDS
def test_masks_that_say_nothing_are_no_hindrance(tmp_path: Path, kind: str) -> None:
    records = [{"input_ids": [1, 2], "labels": [1, 2], "attention_mask": [1, 1]}, {"input_ids": [3]}]
    seampack.pack(write(tmp_path / "a", records, kind), out=tmp_path / "out", seq_len=8)
    assert ids_of(tmp_path / "out")[0][:2] == [1, 2]
    assert len(ids_of(tmp_path / "out")) == 2


@KINDS
def test_labels_of_texts_are_not_looked_at(tmp_path: Path, kind: str) -> None:
    seampack.pack(write(tmp_path / "a", [{"text": "a", "labels": [1]}], kind), out=tmp_path / "out", seq_len=8)
    assert len(ids_of(tmp_path / "out")) == 1


def test_fields_that_are_not_in_use_may_be_faulty(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        '{"text": "a", "score": NaN}\n{"text": "b", "other": "\\ud800", "n": Infinity}\n{"text": "c"}\n'
    )
    seampack.pack(tmp_path / "a.jsonl", out=tmp_path / "out", seq_len=8)
    assert len(ids_of(tmp_path / "out")) == 3
    for field, reason in (("NaN", "field 'text': expected str, got float|NaN"), ('"\\ud800"', "half a surrogate pair")):
        (tmp_path / "b.jsonl").write_text(f'{{"text": {field}}}\n')
        with pytest.raises(DataError, match=rf"b\.jsonl:1: .*({reason})"):
            seampack.pack(tmp_path / "b.jsonl", out=tmp_path / "out2", seq_len=8)


@pytest.mark.parametrize("shard", [False, True])
def test_a_packed_folder_is_not_a_corpus(tmp_path: Path, shard: bool) -> None:
    (tmp_path / "a.txt").write_text("a few words\n")
    seampack.pack(tmp_path / "a.txt", out=tmp_path / "packed", seq_len=8)
    source = tmp_path / "packed/shard-00000-00000.arrow" if shard else tmp_path / "packed"
    with pytest.raises(DataError, match=r"packed: packed rows, not documents; restore them with: seampack unpack "):
        seampack.pack(source, out=tmp_path / "out", seq_len=8)


def test_names_that_are_not_utf8_are_bad_records(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"id,text\nx,a\n\xe9,b\n")
    with pytest.raises(DataError, match=r"a\.csv, row 2: the document's name: invalid UTF-8 at byte 1 \(0xe9\)"):
        seampack.pack(tmp_path / "a.csv", out=tmp_path / "out", seq_len=8, id_column="id")


def test_a_table_of_empty_documents_alone(tmp_path: Path) -> None:
    """Its lists are of nulls: no writer knows another type for them. A null is no token."""
    pq.write_table(pa.table({"input_ids": [[], []], "labels": [[], []]}), tmp_path / "empty.parquet")
    pq.write_table(pa.table({"input_ids": [[], [None]]}), tmp_path / "null.parquet")
    pq.write_table(pa.table({"input_ids": [[1, 2]], "labels": [[1, 2]]}), tmp_path / "full.parquet")
    inputs = [tmp_path / "empty.parquet", tmp_path / "full.parquet"]
    for options in ({}, {"carry": ["labels"]}):
        out = tmp_path / f"out-{len(options)}"
        manifest = seampack.pack(inputs, out=out, eos="none", bos="none", **options)
        assert (manifest.accounting.documents, manifest.accounting.empty_documents) == (3, 2)
        assert ids_of(out) == [[1, 2]]
    with pytest.raises(DataError, match=r"null\.parquet, row 2: "):
        seampack.pack(tmp_path / "null.parquet", out=tmp_path / "out")
