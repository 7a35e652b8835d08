"""From raw text to a segmenter on disk: both directions of the language model, each in a process, then the student."""

import fcntl
import math
import multiprocessing
import os
import queue
import shutil
import signal
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from seampack._memory import keep_freed_memory
from seampack.errors import ConfigError, DataError, SeampackError, ShardError
from seampack.segmenter import _kernels as kernels
from seampack.segmenter import artifact, decoders
from seampack.segmenter.config import DistillConfig, TrainConfig
from seampack.segmenter.corpus import ChunkCorpus, Vocabulary
from seampack.segmenter.decoders import Lattices
from seampack.segmenter.direction_trainer import DirectionTrainer, Report, load_state
from seampack.segmenter.model import Segmenter
from seampack.segmenter.student import Student, train_student
from seampack.segmenter.teacher import Teacher
from seampack.segmenter.units import Alphabet, Units

CHECKPOINT = ".checkpoint"
_LOCK = ".training"
_DIRECTIONS = ("forward", "backward")


def train(
    lines: Iterable[list[str]],
    config: TrainConfig,
    out: str | os.PathLike[str],
    *,
    resume: bool = False,
    overwrite: bool = False,
    threads: int | None = None,
    distill: DistillConfig | None = None,
    on_report: Callable[[Report], None] | None = None,
) -> dict[str, Any]:
    """Train a segmenter on raw text and write it to the folder ``out``; returns its description.

    ``lines``: batches of texts; all of it is held in memory. Both directions are trained at once where there are two
    ``threads``. ``resume`` takes up the checkpoints of a run that was stopped, and comes to the same result; where
    there is no folder yet, or an empty one, it warns and trains from the beginning. ``overwrite`` trains anew where
    the folder holds a segmenter or checkpoints; the old segmenter stays until the new one is written. With both,
    checkpoints are taken up where there are some. The student is distilled from the finished model on the same text.

    Raises DataError for a text that has nothing to learn from, ShardError for a folder that cannot be written, that
    would be overwritten, that another run is writing into, or that holds nothing to resume or checkpoints of another
    text or other options, MissingExtraError without gensim, SeampackError where a training process was killed.
    """
    folder = Path(out)
    _check_out(folder, overwrite=overwrite, resume=resume)
    units = _joined(lines, Alphabet(config.script))
    vocabulary = Vocabulary.of(units, config.least_count)
    corpus = ChunkCorpus.of(units, vocabulary, config.chunk_units)
    if corpus.chunks < 10:
        raise DataError(f"the text has {units.key.size:,} units in {corpus.chunks} chunks: too little to train on")
    with _only_run(folder):
        _check_out(folder, overwrite=overwrite, resume=resume)
        checkpoints = folder / CHECKPOINT
        if resume and not _has_checkpoints(folder):
            warnings.warn(f"{folder}: nothing to resume; training begins anew", stacklevel=2)
        if not resume:
            shutil.rmtree(checkpoints, ignore_errors=True)
        with _writing(folder):
            checkpoints.mkdir(exist_ok=True)
            np.savez(checkpoints / "corpus.npz", **asdict(corpus))
        workers = threads or len(os.sched_getaffinity(0))
        if workers > 1:
            _train_both(checkpoints, config, resume, max(1, workers // 2), on_report)
        else:
            for direction in _DIRECTIONS:
                train_direction(checkpoints, config, direction, resume, 1, on_report)
        state: dict[str, npt.NDArray[Any]] = {}
        nats: dict[str, float | None] = {}
        seconds: dict[str, float] = {}
        for direction in _DIRECTIONS:
            found = torch.load(checkpoints / f"{direction}.done", weights_only=True)
            state |= {f"{direction}.{name}": value.numpy() for name, value in found["model"].items()}
            nats[direction] = found["best"] if math.isfinite(found["best"]) else None
            seconds[direction] = found["cpu_seconds"]
        teacher = Teacher(vocabulary, config.to_dict(), state)
        lattices = teacher.lattices(units)
        student = _distilled([lattices], 1, units, distill or DistillConfig(seed=config.seed))
        facts = {
            "script": config.script,
            "config": config.to_dict(),
            "units": int(units.key.size),
            "vocabulary": vocabulary.size,
            "validation_nats": nats,
            "training_cpu_seconds": seconds,
            "agreement": lattices.agreement(corpus.open_places),
        }
        parts = {"student": student.to_arrays(), "teacher": {"vocabulary": vocabulary.keys.view(np.int64), **state}}
        artifact.save(folder, facts, parts)
        shutil.rmtree(checkpoints)
        return artifact.load_description(folder)


def _check_out(folder: Path, *, overwrite: bool, resume: bool = False) -> None:
    """Raise ShardError where a run would destroy what the folder holds, or finds nothing there to take up."""
    with _writing(folder):
        names = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    names = [name for name in names if name not in (_LOCK, CHECKPOINT)]
    stopped = _has_checkpoints(folder)
    if overwrite or (resume and stopped):
        return
    if stopped:
        raise ShardError(
            f"{folder}: holds the checkpoints of a run that was stopped; go on with train --resume, "
            "use --overwrite to replace them, or another folder"
        )
    if any(artifact.is_ours(name) for name in names):
        what = "holds a segmenter, with nothing to resume" if resume else "holds a segmenter"
        raise ShardError(f"{folder}: {what}; use --overwrite to replace it, or another folder")
    if resume and names:
        raise ShardError(f"{folder}: nothing to resume: the folder has {names[0]}, but no checkpoints")


def _has_checkpoints(folder: Path) -> bool:
    """Whether there is one of either direction; a run that failed before its first leaves the corpus alone."""
    return any(path.suffix in (".pt", ".done") for path in (folder / CHECKPOINT).glob("*"))


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Name the folder in errors of the file system."""
    try:
        yield
    except OSError as error:
        raise ShardError(f"{folder}: cannot be written: {error}") from error


@contextmanager
def _only_run(folder: Path) -> Iterator[None]:
    """Make the folder, and refuse a second run into it; the lock ends with the process and its workers."""
    path = folder / _LOCK
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        file = path.open("w")
    with file:
        try:
            # exclusive to get in alone, then shared with this run's workers: those that outlive it hold it still
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            if not os.fstat(file.fileno()).st_nlink:
                raise BlockingIOError("a run that ended just now took the file with it")
        except BlockingIOError as error:
            raise ShardError(f"{folder}: another run is writing into this folder") from error
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def distill(
    teachers: Sequence[Segmenter],
    lines: Iterable[list[str]],
    out: str | os.PathLike[str],
    *,
    config: DistillConfig | None = None,
    keep_teacher: bool = False,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Train one student on what one teacher or several say of a text; returns its description.

    Several teachers vote: their probabilities are averaged, and so are their decisions. ``keep_teacher`` writes the one
    teacher beside its student, for exact decoding. Raises DataError for teachers of different scripts or a text that
    has nothing to learn from, ConfigError where several teachers should be kept.
    """
    if not teachers:
        raise DataError("distillation needs at least one teacher")
    if keep_teacher and len(teachers) > 1:
        raise ConfigError(f"keep_teacher: a model holds one teacher; got {len(teachers)}")
    scripts = sorted({teacher.description["script"] for teacher in teachers})
    if len(scripts) > 1:
        raise DataError(f"the teachers are of different scripts: {', '.join(scripts)}")
    folder = Path(out)
    if folder.exists() and any(os.path.samefile(teacher.folder, folder) for teacher in teachers):
        raise ShardError(f"{folder}: a teacher's own folder; choose another for its student")
    _check_out(folder, overwrite=overwrite)
    units = _joined(lines, Alphabet(scripts[0]))
    with _only_run(folder):
        _check_out(folder, overwrite=overwrite)
        lattices = (teacher._teacher.lattices(units) for teacher in teachers)
        student = _distilled(lattices, len(teachers), units, config or DistillConfig())
        facts = {
            "script": scripts[0],
            "config": (config or DistillConfig()).to_dict(),
            "units": int(units.key.size),
            "teachers": [teacher.description["config"] for teacher in teachers],
        }
        parts = {"student": student.to_arrays()}
        if keep_teacher:
            facts = {**artifact.facts(teachers[0].description), "student": facts}
            parts["teacher"] = artifact.load_part(teachers[0].folder, "teacher", teachers[0].description)
        artifact.save(folder, facts, parts)
        shutil.rmtree(folder / CHECKPOINT, ignore_errors=True)
        return artifact.load_description(folder)


def _distilled(all_lattices: Iterable[Lattices], teachers: int, units: Units, config: DistillConfig) -> Student:
    probabilities = np.zeros(units.key.size, np.float32)
    ends = np.zeros(units.key.size, np.float32)
    for lattices in all_lattices:
        posteriors = lattices.posteriors()
        probabilities += kernels.end_posteriors(posteriors, lattices.offsets).astype(np.float32) / teachers
        ends += decoders.decoder(decoders.DEFAULT)(lattices) / np.float32(teachers)
    return train_student(units, np.minimum(probabilities, 1), ends, config)


def _joined(lines: Iterable[list[str]], alphabet: Alphabet) -> Units:
    """Units of all texts; a text's offsets count from the first text's begin."""
    parts = [alphabet.units(batch)[0] for batch in lines]
    if not parts:
        raise DataError("there is no text")
    shift = np.cumsum([0, *(part.key.size for part in parts)])[:-1]
    offsets = [part.offsets[1:] + before for part, before in zip(parts, shift, strict=True)]
    names = ("begin", "end", "kind", "key", "spaced")
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return Units(**columns, offsets=np.concatenate([[0], *offsets]))


def train_direction(
    checkpoints: Path,
    config: TrainConfig,
    direction: str,
    resume: bool,
    threads: int,
    on_report: Callable[[Report], None] | None = None,
) -> None:
    """Train one direction on the corpus that ``checkpoints`` holds, and leave its parameters there.

    Raises ShardError for a checkpoint to be resumed that is damaged or of another text or config.
    """
    torch.set_num_threads(threads)
    done, checkpoint = checkpoints / f"{direction}.done", checkpoints / f"{direction}.pt"
    with np.load(checkpoints / "corpus.npz") as arrays:
        corpus = ChunkCorpus(arrays["ids"], arrays["single"], arrays["offsets"], int(arrays["vocab_size"]))
    backward = direction == "backward"
    if resume and done.exists():
        load_state(done, corpus.reversed() if backward else corpus, config)
        return
    trainer = DirectionTrainer(corpus, config, backward=backward)
    if resume and checkpoint.exists():
        trainer.resume(checkpoint)
    trainer.run(on_report, checkpoint)
    trainer.save_result(done)


def _train_both(
    checkpoints: Path, config: TrainConfig, resume: bool, threads: int, on_report: Callable[[Report], None] | None
) -> None:
    """Both directions at once, each in a process of its own: they share nothing but the corpus."""
    context = multiprocessing.get_context("spawn")
    reports: Any = context.Queue()
    processes = [
        context.Process(target=_worker, args=(checkpoints, config, direction, resume, threads, reports), daemon=True)
        for direction in _DIRECTIONS
    ]
    started = []
    try:
        with _interrupts_held():
            for process in processes:
                process.start()
                started.append(process)
        running = len(processes)
        while running:
            try:
                report = reports.get(timeout=1)
            except queue.Empty:
                if any(process.exitcode not in (None, 0) for process in processes):
                    raise SeampackError("a training process was killed; go on with --resume") from None
                continue
            if report is None:
                running -= 1
            elif isinstance(report, SeampackError):
                raise report
            elif isinstance(report, str):
                raise SeampackError(f"training failed: {report}")
            elif on_report is not None:
                on_report(report)
    finally:
        for process in started:
            process.kill()  # what they write, they write beside its place
        for process in started:
            process.join()


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Processes that are started here get no Ctrl-C: a terminal sends it to all of a command's processes at once.

    They inherit what is blocked, so this holds while they import, too; it is for the parent to end them.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _worker(checkpoints: Path, config: TrainConfig, direction: str, resume: bool, threads: int, reports: Any) -> None:
    keep_freed_memory()
    try:
        with (checkpoints.parent / _LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            _end_with_parent()
            train_direction(checkpoints, config, direction, resume, threads, reports.put)
        reports.put(None)
    except SeampackError as error:
        reports.put(error)
    except Exception as error:  # noqa: BLE001  # told to the parent, which raises it
        reports.put(repr(error))


def _end_with_parent() -> None:
    """End this process when its parent has ended, however that was: nobody would take the result."""
    parent: Any = multiprocessing.parent_process()

    def wait() -> None:
        parent.join()
        os._exit(1)

    if not parent.is_alive():  # another run may have the folder by now
        os._exit(1)
    threading.Thread(target=wait, daemon=True).start()
