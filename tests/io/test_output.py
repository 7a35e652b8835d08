"""Output is atomic: files and folders appear complete or not at all, also if the file system fails."""

import bz2
import errno
import gzip
import lzma
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from seampack._signals import STOPPING
from seampack.errors import ConfigError, ShardError
from seampack.io.output import FolderKind, StagedFolder, output_stream, staged_folder, staged_path, write_file

KIND = FolderKind("notes", "done.txt", owns=lambda entry: entry.name.endswith(".txt"))
LOOSE = FolderKind("notes", "done.txt", needs_marker=False)


def files(folder: Path) -> dict[str, bytes]:
    """The content of a folder, including hidden files."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def make(out: Path, content: str, *, overwrite: bool = False) -> None:
    with staged_folder(out, KIND, overwrite=overwrite) as folder:
        assert folder.parent == out.parent
        (folder / "done.txt").write_text(content)


def fail_at(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, call: int) -> None:
    """Make one call of a function of the file system fail."""
    original: Callable[..., object] = getattr(owner, name)
    count = 0

    def failing(*arguments: object, **named: object) -> object:
        nonlocal count
        count += 1
        if count == call:
            raise OSError(errno.EIO, "Input/output error")
        return original(*arguments, **named)

    monkeypatch.setattr(owner, name, failing)


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    make(tmp_path / "deep/er/out", "first")
    assert files(tmp_path) == {"deep/er/out/done.txt": b"first"}
    make(tmp_path / "deep/er/out", "second", overwrite=True)
    assert files(tmp_path) == {"deep/er/out/done.txt": b"second"}


def test_a_folder_has_the_mode_that_the_umask_allows(tmp_path: Path) -> None:
    old_mask = os.umask(0o027)
    try:
        make(tmp_path / "out", "a")
    finally:
        os.umask(old_mask)
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o750


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_a_failed_block_leaves_everything_as_it_was(tmp_path: Path, there: bool, error: type[BaseException]) -> None:
    out = tmp_path / "deep/out"
    if there:
        make(out, "old")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(error), staged_folder(out, KIND, overwrite=True) as folder:  # noqa: PT012
        (folder / "done.txt").write_text("new")
        raise error
    assert sorted(tmp_path.rglob("*")) == before
    assert files(tmp_path) == ({"deep/out/done.txt": b"old"} if there else {})


@pytest.mark.parametrize("call", [1, 2])
def test_the_old_folder_comes_back_when_a_rename_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    make(tmp_path / "out", "old")
    fail_at(monkeypatch, Path, "rename", call)
    with pytest.raises(ShardError) as error:
        make(tmp_path / "out", "new", overwrite=True)
    assert str(error.value) == f"{tmp_path}/out: cannot be written: Input/output error; the output is unchanged"
    assert files(tmp_path) == {"out/done.txt": b"old"}


def test_an_old_folder_that_cannot_come_back_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "out", "old")
    staging = StagedFolder(tmp_path / "out", KIND, overwrite=True)
    staging.open()
    (staging.folder / "done.txt").write_text("new")
    fail_at(monkeypatch, Path, "rename", 2)
    with pytest.raises(ShardError):
        staging.publish()
    fail_at(monkeypatch, Path, "rename", 1)
    with pytest.raises(ShardError, match="the old content cannot be put back: Input/output error; it is in") as error:
        staging.abandon()
    aside = Path(str(error.value).rsplit(" ", 1)[1])
    assert files(aside) == {"done.txt": b"old"}


@pytest.mark.parametrize("call", [1, 2])
def test_a_disk_that_fails_to_sync_keeps_the_old_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    make(tmp_path / "out", "old")
    fail_at(monkeypatch, os, "fsync", call)
    with pytest.raises(ShardError, match="cannot be written: Input/output error"):
        make(tmp_path / "out", "new", overwrite=True)
    assert files(tmp_path) == {"out/done.txt": b"old"}


def test_a_name_that_cannot_be_synced_is_there_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "out", "old")
    write_file(tmp_path / "file", b"old")
    fail_at(monkeypatch, os, "fsync", 3)
    make(tmp_path / "out", "new", overwrite=True)
    fail_at(monkeypatch, os, "fsync", 2)
    write_file(tmp_path / "file", b"new")
    assert files(tmp_path) == {"out/done.txt": b"new", "file": b"new"}


def test_old_content_survives_a_program_that_writes_between_the_renames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "out", "old")
    rename = Path.rename

    def meanwhile(self: Path, target: Path) -> Path:
        moved = rename(self, target)
        if self.name == "out":
            self.mkdir()
            (self / "mine").touch()
        return moved

    monkeypatch.setattr(Path, "rename", meanwhile)
    with pytest.raises(ShardError, match=r"the old content cannot be put back: .*; it is in") as error:
        make(tmp_path / "out", "new", overwrite=True)
    assert files(Path(str(error.value).rsplit(" ", 1)[1])) == {"done.txt": b"old"}
    assert files(tmp_path / "out") == {"mine": b""}


@pytest.mark.parametrize(
    ("entries", "overwrite", "message"),
    [
        ({"done.txt": ""}, False, "the folder holds notes (done.txt); use --overwrite or another folder"),
        (
            {"a.txt": ""},
            False,
            "the folder is not empty (a.txt); --overwrite replaces notes only; choose another folder",
        ),
        ({"done.txt": "", "a.jpg": ""}, True, "--overwrite replaces notes only; the folder has a.jpg; choose another"),
        ({"a.txt": ""}, True, "--overwrite replaces notes only; the folder has no done.txt; choose another folder"),
    ],
)
def test_folders_that_are_not_replaced(tmp_path: Path, entries: dict[str, str], overwrite: bool, message: str) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for name, content in entries.items():
        (out / name).write_text(content)
    before = files(tmp_path)
    with pytest.raises(ShardError) as error:
        make(out, "new", overwrite=overwrite)
    assert str(error.value).startswith(f"{out}: {message}")
    assert files(tmp_path) == before


def test_a_marker_of_another_kind(tmp_path: Path) -> None:
    make(tmp_path / "out", "old")
    kind = FolderKind("notes", "done.txt", is_marker=lambda path: path.read_text() != "old")
    with pytest.raises(ShardError, match=r"the folder has a done\.txt of another kind"):
        StagedFolder(tmp_path / "out", kind, overwrite=True)


def test_an_unfinished_folder_is_replaced_where_the_kind_allows_it(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a.txt").touch()
    with staged_folder(tmp_path / "out", LOOSE, overwrite=True) as folder:
        (folder / "done.txt").write_text("new")
    assert files(tmp_path) == {"out/done.txt": b"new"}


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ShardError, match="file: expected a folder; it is a file"):
        make(tmp_path / "file", "a", overwrite=True)
    with pytest.raises(ShardError, match="/: a mount point, which cannot be replaced; choose a folder inside it"):
        StagedFolder("/", KIND, overwrite=True)
    with pytest.raises(ShardError, match="file/out: cannot be written: "):
        make(tmp_path / "file/out", "a")


def test_files_that_arrive_during_a_run_are_kept(tmp_path: Path) -> None:
    staging = StagedFolder(tmp_path / "out", KIND, overwrite=False)
    staging.open()
    (staging.folder / "done.txt").touch()
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").touch()
    with pytest.raises(ShardError, match=r"the folder is not empty \(mine\)"):
        staging.publish()
    staging.abandon()
    assert files(tmp_path) == {"out/mine": b""}


def test_a_full_disk_names_the_folder(tmp_path: Path) -> None:
    with (
        pytest.raises(ShardError, match="out: cannot be written: No space left on device; the output is unchanged"),
        staged_folder(tmp_path / "out", KIND, overwrite=False),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with (
        pytest.raises(ShardError, match=r"cannot be written: No space left on device; .*; make room there, or choose"),
        staged_folder(tmp_path / "out", KIND, overwrite=False),
    ):
        raise OSError(errno.ENOSPC, "Error writing bytes to file. Detail: [errno 28] No space left on device")  # Arrow
    with pytest.raises(FileNotFoundError, match="elsewhere"), staged_folder(tmp_path / "out", KIND, overwrite=False):
        raise FileNotFoundError(errno.ENOENT, "no such file", "elsewhere")  # an error of another file
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("call", [1, 2])
def test_a_file_appears_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int) -> None:
    write_file(tmp_path / "a", b"old")
    assert files(tmp_path) == {"a": b"old"}
    with pytest.raises(ZeroDivisionError), staged_path(tmp_path / "a") as partial:  # noqa: PT012
        partial.write_bytes(b"half")
        raise ZeroDivisionError
    fail_at(monkeypatch, os if call == 1 else Path, "fsync" if call == 1 else "replace", 1)
    with pytest.raises(ShardError, match="a: cannot be written: Input/output error; the output is unchanged"):
        write_file(tmp_path / "a", b"new")
    assert files(tmp_path) == {"a": b"old"}


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("a", lambda data: data),
        ("a.GZ", gzip.decompress),
        ("a.zst", lambda data: pa.CompressedInputStream(pa.BufferReader(data), "zstd").read()),
        ("a.lz4", lambda data: pa.CompressedInputStream(pa.BufferReader(data), "lz4").read()),
        ("a.bz2", bz2.decompress),
        ("a.xz", lzma.decompress),
    ],
)
def test_streams_are_compressed_by_the_ending_of_their_name(
    tmp_path: Path, name: str, read: Callable[[bytes], bytes]
) -> None:
    with output_stream(tmp_path / name) as stream:
        stream.write(b"some ")
        stream.write(b"bytes")
        assert name not in os.listdir(tmp_path)
    assert {name: read(data) for name, data in files(tmp_path).items()} == {name: b"some bytes"}


def test_a_stream_to_a_link_writes_its_target(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder/target")
    with output_stream(tmp_path / "link") as stream:
        stream.write(b"a")
    assert (tmp_path / "link").is_symlink()
    assert os.listdir(tmp_path / "folder") == ["target"]


def test_a_file_keeps_its_mode(tmp_path: Path) -> None:
    write_file(tmp_path / "a", b"old")
    (tmp_path / "a").chmod(0o640)
    write_file(tmp_path / "a", b"new")
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("out", ["s3://bucket/folder", "gs://bucket/a.txt", "https://host/a"])
def test_an_address_is_not_a_local_name(out: str) -> None:
    with pytest.raises(ShardError, match="cannot be written: expected a local path"):
        StagedFolder(out, KIND, overwrite=True)
    with pytest.raises(ShardError, match="cannot be written: expected a local path"):
        write_file(Path(out), b"a")
    assert not Path(out).exists()


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match="cannot be written: the name is not UTF-8"):
        make(tmp_path / "o\udcff", "a")


def test_a_stream_to_a_device_or_a_pipe(tmp_path: Path) -> None:
    with output_stream("/dev/null") as stream:
        stream.write(b"a")
    message = "/dev/full: cannot be written: No space left on device"
    with pytest.raises(ShardError, match=message), output_stream("/dev/full") as stream:
        stream.write(b"a")
    os.mkfifo(tmp_path / "pipe")
    code = f"import sys; sys.stdout.write(open({str(tmp_path / 'pipe')!r}).read())"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as reader:
        with output_stream(tmp_path / "pipe") as stream:
            stream.write(b"through")
        assert reader.communicate()[0] == b"through"


@pytest.mark.parametrize(
    ("out", "reason"), [(".", "it is a folder"), ("none/out", "no such folder; create the folder .*none$")]
)
def test_streams_that_cannot_be_written(tmp_path: Path, out: str, reason: str) -> None:
    with pytest.raises(ShardError, match=f"cannot be written: {reason}"), output_stream(tmp_path / out) as stream:
        stream.write(b"a")
    assert list(tmp_path.iterdir()) == []


def leave(tmp_path: Path, name: str, content: str = "left") -> Path:
    """Make a hidden folder as a run leaves it that is killed."""
    (tmp_path / name).mkdir()
    (tmp_path / name / "done.txt").write_text(content)
    return tmp_path / name


@pytest.fixture
def dead() -> int:
    """The id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.parametrize("state", ["partial", "replaced"])
def test_what_killed_runs_left_is_cleared(tmp_path: Path, dead: int, state: str) -> None:
    make(tmp_path / "out", "old")
    left = [leave(tmp_path, f".out.{state}-{process}") for process in (dead, f"{dead}-1", os.getpid())]
    others = [leave(tmp_path, f".out2.{state}-{dead}"), leave(tmp_path, f".out.{state}-{os.getppid()}")]
    with pytest.warns(UserWarning, match="removed; a killed run had left it") as warned:
        make(tmp_path / "out", "new", overwrite=True)
    assert {str(each.message) for each in warned} == {f"{path}: removed; a killed run had left it" for path in left}
    assert {path.name for path in tmp_path.iterdir()} == {"out", *(path.name for path in others)}
    assert (tmp_path / "out/done.txt").read_text() == "new"


def test_the_file_of_a_killed_run_is_cleared(tmp_path: Path, dead: int) -> None:
    (tmp_path / f".a.txt.partial-{dead}").touch()
    with pytest.warns(UserWarning, match=f"a.txt.partial-{dead}: removed"):
        write_file(tmp_path / "a.txt", b"new")
    assert files(tmp_path) == {"a.txt": b"new"}


def test_the_old_content_comes_back_after_a_kill_between_the_renames(tmp_path: Path, dead: int) -> None:
    leave(tmp_path, f".out.replaced-{dead}", "old")
    with (
        pytest.warns(UserWarning, match="out: the old content is put back"),
        pytest.raises(ShardError, match="the folder holds notes"),
    ):
        make(tmp_path / "out", "new")
    assert files(tmp_path) == {"out/done.txt": b"old"}


def test_the_hidden_folder_of_a_live_run_is_kept(tmp_path: Path) -> None:
    """Also that of this process, whose id a run in another container may have."""
    with staged_folder(tmp_path / "out", KIND, overwrite=False) as folder:
        (folder / "done.txt").write_text("first")
        StagedFolder(tmp_path / "out", KIND, overwrite=False)
    assert files(tmp_path) == {"out/done.txt": b"first"}


@pytest.mark.parametrize("number", STOPPING)
def test_a_signal_does_not_stop_the_renames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    make(tmp_path / "out", "old")
    rename = Path.rename

    def interrupted(path: Path, target: Path) -> Path:
        signal.raise_signal(number)
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    handler = signal.signal(number, signal.default_int_handler)
    try:
        make(tmp_path / "out", "new", overwrite=True)
    finally:
        signal.signal(number, handler)
    assert files(tmp_path) == {"out/done.txt": b"new"}


@pytest.mark.parametrize("overwrite", ["no", 1, None])
def test_overwrite_is_true_or_false(tmp_path: Path, overwrite: Any) -> None:
    with pytest.raises(ConfigError, match="overwrite: expected true or false; got "):
        StagedFolder(tmp_path / "out", KIND, overwrite=overwrite)
