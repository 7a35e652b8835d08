"""Packing on Ray: the same bytes as one process, whatever the workers, and whoever dies."""

import json
import os
import random
import re
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import seampack
from benchmarks import kills
from seampack.errors import ConfigError, DataError, MissingExtraError, ShardError
from seampack.packer.config import PackConfig
from seampack.packer.folder import PackedFolder
from seampack.packer.packing import pack_partitions
from seampack.packer.ray_worker import Job, Worker
from seampack.packer.work import Work
from tests.packer.corpus import UNFRAMED

ray = pytest.importorskip("ray", reason="ray is not installed")

from seampack.packer import ray as engine  # noqa: E402

pytestmark = pytest.mark.xdist_group("ray")  # one cluster

OPTIONS: dict[str, Any] = {
    "seq_len": 64,
    "partition_bytes": 1 << 16,
    "window_tokens": 4_000,
    "shard_tokens": 6_000,
    "on_bad": "quarantine",
    **UNFRAMED,
}


@pytest.fixture(scope="module", autouse=True)
def _cluster() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Ray itself
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
        yield
        ray.shutdown()


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """About ten partitions, with a record that cannot be read."""
    draw = random.Random(0)
    lines = [json.dumps({"text": " ".join(draw.choices(kills.WORDS, k=draw.randint(1, 120)))}) for _ in range(1_500)]
    lines[700] = '{"text": 5}'
    path = tmp_path / "corpus.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


def split(texts: list[str]) -> tuple[list[str], npt.NDArray[np.int64]]:
    """Cut nothing."""
    return texts, np.arange(len(texts) + 1)


class KillsItsProcess:
    """Cuts nothing, but kills its process the first few times that it gets a text."""

    def __init__(self, folder: Path, times: int) -> None:
        self.folder = folder
        self.times = times

    def __call__(self, texts: list[str]) -> tuple[list[str], npt.NDArray[np.int64]]:
        """Kill, or cut nothing."""
        died = len(os.listdir(self.folder))
        if died < self.times:
            (self.folder / str(died)).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return split(texts)


@pytest.fixture
def deaths(tmp_path: Path) -> Path:
    folder = tmp_path / "deaths"
    folder.mkdir()
    return folder


@pytest.fixture
def whole(corpus: Path) -> dict[str, bytes]:
    """What one process packs."""
    seampack.pack(corpus, out=corpus.parent / "whole", **OPTIONS, split=split)
    return kills.contents(corpus.parent / "whole")


@pytest.mark.parametrize("workers", [1, 2])
def test_the_same_bytes(corpus: Path, whole: dict[str, bytes], workers: int) -> None:
    seen: list[int] = []
    out = corpus.parent / "out"
    manifest = engine.pack(
        corpus,
        out=out,
        workers=workers,
        split=split,
        on_progress=lambda progress: seen.append(progress.documents),
        **OPTIONS,
    )
    assert kills.contents(out) == whole
    assert manifest.quarantined == 1
    assert seen[-1] == manifest.accounting.documents
    assert seen == sorted(seen)
    PackedFolder(out).verify()
    assert sorted(path.name for path in corpus.parent.iterdir()) == ["corpus.jsonl", "out", "whole"]


def test_a_worker_that_is_killed_is_replaced(corpus: Path, whole: dict[str, bytes], deaths: Path) -> None:
    engine.pack(corpus, out=corpus.parent / "out", workers=2, split=KillsItsProcess(deaths, 2), **OPTIONS)
    assert len(os.listdir(deaths)) == 2
    assert kills.contents(corpus.parent / "out") == whole


def test_a_partition_that_kills_every_worker_stops_the_run(corpus: Path, whole: dict[str, bytes], deaths: Path) -> None:
    with pytest.raises(ShardError, match=r"4 workers have died in partition 0, the last one so: .*finished partitions"):
        engine.pack(corpus, out=corpus.parent / "out", workers=1, split=KillsItsProcess(deaths, 4), **OPTIONS)
    assert not (corpus.parent / "out").exists()
    engine.pack(corpus, out=corpus.parent / "out", workers=2, split=split, **OPTIONS)
    assert kills.contents(corpus.parent / "out") == whole


class Killed(BaseException):
    """The end of the process that started the run."""


def test_a_run_that_was_killed_goes_on(corpus: Path, whole: dict[str, bytes]) -> None:
    packed: list[int] = []

    def stop(progress: Any) -> None:
        packed.append(progress.documents)
        if len(packed) == 3:
            raise Killed

    with pytest.raises(Killed):
        engine.pack(corpus, out=corpus.parent / "out", workers=2, split=split, on_progress=stop, **OPTIONS)
    receipts = set((corpus.parent / ".out.partial").glob("receipt-*.json"))
    assert len(receipts) >= 3
    made = {path: path.stat().st_mtime_ns for path in receipts}

    def look(progress: Any) -> None:
        assert all(path.stat().st_mtime_ns == made[path] for path in receipts)

    engine.pack(corpus, out=corpus.parent / "out", workers=2, split=split, on_progress=look, **OPTIONS)
    assert kills.contents(corpus.parent / "out") == whole


def test_one_process_completes_what_ray_began(corpus: Path, whole: dict[str, bytes]) -> None:
    def stop(progress: Any) -> None:
        raise Killed

    with pytest.raises(Killed):
        engine.pack(corpus, out=corpus.parent / "out", workers=1, split=split, on_progress=stop, **OPTIONS)
    seampack.pack(corpus, out=corpus.parent / "out", resume=True, split=split, **OPTIONS)
    assert kills.contents(corpus.parent / "out") == whole


def test_more_workers_than_the_cluster_has_room_for(corpus: Path, whole: dict[str, bytes]) -> None:
    """Those that do not start get no partition."""
    engine.pack(corpus, out=corpus.parent / "out", workers=5, split=split, **OPTIONS)
    assert kills.contents(corpus.parent / "out") == whole


def test_a_cluster_that_is_full_is_named(
    corpus: Path, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_PATIENCE_SECONDS", 0.1)
    other = ray.remote(num_cpus=2)(KillsItsProcess).remote(corpus.parent, 0)
    end = threading.Timer(1, lambda: ray.kill(other))
    end.start()
    with pytest.warns(match="no worker has started in .* seconds: the cluster has no free CPU"):
        engine.pack(corpus, out=corpus.parent / "out", workers=2, split=split, **OPTIONS)
    end.join()
    assert kills.contents(corpus.parent / "out") == whole


def test_workers_that_no_machine_can_run(corpus: Path) -> None:
    with pytest.raises(ConfigError, match="threads: expected at most 2, the CPUs of the largest machine; got 3"):
        engine.pack(corpus, out=corpus.parent / "out", threads=3, **OPTIONS)
    with pytest.raises(ConfigError, match="workers: expected an integer of at least 1; got 0"):
        engine.pack(corpus, out=corpus.parent / "out", workers=0, **OPTIONS)


def test_a_finished_partition_whose_file_has_changed_is_refused(corpus: Path) -> None:
    given = OPTIONS | {"split": split}
    pack_partitions(corpus, out=corpus.parent / "out", chosen=lambda count: [0], **given)
    content = corpus.read_bytes()
    corpus.write_bytes(content[:20] + bytes([content[20] ^ 1]) + content[21:])
    with pytest.raises(DataError, match=r"cannot resume: .*corpus\.jsonl \(partition 0\) has changed since"):
        engine.pack(corpus, out=corpus.parent / "out", workers=1, **given)


def test_a_worker_on_another_machine_has_the_same_program_tokenizer_and_files(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = PackConfig(**OPTIONS)
    work, _ = Work.begin(corpus, config, corpus.parent / "out", "bundled", {}, None)
    job = Job(work, str(corpus.parent / "out"), "bundled", False, split, 1, str(corpus.parent))
    (corpus.parent / "other.txt").write_text("seam pack " * 50)
    seampack.train_tokenizer(corpus.parent / "other.txt", corpus.parent / "t.json", vocab_size=257)
    other = Worker(job._replace(tokenizer=str(corpus.parent / "t.json"))).pack(0)
    assert re.search(r"t\.json: another tokenizer on .*; expected the same on every machine", str(other.error))
    with monkeypatch.context() as patch:
        patch.setattr("seampack.packer.ray_worker.__version__", "9.9")
        assert re.search(r": expected seampack .*, as where the run began; got 9\.9", str(Worker(job).pack(0).error))
    corpus.write_text('{"text": "another corpus"}\n')
    message = r"corpus\.jsonl: expected [\d,]+ bytes, as where the run began; got 27 on .*; workers need the same files"
    assert re.search(message, str(Worker(job).pack(0).error))
    corpus.unlink()
    assert "; got no file on " in str(Worker(job).pack(0).error)


def test_a_folder_that_machines_do_not_share_is_named(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin, check_place, out = engine.Job, engine._check_place, str(corpus.parent / "out")
    elsewhere = str(corpus.parent / "elsewhere")
    monkeypatch.setattr(engine, "Job", lambda work, out, *rest: begin(work, elsewhere, *rest))
    monkeypatch.setattr(engine, "_check_place", lambda job, *rest: check_place(job._replace(out=out), *rest))
    with pytest.raises(ShardError, match=r"out: workers have packed \d+ partition\(s\) that are not there; give"):
        engine.pack(corpus, out=out, workers=1, split=split, **OPTIONS)


def test_errors_of_workers_are_those_of_one_process(corpus: Path) -> None:
    with pytest.raises(DataError, match=r"corpus\.jsonl from byte [\d,]+:\d+: .*skip such records with --on-bad"):
        engine.pack(corpus, out=corpus.parent / "out", workers=2, **OPTIONS | {"on_bad": "stop"})
    assert not (corpus.parent / "out").exists()


def test_standard_input_is_refused() -> None:
    with pytest.raises(ConfigError, match="standard input: expected files, which several processes can read"):
        engine.pack("-", out="out", **OPTIONS)


def test_a_missing_ray_is_named(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"needs ray, which is not installed: pip install 'seampack\[ray\]'"):
        engine.pack(corpus, out=corpus.parent / "out", **OPTIONS)
