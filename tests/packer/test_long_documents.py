"""Documents longer than allowed: refused or skipped in every format, and never held in memory as a whole."""

import gzip
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import seampack
from seampack.errors import DataError
from tests.conftest import Run
from tests.faulty import SMALL, failed
from tests.packer.test_readers import read

LONGEST = 200
SHORT, LONG = "a short one", "a line of words\n" * 20
TEXTS = ["first", SHORT, LONG, SHORT + " too", LONG * 9, "last"]
KEPT = [text for text in TEXTS if len(text) < LONGEST]
REASON = "expected a document of at most 200 bytes; got a longer one; allow it with --max-document-bytes"


def on_one_line(text: str) -> str:
    return text.replace("\n", " ")


def write_table(path: Path, column: pa.Array) -> None:
    table = pa.table({"text": column, "n": range(len(column))})
    if path.suffix == ".parquet":
        pq.write_table(table, path, row_group_size=max(4, len(column) // 2))
    else:
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)


def text_of(texts: list[str], join: str, form: str = "{}") -> Callable[[Path], None]:
    return lambda path: path.write_text(join.join(form.format(text) for text in texts))


LINES = [on_one_line(text) for text in TEXTS]
RECORDS = [json.dumps({"text": text}) for text in TEXTS]
# A function that writes TEXTS to a file of this name, and the positions of the documents that are too long.
FORMATS: dict[str, tuple[Callable[[Path], None], list[int]]] = {
    "a.txt": (text_of(LINES, "\n"), [3, 5]),
    "a.jsonl": (text_of(RECORDS, "\n"), [3, 5]),
    "blank.jsonl": (text_of(RECORDS, "\n\n"), [5, 9]),
    "a.json": (text_of(["[\n" + ",\n".join(RECORDS) + "]"], ""), [3, 5]),
    "a.csv": (text_of(["text", *LINES], "\n", '"{}",n'), [4, 6]),
    "many-lines.csv": (text_of(["text", *TEXTS], "\n", '"{}"'), [4, 26]),
    "a.parquet": (lambda path: write_table(path, pa.array(TEXTS)), [3, 5]),
    "dictionary.parquet": (lambda path: write_table(path, pa.array(TEXTS).dictionary_encode()), [3, 5]),
    "views.arrow": (lambda path: write_table(path, pa.array(TEXTS, pa.string_view())), [3, 5]),
    "dictionary.arrow": (lambda path: write_table(path, pa.array(TEXTS).dictionary_encode()), [3, 5]),
}


@pytest.mark.parametrize("block", [7, 150, 1000, 1 << 20])
@pytest.mark.parametrize("name", FORMATS)
def test_documents_that_are_too_long_are_bad_records(tmp_path: Path, name: str, block: int) -> None:
    write, positions = FORMATS[name]
    write(tmp_path / name)
    documents, bad = read(tmp_path / name, block, max_document_bytes=LONGEST, on_bad="quarantine")
    assert documents == KEPT
    assert [(record.position, record.reason) for record in bad] == [(position, REASON) for position in positions]
    assert all(len(record.raw) <= 1024 for record in bad)
    assert block == 7 or all("a line of words" in on_one_line(record.raw)[:30] for record in bad)  # 7: of two blocks
    everything, bad = read(tmp_path / name, block)
    assert (list(map(on_one_line, everything)), bad) == (LINES, [])


@pytest.mark.parametrize("name", FORMATS)
def test_a_document_longer_than_a_row_is_named_by_its_place(tmp_path: Path, name: str) -> None:
    write, positions = FORMATS[name]
    path = tmp_path / name
    write(path)
    row = f"{path}, row 3" if path.suffix not in (".txt", ".jsonl") else f"{path}:{positions[0]}"
    where = f"{path}, value 3" if path.suffix == ".json" else row
    message = (
        rf"^{re.escape(where)}: expected at most seq_len, 60 tokens; got \d+; of the 6 documents planned at once, 2"
    )
    for run in (seampack.pack, seampack.compare):
        with pytest.raises(DataError, match=message):
            run(path, **({"out": tmp_path / "out"} if run is seampack.pack else {}), seq_len=60, long="error")


def test_the_place_of_a_long_document_after_records_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n\n{\n{"text": 3}\n' + RECORDS[2])
    pq.write_table(pa.table({"text": [None, "a", LONG]}), tmp_path / "a.parquet")
    (tmp_path / "a.txt").write_bytes(b"a\n\nof \xff\ntwo lines\n\n" + LONG.encode())
    options: dict[str, Any] = {"seq_len": 60, "long": "error", "on_bad": "quarantine"}
    with pytest.raises(DataError, match=r"a\.jsonl:5: expected at most seq_len"):
        seampack.pack(tmp_path / "a.jsonl", out=tmp_path / "out", **options)
    with pytest.raises(DataError, match=r"a\.parquet, row 3: expected at most seq_len"):
        seampack.pack(tmp_path / "a.parquet", out=tmp_path / "out", **options)
    with pytest.raises(DataError, match=r"a\.txt:6: expected at most seq_len"):
        seampack.pack(tmp_path / "a.txt", out=tmp_path / "out", input_format="paragraphs", **options)
    with pytest.raises(DataError, match="documents in memory, document 2: expected at most seq_len"):
        seampack.pack(iter(["a", LONG]), out=tmp_path / "out", **options)


@pytest.mark.parametrize("block", [7, 150, 1 << 20])
def test_paragraphs_and_files_that_are_too_long(tmp_path: Path, block: int) -> None:
    path = tmp_path / "a.txt"
    path.write_text("\n \n".join(text.strip() for text in TEXTS))
    options: dict[str, Any] = {"max_document_bytes": LONGEST, "on_bad": "quarantine"}
    documents, bad = read(path, block, input_format="paragraphs", **options)
    assert documents == KEPT
    assert [record.position for record in bad] == [5, 28]
    documents, bad = read(path, block, input_format="file", **options)
    assert (documents, [record.position for record in bad]) == ([], [1])


@pytest.mark.parametrize("block", [7, 1000])
def test_lines_after_one_that_is_too_long_keep_their_numbers(tmp_path: Path, block: int) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"a\n" + b"b" * 500 + b"\n\n\xff\nlast")
    documents, bad = read(path, block, max_document_bytes=LONGEST, on_bad="quarantine")
    assert documents == ["a", "last"]
    assert [record.position for record in bad] == [2, 4]


@pytest.mark.parametrize("size", [LONGEST, LONGEST + 1])
@pytest.mark.parametrize("block", [7, LONGEST + 1, 1000])
def test_the_limit_is_the_last_size_that_is_allowed(tmp_path: Path, size: int, block: int) -> None:
    path = tmp_path / "a.txt"
    path.write_text("a\n" + "b" * size + "\nc")
    documents, bad = read(path, block, max_document_bytes=LONGEST, on_bad="quarantine")
    assert len(documents) + len(bad) == 3
    assert len(bad) == (size > LONGEST)


@pytest.mark.parametrize("ids", [[[1], [2] * 40, [3]], [[1], [2] * 4000, [3]]])
def test_token_ids_that_are_too_long(tmp_path: Path, ids: list[list[int]]) -> None:
    pq.write_table(pa.table({"input_ids": ids}), tmp_path / "a.parquet")
    documents, bad = read(tmp_path / "a.parquet", max_document_bytes=LONGEST, on_bad="quarantine")
    assert (documents, [record.position for record in bad]) == ([[1], [3]], [2])
    assert bad[0].raw == str(ids[1])[:1024]


@pytest.mark.parametrize("first", ["", json.dumps({"input_ids": [1] * 900}) + "\n"])
def test_the_first_record_that_is_read_decides_the_kind_of_documents(tmp_path: Path, first: str) -> None:
    (tmp_path / "a.jsonl").write_text(first + json.dumps({"input_ids": [4, 5]}))
    documents, _ = read(tmp_path / "a.jsonl", 64, max_document_bytes=LONGEST, on_bad="quarantine")
    assert documents == [[4, 5]]


def test_a_run_stops_at_a_document_that_is_too_long_or_goes_on(call: Run, tmp_path: Path) -> None:
    with gzip.open(tmp_path / "a.jsonl.gz", "wt", compresslevel=1) as file:
        file.write('{"text": "a"}\n{"text": "' + "b" * 20_000_000 + '"}\n{"text": "c"}\n')
    limit = ("--max-document-bytes", 1_000_000)
    assert failed(call("pack", "a.jsonl.gz", "-o", "out", *SMALL, *limit)) == (
        "a.jsonl.gz:2: expected a document of at most 1,000,000 bytes; got a longer one; allow it with "
        "--max-document-bytes; skip such records with --on-bad quarantine"
    )
    assert call("pack", "a.jsonl.gz", "-o", "out", *SMALL, *limit, "--on-bad", "quarantine").returncode == 0
    (record,) = [json.loads(line) for line in (tmp_path / "out/quarantine.jsonl").read_text().splitlines()]
    assert (record["position"], record["raw"][:12], len(record["raw"])) == (2, '{"text": "bb', 1024)
    assert seampack.PackedFolder(tmp_path / "out").manifest.accounting.documents == 2
    with pytest.raises(DataError, match=r"a\.jsonl\.gz:2: expected a document of at most"):
        seampack.train_tokenizer(
            tmp_path / "a.jsonl.gz", tmp_path / "t.json", reading=seampack.PackConfig(max_document_bytes=1_000_000)
        )


# not ru_maxrss, which begins with the memory of the parent
PEAK = """
import sys
from seampack.packer.config import PackConfig
from seampack.packer.readers import read_blocks
config = PackConfig(max_document_bytes=9 << 20, on_bad="quarantine")
size = sum(sum(map(len, block.decode().texts)) for block in read_blocks(sys.argv[1:], config))
(peak,) = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(size, int(peak.split()[1]) >> 10)
"""


def zeros(path: Path, before: bytes = b"", after: bytes = b"") -> None:
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(before)
        for _ in range(300):
            file.write(b"0" * (1 << 20))
        file.write(after)


def few_texts(path: Path) -> None:
    texts = pa.array(["a" * 100_000, "b" * 100_000])
    write_table(path, pa.DictionaryArray.from_arrays(pa.array([0, 1] * 1500, pa.int32()), texts))


def one_text(path: Path) -> None:
    """Plain strings, which Parquet itself stores as a dictionary; short ones first."""
    pq.write_table(pa.table({"text": ["short"] * 9000 + ["a" * 100_000] * 3000}), path)


@pytest.mark.parametrize(
    ("name", "write", "size"),
    [
        ("a.txt.gz", zeros, 0),
        ("a.jsonl.gz", lambda path: zeros(path, b'{"text": "', b'"}'), 0),
        ("a.json.gz", lambda path: zeros(path, b'[{"text":\n"', b'"}]'), 0),
        ("a.csv.gz", lambda path: zeros(path, b'text\n"', b'"\n'), 0),
        ("a.parquet", few_texts, 300_000_000),
        ("a.arrow", few_texts, 300_000_000),
        ("one.parquet", one_text, 300_045_000),
    ],
)
def test_memory_does_not_follow_what_a_small_file_decodes_to(
    tmp_path: Path, name: str, write: Callable[[Path], None], size: int
) -> None:
    write(tmp_path / name)
    assert (tmp_path / name).stat().st_size < 2_000_000
    out = subprocess.run(
        [sys.executable, "-c", PEAK, str(tmp_path / name)], capture_output=True, text=True, timeout=100, check=True
    ).stdout
    read_size, peak_megabytes = map(int, out.split())
    assert read_size == size
    assert peak_megabytes < 250
