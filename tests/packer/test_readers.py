"""Readers against slow and obvious twins, with blocks so small that borders fall everywhere."""

import gzip
import io
import json
import re
import subprocess
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise, product
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import seampack
from seampack.errors import ConfigError, DataError
from seampack.io.bad_records import BadRecord
from seampack.io.records import LINE_FEED_WANTED
from seampack.packer import column_blocks, text_blocks
from seampack.packer.config import PackConfig
from seampack.packer.documents import Texts
from seampack.packer.readers import read_blocks
from tests.conftest import command

BOM = b"\xef\xbb\xbf"
block_bytes = st.integers(4, 40)
characters = st.characters(exclude_categories=["Cs"])
text = st.text(characters, max_size=12)
few_characters = st.text(st.sampled_from("aé \t\r\n\u2003\x1c"), max_size=40)
with_line_feeds = few_characters.filter(lambda content: "\n" in content or "\r" not in content.strip("\r"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for the many examples of hypothesis."""
    return tmp_path_factory.mktemp("inputs")


def read(path: Path, block: int = 1 << 20, vocab_size: int = 1 << 32, **options: Any) -> tuple[list[Any], list[Any]]:
    """All documents (texts or lists of ids) and all bad records of a file."""
    documents: list[Any] = []
    bad: list[BadRecord] = []
    with mock.patch.object(text_blocks, "BLOCK_BYTES", block), mock.patch.object(column_blocks, "BLOCK_BYTES", block):
        for batch in (block.decode() for block in read_blocks([str(path)], PackConfig(**options), vocab_size)):
            bad += batch.bad
            if isinstance(batch, Texts):
                documents += batch.texts
            else:
                ends = batch.offsets.tolist()
                documents += [batch.ids[a:b].tolist() for a, b in pairwise(ends)]
            if batch.names is not None:
                assert len(batch.names) == len(batch.texts if isinstance(batch, Texts) else batch.lengths)
    return documents, bad


def zstd(data: bytes) -> bytes:
    return bytes(pa.Codec("zstd").compress(data, asbytes=True))


def parts(pack: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """Compress in members of a few bytes, including an empty member."""
    return lambda data: (
        pack(b"") + b"".join(pack(data[start : start + 9]) for start in range(0, len(data), 9)) + pack(b"")
    )


COMPRESSED: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda data: data,
    "gzip": parts(lambda data: gzip.compress(data, 1)),
    "zstd": parts(zstd),
    "pzstd": lambda data: b"\x50\x2a\x4d\x18\x04\0\0\0abcd" + zstd(data),
}
compressions = st.sampled_from(sorted(COMPRESSED))
bom = st.sampled_from([b"", BOM])


@st.composite
def json_lines(draw: st.DrawFn) -> bytes:
    lines = []
    for content in draw(st.lists(st.one_of(text, st.none()), max_size=8)):
        record = {"n": 1, "text": content, "other": ["}\n{"]}
        lines.append("  " if content is None else json.dumps(record, ensure_ascii=draw(st.booleans())))
        lines.append(draw(st.sampled_from(["\n", "\r\n", "\n\n"])))
    return "".join(lines if draw(st.booleans()) else lines[:-1]).encode()


@given(json_lines(), bom, block_bytes, compressions)
def test_jsonl_is_json_loads_of_each_line(folder: Path, data: bytes, mark: bytes, block: int, compression: str) -> None:
    (folder / "a.jsonl").write_bytes(COMPRESSED[compression](mark + data))
    expected = [json.loads(line)["text"] for line in data.split(b"\n") if line.strip()]
    assert read(folder / "a.jsonl", block, input_format="jsonl") == (expected, [])


@given(with_line_feeds, bom, block_bytes, compressions)
@example("\x1c\né", BOM, 4, "plain")
def test_lines_are_the_lines_that_are_not_blank(
    folder: Path, content: str, mark: bytes, block: int, compression: str
) -> None:
    (folder / "a.txt").write_bytes(COMPRESSED[compression](mark + content.encode()))
    expected = [line.removesuffix("\r") for line in content.split("\n") if line.strip()]
    assert read(folder / "a.txt", block) == (expected, [])


def naive_paragraphs(content: str) -> list[str]:
    *lines, last = content.split("\n")
    groups: list[list[str]] = [[]]
    for line in lines:
        if line.strip(" \t\r"):
            groups[-1].append(line)
        else:
            groups.append([])
    groups[-1].append(last)
    paragraphs = ["\n".join(group).strip("\r\n") for group in groups]
    return [paragraph for paragraph in paragraphs if paragraph.strip()]


@given(with_line_feeds, bom, block_bytes)
@example("a\n\n  code\n \n\t\nb\n", b"", 4)
@example("abcd\nef", b"", 4)
def test_paragraphs_are_runs_of_lines_that_are_not_blank(folder: Path, content: str, mark: bytes, block: int) -> None:
    (folder / "p.txt").write_bytes(mark + content.encode())
    assert read(folder / "p.txt", block, input_format="paragraphs") == (naive_paragraphs(content), [])


@given(few_characters.filter(bool), bom, block_bytes)
def test_a_file_is_one_document_named_by_its_path(folder: Path, content: str, mark: bytes, block: int) -> None:
    (folder / "f.txt").write_bytes(mark + content.encode())
    assert read(folder / "f.txt", block, input_format="file", id_column="path") == ([content], [])


# Lines without a document, each with a part of the expected reason.
BAD_LINES = [
    (b'{"text": "a"', "broken JSON"),
    (b'{"text": "a"} {"text": "b"}', "broken JSON: Extra data at character 15"),
    (b'{"body": "a", "n": 1}', "no field 'text'; the record has 'body', 'n'; name another with --text-column"),
    (b"{}", "no field 'text'; the record has none"),
    (b'{"text": 3}', "field 'text': expected str, got int"),
    (b'{"text": null}', "field 'text': expected str, got null"),
    (b'["text"]', "expected object, got array"),
    (b'{"text": "\xff"}', "invalid UTF-8"),
    (b'{"text": "\\ud83d"}', "half a surrogate pair"),
]
lines = st.lists(st.one_of(st.integers(0, 9), st.sampled_from(BAD_LINES), st.just(b"")), min_size=1, max_size=9)


def test_a_last_line_that_is_cut_names_the_place(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "a"}\n{"text": "b')
    _, bad = read(tmp_path / "a.jsonl", 100)
    assert [record.reason for record in bad] == ["broken JSON: Unterminated string starting at character 10"]


@given(lines, block_bytes, st.sampled_from([b"\n", b"\r\n"]))
def test_bad_json_lines_are_reported_with_line_and_reason(
    folder: Path, mixed: list[Any], block: int, end: bytes
) -> None:
    raw = [b'{"text": "%d"}' % line if isinstance(line, int) else line and line[0] for line in mixed]
    path = folder / "bad.jsonl"
    path.write_bytes(BOM + end.join(raw))
    documents, bad = read(path, block, input_format="jsonl")
    assert documents == [str(line) for line in mixed if isinstance(line, int)]
    wrong = [(number, *line) for number, line in enumerate(mixed, 1) if isinstance(line, tuple)]
    assert [(record.source, record.position) for record in bad] == [(str(path), number) for number, _, _ in wrong]
    for record, (_, line, reason) in zip(bad, wrong, strict=True):
        assert reason in record.reason
        assert record.raw.strip() == line.decode(errors="backslashreplace")


@given(st.lists(st.sampled_from([b"good", b"bad\xff", b"  ", b"", "é".encode()]), max_size=12), block_bytes)
def test_invalid_utf8_in_text_is_reported_with_its_line(folder: Path, raw: list[bytes], block: int) -> None:
    (folder / "bad.txt").write_bytes(b"\n".join(raw))
    wrong = [number for number, line in enumerate(raw, 1) if b"\xff" in line]
    documents, bad = read(folder / "bad.txt", block)
    assert documents == [line.decode() for line in raw if line.strip() and b"\xff" not in line]
    assert [record.position for record in bad] == wrong
    _, bad = read(folder / "bad.txt", block, input_format="paragraphs")
    assert {record.position for record in bad} <= set(wrong)  # a paragraph is reported with its first broken line
    assert bool(bad) == bool(wrong)
    _, bad = read(folder / "bad.txt", block, input_format="file")
    assert [record.position for record in bad] == wrong[:1]


def write_columns(path: Path, table: pa.Table, kind: str) -> Path:
    if kind == "parquet":
        pq.write_table(table, path, row_group_size=7)
    else:
        start = pa.ipc.new_file if kind == "file" else pa.ipc.new_stream
        with pa.OSFile(str(path), "wb") as sink, start(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=5)
    return path


KINDS = pytest.mark.parametrize("kind", ["parquet", "file", "stream"])
STRINGS = [pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.dictionary(pa.int32(), pa.string())]
LISTS = [pa.list_(pa.int32()), pa.large_list(pa.uint16()), pa.list_(pa.int64(), 2), pa.list_(pa.uint64())]


@KINDS
@pytest.mark.parametrize("type_", STRINGS, ids=str)
def test_columns_of_text(tmp_path: Path, kind: str, type_: pa.DataType) -> None:
    texts = [None if n % 6 == 2 else f"{n} é\n" * n for n in range(40)]
    column = pa.array(texts, pa.string()).cast(type_)
    names = pa.array(range(40)).cast(pa.string())
    path = write_columns(tmp_path / "x", pa.table({"other": texts, "text": column, "id": names}), kind)
    documents, bad = read(path, 64, id_column="id")
    assert documents == [text for text in texts if text is not None]
    assert [(b.position, b.reason) for b in bad] == [(n + 1, "null instead of a document") for n in range(2, 40, 6)]


@KINDS
@pytest.mark.parametrize("type_", LISTS, ids=str)
def test_columns_of_token_ids(tmp_path: Path, kind: str, type_: pa.DataType) -> None:
    rows = [None if n % 6 == 2 else [n, n + 1] for n in range(40)]
    path = write_columns(tmp_path / "x", pa.table({"input_ids": pa.array(rows, type_)}), kind)
    documents, bad = read(path, 64, vocab_size=40)  # the last row has the id 40
    assert documents == [row for row in rows[:-1] if row]
    assert [b.position for b in bad] == [*range(3, 40, 6), 40]
    assert bad[-1].reason == "token id 40: expected an id of the vocabulary, 0 to 39"
    assert bad[-1].raw == "[39, 40]"


@pytest.mark.parametrize("line", [b"[1, -1]", b"[1, 9]", b"[99999999999999999999]", b"[1.5]", b"[null]", b'"x"', b"3"])
def test_wrong_token_ids_in_jsonl(tmp_path: Path, line: bytes) -> None:
    good = b'{"input_ids": [0, 8]}\n'
    (tmp_path / "ids.jsonl").write_bytes(good + b'{"input_ids": ' + line + b"}\n" + good)
    documents, bad = read(tmp_path / "ids.jsonl", vocab_size=9)
    assert documents == [[0, 8], [0, 8]]
    assert [record.position for record in bad] == [2]


@KINDS
def test_null_names_and_null_ids_are_bad_rows(tmp_path: Path, kind: str) -> None:
    table = pa.table({"input_ids": [[1], [2, None], [3], None], "id": ["a", "b", None, None]})
    documents, bad = read(write_columns(tmp_path / "x", table, kind), id_column="id")
    assert documents == [[1]]
    assert [record.position for record in bad] == [2, 3, 4]


@KINDS
def test_invalid_utf8_in_a_column_is_reported_with_its_row(tmp_path: Path, kind: str) -> None:
    raw = pa.array([b"a", None, b"\xff", b"c", b"d\xff"])
    column = pa.Array.from_buffers(pa.string(), len(raw), raw.buffers())
    documents, bad = read(write_columns(tmp_path / "x", pa.table({"text": column}), kind))
    assert documents == ["a", "c"]
    assert [(record.position, record.raw) for record in bad] == [(2, ""), (3, "\\xff"), (5, "d\\xff")]


TEXTS = pa.table({"text": ["a" * 1000] * 100, "n": range(100)})
FIXED = pa.table({"text": pa.array([b"ab"], pa.binary(2))})
TWICE = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])


@KINDS
@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        (
            TEXTS,
            {"text_column": "body"},
            "no column 'body' or 'input_ids'; the table has 'text', 'n'; name another with --text-column",
        ),
        (TEXTS, {"id_column": "uid"}, "no column 'uid'; the table has 'text', 'n'; name another with --id-column"),
        (TEXTS, {"text_column": "n"}, "column 'n': expected texts; got int64; name another with --text-column"),
        (TEXTS.rename_columns(["input_ids", "n"]), {}, "column 'input_ids': expected lists of integers; got string"),
        (
            pa.table({"text": pa.array([b"ab"], pa.binary(2))}),
            {},
            "column 'text': expected texts; got fixed_size_binary[2]; name another with --text-column",
        ),
        (TWICE, {}, "column 'text': expected one of that name; got 2"),
    ],
)
def test_wrong_columns(tmp_path: Path, kind: str, table: pa.Table, options: dict[str, str], message: str) -> None:
    path = write_columns(tmp_path / "x", table, kind)
    with pytest.raises(DataError, match=f"^{re.escape(f'{path}: {message}')}$"):
        read(path, **options)


def columnar(kind: str) -> bytes:
    sink = io.BytesIO()
    if kind == "parquet":
        pq.write_table(TEXTS, sink, compression="none", use_dictionary=False)
    else:
        with (pa.ipc.new_file if kind == "file" else pa.ipc.new_stream)(sink, TEXTS.schema) as writer:
            writer.write_table(TEXTS)
    return sink.getvalue()


LINES = b"".join(b'{"text": "%d"}\n' % n for n in range(1000))
DAMAGED = {
    "cut.jsonl.gz": gzip.compress(LINES)[:-9],
    "cut.jsonl.zst": zstd(LINES)[:-9],
    "garbage-behind.gz": gzip.compress(LINES) + b"garbage",
    "cut.parquet": columnar("parquet")[:-9],
    "cut-file.arrow": columnar("file")[:-9],
    "cut-stream.arrow": columnar("stream")[:-9000],
    "cut-schema.arrow": columnar("stream")[:50],
    "magic-alone.parquet": b"PAR1",
    "magic-alone.arrow": b"ARROW1",
    "garbage.parquet": b"garbage" * 99,
    "garbage.arrow": b"garbage" * 99,
    "empty.parquet": b"",
    "empty.arrow": b"",
    "cut-array.json": b'[{"text": "a"}',
    "cut-inside.parquet.gz": gzip.compress(columnar("parquet")[:-9]),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_files_are_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(DAMAGED[name])
    with pytest.raises(DataError, match=re.escape(f"{tmp_path / name}:")):
        read(tmp_path / name)


def test_any_damage_of_the_metadata_of_parquet_is_an_error_at_most(tmp_path: Path) -> None:
    """pyarrow ends the process if it is asked for damaged metadata of a column, instead of raising an error."""
    sink = io.BytesIO()
    pq.write_table(pa.table({"text": ["one", "two\nlines", ""], "id": [1, 2, 3]}), sink, store_schema=False)
    data = sink.getvalue()
    first = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    for place, bit in product(range(first, len(data)), (0, 6)):
        changed = bytearray(data)
        changed[place] ^= 1 << bit
        (tmp_path / "a.parquet").write_bytes(changed)
        with suppress(DataError):
            read(tmp_path / "a.parquet")


def test_options_that_contradict_the_input(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a\n")
    with pytest.raises(DataError, match=r"a\.txt: plain text has no field 'uid'"):
        read(tmp_path / "a.txt", id_column="uid")
    with pytest.raises(ConfigError, match="id_column: expected a field other than the content's"):
        read(tmp_path / "a.txt", id_column="text")


@pytest.mark.parametrize("data", [b'\n{"text": "hello"}\n', zstd(b'{"text": "hello"}\n')])
def test_the_format_of_a_pipe_does_not_depend_on_its_timing(tmp_path: Path, data: bytes) -> None:
    """The first byte arrives long before the rest: it alone must not decide the format."""
    process = subprocess.Popen(
        command("pack", "-", "--tokenizer", "bundled", "--json", "-o", tmp_path / "out"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    process.stdin.write(data[:1])
    process.stdin.flush()
    time.sleep(1.5)
    out, _ = process.communicate(data[1:])
    assert json.loads(out)["accounting"]["tokens_in"] < 4


def test_several_objects_on_a_line_next_to_blank_lines(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"text":"b"}{"text":"c"}\n\n')
    documents, bad = read(tmp_path / "a.jsonl")
    assert documents == []
    assert [(record.position, record.reason.split(":")[0]) for record in bad] == [(1, "broken JSON")]


def test_rows_of_csv_of_another_length_are_bad_records(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,id\na,1\nb\nc,\nd,2,3\n")
    documents, bad = read(path, id_column="id", on_bad="quarantine")
    assert documents == ["a", "c"]
    assert [(record.position, record.unit, record.raw) for record in bad] == [(3, "line", "b"), (5, "line", "d,2,3")]
    path.write_bytes(b"text,id\nb\na\xff,1\nb,2\n")
    documents, bad = read(path)
    assert documents == ["b"]
    assert [(record.position, record.unit) for record in bad] == [(2, "line"), (2, "row")]


@pytest.mark.parametrize(
    ("name", "content"), [("a.txt", b"one\rtwo\r"), ("a.jsonl", b'{"text": "a"}\r{"text": "b"}\r')]
)
def test_lines_that_end_with_a_carriage_return_alone_are_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=re.escape(LINE_FEED_WANTED)):
        seampack.compare(tmp_path / name, seq_len=8)
    if name == "a.txt":
        assert read(tmp_path / name, input_format="file") == ([content.decode()], [])


@pytest.mark.parametrize("block", [30, 1 << 20])
def test_ids_of_two_kinds_are_a_warning(tmp_path: Path, block: int) -> None:
    path = tmp_path / "a.jsonl"
    records = [{"text": "a", "uid": 1}, {"text": "b", "uid": 2}, {"text": "c", "uid": "1"}, {"text": "d", "uid": "x"}]
    path.write_text("\n".join(map(json.dumps, records[:2])) + "\n\n{\n" + "\n".join(map(json.dumps, records[2:])))
    message = rf'ids are numbers and texts, and 1 and "1" become the same id; .*\({path}:1: a number; {path}:5: text\)'
    with pytest.warns(UserWarning, match=message) as caught:
        documents, _ = read(path, block, id_column="uid")
    assert (len(caught), documents) == (1, ["a", "b", "c", "d"])
    with warnings.catch_warnings(action="error"):
        path.write_text("\n".join(map(json.dumps, records[:2])))
        read(path, block, id_column="uid")
        path.write_text("\n".join(map(json.dumps, records[2:])))
        read(path, block, id_column="uid")


def test_ids_of_two_kinds_in_two_files_are_a_warning(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a", "uid": 1}')
    pq.write_table(pa.table({"text": ["b"], "uid": ["1"]}), tmp_path / "b.parquet")
    with pytest.warns(UserWarning, match=r"a\.jsonl:1: a number; .*b\.parquet, column 'uid': text\)"):
        seampack.compare(tmp_path, seq_len=8, id_column="uid")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"text": "a"}', "no field 'uid'; the record has 'text'; name another with --id-column"),
        ('{"text": "a", "uid": null}', "field 'uid': expected int | str, got null"),
        ('{"uid": 1}', "no field 'text'; the record has 'uid'; name another with --text-column"),
        ('{"text": ["a"], "uid": 1}', "field 'text': expected str, got array"),
    ],
)
def test_the_field_that_is_wrong_is_named(tmp_path: Path, line: str, reason: str) -> None:
    (tmp_path / "a.jsonl").write_text(line)
    _, (record,) = read(tmp_path / "a.jsonl", id_column="uid")
    assert record.reason == reason


def damaged_tables() -> Iterator[Any]:
    """Tables with places outside of their buffers, and with names that are not UTF-8; found by benchmarks/fuzz.py."""
    table = pa.table({"text": pa.array(["one", "two", "three"], pa.large_string()), "ident": [1, 2, 3]})
    places = np.array([0, 3, 6, 11]).astype("<i8").tobytes()
    for kind, new in (("arrow", pa.ipc.new_file), ("arrows", pa.ipc.new_stream)):
        sink = io.BytesIO()
        with new(sink, table.schema) as writer:
            writer.write_table(table)
        content = sink.getvalue()
        assert content.count(places) == 1
        outside = np.array([0, 3, -6, 11]).astype("<i8").tobytes()
        yield pytest.param(kind, content.replace(places, outside), id=f"{kind}, places")
        yield pytest.param(kind, content.replace(b"ident", b"id\xffnt"), id=f"{kind}, names")
    sink = io.BytesIO()
    pq.write_table(table, sink)
    yield pytest.param("parquet", sink.getvalue().replace(b"ident", b"id\xffnt"), id="parquet, names")


@pytest.mark.parametrize(("kind", "content"), list(damaged_tables()))
def test_a_damaged_table_is_named(tmp_path: Path, kind: str, content: bytes) -> None:
    path = tmp_path / f"a.{kind}"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.{kind}: cannot be read: "):
        list(read_blocks([str(path)], PackConfig()))
