"""The folder that training writes into: a run locks it, and no content is replaced silently."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO

from seampack.config import check_flag
from seampack.errors import ShardError
from seampack.io.output import writing
from seampack.segmenter import artifact
from seampack.segmenter.finished_run import GIVEN

CHECKPOINT = ".checkpoint"
_LOCK = ".training"


def check_folder(folder: Path, *, overwrite: bool, resume: bool = False) -> None:
    """Raise ShardError if a run would destroy the content of the folder or finds nothing to resume there.

    With ``resume``, a segmenter may be that of the finished run; ``finished_run`` compares it.
    """
    check_flag("overwrite", overwrite)
    check_flag("resume", resume)
    with writing(folder):
        names = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    names = [name for name in names if name not in (_LOCK, CHECKPOINT)]
    is_stopped = has_checkpoints(folder)
    if overwrite or (resume and is_stopped):
        return
    if is_stopped:
        raise ShardError(
            f"{folder}: holds the checkpoints of a stopped run; continue it with train --resume, "
            "replace them with --overwrite, or choose another folder"
        )
    if any(artifact.is_ours(name) for name in names):
        if resume and artifact.DESCRIPTION in names and GIVEN in artifact.load_description(folder):
            return
        content = "holds a segmenter and nothing to resume" if resume else "holds a segmenter"
        raise ShardError(f"{folder}: {content}; replace it with --overwrite, or choose another folder")
    if resume and names:
        raise ShardError(f"{folder}: nothing to resume: the folder has {names[0]} but no checkpoints")


def has_checkpoints(folder: Path) -> bool:
    """Return whether a direction has a checkpoint; a run that failed before its first checkpoint wrote its corpus."""
    return any(path.suffix in (".pt", ".done") for path in (folder / CHECKPOINT).glob("*"))


Check = Callable[[], None]
"""Raises ShardError if the locked folder was removed. Another run may then write into a folder of this name."""


@contextmanager
def locked(folder: Path) -> Iterator[Check]:
    """Create the folder and lock it; give a check to call before writing. Raise ShardError if another run locks it.

    The lock is released when this process and its workers, which join it with ``share_lock``, have ended.
    """
    path = folder / _LOCK
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        file = path.open("w")
    with file:
        try:
            # first exclusive, to exclude other runs, then shared with the workers, which may outlive their parent
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            if not _is_at(file, path):
                raise BlockingIOError("the lock file was removed by a run that ended just now")
        except BlockingIOError as error:
            raise ShardError(f"{folder}: another run is writing into this folder") from error
        try:
            yield partial(_check, file, path)
        finally:
            if _is_at(file, path):
                path.unlink(missing_ok=True)


@contextmanager
def share_lock(folder: Path) -> Iterator[Check]:
    """Hold the lock of the folder jointly with the run that owns it. Raise OSError if there is no lock."""
    path = folder / _LOCK
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        yield partial(_check, file, path)


def _is_at(file: IO[str], path: Path) -> bool:
    """Return whether an open file still has its path."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:
        return False


def _check(file: IO[str], path: Path) -> None:
    if not _is_at(file, path):
        raise ShardError(
            f"{path.parent}: the folder was removed while this run was writing into it; nothing was saved; run again"
        )
