"""Machines that fail a run: full and read-only disks, missing permission, a worker that raises, a clock that jumps."""

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import seampack
from benchmarks import kills
from seampack.packer.folder import PackedFolder
from seampack.packer.tokenizing import TextTokenizer
from tests.conftest import command
from tests.packer.corpus import UNFRAMED

OPTIONS: dict[str, Any] = {"seq_len": 64, "partition_bytes": 1 << 16, "shard_tokens": 20_000, **UNFRAMED}
ARGUMENTS = [word for name, value in OPTIONS.items() for word in (f"--{name.replace('_', '-')}", str(value))]
NOBODY = 65534


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """About 1 MB in several partitions."""
    draw = random.Random(0)
    lines = [json.dumps({"text": " ".join(draw.choices(kills.WORDS, k=draw.randint(1, 120)))}) for _ in range(3_000)]
    path = tmp_path / "corpus.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


def mount(*arguments: object) -> bool:
    return subprocess.run(["mount", *map(str, arguments)], capture_output=True, check=False).returncode == 0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    try:
        mounted = os.geteuid() == 0 and mount("-t", "tmpfs", "-o", "size=256k", "tmpfs", place)
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("no disk can be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def pack(corpus: Path, out: Path, *more: str, **settings: Any) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        command("pack", corpus, "-o", out, "--tokenizer", "bundled", *ARGUMENTS, *more),
        capture_output=True,
        timeout=120,
        check=False,
        **settings,
    )


def test_a_full_disk_loses_nothing(corpus: Path, disk: Path, tmp_path: Path) -> None:
    seampack.pack(corpus, out=tmp_path / "whole", **OPTIONS)
    run = pack(corpus, disk / "out")
    assert run.returncode == 1
    last = run.stderr.decode().splitlines()[-1]
    assert f"{disk / 'out'}: cannot be written: " in last
    assert "No space left on device" in last
    assert not (disk / "out").exists()
    assert mount("-o", "remount,size=64m", disk)
    again = pack(corpus, disk / "out", "--resume")
    assert again.returncode == 0, again.stderr
    assert kills.contents(disk / "out") == kills.contents(tmp_path / "whole")


def test_a_read_only_disk_is_named(corpus: Path, disk: Path) -> None:
    assert mount("-o", "remount,ro", disk)
    run = pack(corpus, disk / "out")
    assert run.returncode == 1
    assert f"{disk / 'out'}: cannot be written: Read-only file system" in run.stderr.decode().splitlines()[-1]


def as_nobody() -> None:
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


def test_missing_permission_is_named(corpus: Path, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    probe = [sys.executable, "-c", "import seampack.packer.packing"]
    try:
        subprocess.run(probe, capture_output=True, preexec_fn=as_nobody, check=True)
    except (PermissionError, subprocess.CalledProcessError):
        pytest.skip("another user cannot run this Python")
    for folder in (tmp_path, *tmp_path.parents):
        if not folder.stat().st_mode & 0o001:
            pytest.skip("another user cannot reach the files of this test")
    (tmp_path / "mine").mkdir(mode=0o700)
    run = pack(corpus, tmp_path / "mine" / "out", preexec_fn=as_nobody)
    assert run.returncode == 1
    assert "Permission denied" in run.stderr.decode().splitlines()[-1]
    assert list((tmp_path / "mine").iterdir()) == []
    corpus.chmod(0o600)
    run = pack(corpus, tmp_path / "out", preexec_fn=as_nobody)
    assert run.returncode == 1
    assert f"{corpus}: cannot be opened: Permission denied" in run.stderr.decode().splitlines()[-1]


def test_a_worker_that_raises_ends_the_run(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its error is not lost; what was finished is kept, and gives the same folder."""
    seampack.pack(corpus, out=corpus.parent / "whole", **OPTIONS)
    encode, calls = TextTokenizer.encode, iter(range(1_000))

    def fail(self: TextTokenizer, *arguments: Any, **settings: Any) -> Any:
        if next(calls) == 5:
            raise RuntimeError("a fault of the tokenizer")
        return encode(self, *arguments, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(TextTokenizer, "encode", fail)
        with pytest.raises(RuntimeError, match="a fault of the tokenizer"), pytest.warns(match="are kept in"):
            seampack.pack(corpus, out=corpus.parent / "out", threads=1, **OPTIONS)
    assert not (corpus.parent / "out").exists()
    seampack.pack(corpus, out=corpus.parent / "out", resume=True, **OPTIONS)
    assert kills.contents(corpus.parent / "out") == kills.contents(corpus.parent / "whole")


def test_a_clock_that_jumps_changes_nothing(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seampack.pack(corpus, out=corpus.parent / "whole", **OPTIONS)
    draw = random.Random(0)
    for name in ("time", "perf_counter", "monotonic"):
        monkeypatch.setattr(time, name, lambda: draw.uniform(-1e9, 1e10))
    seampack.pack(corpus, out=corpus.parent / "out", **OPTIONS)
    monkeypatch.undo()
    assert kills.contents(corpus.parent / "out") == kills.contents(corpus.parent / "whole")
    for year in (0, 4_102_444_800):  # 1970 and 2100
        os.utime(corpus, (year, year))
        seampack.pack(corpus, out=corpus.parent / "out", overwrite=True, **OPTIONS)
        PackedFolder(corpus.parent / "out").verify()
