"""Hidden names next to an output: ``.NAME.partial-PID`` while it is written, ``.NAME.replaced-PID`` for the old one.

A running process locks its hidden paths. A killed one leaves them, unlocked, to the next run of the same output.
"""

import fcntl
import itertools
import os
import re
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from seampack.errors import ShardError

PARTIAL, REPLACED = "partial", "replaced"


def hidden_path(target: Path, state: str) -> Path:
    """Return an unused hidden name next to a path."""
    for number in itertools.count():
        suffix = f"-{number}" if number else ""
        path = target.with_name(f".{target.name}.{state}-{os.getpid()}{suffix}")
        if not path.exists():
            break
    return path


@contextmanager
def claimed(path: Path, *, shared: bool = False) -> Iterator[None]:
    """Lock a path, which shows other runs that the processes that write it are alive. A rename keeps the lock."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if shared:
                raise ShardError(f"{path}: another run is writing there alone; wait for it") from error
        except OSError:
            pass  # a file system without locks: other runs leave the path alone
        yield
    finally:
        os.close(descriptor)


def clear_abandoned(target: Path) -> None:
    """Remove what killed runs have left next to a path, with a warning that names it.

    If a run was killed between its two renames, the old content of ``target`` is put back.
    """
    for path, state in _abandoned(target):
        if state == REPLACED and not target.exists():
            path.rename(target)
            warnings.warn(f"{target}: the old content is put back; a killed run had moved it to {path}", stacklevel=3)
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        if not path.exists():
            warnings.warn(f"{path}: removed; a killed run had left it", stacklevel=3)


def _abandoned(target: Path) -> Iterator[tuple[Path, str]]:
    """Yield the hidden paths of ended processes, with their states."""
    name = re.compile(rf"\.{re.escape(target.name)}\.({PARTIAL}|{REPLACED})-(\d{{1,9}})(-\d+)?")
    try:
        entries = sorted(os.listdir(target.parent))
    except OSError:
        return
    for entry in entries:
        match = name.fullmatch(entry)
        if match and not _is_running(int(match[2])) and is_unlocked(target.with_name(entry)):
            yield target.with_name(entry), match[1]


def _is_running(process: int) -> bool:
    """Return whether another process has this id. An earlier process may have had the id of this one (containers)."""
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def is_unlocked(path: Path) -> bool:
    """Return whether no process holds the lock of a path, such as one in another container."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True
