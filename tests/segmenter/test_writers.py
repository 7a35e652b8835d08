"""Outputs of ``apply``: lines, JSON lines, Arrow and Parquet tables."""

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seampack.errors import ConfigError, DataError
from seampack.segmenter import apply as applying
from seampack.segmenter.annotations import COLUMNS
from seampack.segmenter.apply_config import ApplyConfig, Output
from tests.segmenter.dummy import EachFew


def test_columns_have_the_names_of_the_options(segmented: Callable[..., bytes]) -> None:
    found = segmented(
        b'{"body": "abc"}\n', name="in.jsonl", text_column="body", output="offsets", output_column="where"
    )
    assert json.loads(found) == {"body": "abc", "where": [[0, 2], [2, 3]]}


@pytest.mark.parametrize("kind", ["parquet", "arrow", "arrow file"])
@pytest.mark.parametrize("out", ["out.parquet", "out.arrow"])
def test_tables_get_one_more_column(kind: str, out: str, tmp_path: Path) -> None:
    texts = ["研究生", None, "", "ab c"] * 700
    metadata = {b"mine": b"1", b"huggingface": b"{}"}
    table = pa.table({"id": range(len(texts)), "text": texts}).replace_schema_metadata(metadata)
    path = tmp_path / "in"
    if kind == "parquet":
        pq.write_table(table, path)
    else:
        make = pa.ipc.new_file if kind == "arrow file" else pa.ipc.new_stream
        with make(path, table.schema) as writer:
            writer.write_table(table)
    applying.apply(EachFew(), path, tmp_path / out)
    found = pq.read_table(tmp_path / out) if out == "out.parquet" else pa.ipc.open_stream(tmp_path / out).read_all()
    found.validate(full=True)
    assert found.select(["id", "text"]).equals(table)
    assert found["words"].to_pylist() == [["研究", "生"], None, [], ["ab", "c"]] * 700
    assert found.schema.metadata == {b"mine": b"1"}
    if out == "out.parquet":
        assert pq.ParquetFile(tmp_path / out).num_row_groups == 1


@pytest.mark.parametrize("output", ["text", "words", "offsets", "bytes", "posteriors", "n-best"])
@pytest.mark.parametrize("rows", [0, 3])
def test_each_output_is_a_column(output: str, rows: int, tmp_path: Path) -> None:
    table = pa.table({"text": pa.array(["研究生"] * rows, pa.string())})
    pq.write_table(table, tmp_path / "in")
    applying.apply(EachFew(), tmp_path / "in", tmp_path / "out.parquet", ApplyConfig(output=output, n_best=1))
    name = COLUMNS[Output(output)]
    expected = {
        "text": "研究 生",
        "words": ["研究", "生"],
        "offsets": [{"begin": 0, "end": 2}, {"begin": 2, "end": 3}],
        "bytes": [{"begin": 0, "end": 6}, {"begin": 6, "end": 9}],
        "posteriors": pytest.approx([0.1] * 3),
        "n-best": [{"score": 0, "words": ["研究生"]}],
    }[output]
    assert pq.read_table(tmp_path / "out.parquet")[name].to_pylist() == [expected] * rows


def test_lines_become_a_table(segmented: Callable[..., bytes], tmp_path: Path) -> None:
    segmented(b"abc\n\n", out="out.parquet")
    assert pq.read_table(tmp_path / "out.parquet").to_pylist() == [
        {"text": "abc", "words": ["ab", "c"]},
        {"text": "", "words": []},
    ]


@pytest.mark.parametrize("kind", ["csv", "tsv"])
def test_rows_of_csv_become_json_lines(kind: str, segmented: Callable[..., bytes]) -> None:
    mark = "," if kind == "csv" else "\t"
    lines = segmented(f'id{mark}text\n007{mark}"ab c"\n{mark}""\n'.encode(), name=f"in.{kind}").splitlines()
    assert [json.loads(line) for line in lines] == [
        {"id": "007", "text": "ab c", "words": ["ab", "c"]},
        {"id": "", "text": "", "words": []},
    ]


def test_tables_become_json_lines(segmented: Callable[..., bytes], tmp_path: Path) -> None:
    table = pa.table({"text": ["ab", None], "n": [1, 2], "at": pa.array([0, 1], pa.timestamp("s")), "more": [[1], []]})
    pq.write_table(table, tmp_path / "table")
    lines = segmented((tmp_path / "table").read_bytes(), out="out.jsonl").splitlines()
    assert [json.loads(line) for line in lines] == [
        {"text": "ab", "n": 1, "at": "1970-01-01T00:00:00", "more": [1], "words": ["ab"]},
        {"text": None, "n": 2, "at": "1970-01-01T00:00:01", "more": [], "words": None},
    ]
    with pytest.raises(DataError, match=r"in\.txt:1: the record already has a field 'text'; choose another name"):
        segmented((tmp_path / "table").read_bytes(), out="out.jsonl", output_column="text")


def test_outputs_that_do_not_fit_are_refused(segmented: Callable[..., bytes]) -> None:
    with pytest.raises(ConfigError, match="JSON lines can be written as jsonl, lines; got 'parquet'"):
        segmented(b'{"text": "a"}\n', name="in.jsonl", out="out.parquet")
    with pytest.raises(DataError, match="a text of several lines cannot be written as a line"):
        segmented(b'{"text": "a\\nb"}\n', name="in.jsonl", output_format="lines")
    with pytest.raises(ConfigError, match=r"^output_format: JSON lines can be .*; got 'parquet'; choose one of them"):
        segmented(b'{"text": "a"}\n', name="in.jsonl", output_format="parquet")
    with pytest.raises(ConfigError, match=r"out\.csv: a table can be .*; got 'csv', by its name; name it \.jsonl or"):
        segmented(b"text\na\n", name="in.csv", out="out.csv")
    with pytest.raises(ConfigError, match=r"output: expected one of auto, text, .*; got 'json'"):
        ApplyConfig(output="json")


def test_columns_that_lines_lose_are_named(segmented: Callable[..., bytes], recwarn: pytest.WarningsRecorder) -> None:
    for name, data in (("in.csv", b"id,text,url\n1,abc,u\n"), ("in.jsonl", b'\n{"id": 1, "text": "abc", "url": 2}\n')):
        segmented(data, name=name, out="a.txt")
        message = str(recwarn.pop(UserWarning).message)
        assert "a.txt: lines do not have 'id', 'url' of " in message
        assert "name it .jsonl" in message
        segmented(data, name=name, out="a.txt", output_format="lines")
        segmented(data, name=name, out="a.jsonl")
    segmented(b"text\nabc\n", name="in.csv", out="a.txt")
    segmented(b"abc\n", out="a.txt")
    assert not recwarn.list


def test_a_terminal_gets_no_binary_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pq.write_table(pa.table({"text": ["abc"]}), tmp_path / "in")
    shown = io.TextIOWrapper(io.BytesIO())
    monkeypatch.setattr(sys, "stdout", shown)
    monkeypatch.setattr(shown, "isatty", lambda: True, raising=False)
    with pytest.raises(ConfigError, match=r"arrow is binary, .*; name a file with -o, or give --output-format jsonl$"):
        applying.apply(EachFew(), tmp_path / "in")
    applying.apply(EachFew(), tmp_path / "in", config=ApplyConfig(output_format="jsonl"))
    assert json.loads(shown.buffer.getvalue()) == {"text": "abc", "words": ["ab", "c"]}
    monkeypatch.setattr(shown, "isatty", lambda: False)
    applying.apply(EachFew(), tmp_path / "in")


@pytest.mark.parametrize("name", ["in.txt", "in"])
@pytest.mark.parametrize("output", ["auto", "text", "offsets", "posteriors", "n-best"])
def test_empty_input_is_a_table_without_rows(name: str, output: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"")
    for out in ("out.parquet", "out.arrow"):
        done = applying.apply(EachFew(), tmp_path / name, tmp_path / out, ApplyConfig(output=output))
        assert (done.texts, done.characters) == (0, 0)
    for table in (pq.read_table(tmp_path / "out.parquet"), pa.ipc.open_stream(tmp_path / "out.arrow").read_all()):
        assert (table.num_rows, table.column_names[0], table.num_columns) == (0, "text", 2)


@pytest.mark.parametrize("name", ["out.parquet.gz", "out.arrow.zst"])
def test_tables_are_compressed_inside(name: str, segmented: Callable[..., bytes], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"{name}: .* is compressed internally; remove .gz or .zst from the name"):
        segmented(b"abc\n", out=name)
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("words", [["研究", "生"], []]),
        ("offsets", [[[0, 2], [2, 3]], []]),
        ("bytes", [[[0, 6], [6, 9]], []]),
        ("posteriors", [[0.1, 0.1, 0.1], []]),
        ("n-best", [[{"score": 0, "words": ["研究生"]}, {"score": -1, "words": ["研究生"]}]]),
    ],
)
def test_lines_of_json(output: str, expected: list[Any], segmented: Callable[..., bytes]) -> None:
    found = segmented("研究生\n\n".encode(), output=output, n_best=2)
    assert [json.loads(line) for line in found.splitlines()][: len(expected)] == expected
    assert found.count(b"\n") == 2


def test_records_keep_their_fields_as_they_are(segmented: Callable[..., bytes]) -> None:
    records = b'\xef\xbb\xbf{"id": 1.00, "big": 123456789012345678901234567890, "text": "abc d"}\n\n{"text": null}\n'
    assert segmented(records, name="in.jsonl").split(b"\n") == [
        b'{"id":1.00,"big":123456789012345678901234567890,"text":"abc d","words":["ab","c","d"]}',
        b"",
        b'{"text":null,"words":null}',
        b"",
    ]
