"""Output folders that appear whole or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from seampack.errors import ShardError


@contextmanager
def new_folder(out: Path, *, overwrite: bool, marker: str) -> Iterator[Path]:
    """A hidden folder beside ``out`` to write into; it takes the place of ``out`` when the block ends well.

    What stands there is replaced only with ``overwrite``, and only where it has the file ``marker``. Raises ShardError
    when ``out`` may not be replaced or cannot be written.
    """
    target = Path(os.path.realpath(out))
    missing = [parent for parent in target.parents if not parent.exists()]  # the innermost first
    try:
        try:
            _check(out, target, overwrite, marker)
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = Path(tempfile.mkdtemp(prefix=f".{target.name}.partial-", dir=target.parent))
        except OSError as error:
            raise ShardError(f"{out}: cannot be written: {error.strerror}") from error
        try:
            yield partial
            try:
                _publish(out, partial, target, overwrite, marker)
            except OSError as error:
                raise ShardError(f"{out}: cannot be written: {error.strerror or error}; nothing was kept") from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    finally:
        with suppress(OSError):  # not empty: there is the result, or what others have put there meanwhile
            for parent in missing:
                parent.rmdir()


def _publish(out: Path, partial: Path, target: Path, overwrite: bool, marker: str) -> None:
    _check(out, target, overwrite, marker)
    partial.chmod(0o777 & ~_umask())
    if target.exists():
        replaced = Path(tempfile.mkdtemp(prefix=f".{target.name}.replaced-", dir=target.parent))
        target.rename(replaced / target.name)
        partial.rename(target)
        shutil.rmtree(replaced, ignore_errors=True)
    else:
        partial.rename(target)


def _check(out: Path, target: Path, overwrite: bool, marker: str) -> None:
    if not target.exists():
        return
    if not target.is_dir():
        raise ShardError(f"{out}: expected a folder; it is a file")
    names = sorted(os.listdir(target))
    if not names:
        return
    if not overwrite:
        raise ShardError(f"{out}: the folder is not empty ({names[0]}); use --overwrite or another folder")
    if marker not in names:
        raise ShardError(f"{out}: --overwrite replaces only what this command wrote; the folder has no {marker}")


def _umask() -> int:
    """The process's umask, which can only be read by setting it."""
    umask = os.umask(0)
    os.umask(umask)
    return umask
