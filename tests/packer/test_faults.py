"""Faults injected into real runs: one line on standard error, the right exit code, and no partial output."""

import gzip
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import seampack
from seampack.errors import DataError
from seampack.packer import text_blocks
from seampack.packer.folder import PackedFolder
from tests.conftest import CORPUS, DATA, Run, command
from tests.faulty import GOOD, SMALL, failed


def write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def write_table(path: Path, **columns: Any) -> None:
    pq.write_table(pa.table(columns), path)


INPUTS: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "no file": ("none.jsonl", lambda path: None, "none.jsonl: no such file"),
    "no match": ("*.jsonl", lambda path: None, "*.jsonl: no file matches"),
    "folder": ("folder", Path.mkdir, "folder: expected files with a known ending"),
    "cut gz": ("a.jsonl.gz", lambda p: write(p, gzip.compress(GOOD.encode() * 99)[:-9]), "a.jsonl.gz: cannot be read"),
    "garbage": ("a.bin", lambda p: write(p, b"fine\n\x80\x81\xff"), "a.bin:2: invalid UTF-8"),
    "broken JSON": ("a.jsonl", lambda p: write(p, GOOD.encode() * 2 + b'{"text": "'), "a.jsonl:3: broken JSON"),
    "ids": (
        "a.jsonl",
        lambda p: write(p, b'{"input_ids": [1]}\n{"input_ids": [1, 999999]}'),
        "a.jsonl:2: token id 999999: expected an id of the vocabulary",
    ),
    "column": (
        "a.parquet",
        lambda p: write_table(p, body=["a"]),
        "no column 'text' or 'input_ids'; the table has 'body'",
    ),
    "ids in Parquet": ("a.parquet", lambda p: write_table(p, input_ids=[[1], [-1]]), "a.parquet, row 2: token id -1"),
}


@pytest.mark.parametrize("case", INPUTS)
def test_inputs_that_cannot_be_read(call: Run, tmp_path: Path, case: str) -> None:
    name, make, message = INPUTS[case]
    make(tmp_path / name)
    assert message in failed(call("pack", name, "-o", "out", *SMALL))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--tokenizer", "none.json"), "none.json: no such tokenizer; train one with: "),
        (("--tokenizer", str(CORPUS)), f"{CORPUS}: not a tokenizer.json of Hugging Face tokenizers"),
        (("--tokenizer", "a.jsonl"), "a.jsonl: not a tokenizer.json of Hugging Face tokenizers"),
        (("--bos", "<nope>"), "bos: no token '<nope>' in the vocabulary of bundled"),
        (("--seq-len", 64, "--window-tokens", 9), "window_tokens: expected at least seq_len, 64; got 9"),
        (("--id-column", "text"), "id_column: expected a field other than the content's"),
    ],
)
def test_options_that_cannot_work(call: Run, tmp_path: Path, options: tuple[Any, ...], message: str) -> None:
    (tmp_path / "a.jsonl").write_text(GOOD)
    assert message in failed(call("pack", "a.jsonl", "-o", "out", *SMALL, *options))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("start", [b"PAR1", b"ARROW1"])
def test_a_damaged_table_from_a_pipe(call: Run, start: bytes) -> None:
    line = failed(call("pack", "-", "-o", "out", *SMALL, stdin=start + b"\0" * 99))
    assert line.startswith("standard input: cannot be read: ")


def test_a_closed_standard_input(tmp_path: Path) -> None:
    process = subprocess.run(
        command("pack", "-", "-o", "out", *SMALL),
        cwd=tmp_path,
        capture_output=True,
        preexec_fn=lambda: os.close(0),
        timeout=60,
        check=False,
    )
    assert failed(process) == "standard input: cannot be opened: it is closed"


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("block", [64, 1 << 20])
@pytest.mark.parametrize("on_bad", ["stop", "quarantine"])
def test_bad_records_among_good_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int, block: int, on_bad: str
) -> None:
    monkeypatch.setattr(text_blocks, "BLOCK_BYTES", block)
    lines = [json.dumps({"text": f"document {n}"}) for n in range(400)]
    wrong = {151: '{"text": 5}', 152: "{", 333: '{"body": "é"}'}
    for number, line in wrong.items():
        lines[number - 1] = line
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(lines))
    options: dict[str, Any] = {"out": tmp_path / "out", "threads": threads, "on_bad": on_bad, "seq_len": 16}
    if on_bad == "stop":
        with pytest.raises(DataError, match=rf"^{path}:151: field 'text': expected str, got int.*--on-bad quarantine$"):
            seampack.pack(path, **options)
        assert not (tmp_path / "out").exists()
        return
    manifest = seampack.pack(path, strategy="pad", **options)
    assert (manifest.quarantined, manifest.accounting.documents) == (3, 397)
    records = [json.loads(line) for line in (tmp_path / "out/quarantine.jsonl").read_text().splitlines()]
    assert [(record["source"], record["position"], record["raw"]) for record in records] == [
        (str(path), number, line) for number, line in wrong.items()
    ]
    (tmp_path / "good.jsonl").write_text("\n".join(line for line in lines if line not in wrong.values()))
    seampack.pack(tmp_path / "good.jsonl", out=tmp_path / "good", strategy="pad", seq_len=16)
    assert PackedFolder(tmp_path / "out").unpack().equals(PackedFolder(tmp_path / "good").unpack())


def test_a_file_name_that_is_not_utf8_is_escaped_in_the_quarantine(call: Run, tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/n\xff.jsonl"
    Path(os.fsdecode(path)).write_text(GOOD + "{")
    result = call("pack", os.fsdecode(path), "-o", "out", *SMALL, "--on-bad", "quarantine")
    assert (result.returncode, result.stderr) == (0, b"")
    assert b"quarantined" in result.stdout
    assert json.loads((tmp_path / "out/quarantine.jsonl").read_text())["source"].endswith("/n\\xff.jsonl")


def test_damage_and_wrong_rows_are_failures_of_inspect(call: Run, tmp_path: Path) -> None:
    seampack.pack(CORPUS, out=tmp_path / "out", shard_tokens=20_000)
    shard = tmp_path / "out/shard-00000-00002.arrow"
    data = bytearray(shard.read_bytes())
    data[-99] ^= 4
    shard.write_bytes(data)
    assert failed(call("inspect", "out", "--verify")).startswith("out/shard-00000-00002.arrow: the checksum differs")
    assert "expected a row from 0 to" in failed(call("inspect", "out", "--row", -1))
    assert failed(call("inspect", "nope")) == "nope: no such folder"
    shard.unlink()
    assert failed(call("inspect", "out")) == "out/shard-00000-00002.arrow: the shard is missing; pack again"


def test_training_a_tokenizer_on_nothing(call: Run, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n")
    assert "no text to train on" in failed(call("tokenizer", "train", "a.txt", "-o", "t.json"))
    assert "vocab_size: expected at least 257" in failed(
        call("tokenizer", "train", DATA / "tokenizer.json", "-o", "t.json", "--vocab-size", 256)
    )
    assert not (tmp_path / "t.json").exists()
