"""Rows of several lengths in one pass: each folder is that of a run for its length alone, also after a kill."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

import seampack
from benchmarks import kills
from seampack.errors import ConfigError, DataError, ShardError
from seampack.packer import text_blocks, work
from seampack.packer.run_folder import RunFolder
from tests.conftest import Run
from tests.faulty import failed
from tests.packer.corpus import END, SHORT_ROWS
from tests.packer.tampering import flip
from tests.packer.test_resume import OPTIONS, Killed, texts

LENGTHS = (16, 32, 64)
GIVEN: dict[str, Any] = {name: value for name, value in OPTIONS.items() if name != "seq_len"} | {"window_tokens": 512}


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(text_blocks, "BLOCK_BYTES", 4096)
    (tmp_path / "corpus").mkdir()
    lines = texts()
    for number in range(3):
        (tmp_path / f"corpus/{number}.txt").write_text("\n".join(lines[number::3]) + "\n")
    return tmp_path / "corpus"


def assert_alone(corpus: Path, out: Path, **options: Any) -> None:
    """Assert that each folder is that of a run for its length alone."""
    for length in LENGTHS:
        alone = out.with_name(f"alone-{length}")
        if not alone.exists():
            seampack.pack(corpus, out=alone, seq_len=length, **{**GIVEN, **options})
        assert kills.contents(out / str(length)) == kills.contents(alone)
    assert sorted(path.name for path in out.iterdir()) == sorted(map(str, LENGTHS))


@pytest.mark.parametrize(
    "options",
    [{}, {"pad": END, "pad_to_multiple": 8, "labels": True}, {"strategy": "best_fit", "output_format": "megatron"}],
)
@SHORT_ROWS
def test_one_pass_gives_the_folders_of_three(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    passes = []
    token_batches = work.token_batches

    def counted(*arguments: Any, **given: Any) -> Any:
        passes.append(arguments)
        return token_batches(*arguments, **given)

    monkeypatch.setattr(work, "token_batches", counted)
    manifests = seampack.pack_lengths(corpus, out=tmp_path / "out", seq_lens=(32, 16, 64), **GIVEN, **options)
    assert len(passes) == 1
    assert {length: each.accounting.seq_len for length, each in manifests.items()} == {n: n for n in LENGTHS}
    assert_alone(corpus, tmp_path / "out", **options)


@pytest.mark.parametrize("after", [1, 3, 5])
def test_a_run_that_was_killed_goes_on(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """Also between the ends of a section of different lengths."""
    kill_after(monkeypatch, after, corpus, tmp_path / "out")
    manifests = seampack.pack_lengths(corpus, out=tmp_path / "out", seq_lens=LENGTHS, resume=True, **GIVEN)
    assert list(manifests) == list(LENGTHS)
    assert_alone(corpus, tmp_path / "out")


def kill_after(monkeypatch: pytest.MonkeyPatch, after: int, corpus: Path, out: Path) -> None:
    """Stop a run after a number of sections, counted over all lengths."""
    end, ended = RunFolder.end_section, []

    def end_section(folder: RunFolder, *arguments: Any, **facts: Any) -> None:
        end(folder, *arguments, **facts)
        ended.append(folder)
        if len(ended) == after:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "end_section", end_section)
        with pytest.raises(Killed), pytest.warns(match="finished sections of .* are kept in .*; --resume goes on"):
            seampack.pack_lengths(corpus, out=out, seq_lens=LENGTHS, **GIVEN)


def test_what_is_complete_is_not_packed_again(corpus: Path, tmp_path: Path) -> None:
    seampack.pack(corpus, out=tmp_path / "out/32", seq_len=32, **GIVEN)
    before = (tmp_path / "out/32/manifest.json").stat().st_mtime_ns
    for _ in range(2):
        seampack.pack_lengths(corpus, out=tmp_path / "out", seq_lens=LENGTHS, resume=True, **GIVEN)
        assert (tmp_path / "out/32/manifest.json").stat().st_mtime_ns == before
        assert_alone(corpus, tmp_path / "out")


def test_a_document_that_one_length_refuses_leaves_no_folder(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected at most seq_len, 16 tokens"):
        seampack.pack_lengths(corpus, out=tmp_path / "out", seq_lens=LENGTHS, long="error", **GIVEN)
    assert not (tmp_path / "out").exists()


def test_lengths_that_cannot_be(corpus: Path, tmp_path: Path) -> None:
    for lengths, got in (((), "none"), ((16, 16), "16, 16")):
        with pytest.raises(ConfigError, match=f"seq_lens: expected different lengths; got {got}"):
            seampack.pack_lengths(corpus, out=tmp_path / "out", seq_lens=lengths, **GIVEN)
    for wrong in (16, "16"):
        with pytest.raises(ConfigError, match="seq_lens: expected several lengths, such as"):
            seampack.pack_lengths(corpus, out=tmp_path / "out", seq_lens=wrong, **GIVEN)  # type: ignore[arg-type]
    for run in (seampack.pack, seampack.compare):
        with pytest.raises(
            ConfigError, match=r"seq_len: expected one length; got \[16, 32\]; .* pack_lengths or compare"
        ):
            run(corpus, seq_len=[16, 32])
    with pytest.raises(ConfigError, match="pad_to_multiple: expected a divisor of seq_len, 20"):
        seampack.pack_lengths(corpus, out=tmp_path / "out", seq_lens=(16, 20), **GIVEN, pad=END, pad_to_multiple=8)
    seampack.pack(corpus, out=tmp_path / "out", seq_len=32, **GIVEN)
    with pytest.raises(ConfigError, match="packed shards are there; choose another folder"):
        seampack.pack_lengths(corpus, out=tmp_path / "out", seq_lens=LENGTHS, **GIVEN)
    seampack.pack(corpus, out=tmp_path / "more/32", seq_len=32, **GIVEN)
    with pytest.raises(ShardError, match=r"more/32.*overwrite"):
        seampack.pack_lengths(corpus, out=tmp_path / "more", seq_lens=LENGTHS, **GIVEN)
    with pytest.raises(ConfigError, match="resume: expected files or standard input"):
        seampack.pack_lengths(iter(["a"]), out=tmp_path / "new", seq_lens=LENGTHS, resume=True, **GIVEN)


@pytest.mark.parametrize("overwrite", [False, True])
def test_the_parent_of_several_lengths_is_not_replaced(several: Path, corpus: Path, overwrite: bool) -> None:
    message = r"--overwrite replaces packed shards only; .*choose another folder$"
    with pytest.raises(ShardError, match=message) as raised:
        seampack.pack(corpus, out=several, overwrite=overwrite)
    assert "use --overwrite" not in str(raised.value)


def test_the_command_packs_several_lengths(call: Run, tmp_path: Path) -> None:
    result = call("pack", "-", "-o", "out", "--seq-len", 8, "--seq-len", "16,32", "--json", stdin=b"one line\n" * 40)
    assert result.returncode == 0
    printed = json.loads(result.stdout)
    for length in (8, 16, 32):
        assert printed[str(length)] == json.loads((tmp_path / f"out/{length}/manifest.json").read_text())
    refused = call("pack", "-", "-o", "more", "--seq-len", "8,16", "--partition", "0/2", stdin=b"a\n")
    assert refused.returncode == 2
    assert b"several --seq-len are packed by one process" in refused.stderr


@pytest.fixture
def several(call: Run, tmp_path: Path) -> Path:
    (tmp_path / "a.txt").write_text("one line\n" * 40)
    assert call("pack", "a.txt", "-o", "out", "--seq-len", "8,16,128").returncode == 0
    return tmp_path / "out"


def test_verify_takes_the_folders_of_all_lengths(call: Run, several: Path) -> None:
    plain = call("verify", "out")
    line = "verified: every file, and the manifest against the rows"
    assert (plain.returncode, plain.stderr) == (0, b"")
    assert plain.stdout.decode().splitlines() == [f"out/{length}: {line}" for length in (8, 16, 128)]
    compared = json.loads(call("verify", "out", "--against", "a.txt", "--json").stdout)
    assert [(each["folder"], each["verified"], each["documents"]) for each in compared] == [
        (f"out/{length}", True, 40) for length in (8, 16, 128)
    ]
    refused = call("verify", "out", "--against", "-")
    assert (refused.returncode, b"standard input can be read only once" in refused.stderr) == (2, True)


def test_verify_names_the_lengths_that_are_wrong(call: Run, several: Path) -> None:
    flip(several / "16/shard-00000-00000.arrow")
    (several / "128").rename(several / ".128.partial")
    (several / ".hidden").mkdir()
    result = call("verify", "out", "--against", "a.txt")
    assert result.returncode == 1
    assert [line.partition(": ")[0] for line in result.stdout.decode().splitlines()] == ["out/8", "out/8"]
    damaged, unfinished, last = result.stderr.decode().splitlines()
    assert damaged.startswith("seampack: out/16/shard-00000-00000.arrow: the checksum differs")
    assert unfinished == "seampack: out/128: no such folder; a run that did not finish is in out/.128.partial"
    assert last == "seampack: out: 2 of 3 folders are not verified"
    as_json = json.loads(call("verify", "out", "--json").stdout)
    assert [each["verified"] for each in as_json] == [True, False, False]
    (several.parent / "b.txt").write_text("another line\n" * 40)
    assert b"seampack: out/8: document 0, token 0: expected" in call("verify", "out", "--against", "b.txt").stderr


def test_other_readers_name_the_folders_inside(call: Run, several: Path, tmp_path: Path) -> None:
    message = r"out: no manifest.json, but packed folders: 8, 16, 128; name one of them$"
    for arguments in (("inspect", "out"), ("unpack", "out", "-o", "b.jsonl")):
        assert re.search(message, failed(call(*arguments)))
    with pytest.raises(ShardError, match=message):
        seampack.PackedDataset(several)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ShardError, match=r"no manifest.json: not a packed folder"):
        seampack.PackedFolder(tmp_path / "empty")
