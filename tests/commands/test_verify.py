"""``seampack verify``: one line for each kind of difference, exit code 1, and JSON for programs."""

import json
import shutil
from pathlib import Path

import pytest

from seampack.packer.folder import PackedFolder
from tests.conftest import CORPUS, Run
from tests.faulty import failed
from tests.packer.tampering import flip

SMALL = ("--seq-len", 64, "--window-tokens", 40_000, "--shard-tokens", 2_000)
VERIFIED = "verified: every file, and the manifest against the rows\n"


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return [f"{n} seam {'pack ' * (n % 40)}" for n in range(300)]


@pytest.fixture
def packed(call: Run, tmp_path: Path, texts: list[str]) -> Path:
    (tmp_path / "a.txt").write_text("".join(f"{text}\n" for text in texts))
    assert call("pack", "a.txt", "-o", "out", *SMALL).returncode == 0
    return tmp_path / "out"


def test_a_right_folder(call: Run, packed: Path, tmp_path: Path) -> None:
    assert call("verify", "out").stdout.decode() == VERIFIED
    accounting = PackedFolder(packed).manifest.accounting
    compared = call("verify", "out", "--against", "a.txt")
    assert compared.stdout.decode() == (
        f"{VERIFIED}verified: {accounting.tokens_in:,} tokens of 300 documents against the source\n"
    )
    assert (compared.returncode, compared.stderr) == (0, b"")
    with_input = call("verify", "out", "--against", "-", "--json", stdin=(tmp_path / "a.txt").read_bytes())
    expected = {"folder": "out", "documents": 300, "tokens": accounting.tokens_in, "verified": True, "differences": []}
    assert json.loads(with_input.stdout) == expected
    assert json.loads(call("verify", "out", "--json").stdout) == {"folder": "out", "verified": True, "differences": []}


def test_several_inputs_in_their_order(call: Run, tmp_path: Path, texts: list[str]) -> None:
    (tmp_path / "in").mkdir()
    for n in range(3):
        (tmp_path / f"in/{n}.jsonl").write_text("".join(f'{{"text": "{text}"}}\n' for text in texts[n::3]))
    assert call("pack", "in", "-o", "out", *SMALL).returncode == 0
    for inputs in (["in"], ["in/*.jsonl"], ["in/0.jsonl", "in/1.jsonl", "in/2.jsonl"]):
        assert call("verify", "out", *(each for name in inputs for each in ("--against", name))).returncode == 0
    assert call("verify", "out", "--against", "in/1.jsonl", "--against", "in/0.jsonl").returncode == 1


def test_differences_are_lines_and_json(call: Run, packed: Path, tmp_path: Path, texts: list[str]) -> None:
    changed = [*texts[:7], texts[7].replace("7", "8"), *texts[8:-1]]
    (tmp_path / "b.txt").write_text("".join(f"{text}\n" for text in changed))
    result = call("verify", "out", "--against", "b.txt")
    assert (result.returncode, result.stdout.decode()) == (1, VERIFIED)
    lines = result.stderr.decode().splitlines()
    assert lines[0] == "seampack: b.txt: expected an input that was packed; got one with another checksum"
    assert lines[1].startswith("seampack: document 7, token ")
    assert lines[2] == ("seampack: document 299: expected no tokens, because the source lacks it; the rows have some")
    assert lines[3] == "seampack: documents: the manifest says 300; against the source it is 299"
    assert lines[-1] == "seampack: out: differs from its source"
    as_json = call("verify", "out", "--against", "b.txt", "--json")
    assert as_json.returncode == 1
    outcome = json.loads(as_json.stdout)
    assert (outcome["verified"], outcome["documents"]) == (False, 299)
    assert outcome["differences"][0]["kind"] == "input"
    first = outcome["differences"][1]
    assert (first["kind"], first["document"], first["documents"]) == ("tokens", 7, 1)
    assert lines[1].endswith(
        f"token {first['position']}: expected {first['expected']}, as in the source; the rows have {first['got']}"
    )


def test_damage_is_one_line(call: Run, packed: Path) -> None:
    flip(packed / "shard-00000-00001.arrow")
    assert failed(call("verify", "out")).startswith("out/shard-00000-00001.arrow: the checksum differs")
    result = call("verify", "out", "--against", "a.txt", "--json")
    message = "out/shard-00000-00001.arrow: the checksum differs: it is damaged; pack again"
    expected = {"folder": "out", "verified": False, "differences": [{"kind": "folder", "message": message}]}
    assert (result.returncode, json.loads(result.stdout)) == (1, expected)
    shutil.rmtree(packed)
    assert failed(call("verify", "out")) == "out: no such folder"


def test_texts_are_split_as_they_were(call: Run, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("研究生命的起源\n我们今天在北京大学讨论人工智能的发展\n")
    assert call("pack", "a.txt", "-o", "out", "--pre-segment", "zh", *SMALL).returncode == 0
    assert call("verify", "out", "--against", "a.txt").returncode == 0


def test_the_tokenizer_may_have_moved(call: Run, tmp_path: Path) -> None:
    assert call("tokenizer", "train", CORPUS, "-o", "t.json", "--vocab-size", 400).returncode == 0
    (tmp_path / "a.txt").write_text("seam pack\n")
    assert call("pack", "a.txt", "-o", "out", "--tokenizer", "t.json", *SMALL).returncode == 0
    (tmp_path / "t.json").rename(tmp_path / "moved.json")
    assert "t.json: no such tokenizer" in failed(call("verify", "out", "--against", "a.txt"))
    assert call("verify", "out", "--against", "a.txt", "--tokenizer", "moved.json").returncode == 0
    assert "expected the tokenizer that packed the folder" in failed(
        call("verify", "out", "--against", "a.txt", "--tokenizer", "bundled")
    )
