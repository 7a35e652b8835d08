"""The command line as a real process: what it prints, where, and with which exit code."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pyarrow as pa
import pytest
from datasets import Dataset

import seampack
from seampack import cli
from seampack._version import __version__
from seampack.packer.packed import PackedFolder
from tests.conftest import CORPUS, Run, command

SMALL = ("--tokenizer", "bundled", "--seq-len", 64, "--window-tokens", 40_000, "--shard-tokens", 20_000)
HEAVY = ("numba", "numpy", "pyarrow", "tokenizers", "fastokens", "torch", "datasets")


def commands(group: click.Group = cli.main, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, group
    for name, each in group.commands.items():
        if isinstance(each, click.Group):
            yield from commands(each, (*path, name))
        else:
            yield (*path, name), each


@pytest.mark.parametrize(("path", "known"), [pytest.param(*each, id=" ".join(each[0])) for each in commands()])
def test_help_names_every_option_and_imports_nothing_heavy(run: Run, path: tuple[str, ...], known: Any) -> None:
    result = run(*path, "--help", PYTHONPROFILEIMPORTTIME="1")
    assert result.returncode == 0
    shown = result.stdout.decode()
    for parameter in known.params:
        for name in (*parameter.opts, *parameter.secondary_opts):
            assert name in shown or not name.startswith("-")
    for name in getattr(known, "commands", {}):
        assert f"  {name} " in shown
    imported = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in result.stderr.decode().splitlines()}
    assert "click" in imported
    assert not imported & set(HEAVY)


def test_version(run: Run) -> None:
    assert run("--version").stdout.decode().split()[-1] == __version__


def test_pack_reports_for_people(run: Run, tmp_path: Path) -> None:
    result = run("pack", CORPUS, "-o", "out", "--seq-len", 256)
    assert result.returncode == 0
    assert result.stderr == b"seampack: no --tokenizer: using the small bundled one, made for trying things out\n"
    shown = result.stdout.decode()
    for word in ("documents", "rows", "tokens in", "repeated", "dropped", "tokens out", "padding", "fill", "time"):
        assert word in shown
    assert PackedFolder(tmp_path / "out").rows > 0


def test_threads_do_not_change_a_byte(run: Run, tmp_path: Path) -> None:
    texts = [f"{n} seam {'pack ' * (n % 90)}" for n in range(60_000)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    for threads in (1, 4):  # about 14 MB: several blocks
        options = ("--seq-len", 512, "--window-tokens", 1_000_000, "--shard-tokens", 1_000_000)
        result = run("pack", "a.jsonl", "-o", threads, "--threads", threads, "--tokenizer", "bundled", *options)
        assert (result.returncode, result.stderr) == (0, b"")
    one, four = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in "14")
    assert one == four
    assert sum(name.startswith("shard-") for name in one) > 1


def test_json_is_all_that_stands_on_stdout(run: Run, tmp_path: Path) -> None:
    result = run("pack", CORPUS, "-o", "out", *SMALL, "--json")
    packed = json.loads(result.stdout)
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert packed.items() >= manifest.items()
    assert packed["seconds"] > 0
    inspected = run("inspect", "out", "--verify", "--json")
    assert json.loads(inspected.stdout) == {**manifest, "verified": True}
    rows = [json.loads(line) for line in run("inspect", "out", "--row", 3, "--row", 0, "--json").stdout.splitlines()]
    assert rows == [{"row": n, **PackedFolder(tmp_path / "out").row(n)} for n in (3, 0)]
    row = json.loads(run("inspect", "out", "--row", 3, "--verify", "--json").stdout)
    assert row == {**rows[0], "verified": True}
    compared = json.loads(run("compare", CORPUS, *SMALL[:6], "--json").stdout)
    assert [each["strategy"] for each in compared] == ["seamless", "concat", "best_fit", "ffd", "pad"]
    assert {each["tokens_in"] for each in compared} == {manifest["accounting"]["tokens_in"]}
    assert compared[0]["rows"] == manifest["accounting"]["rows"]


def test_rows_are_shown_as_text(run: Run) -> None:
    assert run("pack", "-", "-o", "out", *SMALL, stdin=b'{"text": "first text"}\n{"text": "second"}').returncode == 0
    shown = run("inspect", "out", "--row", 0).stdout.decode()
    assert shown.startswith("row 0\n")
    assert "first text\n" in shown
    assert "second\n" in shown
    assert "document 0, tokens 0.." in shown
    verified = run("inspect", "out", "--verify").stdout.decode()
    outcome = "verified: every checksum, and the accounting against the rows\n"
    assert verified.endswith(outcome)
    assert run("inspect", "out", "--row", 0, "--verify").stdout.decode() == shown + outcome


def test_standard_input_takes_text_and_arrow_streams(run: Run, tmp_path: Path) -> None:
    table = pa.table({"text": ["a b", "c"]})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    inputs = {"lines": b"a b\n\nc", "arrow": sink.getvalue().to_pybytes()}
    for name, stdin in inputs.items():
        assert run("pack", "-", "-o", name, *SMALL, stdin=stdin).returncode == 0
    found = [PackedFolder(tmp_path / name).unpack()["input_ids"].to_pylist() for name in inputs]
    assert found[0] == found[1]
    assert len(found[0]) == 2


def test_a_saved_dataset_is_an_input(run: Run, tmp_path: Path) -> None:
    Dataset.from_dict({"body": ["a", "b c"], "uid": [7, 8]}).save_to_disk(tmp_path / "saved")
    names = ("--text-column", "body", "--id-column", "uid")
    assert run("pack", "saved", "-o", "out", *SMALL, *names).returncode == 0
    assert PackedFolder(tmp_path / "out").unpack()["doc_ids"].to_pylist() == ["7", "8"]


def test_a_trained_tokenizer_is_one_to_pack_with(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("seam pack seam pack\n" * 50)
    trained = run("tokenizer", "train", "a.txt", "-o", "tokenizer.json", "--vocab-size", 300)
    assert trained.returncode == 0
    assert trained.stdout.startswith(b"tokenizer.json: ")
    assert run("pack", "a.txt", "-o", "out", "--seq-len", 8, "--tokenizer", "tokenizer.json").returncode == 0
    facts = json.loads((tmp_path / "out/manifest.json").read_text())["tokenizer"]
    assert facts["name"] == "tokenizer.json"
    assert trained.stdout.decode().split()[1] == str(facts["vocab_size"])
    (tmp_path / "tokenizer.json").unlink()
    shown = run("inspect", "out", "--row", 0)
    assert shown.returncode == 0
    assert shown.stderr.startswith(b"seampack: warning: ids are shown: ")


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("nonsense",),
        ("pack",),
        ("pack", "a.jsonl"),
        ("pack", "a.jsonl", "-o", "out", "--nonsense"),
        ("pack", "a.jsonl", "-o", "out", "--strategy", "nonsense"),
        ("pack", "a.jsonl", "-o", "out", "--seq-len", "many"),
        ("pack", "a.jsonl", "-o", "out", "--seq-len", "0"),
        ("pack", "a.jsonl", "-o", "out", "--threads", "0"),
        ("inspect",),
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_with_2(run: Run, arguments: tuple[str, ...], tmp_path: Path) -> None:
    result = run(*arguments)
    assert result.returncode == 2
    assert result.stdout == b""
    assert result.stderr.startswith(b"Usage: ")
    assert b"Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_every_option_reaches_the_config(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"body": "a", "uid": 1}')
    chosen: dict[str, Any] = {
        "seq_len": 9,
        "strategy": "ffd",
        "max_overlap": 0.2,
        "extra_tokens": 3,
        "extra_room": "always",
        "leftover": "pad",
        "drop_last": True,
        "shuffle": False,
        "seed": 5,
        "input_format": "jsonl",
        "text_column": "body",
        "input_ids_column": "ids",
        "id_column": "uid",
        "on_bad": "quarantine",
        "special_tokens_in_text": True,
        "bos": "a",
        "eos": "b",
        "pad": "c",
        "labels": True,
        "window_tokens": 99,
        "output_format": "parquet",
        "shard_tokens": 77,
    }
    arguments = []
    for name, value in chosen.items():
        flag = name.replace("_", "-")
        arguments += [f"--{'' if value else 'no-'}{flag}"] if isinstance(value, bool) else [f"--{flag}", value]
    assert run("pack", "a.jsonl", "-o", "out", *arguments).returncode == 0
    assert json.loads((tmp_path / "out/manifest.json").read_text())["config"] == chosen


def test_a_reader_that_closes_stdout_early_ends_the_run_silently(tmp_path: Path) -> None:
    seampack.pack(CORPUS, out=tmp_path / "out", seq_len=64)
    rows = [argument for n in range(100) for argument in ("--row", n)]
    process = subprocess.Popen(
        command("inspect", "out", *rows),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pipesize=4096,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"row 0\n"
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    assert process.wait(60) == 1
    process.stderr.close()


@pytest.mark.parametrize(("target", "message"), [(">&-", b""), (">/dev/full", b"seampack: No space left on device\n")])
def test_a_stdout_that_takes_nothing_gets_no_traceback(tmp_path: Path, target: str, message: bytes) -> None:
    line = f"{sys.executable} -m seampack.cli --version {target}"
    result = subprocess.run(line, shell=True, cwd=tmp_path, capture_output=True, timeout=60, check=False)
    assert (result.stderr, result.returncode) == (message, 1 if message else 0)
