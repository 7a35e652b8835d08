"""Output is atomic: overwriting, stopping, killing, a full disk."""

import resource
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import seampack
from seampack.errors import ConfigError, DataError, ShardError
from seampack.packer.accounting import Accounting
from seampack.packer.config import PackConfig
from seampack.packer.entries import TokenizerFacts
from seampack.packer.folder import PackedFolder
from seampack.packer.mixes import Mix
from seampack.packer.packing import merge, pack_partitions
from seampack.packer.run_folder import RunFolder
from seampack.packer.shards import ShardWriter
from tests.conftest import CORPUS, Run, command, obey_interrupts
from tests.faulty import GOOD, SMALL, UNFRAMED, contents, failed


@pytest.fixture
def old(tmp_path: Path) -> dict[str, bytes]:
    """The files of an earlier run in ``out``; requested before ``slow``."""
    seampack.pack(CORPUS, out=tmp_path / "out", shard_tokens=50_000)
    return contents(tmp_path / "out")


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
    assert sorted(path.name for path in out.iterdir()) == ["manifest.json", "shard-00000-00000.parquet"]
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
    "suffix": ("shard-00000-00000.arrow.bak", ""),
    "no partial": ("shard-00000-00000.arrow.partial", ""),
    "hidden": (".manifest.json", ""),
}


@pytest.mark.parametrize("case", OTHERS)
def test_overwrite_refuses_files_of_other_programs(tmp_path: Path, case: str) -> None:
    name, content = OTHERS[case]
    out = tmp_path / "out"
    out.mkdir()
    (out / "shard-00000-00000.arrow").touch()
    (out / name).write_text(content, "utf-8", "surrogateescape")
    before = contents(out)
    with pytest.raises(ShardError, match="out: --overwrite replaces packed shards only; the folder has"):
        seampack.pack(tmp_path / CORPUS, out=out, overwrite=True)
    assert contents(out) == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_overwrite_refuses_a_folder_of_a_shards_name(tmp_path: Path) -> None:
    (tmp_path / "out/shard-00000-00000.arrow").mkdir(parents=True)
    with pytest.raises(ShardError, match=r"the folder has shard-00000-00000\.arrow"):
        seampack.pack(CORPUS, out=tmp_path / "out", overwrite=True)


def test_overwrite_replaces_the_files_of_an_unfinished_run(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    for name in ("shard-00000-00000.arrow", "shard-00000-00001.arrow", "quarantine.jsonl"):
        (tmp_path / "out" / name).touch()
    manifest = seampack.pack(CORPUS, out=tmp_path / "out", overwrite=True)
    assert set(contents(tmp_path / "out")) == {
        "manifest.json",
        "dataset_info.json",
        "state.json",
        *(shard.file for shard in manifest.shards),
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
        RunFolder("/", PackConfig())


def test_a_folder_that_gets_files_during_the_run_is_left_alone(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "out", PackConfig()) as folder:
        writer = folder.begin(0)
        writer.write(pa.record_batch({"input_ids": [[1]]}))
        (tmp_path / "out").mkdir()
        (tmp_path / "out/notes.txt").write_text("mine")
        facts = TokenizerFacts(name="", fingerprint="", vocab_size=2)
        with pytest.raises(ShardError, match=r"the folder is not empty \(notes\.txt\)"):
            folder.finish(writer, writer.schema, Accounting(seq_len=2048), facts, notes={})
    assert contents(tmp_path / "out") == {"notes.txt": b"mine"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("failing", [1, 2])
def test_an_overwrite_that_cannot_be_put_in_place(
    old: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    """The two renames: the old folder to a hidden name, the new folder to its final name."""
    rename, calls = Path.rename, 0

    def fail(self: Path, target: Path) -> Path:
        nonlocal calls
        calls += self.is_dir()
        if self.is_dir() and calls == failing:
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with (
        pytest.raises(ShardError, match="out: cannot be written: Input/output error"),
        pytest.warns(match="finished sections of 1 partition"),
    ):
        seampack.pack(CORPUS, out=tmp_path / "out", overwrite=True)
    assert calls >= failing
    assert contents(tmp_path / "out") == old
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out.partial", "out"]
    monkeypatch.undo()
    seampack.pack(CORPUS, out=tmp_path / "out", overwrite=True, resume=True)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    PackedFolder(tmp_path / "out").verify()


def test_an_output_in_an_input_folder_is_refused(tmp_path: Path) -> None:
    """The next run would read it."""
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "a.txt").write_text("one\n")
    with pytest.raises(seampack.ConfigError, match=r"the output is in the input folder .*corpus; choose another"):
        seampack.pack(tmp_path / "corpus", out=tmp_path / "corpus" / "packed")
    assert [path.name for path in (tmp_path / "corpus").iterdir()] == ["a.txt"]


def test_a_closed_writer_writes_no_more(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "out", PackConfig()) as folder:
        writer = folder.begin(0)
    with pytest.raises(ShardError, match="the run has ended"):
        writer.write(pa.record_batch({"input_ids": [[1]]}))
    assert list(tmp_path.iterdir()) == []


# The command with blocks of 4 kB, so that shards are written after a little input.
SMALL_BLOCKS = (
    "from seampack.packer import text_blocks; text_blocks.BLOCK_BYTES = 4096; from seampack.cli import main; main()"
)


@pytest.fixture
def slow(tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A run that has written shards, overwriting an earlier run if there is one, and waits for more input."""
    with subprocess.Popen(
        [sys.executable, "-c", SMALL_BLOCKS, *map(str, ("pack", "-", "-o", "out", *SMALL, "--overwrite"))],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=obey_interrupts,
    ) as process:
        assert process.stdin is not None
        try:
            process.stdin.write(GOOD.encode() * 10_000)  # about fifty blocks
            process.stdin.flush()
            for _ in range(2400):
                if list(tmp_path.glob(".out.partial/output/shard-00000-00001.arrow")):
                    break
                time.sleep(0.05)
            assert list(tmp_path.glob(".out.partial/output/shard-00000-00001.arrow"))
            yield process
        finally:
            process.kill()
            process.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stopped_run_leaves_nothing(slow: "subprocess.Popen[bytes]", tmp_path: Path, number: int) -> None:
    slow.send_signal(number)
    assert slow.wait(60) == 128 + number
    assert slow.stderr is not None
    assert slow.stderr.read() == b"seampack: interrupted; the output is unchanged\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("pause", [0, 0.001, 0.02, 0.05, 0.2])
def test_an_impatient_user_leaves_nothing(slow: "subprocess.Popen[bytes]", tmp_path: Path, pause: float) -> None:
    for _ in range(5):
        slow.send_signal(signal.SIGINT)
        time.sleep(pause)
    assert slow.wait(60) == 130
    assert slow.stderr is not None
    assert slow.stderr.read() == b"seampack: interrupted; the output is unchanged\n"
    assert list(tmp_path.iterdir()) == []


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
    assert hidden.name == ".out.partial"
    assert "manifest.json" not in contents(hidden / "output")
    assert failed(call("inspect", "out")) == "out: no such folder; a run that did not finish is in .out.partial"
    assert "no manifest.json: not a packed folder, or a run that did not finish" in failed(
        call("inspect", hidden / "output")
    )
    (tmp_path / "a.txt").write_text("a")
    with warnings.catch_warnings(action="always"):
        packed = call("pack", "a.txt", "-o", "out", *SMALL)
    assert packed.returncode == 0
    assert packed.stderr.decode() == f"seampack: warning: {hidden}: removed; a run that did not finish had left it\n"
    assert call("inspect", "out", "--verify").returncode == 0
    assert {path.name for path in tmp_path.iterdir()} == {"a.txt", "out"}


def limit_files() -> None:
    """Make every file fail to grow beyond 20 kB, as on a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))


@pytest.mark.parametrize("output_format", ["arrow", "parquet"])
def test_a_full_disk_leaves_nothing(tmp_path: Path, output_format: str) -> None:
    process = subprocess.run(
        command("pack", CORPUS, "-o", "out", *UNFRAMED, "--output-format", output_format),
        cwd=tmp_path,
        capture_output=True,
        preexec_fn=limit_files,
        timeout=60,
        check=False,
    )
    line = failed(process)
    assert line.startswith("out: cannot be written: ")
    assert line.endswith("File too large; the output is unchanged")
    assert not (tmp_path / "out").exists()


def test_nothing_is_written_after_a_failed_run_was_cleaned_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A window is still being written when a later line turns out to be bad."""
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
    with pytest.raises(seampack.ConfigError, match="the input is in the output folder"):
        seampack.pack(tmp_path / "packed", out=tmp_path / "packed", overwrite=True)
    with pytest.raises(seampack.ConfigError, match="threads: expected an integer of at least 1; got 0"):
        seampack.pack(CORPUS, out=tmp_path / "packed", overwrite=True, threads=0)
    assert {path.name for path in (tmp_path / "packed").iterdir()} == before


@pytest.mark.parametrize("out", ["", None, 3], ids=repr)
def test_what_is_no_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: Any) -> None:
    monkeypatch.chdir(tmp_path)
    message = rf"out: expected a path or an address; got {out!r}; the current folder is '\.'"
    mix = Mix(stores={"a": CORPUS}, weights={"a": 1})
    for run in (
        lambda: seampack.pack(CORPUS, out=out),
        lambda: seampack.pack(mix, out=out),
        lambda: seampack.pack_lengths(CORPUS, out=out, seq_lens=[64, 128]),
        lambda: pack_partitions(CORPUS, out=out, chosen=range),
        lambda: merge(out),
        lambda: seampack.tokenize(CORPUS, out=out),
    ):
        with pytest.raises(ConfigError, match=message):
            run()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConfigError, match="path: expected a path or an address"):
        PackedFolder(out)
    for read in (seampack.pack, seampack.compare):
        with pytest.raises(ConfigError, match=r"(path|input): expected a path or an address; got ''"):
            read("")
