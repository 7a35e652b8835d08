"""CSV against the standard library's writer and plain loops; nothing is inferred, lost or merged silently."""

import csv
import io
import os
import threading
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seampack.errors import DataError
from seampack.io import csv_rows
from seampack.io.records import LINE_FEED_WANTED
from seampack.io.sources import open_source
from seampack.io.tables import TableReader, find_column, read_table

SEMICOLON = "the separator looks like a semicolon; expected a comma: write the file again with commas"
cells = st.text(st.sampled_from('aé",;\t\n\r 0\u2028'), max_size=6)


def rows_of(path: Path) -> list[list[str]]:
    """Read a table as plain lists, the header first."""
    with open_source(str(path)) as source:
        table = TableReader(source)
        return [table.schema.names, *(list(row.values()) for batch in table.batches() for row in batch.to_pylist())]


def types_of(path: Path) -> list[pa.DataType]:
    with open_source(str(path)) as source:
        return read_table(source).schema.types


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("csv")


@given(st.lists(st.tuples(cells, cells), max_size=5), st.sampled_from(["csv", "tsv"]), st.sampled_from(["\n", "\r\n"]))
def test_rows_are_what_the_writer_was_given(folder: Path, rows: list[tuple[str, str]], kind: str, end: str) -> None:
    text = io.StringIO(newline="")
    delimiter = "," if kind == "csv" else "\t"
    writer = csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerows([("id", "text"), *rows])
    path = folder / f"a.{kind}"
    path.write_text("\ufeff" + text.getvalue(), "utf-8", newline="")
    assert rows_of(path) == [["id", "text"], *map(list, rows)]


def test_long_headers_long_fields_and_many_rows(tmp_path: Path) -> None:
    names = [f"column_{number:05}" for number in range(6000)]
    (tmp_path / "wide.csv").write_text(",".join(names) + "\n" + ",".join(["007"] * 6000))
    assert rows_of(tmp_path / "wide.csv") == [names, ["007"] * 6000]
    long = "a\n" * 1_000_000
    (tmp_path / "long.csv").write_text(f'text,n\n"{long}",1\nb,2\n')
    assert rows_of(tmp_path / "long.csv") == [["text", "n"], [long, "1"], ["b", "2"]]
    (tmp_path / "many.csv").write_text("text,n\n" + "12345678,1\n" * 200_000 + "word,two\n")
    many = rows_of(tmp_path / "many.csv")
    assert (len(many), many[-1]) == (200_002, ["word", "two"])


def test_how_bytes_arrive_decides_nothing(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.csv")

    def feed() -> None:
        with (tmp_path / "a.csv").open("wb", buffering=0) as pipe:
            for part in (b"te", b"xt,i", b"d\nab", b"c,00", b"7\n"):
                pipe.write(part)
                time.sleep(0.05)

    thread = threading.Thread(target=feed)
    thread.start()
    assert rows_of(tmp_path / "a.csv") == [["text", "id"], ["abc", "007"]]
    thread.join()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", ": cannot be read: no header line"),
        (b"\n\n", ": cannot be read: no header line"),
        (b"a,b\n1,2\n3\n", ":3: cannot be read: expected 2 fields, as in the header line; got 1"),
        (b"a,b\n1,2,3\n", ":2: cannot be read: expected 2 fields, as in the header line; got 3"),
        (b'a,b\n1,"open\n2,b\n3,c\n', ":4: cannot be read: unexpected end of data; is a quotation mark not closed?"),
        (
            b"a;text\n1;b,c\n",
            f":2: cannot be read: expected 1 fields, as in the header line; got 2; {SEMICOLON}",
        ),
        (
            b"a,b\r1,2\r3,4\r",
            f":1: cannot be read: {LINE_FEED_WANTED}",
        ),
        (b"i\xe9,text\n1,a\n", ":1: invalid UTF-8 in the header line; convert the file to UTF-8"),
    ],
)
def test_damage_is_named(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "a.csv").write_bytes(data)
    with pytest.raises(DataError) as error:
        rows_of(tmp_path / "a.csv")
    assert str(error.value) == f"{tmp_path}/a.csv{message}"


@pytest.mark.parametrize("size", [1, 1 << 20])
def test_rows_of_another_length_are_reported_where_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(csv_rows, "_BATCH_CHARACTERS", size)
    (tmp_path / "a.csv").write_bytes(b'a,b\n1,2\n"x\ny"\n3,4\n\n5,6,\xe9\n7,8\n9\n')
    events: list[Any] = []
    with open_source(str(tmp_path / "a.csv")) as source:
        table = TableReader(source, report=lambda record: events.append((record.position, record.raw)))
        for batch in table.batches():
            events += batch["a"].to_pylist()
    assert events == ["1", (3, "x\ny"), "3", (7, "5,6,\\xe9"), "7", (9, "9")]


@pytest.mark.parametrize(
    ("name", "header", "hint"),
    [
        (
            "a.csv",
            "id;text",
            "the separator looks like a semicolon; expected a comma: write the file again with commas",
        ),
        ("a.csv", "id\ttext", "the separator looks like a tab: give --input-format tsv"),
        ("a.tsv", "id,text", "the separator looks like a comma: give --input-format csv"),
    ],
)
def test_another_separator_is_named(tmp_path: Path, name: str, header: str, hint: str) -> None:
    (tmp_path / name).write_text(f"{header}\n1 2\n")
    with open_source(str(tmp_path / name)) as source, pytest.raises(DataError) as error:
        find_column(source.name, TableReader(source).schema, "text")
    assert str(error.value) == f"{tmp_path / name}: no column 'text'; the table has {header!r}; {hint}"


def test_bytes_that_are_not_utf8_are_kept_for_the_reader_to_report(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"text\na\ncaf\xe9\n")
    with open_source(str(tmp_path / "a.csv")) as source:
        (batch,) = TableReader(source).batches()
    assert batch["text"].cast(pa.binary()).to_pylist() == [b"a", b"caf\xe9"]
    with pytest.raises(DataError, match=r"a\.csv: cannot be read: .*UTF8"):
        types_of(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "-20", "0"], pa.int64()),
        (["1", "", "3"], pa.int64()),
        (["1.5", "2", "1e3"], pa.float64()),
        (["true", "false", ""], pa.bool_()),
        (["007", "8"], pa.string()),
        (["00.5"], pa.string()),
        (["0.5"], pa.float64()),
        (["", ""], pa.string()),
        (["1", "one"], pa.string()),
        (["2024-01-01"], pa.string()),
        (["99999999999999999999"], pa.float64()),
    ],
)
def test_types_of_a_whole_column(tmp_path: Path, values: list[str], kind: pa.DataType) -> None:
    (tmp_path / "a.csv").write_text("n,text\n" + "".join(f"{value},a\n" for value in values))
    assert types_of(tmp_path / "a.csv") == [kind, pa.string()]
