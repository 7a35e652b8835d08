"""The packer, the segmenter and the methods read the same texts from the same bytes, or give the same error."""

import bz2
import gzip
import io
import json
import lzma
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset

from seampack.errors import DataError
from seampack.io.sources import expand
from seampack.models import data
from seampack.packer.config import PackConfig
from seampack.packer.documents import Texts
from seampack.packer.readers import read_blocks
from seampack.segmenter import inputs
from tests.conftest import command

TEXTS = ["研究生命的起源", "second é", 'third, and "quoted"']
ROWS = [{"id": number, "text": text} for number, text in enumerate(TEXTS)]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()
QUOTED = [text.replace('"', '""') for text in TEXTS]


def table(kind: str) -> bytes:
    sink = io.BytesIO()
    rows = pa.Table.from_pylist(ROWS)
    if kind == "parquet":
        pq.write_table(rows, sink)
    else:
        with (pa.ipc.new_file if kind == "file" else pa.ipc.new_stream)(sink, rows.schema) as writer:
            writer.write_table(rows)
    return sink.getvalue()


READ: dict[str, bytes] = {
    "a.jsonl": LINES,
    "a": LINES,
    "a.txt": LINES,
    "bom.jsonl": b"\xef\xbb\xbf" + LINES,
    "indented.jsonl": LINES.replace(b"{", b" \t{"),
    "crlf.jsonl": LINES.replace(b"\n", b"\r\n"),
    "no-newline.jsonl": LINES.removesuffix(b"\n"),
    "array.json": json.dumps(ROWS).encode(),
    "array": json.dumps(ROWS, ensure_ascii=False).encode(),
    "pretty.json": json.dumps(ROWS, indent=2).encode(),
    "pretty": "\n".join(json.dumps(row, indent=1) for row in ROWS).encode(),
    "a.csv": b"id,text\n" + "".join(f'{n},"{text}"\n' for n, text in enumerate(QUOTED)).encode(),
    "a.tsv": b"id\ttext\n" + "".join(f'{n}\t"{text}"\n' for n, text in enumerate(QUOTED)).encode(),
    "parquet": table("parquet"),
    "file": table("file"),
    "stream": table("stream"),
    "lines.txt": "\n".join(TEXTS).encode(),
    "lines": "\n".join(TEXTS).encode() + b"\n",
    "{brace}.txt": "\n".join(TEXTS).encode(),
}
CODECS: dict[str, Callable[[bytes], bytes]] = {
    "": lambda content: content,
    ".gz": gzip.compress,
    ".zst": lambda content: bytes(pa.Codec("zstd").compress(content, asbytes=True)),
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}
REFUSED: dict[str, tuple[bytes, str]] = {
    "utf16.txt": ("a text".encode("utf-16"), "UTF-16 text; expected UTF-8; convert it: iconv -f UTF-16 -t UTF-8"),
    "a.zip": (b"PK\x03\x04rest", "a zip archive; expected text, JSON or a table; unpack it first"),
    "cut.jsonl.gz": (gzip.compress(LINES * 99)[:-9], "cannot be read: "),
    "cut.parquet": (table("parquet")[:-9], "cannot be read: "),
    "broken.json": (b'[{"text": "a"}', "1: value 2: broken JSON: expected , or ] after the value; got the end"),
    "banner": (b'Loading ...\n{"text": "a"}\n', "line 1 is not a JSON object and line 2 is one; expected JSON lines"),
    "binary": (b"\x01\0\x02\n", "binary data: line 1 has a NUL; expected text, JSON or a table"),
    "arrays.jsonl": (b'["a"]\n', "1: expected object, got array"),
    "text.csv": (b"text,b\n1,2,3\n", "2: cannot be read: expected 2 fields, as in the header line; got 3"),
}


def packed(path: str) -> list[str]:
    texts: list[str] = []
    for block in read_blocks(expand(path), PackConfig()):
        documents = block.decode()
        assert isinstance(documents, Texts)
        for record in documents.bad:
            raise record.error()
        texts += documents.texts
    return texts


def segmented(path: str) -> list[str]:
    return [text for block in inputs.blocks([path]) for text in block.texts if text]


def training(path: str) -> list[str]:
    return [text for batch in inputs.texts([path]) for text in batch if text]


def method(path: str) -> list[str]:
    texts: list[str] = data.load(path)["text"][:]
    return texts


READERS = {"pack": packed, "segment apply": segmented, "segment train": training, "models": method}


@contextmanager
def on_standard_input(content: bytes) -> Iterator[None]:
    """Replace standard input with a pipe that has this content."""
    read, write = os.pipe()
    original = os.dup(0)
    os.dup2(read, 0)
    os.close(read)

    def feed() -> None:
        with os.fdopen(write, "wb") as pipe:
            pipe.write(content)

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        yield
    finally:
        thread.join()
        os.dup2(original, 0)
        os.close(original)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("name", READ)
def test_the_same_texts(tmp_path: Path, reader: str, codec: str, name: str) -> None:
    path = tmp_path / f"{name}{codec}"
    path.write_bytes(CODECS[codec](READ[name]))
    assert READERS[reader](str(path)) == TEXTS


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("codec", ["", ".gz"])
@pytest.mark.parametrize("name", ["a", "array", "pretty", "parquet", "file", "stream", "lines"])
def test_the_same_texts_from_standard_input(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], reader: str, codec: str, name: str
) -> None:
    with capfd.disabled(), on_standard_input(CODECS[codec](READ[name])), os.fdopen(os.dup(0)) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        assert READERS[reader]("-") == TEXTS


@pytest.mark.parametrize("reader", READERS)
def test_the_same_files_of_a_glob_and_of_a_dataset_folder(tmp_path: Path, reader: str) -> None:
    for number in (2, 0, 1):
        (tmp_path / f"{number}.jsonl").write_text(json.dumps(ROWS[number]))
    assert READERS[reader](f"{tmp_path}/*.jsonl") == TEXTS
    Dataset.from_list(ROWS).save_to_disk(str(tmp_path / "saved"), num_shards=2)
    assert READERS[reader](str(tmp_path / "saved")) == TEXTS


@pytest.mark.parametrize("name", REFUSED)
def test_the_same_error(tmp_path: Path, name: str) -> None:
    content, message = REFUSED[name]
    path = tmp_path / name
    path.write_bytes(content)
    messages = set()
    for reader in READERS.values():
        with pytest.raises(DataError) as error:
            reader(str(path))
        messages.add(str(error.value).removeprefix(f"{path}:").strip())
    assert len(messages) == 1
    assert messages.pop().startswith(message)


def test_the_same_error_for_missing_inputs(tmp_path: Path) -> None:
    for name, message in (
        ("none.txt", "no such file"),
        ("*.txt", "no file matches"),
        (".", "expected files with a known"),
    ):
        for reader in READERS.values():
            with pytest.raises(DataError, match=message):
                reader(str(tmp_path / name))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("segment", "apply", "--output", "words"), b'["'),
        (("pack", "-", "-o", "out", "--tokenizer", "bundled", "--json"), b'"documents": 3,'),
    ],
)
def test_a_slow_pipe_of_gzip_is_gzip(tmp_path: Path, arguments: tuple[str, ...], expected: bytes) -> None:
    """The first byte arrives a second before the rest: it alone must not decide the format."""
    process = subprocess.Popen(
        command(*arguments), cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    content = gzip.compress(READ["lines"])
    assert process.stdin is not None
    process.stdin.write(content[:1])
    process.stdin.flush()
    time.sleep(1)
    out, err = process.communicate(content[1:])
    assert process.returncode == 0, err
    assert expected in out
