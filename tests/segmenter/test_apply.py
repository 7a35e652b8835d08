"""Texts in, words out: nothing is lost, memory stays bounded, files appear when whole, errors name the line."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seampack.errors import ConfigError, DataError
from seampack.segmenter import inputs, stream
from seampack.segmenter.apply_config import ApplyConfig
from tests.conftest import Run
from tests.segmenter.dummy import EachFew

ODD = "研究生命的起源。 สวัสดี 👩🏽‍🚀 e\u0301 mixed \x00\x1f\u3000end"


@pytest.fixture
def segmented(tmp_path: Path) -> Callable[..., bytes]:
    """Bytes of an input file -> bytes of the output."""

    def apply(data: bytes, *, name: str = "in.txt", out: str = "out", **options: Any) -> bytes:
        (tmp_path / name).write_bytes(data)
        stream.apply(EachFew(), tmp_path / name, tmp_path / out, ApplyConfig(**options))
        return (tmp_path / out).read_bytes()

    return apply


def test_lines(segmented: Callable[..., bytes]) -> None:
    assert segmented("研究生命\n\nab c\r\n".encode()).decode() == "研究 生命\n\nab   c \r\n"


@pytest.mark.parametrize(
    "data", ["", "\n", "\n\n", "a", "abc\n", "abc\n\nd", "\ufeffabc\n", ODD, f"{ODD}\r\n {ODD} \n"]
)
def test_the_input_is_restored_to_the_byte(data: str, segmented: Callable[..., bytes], tmp_path: Path) -> None:
    segmented(data.encode())
    stream.restore([str(tmp_path / "out")], tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == data.encode()


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_any_text_is_restored(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = tmp_path_factory.getbasetemp()
    (folder / "any.txt").write_bytes(text.encode())
    stream.apply(EachFew(), folder / "any.txt", folder / "any.spaced", ApplyConfig(input_format="lines"))
    stream.restore([str(folder / "any.spaced")], folder / "any.again")
    assert (folder / "any.again").read_bytes() == text.encode()


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


def test_long_lines_and_many_lines_in_bounded_batches(tmp_path: Path) -> None:
    long = "生" * 1_000_000
    data = "\n".join([long, *["研究生"] * 100_000])
    (tmp_path / "in.txt").write_text(data, "utf-8")
    segmenter = EachFew()
    done = stream.apply(segmenter, tmp_path / "in.txt", tmp_path / "out")
    assert (done.texts, done.characters) == (100_001, 1_300_000)
    assert max(segmenter.batches) < 1_000_000 + inputs.BLOCK_BYTES
    assert sorted(segmenter.batches)[-2] < inputs.BLOCK_BYTES
    with (tmp_path / "out").open(encoding="utf-8") as file:
        assert len(file.readline()) == 1_500_000
        assert file.readline() == "研究 生\n"


def test_several_files_are_joined_line_by_line(tmp_path: Path) -> None:
    (tmp_path / "1.txt").write_bytes(b"abc")
    (tmp_path / "2.txt.gz").write_bytes(gzip.compress(b"def\ng"))
    stream.apply(EachFew(), [tmp_path / "1.txt", tmp_path / "2.txt.gz"], tmp_path / "out")
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


def test_records_keep_their_fields_as_they_are(segmented: Callable[..., bytes]) -> None:
    records = b'\xef\xbb\xbf{"id": 1.00, "big": 123456789012345678901234567890, "text": "abc d"}\n\n{"text": null}\n'
    assert segmented(records, name="in.jsonl").split(b"\n") == [
        b'{"id":1.00,"big":123456789012345678901234567890,"text":"abc d","words":["ab","c","d"]}',
        b"",
        b'{"text":null,"words":null}',
        b"",
    ]


def test_records_are_known_by_their_first_line_too(segmented: Callable[..., bytes]) -> None:
    assert json.loads(segmented(b'{"text": "abc"}\n', name="in")) == {"text": "abc", "words": ["ab", "c"]}
    assert segmented(b"{abc}\n", name="in") == b"{a bc }\n"
    assert json.loads(segmented(b'{"text": "abc"}\n', name="in.txt")) == {"text": "abc", "words": ["ab", "c"]}
    assert segmented(b'{"text": "abc"}\n', name="in", input_format="lines").startswith(b'{" te')


def test_columns_have_the_names_asked_for(segmented: Callable[..., bytes]) -> None:
    found = segmented(
        b'{"body": "abc"}\n', name="in.jsonl", text_column="body", output="offsets", output_column="where"
    )
    assert json.loads(found) == {"body": "abc", "where": [[0, 2], [2, 3]]}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"text": "a"', r"in\.jsonl:2: broken JSON"),
        (b'{"text": 5}', r"in\.jsonl:2: field 'text': expected str \| null, got int"),
        (b"[1]", r"in\.jsonl:2: expected object, got array"),
        (b'{"body": "a", "id": 1}', r"in\.jsonl:2: no field 'text'; the record has 'body', 'id'; .*--text-column"),
        (b'{"text": "a", "words": 1}', r"in\.jsonl:2: the record has a field 'words'; .*--output-column"),
        (b'{"text": "\xff"}', r"in\.jsonl:2: invalid UTF-8 at byte 11"),
    ],
)
def test_bad_records_name_their_line(line: bytes, message: str, segmented: Callable[..., bytes]) -> None:
    with pytest.raises(DataError, match=message):
        segmented(b'{"text": "abc"}\n' + line + b"\n", name="in.jsonl")


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
    stream.apply(EachFew(), path, tmp_path / out)
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
    stream.apply(EachFew(), tmp_path / "in", tmp_path / "out.parquet", ApplyConfig(output=output, n_best=1))
    name = stream._COLUMN[output]  # type: ignore[index]
    expected = {
        "text": "研究 生",
        "words": ["研究", "生"],
        "offsets": [{"begin": 0, "end": 2}, {"begin": 2, "end": 3}],
        "bytes": [{"begin": 0, "end": 6}, {"begin": 6, "end": 9}],
        "posteriors": pytest.approx([0.1] * 3),
        "n-best": [{"score": 0, "words": ["研究生"]}],
    }[output]
    assert pq.read_table(tmp_path / "out.parquet")[name].to_pylist() == [expected] * rows


def invalid(kind: pa.DataType) -> pa.Array:
    """Texts of which the third is not UTF-8; Arrow does not look."""
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
        match=rf"in\.{written}: column 'text', row 1,027: invalid UTF-8 at byte 3 \(.*0xff\); .*--on-bad replace",
    ):
        stream.apply(EachFew(), path, tmp_path / "out.arrow")
    stream.apply(EachFew(), path, tmp_path / "out.arrow", ApplyConfig(on_bad="replace"))
    found = pa.ipc.open_stream(tmp_path / "out.arrow").read_all()
    assert found["text"].cast(pa.string()).to_pylist()[-3:] == ["abc", None, "ab\ufffd"]
    assert found["words"].to_pylist()[-3:] == [["ab", "c"], None, ["ab", "\ufffd"]]


def test_bytes_of_fixed_size_are_no_texts(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": pa.array([b"\xff\xff"], pa.binary(2))}), tmp_path / "in.parquet")
    with pytest.raises(DataError, match="column 'text': expected texts; got fixed_size_binary"):
        stream.apply(EachFew(), tmp_path / "in.parquet", tmp_path / "out.arrow")


def test_long_texts_of_tables_in_bounded_batches(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["生" * 100_000] * 8}), tmp_path / "in")
    segmenter = EachFew()
    stream.apply(segmenter, tmp_path / "in", tmp_path / "out.parquet")
    assert max(segmenter.batches) <= inputs.BLOCK_BYTES
    assert pq.read_table(tmp_path / "out.parquet")["words"].combine_chunks().flatten().value_counts()[0].as_py() == {
        "values": "生生",
        "counts": 400_000,
    }


def test_tables_without_such_texts_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": [1], "body": ["a"]}), tmp_path / "in")
    with pytest.raises(DataError, match="column 'text': expected texts; got int64"):
        stream.apply(EachFew(), tmp_path / "in", tmp_path / "out")
    with pytest.raises(DataError, match="no column 'title'; the table has 'text', 'body'"):
        stream.apply(EachFew(), tmp_path / "in", tmp_path / "out", ApplyConfig(text_column="title"))
    with pytest.raises(DataError, match="a column 'body'; name another"):
        stream.apply(
            EachFew(), tmp_path / "in", tmp_path / "out", ApplyConfig(text_column="body", output_column="body")
        )


def test_lines_become_a_table(segmented: Callable[..., bytes], tmp_path: Path) -> None:
    segmented(b"abc\n\n", out="out.parquet")
    assert pq.read_table(tmp_path / "out.parquet").to_pylist() == [
        {"text": "abc", "words": ["ab", "c"]},
        {"text": "", "words": []},
    ]


def test_what_does_not_fit_is_refused(segmented: Callable[..., bytes]) -> None:
    with pytest.raises(ConfigError, match="jsonl input can be written as jsonl, lines; got 'parquet'"):
        segmented(b'{"text": "a"}\n', name="in.jsonl", out="out.parquet")
    with pytest.raises(DataError, match="a text of several lines cannot be a line"):
        segmented(b'{"text": "a\\nb"}\n', name="in.jsonl", output_format="lines")
    with pytest.raises(ConfigError, match=r"output: expected one of auto, text, .*; got 'json'"):
        ApplyConfig(output="json")


@pytest.mark.parametrize("data", [gzip.compress(b"abc\n" * 100_000)[:-100], b"PAR1 is not all of it"])
def test_damaged_files_are_named(data: bytes, segmented: Callable[..., bytes]) -> None:
    with pytest.raises(DataError, match=r"in: cannot be read: "):
        segmented(data, name="in")


def test_missing_inputs_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.txt: no such file"):
        stream.apply(EachFew(), "none.txt", tmp_path / "out")
    with pytest.raises(DataError, match=r"none\*: no file matches"):
        stream.apply(EachFew(), "none*", tmp_path / "out")
    with pytest.raises(DataError, match=r"the folder is not a saved dataset; give its files"):
        stream.apply(EachFew(), tmp_path, tmp_path / "out")


@pytest.mark.parametrize("out", [".", "none/out", "/dev/full"])
def test_what_cannot_be_written_is_named(out: str, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_bytes(b"abc")
    with pytest.raises(OSError, match="cannot be written: ") as caught:
        stream.apply(EachFew(), tmp_path / "in.txt", tmp_path / out)
    assert caught.value.filename == str(tmp_path / out)
    assert [path.name for path in tmp_path.iterdir()] == ["in.txt"]


@pytest.mark.parametrize("name", ["in.txt", "in"])
@pytest.mark.parametrize("output", ["auto", "text", "offsets", "posteriors", "n-best"])
def test_empty_input_is_a_table_without_rows(name: str, output: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"")
    for out in ("out.parquet", "out.arrow"):
        done = stream.apply(EachFew(), tmp_path / name, tmp_path / out, ApplyConfig(output=output))
        assert (done.texts, done.characters) == (0, 0)
    for table in (pq.read_table(tmp_path / "out.parquet"), pa.ipc.open_stream(tmp_path / "out.arrow").read_all()):
        assert (table.num_rows, table.column_names[0], table.num_columns) == (0, "text", 2)


@pytest.mark.parametrize("data", [["", "ab", "", "c"], ["", ""]])
def test_empty_files_among_others(data: list[str], tmp_path: Path) -> None:
    for number, text in enumerate(data):
        (tmp_path / f"{number}.txt").write_text(text, "utf-8")
    stream.apply(EachFew(), tmp_path / "*.txt", tmp_path / "out")
    assert (tmp_path / "out").read_text("utf-8") == "\n".join(text for text in data if text)
    (tmp_path / "0.jsonl").write_bytes(b"")
    stream.apply(EachFew(), tmp_path / "0.jsonl", tmp_path / "out.jsonl")
    assert (tmp_path / "out.jsonl").read_bytes() == b""


@pytest.mark.parametrize(
    ("name", "magic"), [("out.txt.gz", b"\x1f\x8b"), ("out.zst", b"\x28\xb5\x2f\xfd"), ("out.GZ", b"\x1f\x8b")]
)
def test_names_of_compressed_files_are_true(name: str, magic: bytes, tmp_path: Path) -> None:
    lines = "研究生命\n" * 50_000
    (tmp_path / "in.txt").write_text(lines, "utf-8")
    stream.apply(EachFew(), tmp_path / "in.txt", tmp_path / name)
    data = (tmp_path / name).read_bytes()
    assert data.startswith(magic)
    assert (
        pa.CompressedInputStream(pa.BufferReader(data), "gzip" if magic[0] == 0x1F else "zstd").read()
        == ("研究 生命\n" * 50_000).encode()
    )
    stream.restore([str(tmp_path / name)], tmp_path / "again.gz")
    assert gzip.decompress((tmp_path / "again.gz").read_bytes()) == lines.encode()


@pytest.mark.parametrize("name", ["out.parquet.gz", "out.arrow.zst"])
def test_tables_are_compressed_inside(name: str, segmented: Callable[..., bytes], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"{name}: .* is compressed inside: name a file without .gz and .zst"):
        segmented(b"abc\n", out=name)
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("there", [True, False])
def test_what_a_link_points_to_is_written(there: bool, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_bytes(b"abc\n")
    (tmp_path / "folder").mkdir()
    target, link = tmp_path / "folder" / "target.txt", tmp_path / "link.txt"
    if there:
        target.write_bytes(b"before")
    link.symlink_to(target)
    stream.apply(EachFew(), tmp_path / "in.txt", link)
    assert link.is_symlink()
    assert target.read_bytes() == b"ab c\n"
    assert [path.name for path in target.parent.iterdir()] == ["target.txt"]


@pytest.mark.parametrize(
    ("output", "option", "value"),
    [
        ("posteriors", "decoder", "product"),
        ("posteriors", "threshold", 0.4),
        ("n-best", "decoder", "posterior"),
        ("n-best", "threshold", 0.4),
        ("n-best", "dictionary", object()),
    ],
)
def test_options_without_effect_are_refused(output: str, option: str, value: Any, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_bytes(b"abc\n")
    with pytest.raises(ConfigError, match=rf"^{option}: output {output} .*leave it out"):
        stream.apply(EachFew(), tmp_path / "in.txt", tmp_path / "out", ApplyConfig(output=output), **{option: value})
    assert not (tmp_path / "out").exists()


def test_options_of_probabilities(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_bytes(b"abc\n")
    segmenter, words = EachFew(), object()
    config = ApplyConfig(output="posteriors")
    stream.apply(segmenter, tmp_path / "in.txt", tmp_path / "out", config, decoder="boundary", dictionary=words)
    assert segmenter.asked == {"exact": True, "dictionary": words}
    stream.apply(segmenter, tmp_path / "in.txt", tmp_path / "out", config)
    assert segmenter.asked == {"exact": False, "dictionary": None}


def test_training_text_is_without_its_mark(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("\ufeffabc\nd", "utf-8")
    assert [text for batch in inputs.texts([str(tmp_path / "in.txt")]) for text in batch] == ["abc", "d"]


def test_commands(run: Run, tmp_path: Path) -> None:
    (tmp_path / "gold.txt").write_text("研究 生命 的 起源\n", "utf-8")
    done = run("segment", "eval", "--gold", "gold.txt", "--json", stdin="研究生命 的 起源\n".encode())
    assert json.loads(done.stdout)["words"]["right"] == 2, done.stderr
    done = run("segment", "eval", "--gold", "gold.txt", stdin="研究生命 的 起源\n".encode())
    assert "研究 生命  研究生命" in done.stdout.decode()
    (tmp_path / "known.txt").write_text("研究 的\n", "utf-8")
    known = ("--known", "known.txt")
    done = run("segment", "eval", "--gold", "gold.txt", "--json", *known, stdin="研究生命 的 起源\n".encode())
    assert json.loads(done.stdout)["unknown_words"]["recall"] == 0.5, done.stderr
    done = run("segment", "eval", "--gold", "gold.txt", *known, stdin="研究生命 的 起源\n".encode())
    assert "unknown words" in done.stdout.decode()
    done = run("segment", "restore", stdin=b"ab c   d\nx")
    assert done.stdout == b"abc d\nx"
    done = run("segment", "restore", stdin=b"a b\na\tb\n")
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)
    assert b"seampack: standard input:2: character 2: expected one space" in done.stderr
    done = run("segment", "apply", "-m", "none.model", stdin=b"a\n")
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (1, b"", 1)
    assert b"none.model" in done.stderr


def test_usage(run: Run, tmp_path: Path) -> None:
    for options in (("--posteriors", "--output", "words"), ("--n-best", "2", "--output", "text")):
        done = run("segment", "apply", *options, stdin=b"a\n")
        assert (done.returncode, done.stdout) == (2, b"")
        assert f"{options[0]} and --output {options[-1]}: give one of the two".encode() in done.stderr
    done = run("segment", "apply", "--threshold", "nan", stdin="研究\n".encode())
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"threshold: expected a number from 0 to 1; got nan" in done.stderr
    (tmp_path / "empty.txt").write_bytes(b"\n \n")
    (tmp_path / "gold.txt").write_text("研究 生命\n", "utf-8")
    for command in (("eval",), ("compare",)):
        done = run("segment", *command, "--gold", "empty.txt", stdin=b"\n \n")
        assert (done.returncode, done.stdout) == (1, b"")
        assert b"empty.txt: no words; expected a text per line" in done.stderr
    done = run("segment", "eval", "--gold", "gold.txt", "--threshold", "0", stdin=b"a")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"need a model: -m" in done.stderr
    done = run("segment", "compare", "-m", "zh", "-m", "th", "--gold", "gold.txt")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"models of the scripts th and zh: compare the models of one at a time" in done.stderr
