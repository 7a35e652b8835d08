"""Faults injected into real runs: one line on standard error, the right exit code, and nothing that looks whole."""

import gzip
import json
import os
import resource
import signal
import subprocess
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import seampack
from seampack.cli import main
from seampack.errors import DataError, ShardError
from seampack.packer import text_blocks
from seampack.packer.accounting import Accounting
from seampack.packer.config import PackConfig
from seampack.packer.packed import PackedFolder
from seampack.packer.shards import ShardWriter
from tests.conftest import CORPUS, DATA, Run, command

SMALL = ("--tokenizer", "bundled", "--seq-len", 64, "--window-tokens", 1000, "--shard-tokens", 1000)
GOOD = '{"text": "hello world"}\n'


def failed(result: "subprocess.CompletedProcess[bytes]", code: int = 1) -> str:
    """The message of a run that failed as it should: one line, no more."""
    assert result.returncode == code
    assert result.stdout == b""
    (line,) = result.stderr.decode().splitlines()
    assert line.startswith("seampack: ")
    return line.removeprefix("seampack: ")


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Iterator[Run]:
    """As ``run``, but inside this process: a second less each."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # put back behind the test
    handler = signal.getsignal(signal.SIGTERM)

    def start(*arguments: object) -> "subprocess.CompletedProcess[bytes]":
        with pytest.raises(SystemExit) as stop:
            main(list(map(str, arguments)))
        assert isinstance(stop.value.code, int)
        return subprocess.CompletedProcess(arguments, stop.value.code, *capfdbinary.readouterr())

    yield start
    signal.signal(signal.SIGTERM, handler)


def write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def write_table(path: Path, **columns: Any) -> None:
    pq.write_table(pa.table(columns), path)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def old(tmp_path: Path) -> dict[str, bytes]:
    """What an earlier run left in ``out``; asked for before ``slow``."""
    seampack.pack(CORPUS, out=tmp_path / "out", shard_tokens=50_000)
    return contents(tmp_path / "out")


INPUTS: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "no file": ("none.jsonl", lambda path: None, "none.jsonl: no such file"),
    "no match": ("*.jsonl", lambda path: None, "*.jsonl: no file matches"),
    "folder": ("folder", Path.mkdir, "folder: a folder that is no saved dataset"),
    "cut gz": ("a.jsonl.gz", lambda p: write(p, gzip.compress(GOOD.encode() * 99)[:-9]), "a.jsonl.gz: cannot be read"),
    "garbage": ("a.bin", lambda p: write(p, b"fine\n\x80\x81\xff"), "a.bin:2: invalid UTF-8"),
    "broken JSON": ("a.jsonl", lambda p: write(p, GOOD.encode() * 2 + b'{"text": "'), "a.jsonl:3: broken JSON"),
    "ids": ("a.jsonl", lambda p: write(p, b'{"input_ids": [1]}\n{"input_ids": [1, 999999]}'), "a.jsonl:2: Expected"),
    "column": ("a.parquet", lambda p: write_table(p, body=["a"]), "no column 'text' or 'input_ids'; the file has body"),
    "ids in Parquet": ("a.parquet", lambda p: write_table(p, input_ids=[[1], [-1]]), "a.parquet:2: token id -1"),
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
        (("--tokenizer", str(CORPUS)), f"{CORPUS}: cannot be read as a tokenizer.json"),
        (("--tokenizer", "a.jsonl"), "a.jsonl: not a tokenizer.json of Hugging Face tokenizers"),
        (("--bos", "<nope>"), "bos: no token '<nope>' in the vocabulary of bundled"),
        (("--seq-len", 0), "seq_len: expected an integer from 1 to"),
        (("--id-column", "text"), "id_column: expected another field than the content's"),
    ],
)
def test_options_that_cannot_work(call: Run, tmp_path: Path, options: tuple[Any, ...], message: str) -> None:
    (tmp_path / "a.jsonl").write_text(GOOD)
    assert message in failed(call("pack", "a.jsonl", "-o", "out", *SMALL, *options))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("start", "message"), [(b"PAR1", "Parquet"), (b"ARROW1", "the Arrow file format")])
def test_formats_that_cannot_come_from_a_pipe(run: Run, start: bytes, message: str) -> None:
    line = failed(run("pack", "-", "-o", "out", *SMALL, stdin=start + b"\0" * 99))
    assert line.startswith(f"standard input: {message}")
    assert line.endswith("cannot be read from a pipe; give the file's path")


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
        with pytest.raises(DataError, match=rf"^{path}:151: Expected `str`, got `int`.*--on-bad quarantine$"):
            seampack.pack(path, **options)
        assert not (tmp_path / "out").exists()
        return
    manifest = seampack.pack(path, strategy="pad", **options)
    assert (manifest["quarantined"], manifest["accounting"]["documents"]) == (3, 397)
    records = [json.loads(line) for line in (tmp_path / "out/quarantine.jsonl").read_text().splitlines()]
    assert [(each["source"], each["position"], each["raw"]) for each in records] == [
        (str(path), number, line) for number, line in wrong.items()
    ]
    (tmp_path / "good.jsonl").write_text("\n".join(line for line in lines if line not in wrong.values()))
    seampack.pack(tmp_path / "good.jsonl", out=tmp_path / "good", strategy="pad", seq_len=16)
    assert PackedFolder(tmp_path / "out").unpack().equals(PackedFolder(tmp_path / "good").unpack())


def test_a_file_name_that_is_no_text_goes_into_the_quarantine(run: Run, tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/n\xff.jsonl"
    Path(os.fsdecode(path)).write_text(GOOD + "{")
    result = run("pack", os.fsdecode(path), "-o", "out", *SMALL, "--on-bad", "quarantine")
    assert (result.returncode, result.stderr) == (0, b"")
    assert b"quarantined" in result.stdout
    assert json.loads((tmp_path / "out/quarantine.jsonl").read_text())["source"].endswith("/n\\xff.jsonl")


def test_overwrite_replaces_own_files_only(tmp_path: Path) -> None:
    corpus, out = tmp_path / "a.jsonl", tmp_path / "out"
    corpus.write_text(GOOD + "{")
    seampack.pack(corpus, out=out, on_bad="quarantine", shard_tokens=1)
    corpus.write_text(GOOD)
    before = sorted(path.name for path in out.iterdir())
    with pytest.raises(ShardError, match=r"out: the folder holds packed shards .*; use --overwrite or another folder"):
        seampack.pack(corpus, out=out)
    seampack.pack(corpus, out=out, overwrite=True, output_format="parquet")
    assert "quarantine.jsonl" in before
    assert sorted(path.name for path in out.iterdir()) == ["manifest.json", "shard-00000.parquet"]
    (out / "notes.txt").write_text("mine")
    with pytest.raises(ShardError, match=r"--overwrite replaces packed shards only; the folder has notes\.txt"):
        seampack.pack(corpus, out=out, overwrite=True)
    assert PackedFolder(out).rows == 1
    with pytest.raises(ShardError, match=r"a\.jsonl: expected a folder; it is a file"):
        seampack.pack(corpus, out=corpus)


OTHERS: dict[str, tuple[str, str]] = {
    "foreign manifest": ("manifest.json", '{"format": "web app"}'),
    "no format": ("manifest.json", '{"shards": []}'),
    "list": ("manifest.json", "[]"),
    "damaged manifest": ("manifest.json", "{"),
    "bytes": ("manifest.json", "\udcff"),
    "name of a shard": ("shard-1.arrow", ""),
    "suffix": ("shard-00000.arrow.bak", ""),
    "no partial": ("shard-00000.arrow.partial", ""),
    "hidden": (".manifest.json", ""),
}


@pytest.mark.parametrize("case", OTHERS)
def test_overwrite_refuses_what_others_wrote(tmp_path: Path, case: str) -> None:
    name, content = OTHERS[case]
    out = tmp_path / "out"
    out.mkdir()
    (out / "shard-00000.arrow").touch()
    (out / name).write_text(content, "utf-8", "surrogateescape")
    before = contents(out)
    with pytest.raises(ShardError, match="out: --overwrite replaces packed shards only; the folder has"):
        seampack.pack(tmp_path / CORPUS, out=out, overwrite=True)
    assert contents(out) == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_overwrite_refuses_a_folder_of_a_shards_name(tmp_path: Path) -> None:
    (tmp_path / "out/shard-00000.arrow").mkdir(parents=True)
    with pytest.raises(ShardError, match=r"the folder has shard-00000\.arrow"):
        seampack.pack(CORPUS, out=tmp_path / "out", overwrite=True)


def test_overwrite_replaces_what_an_unfinished_run_left(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    for name in ("shard-00000.arrow", ".shard-00001.arrow.partial", "quarantine.jsonl"):
        (tmp_path / "out" / name).touch()
    manifest = seampack.pack(CORPUS, out=tmp_path / "out", overwrite=True)
    assert set(contents(tmp_path / "out")) == {
        "manifest.json",
        "dataset_info.json",
        "state.json",
        *(shard["file"] for shard in manifest["shards"]),
    }
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("out", ["out", "out/", "deep/er/out", "."])
@pytest.mark.parametrize("there", [True, False])
def test_a_failed_run_leaves_everything_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str, there: bool
) -> None:
    (tmp_path / "a.jsonl").write_text(GOOD * 500 + "{")
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    if there:
        Path(out).mkdir(parents=True, exist_ok=True)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DataError):
        seampack.pack(tmp_path / "a.jsonl", out=out)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("out", ["out/", "deep/er/out", ".", "../here/", "link"])
def test_ways_to_name_the_output_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (tmp_path / "link").symlink_to(here)
    monkeypatch.chdir(tmp_path if out == "link" else here)
    seampack.pack(CORPUS, out=out)
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / out if out == "link" else here / out
    PackedFolder(folder).verify()
    assert not [path for path in tmp_path.rglob(".*") if path.is_dir()]


def test_a_mount_point_is_refused_at_once() -> None:
    with pytest.raises(ShardError, match="/: a mount point, which cannot be replaced; choose a folder inside it"):
        ShardWriter("/", PackConfig())


def test_a_folder_that_gets_files_during_the_run_is_left_alone(tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "out", PackConfig()) as writer:
        writer.write(pa.record_batch({"input_ids": [[1]]}))
        (tmp_path / "out").mkdir()
        (tmp_path / "out/notes.txt").write_text("mine")
        with pytest.raises(ShardError, match=r"the folder is not empty \(notes\.txt\)"):
            writer.finish(Accounting(seq_len=2048), {})
    assert contents(tmp_path / "out") == {"notes.txt": b"mine"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("failing", [1, 2])
def test_an_overwrite_that_cannot_be_put_in_place(
    old: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    """The renames of whole folders: the old one aside, the new one in its place."""
    rename, calls = Path.rename, 0

    def fail(self: Path, target: Path) -> Path:
        nonlocal calls
        calls += self.is_dir()
        if self.is_dir() and calls == failing:
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(ShardError, match="out: cannot be written: Input/output error"):
        seampack.pack(CORPUS, out=tmp_path / "out", overwrite=True)
    assert calls >= failing
    assert contents(tmp_path / "out") == old
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_writer_that_was_left_writes_no_more(tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "out", PackConfig()) as writer:
        pass
    with pytest.raises(ShardError, match="the run was given up"):
        writer.write(pa.record_batch({"input_ids": [[1]]}))
    assert list(tmp_path.iterdir()) == []


def obey_interrupts() -> None:
    """A test run in the background of a script inherits that Ctrl-C is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def slow(tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A run that has written shards, over those of an earlier one where there are, and waits for more input."""
    with subprocess.Popen(
        command("pack", "-", "-o", "out", *SMALL, "--overwrite"),
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=obey_interrupts,
    ) as process:
        assert process.stdin is not None
        try:
            process.stdin.write(GOOD.encode() * 3_000_000)  # several blocks
            process.stdin.flush()
            for _ in range(600):
                if list(tmp_path.glob(".out.partial-*/shard-00001.arrow")):
                    break
                time.sleep(0.05)
            assert list(tmp_path.glob(".out.partial-*/shard-00001.arrow"))
            yield process
        finally:
            process.kill()
            process.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_leaves_nothing(slow: "subprocess.Popen[bytes]", tmp_path: Path, number: int) -> None:
    slow.send_signal(number)
    assert slow.wait(60) == 130
    assert slow.stderr is not None
    assert slow.stderr.read() == b"seampack: interrupted; nothing incomplete was kept\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("pause", [0.001, 0.05])
def test_an_impatient_user_leaves_nothing(slow: "subprocess.Popen[bytes]", tmp_path: Path, pause: float) -> None:
    for _ in range(3):
        slow.send_signal(signal.SIGINT)
        time.sleep(pause)
    assert slow.wait(60) == 130
    assert not (tmp_path / "out").exists()


def test_a_stopped_overwrite_leaves_the_old_folder(
    old: dict[str, bytes], slow: "subprocess.Popen[bytes]", tmp_path: Path
) -> None:
    slow.send_signal(signal.SIGINT)
    assert slow.wait(60) == 130
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert contents(tmp_path / "out") == old


def test_a_killed_overwrite_leaves_the_old_folder(
    old: dict[str, bytes], slow: "subprocess.Popen[bytes]", tmp_path: Path
) -> None:
    slow.kill()
    slow.wait(60)
    assert contents(tmp_path / "out") == old
    PackedFolder(tmp_path / "out").verify()


def test_a_killed_run_leaves_no_folder(slow: "subprocess.Popen[bytes]", call: Run, tmp_path: Path) -> None:
    slow.kill()
    slow.wait(60)
    (hidden,) = tmp_path.iterdir()
    assert hidden.name == f".out.partial-{slow.pid}"
    assert "manifest.json" not in contents(hidden)
    assert failed(call("inspect", "out")) == "out: no such folder"
    assert "no manifest.json: no packed folder, or a run that did not finish" in failed(call("inspect", hidden))
    (tmp_path / "a.txt").write_text("a")
    assert call("pack", "a.txt", "-o", "out", *SMALL).returncode == 0
    assert call("inspect", "out", "--verify").returncode == 0


def limit_files() -> None:
    """Every file fails to grow beyond 20 kB, as on a disk that is full."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))


@pytest.mark.parametrize("output_format", ["arrow", "parquet"])
def test_a_full_disk_leaves_nothing(tmp_path: Path, output_format: str) -> None:
    process = subprocess.run(
        command("pack", CORPUS, "-o", "out", "--tokenizer", "bundled", "--output-format", output_format),
        cwd=tmp_path,
        capture_output=True,
        preexec_fn=limit_files,
        timeout=60,
        check=False,
    )
    line = failed(process)
    assert line.startswith("out: cannot be written: ")
    assert line.endswith("File too large; nothing was kept")
    assert not (tmp_path / "out").exists()


def test_damage_and_wrong_rows_are_failures_of_inspect(call: Run, tmp_path: Path) -> None:
    seampack.pack(CORPUS, out=tmp_path / "out", shard_tokens=1)
    shard = tmp_path / "out/shard-00002.arrow"
    data = bytearray(shard.read_bytes())
    data[-99] ^= 4
    shard.write_bytes(data)
    assert failed(call("inspect", "out", "--verify")).startswith("out/shard-00002.arrow: the checksum differs")
    assert "expected a row from 0 to" in failed(call("inspect", "out", "--row", -1))
    assert failed(call("inspect", "nope")) == "nope: no such folder"
    shard.unlink()
    assert failed(call("inspect", "out")) == "out/shard-00002.arrow: the shard is missing; pack again"


def test_training_a_tokenizer_on_nothing(call: Run, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n")
    assert "no text to train on" in failed(call("tokenizer", "train", "a.txt", "-o", "t.json"))
    assert "vocab_size: expected at least 257" in failed(
        call("tokenizer", "train", DATA / "tokenizer.json", "-o", "t.json", "--vocab-size", 3)
    )
    assert not (tmp_path / "t.json").exists()


def test_nothing_is_written_after_a_failed_run_was_cleaned_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last window is still being written when a later line turns out bad."""
    source, out = tmp_path / "bad.jsonl", tmp_path / "out"
    source.write_text('{"text": "a few words"}\n' * 400 + "{\n")
    out.mkdir()
    slowly = ShardWriter.write

    def write(self: ShardWriter, batch: Any) -> None:
        time.sleep(0.2)
        slowly(self, batch)

    monkeypatch.setattr(ShardWriter, "write", write)
    monkeypatch.setattr("seampack.packer.text_blocks.BLOCK_BYTES", 2000)
    with pytest.raises(seampack.DataError, match=r"bad.jsonl:401"):
        seampack.pack(source, out=out, seq_len=8, window_tokens=64, shard_tokens=8, threads=1)
    assert list(out.iterdir()) == []


def test_an_output_folder_that_holds_the_input(tmp_path: Path) -> None:
    seampack.pack(CORPUS, out=tmp_path / "packed")
    before = {path.name for path in (tmp_path / "packed").iterdir()}
    with pytest.raises(seampack.ConfigError, match="the input lies in the output folder"):
        seampack.pack(tmp_path / "packed", out=tmp_path / "packed", overwrite=True)
    with pytest.raises(seampack.ConfigError, match="threads: expected at least 1"):
        seampack.pack(CORPUS, out=tmp_path / "packed", overwrite=True, threads=0)
    assert {path.name for path in (tmp_path / "packed").iterdir()} == before
