"""``seampack unpack``: documents back from a packed folder, on disk or on standard output."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conftest import Run
from tests.faulty import failed

TEXTS = ["seam", "", "Ä pack 中\nseam", "pack " * 90]
SMALL = ("--seq-len", 32)
RESTORED = [{"text": text, "id": n} for n, text in enumerate(TEXTS) if text]


@pytest.fixture
def packed(call: Run, tmp_path: Path) -> Path:
    lines = [json.dumps({"text": text, "id": f"k{n}"}) for n, text in enumerate(TEXTS)]
    (tmp_path / "a.jsonl").write_text("\n".join([*lines, "{"]))
    assert call("pack", "a.jsonl", "-o", "out", "--on-bad", "quarantine", *SMALL).returncode == 0
    return tmp_path / "out"


def test_text_and_what_is_not_in_the_rows(call: Run, packed: Path, tmp_path: Path) -> None:
    result = call("unpack", "out", "-o", "-")
    assert [json.loads(line) for line in result.stdout.splitlines()] == RESTORED
    message = result.stderr.decode()
    assert message.startswith("seampack: 3 documents of ")
    assert message.endswith(
        " tokens restored; not in the rows: 1 documents without tokens, 1 records in quarantine.jsonl\n"
    )
    saved = call("unpack", "out", "-o", "back.jsonl")
    assert (saved.stdout, saved.stderr) == (b"", result.stderr)
    assert (tmp_path / "back.jsonl").read_bytes() == result.stdout


def test_tables_and_ids(call: Run, packed: Path, tmp_path: Path) -> None:
    for name in ("back.parquet", "back.arrow", "ids.parquet"):
        options = ["--ids", "--no-special"] if name.startswith("ids") else []
        assert call("unpack", "out", "-o", name, *options).returncode == 0
    assert pq.read_table(tmp_path / "back.parquet").to_pylist() == RESTORED
    assert pa.ipc.open_stream((tmp_path / "back.arrow").read_bytes()).read_all().to_pylist() == RESTORED
    table = pq.read_table(tmp_path / "ids.parquet")
    assert (table.column_names, table.num_rows) == (["input_ids", "id"], 3)


@pytest.mark.filterwarnings("ignore:.*of the tokens are dropped")
def test_dropped_tokens_are_named(call: Run, tmp_path: Path) -> None:
    dropping = ("--drop-last", "--strategy", "concat")
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    assert call("pack", "a.jsonl", "-o", "out", *dropping, *SMALL).returncode == 0
    accounting = json.loads((tmp_path / "out/manifest.json").read_text())["accounting"]
    message = call("unpack", "out", "-o", "back.jsonl").stderr.decode()
    assert accounting["dropped"]
    assert f"not in the rows: {accounting['dropped']} tokens of the ends of 1 document(s)" in message
    assert call("pack", "a.jsonl", "-o", "none", *dropping, "--seq-len", 5000).returncode == 0
    assert " tokens of 3 whole document(s)" in call("unpack", "none", "-o", "-").stderr.decode()


def test_documents_of_an_id_column_are_in_the_order_of_their_ids(call: Run, packed: Path, tmp_path: Path) -> None:
    lines = (tmp_path / "a.jsonl").read_text().splitlines()[3::-1]
    (tmp_path / "b.jsonl").write_text("\n".join(lines))
    assert call("pack", "b.jsonl", "-o", "named", "--id-column", "id", *SMALL).returncode == 0
    back = [json.loads(line) for line in call("unpack", "named", "-o", "-").stdout.splitlines()]
    assert [each["id"] for each in back] == ["k0", "k2", "k3"]
    assert [each["text"] for each in back] == [text for text in TEXTS if text]


def test_failures_leave_the_old_file(call: Run, packed: Path, tmp_path: Path) -> None:
    (tmp_path / "back.jsonl").write_text("old")
    message = "back.jsonl: the file exists; use --overwrite or another name"
    assert failed(call("unpack", "out", "-o", "back.jsonl")) == message
    whole = (packed / "shard-00000-00000.arrow").read_bytes()
    (packed / "shard-00000-00000.arrow").write_bytes(b"x")
    assert "shard-00000-00000.arrow: expected " in (
        message := failed(call("unpack", "out", "-o", "back.jsonl", "--overwrite"))
    )
    assert message.endswith(" bytes; got 1: it is damaged; pack again")
    assert (tmp_path / "back.jsonl").read_text() == "old"
    assert not list(tmp_path.glob(".back*"))
    (packed / "shard-00000-00000.arrow").write_bytes(whole)
    assert call("unpack", "out", "-o", "back.jsonl", "--overwrite").returncode == 0
    assert (tmp_path / "back.jsonl").read_text().startswith('{"text":"seam"')
    assert failed(call("unpack", "nope", "-o", "new.jsonl")) == "nope: no such folder"
    assert "expected a name that ends in .jsonl" in failed(call("unpack", "out", "-o", "back.txt"))


def test_a_packed_folder_as_input_names_the_command(call: Run, packed: Path) -> None:
    message = call("pack", "out/shard-00000-00000.arrow", "-o", "again", *SMALL).stderr.decode().splitlines()[-1]
    assert (
        message
        == "seampack: out: packed rows, not documents; restore them with: seampack unpack out -o documents.jsonl"
    )
