"""Sources: the files that are read, their content after decompression, and inputs that cannot be opened."""

import bz2
import gzip
import io
import json
import lzma
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, DatasetDict

from seampack.errors import DataError
from seampack.io.formats import Format
from seampack.io.sources import expand, name_of, open_source
from seampack.io.tables import TableReader, read_table
from tests.conftest import Run


def lz4(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "lz4") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


def zstd(data: bytes) -> bytes:
    return bytes(pa.Codec("zstd").compress(data, asbytes=True))


CODECS: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda data: data,
    "gzip": gzip.compress,
    "padded gzip": lambda data: gzip.compress(data[:7]) + bytes(3) + gzip.compress(data[7:]) + bytes(200_000),
    "two members": lambda data: gzip.compress(data[:7]) + gzip.compress(data[7:]),
    "zstd": zstd,
    "two frames": lambda data: zstd(data[:7]) + zstd(data[7:]),
    "bzip2": bz2.compress,
    "two streams": lambda data: bz2.compress(data[:7]) + bz2.compress(data[7:]),
    "xz": lzma.compress,
    "lz4": lz4,
}
TABLE = pa.table({"text": ["a", "b é", "c"], "n": [1, 2, 3]})


def table_bytes(kind: str) -> bytes:
    sink = io.BytesIO()
    if kind == "parquet":
        pq.write_table(TABLE, sink)
    else:
        with (pa.ipc.new_file if kind == "file" else pa.ipc.new_stream)(sink, TABLE.schema) as writer:
            writer.write_table(TABLE)
    return sink.getvalue()


def through_pipe(path: Path, data: bytes) -> threading.Thread:
    """Feed a named pipe, its first bytes one by one, like a slow program."""
    os.mkfifo(path)

    def feed() -> None:
        with path.open("wb", buffering=0) as pipe:
            for index in range(min(4, len(data))):
                pipe.write(data[index : index + 1])
            pipe.write(data[4:])

    thread = threading.Thread(target=feed)
    thread.start()
    return thread


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("size", [0, 1, 20, 300_000])
def test_streams_are_decompressed(tmp_path: Path, codec: str, size: int) -> None:
    data = (b"0123456789\n" * (size // 11 + 1))[:size]
    (tmp_path / "input").write_bytes(CODECS[codec](data))
    with open_source(str(tmp_path / "input")) as source:
        assert (source.format, source.guessed) == (Format.LINES, True)
        assert source.stream.read(5) + source.stream.read(1 << 30) == data
        assert source.stream.read(5) == b""
    with open_source(str(tmp_path / "input")) as source:
        parts = []
        while part := source.stream.read1(1000):
            parts.append(part)
        assert b"".join(parts) == data


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("kind", ["parquet", "file", "stream"])
@pytest.mark.parametrize("pipe", [False, True])
def test_tables_are_read_compressed_and_through_pipes(tmp_path: Path, codec: str, kind: str, pipe: bool) -> None:
    data = CODECS[codec](table_bytes(kind))
    path = tmp_path / "input"
    thread = through_pipe(path, data) if pipe else None
    if thread is None:
        path.write_bytes(data)
    with open_source(str(path)) as source:
        assert source.format == (Format.PARQUET if kind == "parquet" else Format.ARROW)
        assert pa.Table.from_batches(TableReader(source).batches(rows=2)).equals(TABLE)
    if thread is not None:
        thread.join()


@pytest.mark.parametrize("kind", ["csv", "tsv"])
def test_csv_has_texts_where_types_are_not_wanted(tmp_path: Path, kind: str) -> None:
    rows = [["id", "text"], ["007", 'a, "b"'], ["1.50", "two\nlines\tand a tab"], ["", "é"]]
    mark = "," if kind == "csv" else "\t"
    quoted = [[f'"{cell.replace(chr(34), chr(34) * 2)}"' for cell in row] for row in rows]
    (tmp_path / f"a.{kind}").write_text("\ufeff" + "\r\n".join(mark.join(row) for row in quoted) + "\n", "utf-8")
    with open_source(str(tmp_path / f"a.{kind}")) as source:
        table = TableReader(source)
        assert table.schema.names == rows[0]
        assert [list(row.values()) for batch in table.batches() for row in batch.to_pylist()] == rows[1:]
    with open_source(str(tmp_path / f"a.{kind}")) as source:
        assert read_table(source).schema.types == [pa.string(), pa.string()]


@pytest.mark.parametrize("pipe", [False, True])
def test_an_arrow_stream_needs_its_end_mark(tmp_path: Path, pipe: bool) -> None:
    """A writer that was killed between two batches leaves a file that looks complete to Arrow."""
    path = tmp_path / "a.arrow"
    cut = table_bytes("stream")[:-8]
    assert pa.ipc.open_stream(cut).read_all().equals(TABLE)
    thread = through_pipe(path, cut) if pipe else None
    if thread is None:
        path.write_bytes(cut)
    with pytest.raises(DataError, match=r"a\.arrow: cannot be read: the Arrow stream ends without its end mark"):
        with_table(path)
    if thread is not None:
        thread.join()


def with_table(path: Path) -> pa.Table:
    with open_source(str(path)) as source:
        return read_table(source)


@pytest.mark.parametrize("kind", ["parquet", "file", "stream"])
def test_tables_of_any_name_are_read(tmp_path: Path, kind: str) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/n\xff"))
    path.write_bytes(table_bytes(kind))
    assert with_table(path).equals(TABLE)


DAMAGED = {
    "cut.gz": gzip.compress(b"some text\n" * 999)[:-9],
    "cut.zst": zstd(os.urandom(9999))[:-9],
    "cut-second-member.gz": gzip.compress(b"a") + gzip.compress(b"some text\n" * 999)[:-9],
    "garbage-after-padding.gz": gzip.compress(b"a") + bytes(99) + b"garbage",
    "wrong-checksum.gz": gzip.compress(b"a")[:-8] + bytes(8),
    "cut.bz2": bz2.compress(b"some text\n" * 999)[:-9],
    "cut.xz": lzma.compress(b"some text\n" * 999)[:-9],
    "garbage.xz": lzma.compress(b"some text\n" * 999)[:40] + b"garbage" * 9,
    "cut.parquet": table_bytes("parquet")[:-9],
    "empty.csv": b"",
    "empty.parquet": b"",
    "empty-\udcff.parquet": b"",
    "empty.parquet.gz": gzip.compress(b""),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(DAMAGED[name])
    with pytest.raises(DataError, match=re.escape(f"{name_of(str(tmp_path / name))}: cannot be read: ")):
        with_all(tmp_path / name)


def with_all(path: Path) -> Any:
    with open_source(str(path)) as source:
        return list(TableReader(source).batches()) if source.format in ("parquet", "csv") else read_to_end(source)


def read_to_end(source: Any) -> bytes:
    from seampack.io.records import blocks_of

    return b"".join(blocks_of(source, 100))


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none: cannot be opened: No such file or directory"):
        with_all(tmp_path / "none")
    (tmp_path / "a.docx").write_bytes(b"PK\x03\x04rest")
    with pytest.raises(DataError, match=r"a\.docx: a zip archive; expected text, JSON or a table; unpack it first"):
        with_all(tmp_path / "a.docx")


def test_expand_keeps_the_order_and_sorts_globs(tmp_path: Path) -> None:
    for name in ("b.txt", "a.txt", "[x].txt"):
        (tmp_path / name).write_text("a")
    with pytest.warns(match="given twice"):
        paths = expand([tmp_path / "b.txt", f"{tmp_path}/?.txt", "-", f"{tmp_path}/[x].txt"])
    assert paths == [f"{tmp_path}/b.txt", f"{tmp_path}/a.txt", f"{tmp_path}/b.txt", "-", f"{tmp_path}/[x].txt"]


def test_expand_opens_saved_datasets(tmp_path: Path) -> None:
    saved = Dataset.from_dict({"text": ["a", "b", "c"]})
    saved.save_to_disk(tmp_path / "one", num_shards=2)
    assert [Path(path).name for path in expand(tmp_path / "one")] == [
        "data-00000-of-00002.arrow",
        "data-00001-of-00002.arrow",
    ]
    DatasetDict({"train": saved}).save_to_disk(tmp_path / "dict")
    with pytest.raises(DataError, match=re.escape(f"several splits; name one, for example {tmp_path / 'dict/train'}")):
        expand(tmp_path / "dict")
    state = (tmp_path / "one/state.json").read_text()
    files = json.loads(state)["_data_files"]
    for listed in (files[:1], [files[1]] * 2):
        (tmp_path / "one/state.json").write_text(json.dumps({"_data_files": listed}))
        with pytest.raises(DataError, match=r"incomplete: its files are numbered to 2; state\.json lists 1"):
            expand(tmp_path / "one")
    (tmp_path / "one/state.json").write_text(state)
    (tmp_path / "one/data-00001-of-00002.arrow").unlink()
    with pytest.raises(DataError, match=r"the dataset is incomplete: no file data-00001-of-00002\.arrow"):
        expand(tmp_path / "one")
    (tmp_path / "one/state.json").write_text("{")
    with pytest.raises(DataError, match="one: the dataset is damaged"):
        expand(tmp_path / "one")


@pytest.mark.parametrize(
    ("name", "message"),
    [("none.jsonl", "no such file"), ("*.jsonl", "no file matches"), (".", "expected files with a known ending")],
)
def test_expand_refuses_missing_inputs(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        expand(tmp_path / name)


def test_expand_needs_an_input() -> None:
    with pytest.raises(DataError, match="no input: give files, globs, folders, or - for standard input"):
        expand([])


def test_a_file_that_is_given_twice_is_a_warning(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("one\n")
    given = [str(tmp_path / "b.txt"), str(tmp_path / "*.txt")]
    with pytest.warns(match=r"b\.txt: given twice, so that its documents are read twice"):
        assert expand(given) == [given[0], str(tmp_path / "a.txt"), given[0]]


def test_a_file_that_is_given_twice_is_one_warning(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\n")
    warned = run("pack", "a.txt", "a.txt", "-o", "out").stderr.decode()
    assert warned.count("given twice") == 1


@pytest.mark.parametrize("inputs", [["-", "-"], ["-", "a.txt", "-"]])
def test_standard_input_is_read_once(inputs: list[str], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="standard input can be read only once; give - once"):
        expand(inputs)
    assert expand("-") == ["-"]
