"""Training in several processes: they end with their parent, and on Ctrl-C without noise."""

import os
import pickle
import queue
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from unittest.mock import Mock

import pytest

from seampack.errors import MissingExtraError, ShardError
from tests.conftest import command, obey_interrupts

pytest.importorskip("torch")

from seampack.segmenter import training_processes
from seampack.segmenter.direction_trainer import Report
from seampack.segmenter.training import train
from seampack.segmenter.training_folder import CHECKPOINT
from tests.segmenter import tiny
from tests.segmenter.language import QUICK, sentences
from tests.segmenter.runs import StoppedError, assert_same_arrays

linux = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")


LONG = QUICK.replace(epochs=4)  # long enough to be stopped on the way


@contextmanager
def training(folder: Path) -> Iterator[tuple["subprocess.Popen[bytes]", list[int]]]:
    """A real process that trains with the options LONG into ``folder/m``, and its workers, after a checkpoint each."""
    raw = folder / "raw.txt"
    raw.write_text("".join(text + "\n" for text in sentences(100)[0]), encoding="utf-8")
    options = [f"--{name.replace('_', '-')}={getattr(LONG, name)}" for name in ("hidden", "epochs", "batch_units")]
    line = command("segment", "train", raw, "-o", folder / "m", "--threads=2", "--validate-every=5", *options)
    process = subprocess.Popen(line, stderr=subprocess.PIPE, start_new_session=True, preexec_fn=obey_interrupts)
    deadline = time.monotonic() + 300
    checkpoints = [folder / "m" / CHECKPOINT / f"{name}.pt" for name in ("forward", "backward")]
    try:
        while not all(path.exists() for path in checkpoints):
            if process.poll() is not None or time.monotonic() > deadline:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)  # the workers hold stderr open, too
                pytest.fail(f"no checkpoints of both directions: {process.communicate()[1].decode()}")
            # the first worker waits, so that both still run however far apart they start
            for path, worker in zip(checkpoints, workers(process.pid), strict=False):
                if path.exists():
                    os.kill(worker, signal.SIGSTOP)
            time.sleep(0.01)
        found = workers(process.pid)
        for worker in found:
            os.kill(worker, signal.SIGCONT)
        yield process, found
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def workers(parent: int) -> list[int]:
    """The workers in the order of their start: forward, backward."""
    processes = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()  # from the third on: state, parent
            if int(fields[1]) == parent and b"spawn_main" in (folder / "cmdline").read_bytes():
                processes.append((int(fields[19]), int(folder.name)))  # starttime, in hundredths of a second
    return [process for _, process in sorted(processes)]


def ended(process: int) -> bool:
    """Whether a process has ended; a zombie has."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_workers_can_report_what_is_missing() -> None:
    error = MissingExtraError("gensim", "segmenter", "training a segmenter")
    found = pickle.loads(pickle.dumps(error))
    assert (str(found), found.package, found.extra) == (str(error), "gensim", "segmenter")


@linux
def test_ctrl_c_ends_training_without_noise(tmp_path: Path) -> None:
    with training(tmp_path) as (process, found):
        assert len(found) == 2
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in errors
    assert errors.endswith(
        b"seampack: interrupted; run the same command with --resume to continue from the last checkpoint\n"
    )
    assert all(map(ended, found))
    texts, _ = sentences(100)
    with warnings.catch_warnings():  # a worker may have been writing a checkpoint when it was ended
        warnings.filterwarnings("ignore", message=r".*\.partial-\d+: removed; a killed run had left it")
        train([texts], LONG, tmp_path / "m", resume=True, threads=1)
    train([texts], LONG, tmp_path / "whole", threads=1)
    assert_same_arrays(tmp_path / "m", tmp_path / "whole")


def busy(process: int) -> float:
    """The CPU seconds of the threads of a process besides its main thread."""
    ticks = 0
    for thread in Path(f"/proc/{process}/task").glob("[0-9]*"):
        with suppress(OSError):
            fields = (thread / "stat").read_text().rpartition(")")[2].split()
            ticks += 0 if int(thread.name) == process else int(fields[11]) + int(fields[12])  # user and system
    return ticks / os.sysconf("SC_CLK_TCK")


@linux
def test_signals_end_a_run_while_the_language_models_compute(tmp_path: Path) -> None:
    raw, model = tmp_path / "raw.txt", tiny.save(tmp_path / "m", teacher=True, hidden=256)
    raw.write_text(f"{tiny.TEXT * 200}\n" * 400, "utf-8")  # half a minute of work
    lines = {
        signal.SIGINT: command("segment", "distill", raw, "--teacher", model, "-o", tmp_path / "student"),
        signal.SIGTERM: command("segment", "apply", "--exact", raw, "-m", model, "-o", tmp_path / "words"),
    }
    for number, line in lines.items():
        process = subprocess.Popen(line, stderr=subprocess.PIPE, preexec_fn=obey_interrupts)
        deadline = time.monotonic() + 60
        while busy(process.pid) < 0.2 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(number)
        try:
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
        assert (process.returncode, errors) == (128 + number, b"seampack: interrupted; the output is unchanged\n")


@linux
def test_workers_end_with_a_killed_parent(tmp_path: Path) -> None:
    """While a worker is still running, a second run is refused."""
    texts, _ = sentences(100)
    with training(tmp_path) as (process, found):
        for worker in found:
            os.kill(worker, signal.SIGSTOP)
        process.kill()
        process.wait()
        with pytest.raises(ShardError, match="another run is writing into this folder"):
            train([texts], LONG, tmp_path / "m", resume=True, threads=1)
        for worker in found:
            os.kill(worker, signal.SIGCONT)
        for _ in range(6000):
            if all(map(ended, found)):
                break
            time.sleep(0.01)
        assert all(map(ended, found))

    def stop(report: Report) -> None:
        assert report.step > 5  # resumed from a checkpoint
        raise StoppedError

    with pytest.raises(StoppedError):
        train([texts], LONG, tmp_path / "m", resume=True, threads=1, on_report=stop)


@pytest.mark.parametrize(
    "error", [MemoryError("numpy"), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate")]
)
def test_a_worker_without_memory_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    (tmp_path / ".training").touch()
    monkeypatch.setattr(training_processes, "_end_with_parent", lambda: None)
    monkeypatch.setattr(training_processes, "train_direction", Mock(side_effect=error))
    reports: queue.Queue[object] = queue.Queue()
    run = training_processes.Run(tmp_path / "checkpoints", LONG, resume=False)
    training_processes._work(run, "forward", 1, reports)
    assert isinstance(reports.get(), MemoryError)
