"""The folder that training writes into: a run locks it, and no content is replaced silently."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from seampack.config import check_flag
from seampack.errors import ShardError
from seampack.io.output import writing
from seampack.segmenter import artifact

CHECKPOINT = ".checkpoint"
_LOCK = ".training"


def check_folder(folder: Path, *, overwrite: bool, resume: bool = False) -> None:
    """Raise ShardError if a run would destroy the content of the folder or finds nothing to resume there."""
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
        content = "holds a segmenter and nothing to resume" if resume else "holds a segmenter"
        raise ShardError(f"{folder}: {content}; replace it with --overwrite, or choose another folder")
    if resume and names:
        raise ShardError(f"{folder}: nothing to resume: the folder has {names[0]} but no checkpoints")


def has_checkpoints(folder: Path) -> bool:
    """Return whether a direction has a checkpoint; a run that failed before its first checkpoint wrote its corpus."""
    return any(path.suffix in (".pt", ".done") for path in (folder / CHECKPOINT).glob("*"))


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Create the folder and lock it. Raise ShardError if another run holds the lock.

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
            if not os.fstat(file.fileno()).st_nlink:
                raise BlockingIOError("the lock file was removed by a run that ended just now")
        except BlockingIOError as error:
            raise ShardError(f"{folder}: another run is writing into this folder") from error
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


@contextmanager
def share_lock(folder: Path) -> Iterator[None]:
    """Hold the lock of the folder jointly with the run that owns it. Raise OSError if there is no lock."""
    with (folder / _LOCK).open() as file:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        yield
