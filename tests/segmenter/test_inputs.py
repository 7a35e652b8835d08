"""Inputs of ``apply``: blocks of bounded size, and errors that name the file and the line or row."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seampack.errors import ConfigError, DataError
from seampack.segmenter import apply as applying
from seampack.segmenter import inputs
from seampack.segmenter.apply_config import ApplyConfig
from tests.segmenter.dummy import EachFew


def test_long_lines_and_many_lines_in_bounded_batches(tmp_path: Path) -> None:
    long = "生" * 1_000_000
    data = "\n".join([long, *["研究生"] * 100_000])
    (tmp_path / "in.txt").write_text(data, "utf-8")
    segmenter = EachFew()
    done = applying.apply(segmenter, tmp_path / "in.txt", tmp_path / "out")
    assert (done.texts, done.characters) == (100_001, 1_300_000)
    assert max(segmenter.batches) < 1_000_000 + inputs.BLOCK_BYTES
    assert sorted(segmenter.batches)[-2] < inputs.BLOCK_BYTES
    with (tmp_path / "out").open(encoding="utf-8") as file:
        assert len(file.readline()) == 1_500_000
        assert file.readline() == "研究 生\n"


def test_several_files_are_joined_line_by_line(tmp_path: Path) -> None:
    (tmp_path / "1.txt").write_bytes(b"abc")
    (tmp_path / "2.txt.gz").write_bytes(gzip.compress(b"def\ng"))
    applying.apply(EachFew(), [tmp_path / "1.txt", tmp_path / "2.txt.gz"], tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b"ab c\nde f\ng"


def test_invalid_bytes_name_their_line(segmented: Callable[..., bytes], tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"before")
    with pytest.raises(DataError, match=r"in\.txt:2: invalid UTF-8 at byte 3 .*0xff.*--on-bad replace"):
        segmented(b"abc\nde\xff\n")
    assert (tmp_path / "out").read_bytes() == b"before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.txt", "out"]
    assert segmented(b"abc\nde\xff\n", on_bad="replace").decode() == "ab c\nde \ufffd\n"


def test_lines_are_counted_over_blocks(segmented: Callable[..., bytes]) -> None:
    lines = inputs.BLOCK_BYTES // 2
    with pytest.raises(DataError, match=rf"in\.txt:{lines + 1}: invalid UTF-8 at byte 1 "):
        segmented(b"a\n" * lines + b"\xff")


def test_records_are_known_by_their_first_line_too(segmented: Callable[..., bytes]) -> None:
    assert json.loads(segmented(b'{"text": "abc"}\n', name="in")) == {"text": "abc", "words": ["ab", "c"]}
    assert segmented(b"{abc}\n", name="in") == b"{a bc }\n"
    assert json.loads(segmented(b'{"text": "abc"}\n', name="in.txt")) == {"text": "abc", "words": ["ab", "c"]}
    assert segmented(b'{"text": "abc"}\n', name="in", input_format="lines").startswith(b'{" te')


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"text": "a"', r"in\.jsonl:2: broken JSON"),
        (b'{"text": 5}', r"in\.jsonl:2: field 'text': expected str \| null, got int"),
        (b"[1]", r"in\.jsonl:2: expected object, got array"),
        (
            b'{"body": "a", "id": 1}',
            r"in\.jsonl:2: no field 'text'; the record has 'body', 'id'; name another with --text-column(?!; name)",
        ),
        (b'{"text": "a", "words": 1}', r"in\.jsonl:2: the record already has a field 'words'; .*--output-column"),
        (b'{"text": "\xff"}', r"in\.jsonl:2: invalid UTF-8 at byte 11"),
    ],
)
def test_bad_records_name_their_line(line: bytes, message: str, segmented: Callable[..., bytes]) -> None:
    with pytest.raises(DataError, match=message):
        segmented(b'{"text": "abc"}\n' + line + b"\n", name="in.jsonl")


def invalid(kind: pa.DataType) -> pa.Array:
    """Texts of which the third is not UTF-8; Arrow does not check."""
    data = b"abcab\xff"
    offsets = pa.py_buffer(np.array([0, 3, 3, 6], np.int32))
    present = pa.py_buffer(b"\x05")
    return pa.Array.from_buffers(pa.binary(), 3, [present, offsets, pa.py_buffer(data)]).view(pa.string()).cast(kind)


@pytest.mark.parametrize(
    "kind",
    [pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.dictionary(pa.int32(), pa.string())],
    ids=str,
)
@pytest.mark.parametrize("written", ["parquet", "arrow"])
def test_invalid_bytes_in_tables_name_their_row(kind: pa.DataType, written: str, tmp_path: Path) -> None:
    if pa.types.is_dictionary(kind):
        column: pa.Array = pa.DictionaryArray.from_arrays(
            pa.array([0, None, 1], pa.int32()), invalid(pa.string()).drop_null()
        )
    else:
        column = invalid(kind)
    before = pa.array(["ab"] * inputs.TABLE_ROWS, pa.string()).cast(kind)
    table = pa.table({"text": pa.chunked_array([before, column])})
    path = tmp_path / f"in.{written}"
    if written == "parquet":
        pq.write_table(table, path)
    else:
        with pa.ipc.new_stream(path, table.schema) as writer:
            writer.write_table(table.unify_dictionaries())
    with pytest.raises(
        DataError,
        match=rf"in\.{written}, row 1,027: column 'text': invalid UTF-8 at byte 3 \(0xff\); .*--on-bad replace",
    ):
        applying.apply(EachFew(), path, tmp_path / "out.arrow")
    applying.apply(EachFew(), path, tmp_path / "out.arrow", ApplyConfig(on_bad="replace"))
    found = pa.ipc.open_stream(tmp_path / "out.arrow").read_all()
    assert found["text"].cast(pa.string()).to_pylist()[-3:] == ["abc", None, "ab\ufffd"]
    assert found["words"].to_pylist()[-3:] == [["ab", "c"], None, ["ab", "\ufffd"]]


def test_bytes_of_fixed_size_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": pa.array([b"\xff\xff"], pa.binary(2))}), tmp_path / "in.parquet")
    with pytest.raises(DataError, match="column 'text': expected texts; got fixed_size_binary"):
        applying.apply(EachFew(), tmp_path / "in.parquet", tmp_path / "out.arrow")


def test_long_texts_of_tables_in_bounded_batches(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["生" * 100_000] * 8}), tmp_path / "in")
    segmenter = EachFew()
    applying.apply(segmenter, tmp_path / "in", tmp_path / "out.parquet")
    assert max(segmenter.batches) <= inputs.BLOCK_BYTES
    assert pq.read_table(tmp_path / "out.parquet")["words"].combine_chunks().flatten().value_counts()[0].as_py() == {
        "values": "生生",
        "counts": 400_000,
    }


def test_tables_without_the_texts_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": [1], "body": ["a"]}), tmp_path / "in")
    with pytest.raises(DataError, match=r"column .text.: expected texts; got int64; name another with --text-column$"):
        applying.apply(EachFew(), tmp_path / "in", tmp_path / "out")
    with pytest.raises(DataError, match="no column 'title'; the table has 'text', 'body'"):
        applying.apply(EachFew(), tmp_path / "in", tmp_path / "out", ApplyConfig(text_column="title"))
    with pytest.raises(DataError, match="a column 'body'; choose another name"):
        applying.apply(
            EachFew(), tmp_path / "in", tmp_path / "out", ApplyConfig(text_column="body", output_column="body")
        )


@pytest.mark.parametrize("data", [gzip.compress(b"abc\n" * 100_000)[:-100], b"PAR1 is not all of it"])
def test_damaged_files_are_named(data: bytes, segmented: Callable[..., bytes]) -> None:
    with pytest.raises(DataError, match=r"in: cannot be read: "):
        segmented(data, name="in")


@pytest.mark.parametrize(("kind", "magic"), [("parquet", "PAR1"), ("arrow", "ARROW1")])
def test_text_that_is_read_as_a_table_is_named(kind: str, magic: str, segmented: Callable[..., bytes]) -> None:
    message = (
        rf"in\.txt: cannot be read: expected {kind}, which begins with b'{magic}'; got b'abc\\n'; .* --input-format$"
    )
    with pytest.raises(DataError, match=message):
        segmented(b"abc\n", input_format=kind)


def test_missing_inputs_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.txt: no such file"):
        applying.apply(EachFew(), "none.txt", tmp_path / "out")
    with pytest.raises(DataError, match=r"none\*: no file matches"):
        applying.apply(EachFew(), "none*", tmp_path / "out")
    with pytest.raises(DataError, match="expected files with a known ending"):
        applying.apply(EachFew(), tmp_path, tmp_path / "out")


@pytest.mark.parametrize("data", [["", "ab", "", "c"], ["", ""]])
def test_empty_files_among_others(data: list[str], tmp_path: Path) -> None:
    for number, text in enumerate(data):
        (tmp_path / f"{number}.txt").write_text(text, "utf-8")
    applying.apply(EachFew(), tmp_path / "*.txt", tmp_path / "out")
    assert (tmp_path / "out").read_text("utf-8") == "\n".join(text for text in data if text)
    (tmp_path / "0.jsonl").write_bytes(b"")
    applying.apply(EachFew(), tmp_path / "0.jsonl", tmp_path / "out.jsonl")
    assert (tmp_path / "out.jsonl").read_bytes() == b""


def test_training_text_is_without_its_mark(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("\ufeffabc\nd", "utf-8")
    assert [text for batch in inputs.texts([str(tmp_path / "in.txt")]) for text in batch] == ["abc", "d"]


BAD_RECORDS = [b'{"id": 7}', b'{"text": [1]}', b'{"text": "\\udc00x"}', b'{"text": "a\xff"}', b"{", b"5"]


@pytest.mark.parametrize("line", BAD_RECORDS)
def test_bad_records_go_to_the_quarantine(line: bytes, segmented: Callable[..., bytes], tmp_path: Path) -> None:
    good = b'{"text": "abc"}\n'
    with pytest.warns(UserWarning, match=r"out\.quarantine\.jsonl: 2 records could not be read"):
        out = segmented(good + line + b"\n" + good + line, name="in.jsonl", on_bad="quarantine")
    assert out == b'{"text":"abc","words":["ab","c"]}\n' * 2
    written = [json.loads(row) for row in (tmp_path / "out.quarantine.jsonl").read_text("utf-8").splitlines()]
    assert [row["position"] for row in written] == [2, 4]
    with pytest.raises(DataError) as stopped:
        segmented(line, name="in.jsonl")
    assert written[0]["reason"].split(";")[0] in str(stopped.value)
    assert written[0]["raw"] == line.decode(errors="backslashreplace")
    segmented(good, name="in.jsonl", on_bad="quarantine")
    assert not (tmp_path / "out.quarantine.jsonl").exists()


@pytest.mark.filterwarnings("ignore:.*could not be read")
def test_lines_next_to_a_bad_one_keep_their_carriage_returns(segmented: Callable[..., bytes], tmp_path: Path) -> None:
    good = b"ab\rcab\n\rab\r\n"
    assert segmented(good + b"\xff\n" + good, name="in.txt", on_bad="quarantine") == segmented(good, name="in.txt") * 2
    assert json.loads((tmp_path / "out.quarantine.jsonl").read_text("utf-8"))["position"] == 3


@pytest.mark.parametrize("line", BAD_RECORDS)
def test_the_error_of_a_bad_record_names_what_would_help(
    line: bytes, segmented: Callable[..., bytes], tmp_path: Path
) -> None:
    """Each remedy works: replace if it is named, quarantine always; training has no quarantine."""
    with pytest.raises(DataError, match=r"in\.jsonl:1: .*; --on-bad quarantine skips it$") as applied:
        segmented(line, name="in.jsonl")
    with pytest.raises(DataError) as trained:
        list(inputs.texts(tmp_path / "in.jsonl"))
    assert str(applied.value) == f"{trained.value}; --on-bad quarantine skips it"
    if "--on-bad replace repairs it" in str(applied.value):
        assert "\ufffd" in segmented(line, name="in.jsonl", on_bad="replace").decode()
    else:
        with pytest.raises(DataError, match=r"in\.jsonl:1: "):
            segmented(line, name="in.jsonl", on_bad="replace")


def test_bad_lines_and_rows_go_to_the_quarantine(segmented: Callable[..., bytes], tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="1 record could not be read"):
        assert segmented(b"abc\n\xffx\n\nde\n", on_bad="quarantine") == b"ab c\n\nde\n"
    quarantine = tmp_path / "out.quarantine.jsonl"
    assert json.loads(quarantine.read_text("utf-8"))["position"] == 2
    pq.write_table(pa.table({"text": invalid(pa.string()), "id": [1, 2, 3]}), tmp_path / "in.parquet")
    with pytest.warns(UserWarning, match="1 record could not be read"):
        applying.apply(EachFew(), tmp_path / "in.parquet", tmp_path / "out", ApplyConfig(on_bad="quarantine"))
    assert json.loads(quarantine.read_text("utf-8")) == {
        "source": str(tmp_path / "in.parquet"),
        "position": 3,
        "reason": "column 'text': invalid UTF-8 at byte 3 (0xff); convert the text to UTF-8",
        "raw": "ab\\xff",
        "unit": "row",
    }
    assert pa.ipc.open_stream(tmp_path / "out").read_all()["id"].to_pylist() == [1, 2]


def test_the_quarantine_needs_an_output_file(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_bytes(b"abc")
    for out in ("-", "/dev/null"):
        with pytest.raises(ConfigError, match=r"quarantine writes a file next to the output; .*name one with --out"):
            applying.apply(EachFew(), tmp_path / "in.txt", out, ApplyConfig(on_bad="quarantine"))
    with pytest.raises(ConfigError, match="quarantine is for apply only"):
        list(inputs.texts(tmp_path / "in.txt", on_bad="quarantine"))


@given(st.lists(st.sampled_from(["a", "\\ud83d", "\\uDE00", "\\\\", "\\n", "\\u00e9", "ud800"]), max_size=8))
def test_half_surrogate_pairs_are_replaced(tmp_path_factory: pytest.TempPathFactory, parts: list[str]) -> None:
    path = tmp_path_factory.getbasetemp() / "surrogates.jsonl"
    path.write_text('{"text": "' + "".join(parts) + '"}', "utf-8")
    expected = json.loads(path.read_text("utf-8"))["text"].encode("utf-16-le", "surrogatepass")
    (batch,) = inputs.texts(path, on_bad="replace")
    assert batch == [expected.decode("utf-16-le", "replace")]


def test_a_null_on_the_path_of_a_text_is_a_null_text_in_every_format(tmp_path: Path) -> None:
    rows = [{"doc": {"meta": {"body": "abc"}}}, {"doc": {"meta": None}}, {"doc": None}]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "in.json").write_text(json.dumps(rows))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "in.parquet")
    for name in ("in.jsonl", "in.json", "in.parquet"):
        (block,) = inputs.blocks(tmp_path / name, text_column="doc.meta.body")
        assert block.texts == ["abc", None, None]


def test_a_nul_is_a_character_where_the_format_is_known(segmented: Callable[..., bytes]) -> None:
    for options in ({"name": "in.txt"}, {"name": "in", "input_format": "lines"}):
        assert segmented(b"a\0b\n", **options) == b"a\0 b\n"
    with pytest.raises(DataError, match=r"in: binary data: line 1 has a NUL; .*--input-format lines"):
        segmented(b"a\0b\n", name="in")


def test_nested_columns(segmented: Callable[..., bytes], tmp_path: Path) -> None:
    data = b'{"doc": {"meta": {"body": "abc"}}}\n{"doc": {"meta": {"body": null}}}\n'
    out = segmented(data, name="in.jsonl", text_column="doc.meta.body").splitlines()
    assert [json.loads(line)["words"] for line in out] == [["ab", "c"], None]
    assert segmented(b'{"a.b": "abc", "a": {"b": 1}}', name="in.jsonl", text_column="a.b").endswith(b'["ab","c"]}\n')
    for line, message in (
        (b'{"doc": {"x": 1}}', r"in\.jsonl:1: no field 'doc\.body'"),
        (b'{"doc": 5}', r"in\.jsonl:1: no field 'doc\.body'"),
        (b'{"id": null}', r"in\.jsonl:1: no field 'doc\.body'"),
        (b'{"doc": {"body": 5}}', r"in\.jsonl:1: field 'doc\.body': expected str \| null, got int"),
    ):
        with pytest.raises(DataError, match=message):
            segmented(line, name="in.jsonl", text_column="doc.body")
    bodies = pa.StructArray.from_arrays([invalid(pa.string()), pa.array([1, 2, 3])], ["body", "id"])
    table = pa.table({"doc": pa.StructArray.from_arrays([bodies], ["meta"], mask=pa.array([False, False, False]))})
    pq.write_table(table, tmp_path / "in.parquet")
    config = ApplyConfig(text_column="doc.meta.body", on_bad="replace")
    applying.apply(EachFew(), tmp_path / "in.parquet", tmp_path / "out", config)
    assert pa.ipc.open_stream(tmp_path / "out").read_all().to_pylist() == [
        {"doc": {"meta": {"body": "abc", "id": 1}}, "words": ["ab", "c"]},
        {"doc": {"meta": {"body": None, "id": 2}}, "words": None},
        {"doc": {"meta": {"body": "ab\ufffd", "id": 3}}, "words": ["ab", "\ufffd"]},
    ]
    with pytest.raises(DataError, match="no column 'text'; the table has 'body', 'id'"):
        applying.apply(EachFew(), tmp_path / "in.parquet", tmp_path / "out", ApplyConfig(text_column="doc.meta.text"))
