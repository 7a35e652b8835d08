"""Training of both directions, in turn or each in its own process. They share only the corpus."""

import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from seampack._memory import keep_freed_memory
from seampack.errors import SeampackError, is_out_of_memory
from seampack.segmenter.config import TrainConfig
from seampack.segmenter.corpus import ChunkCorpus
from seampack.segmenter.direction_trainer import DirectionTrainer, Report, fingerprint, load_state
from seampack.segmenter.initial import Initial
from seampack.segmenter.teacher import DIRECTIONS
from seampack.segmenter.training_folder import Check, share_lock

CORPUS, INITIAL = "corpus.npz", "initial.npz"
OnReport = Callable[[Report], None] | None


@dataclass(frozen=True, slots=True)
class Run:
    """A training of both directions on the corpus in the folder ``checkpoints``, the first or a retry (1, 2, ...)."""

    checkpoints: Path
    config: TrainConfig
    resume: bool
    retry: int = 0

    def result(self, direction: str) -> Path:
        """Return the file with the parameters of a trained direction."""
        return self._path(direction, "done")

    def checkpoint(self, direction: str) -> Path:
        """Return the file with the state of a direction in training."""
        return self._path(direction, "pt")

    def _path(self, direction: str, ending: str) -> Path:
        return self.checkpoints / f"{direction}{f'.retry{self.retry}' if self.retry else ''}.{ending}"


def checked(check: Check, on_report: OnReport) -> Callable[[Report], None]:
    """Return a function that passes a report on and checks the lock of the folder, before a checkpoint is written."""

    def report(progress: Report) -> None:
        if on_report is not None:
            on_report(progress)
        check()

    return report


def train_directions(run: Run, threads: int, on_report: OnReport) -> None:
    """Train both directions, concurrently with two or more ``threads``, and write their results.

    Raises ShardError if a checkpoint cannot be resumed, SeampackError if a training process was killed.
    """
    if threads > 1:
        _train_in_processes(run, threads // 2, on_report)
        return
    for direction in DIRECTIONS:
        train_direction(run, direction, threads, on_report)


def train_direction(run: Run, direction: str, threads: int, on_report: OnReport) -> None:
    """Train one direction and write its result.

    Raises ShardError if a checkpoint is damaged or belongs to another text or config.
    """
    torch.set_num_threads(threads)
    result, checkpoint = run.result(direction), run.checkpoint(direction)
    corpus = ChunkCorpus.load(run.checkpoints / CORPUS)
    backward = direction == "backward"
    path = run.checkpoints / INITIAL
    initial = Initial.load(path) if path.exists() else None
    if run.resume and result.exists():
        load_state(result, fingerprint(corpus.reversed() if backward else corpus, initial), run.config)
        return
    trainer = DirectionTrainer(corpus, run.config, backward=backward, initial=initial)
    if run.resume and checkpoint.exists():
        trainer.resume(checkpoint)
    trainer.run(on_report, checkpoint)
    trainer.save_result(result)


def _train_in_processes(run: Run, threads: int, on_report: OnReport) -> None:
    context = multiprocessing.get_context("spawn")
    reports: Any = context.Queue()
    processes = [
        context.Process(target=_work, args=(run, direction, threads, reports), daemon=True) for direction in DIRECTIONS
    ]
    started = []
    try:
        with _interrupts_blocked():
            for process in processes:
                process.start()
                started.append(process)
        running = len(processes)
        while running:
            try:
                report = reports.get(timeout=1)
            except queue.Empty:
                if any(process.exitcode not in (None, 0) for process in processes):
                    raise SeampackError("a training process was killed; continue with --resume") from None
                continue
            if report is None:
                running -= 1
            elif isinstance(report, SeampackError | MemoryError):
                raise report
            elif isinstance(report, str):
                raise SeampackError(f"training failed: {report}")
            elif on_report is not None:
                on_report(report)
    finally:
        for process in started:
            process.kill()  # safe: checkpoints are written to a temporary file first
        for process in started:
            process.join()


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Start processes with SIGINT blocked: they ignore Ctrl-C, which a terminal sends to the whole command.

    Processes inherit the blocked signals, so the block applies from their first import on; the parent ends them.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(run: Run, direction: str, threads: int, reports: Any) -> None:
    """Train one direction; put its reports into the queue, then None or the error that ended training."""
    keep_freed_memory()
    try:
        with share_lock(run.checkpoints.parent) as check:
            _end_with_parent()
            train_direction(run, direction, threads, checked(check, reports.put))
        reports.put(None)
    except SeampackError as error:
        reports.put(error)
    except Exception as error:  # noqa: BLE001  # the parent raises it
        reports.put(MemoryError() if is_out_of_memory(error) else repr(error))


def _end_with_parent() -> None:
    """End this process when its parent ends in any way: nobody would use the result."""
    parent: Any = multiprocessing.parent_process()

    def wait() -> None:
        parent.join()
        os._exit(1)

    if not parent.is_alive():  # another run may already use the folder
        os._exit(1)
    threading.Thread(target=wait, daemon=True).start()
