"""Where a packing run writes: a hidden folder beside the output, which takes the output's place when it is whole."""

import itertools
import json
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow as pa

from seampack.errors import ShardError
from seampack.packer.manifest import FORMAT, MANIFEST, is_packed_name


class Staging:
    """The hidden folder beside ``out`` that a run writes into, and its way to the place of ``out``.

    Raises ShardError when ``out`` may not be replaced: checked at once, before a long run, and again at its end.
    """

    def __init__(self, out: Path, overwrite: bool) -> None:
        self.out = out
        self._overwrite = overwrite
        with writing(out):
            self._target = Path(os.path.realpath(out))
            self._check()
        self.folder = self._beside("partial")
        self._aside: Path | None = None  # where the folder goes that is replaced
        self._made: list[Path] = []  # parents that were missing, the deepest first

    def _check(self) -> None:
        if not self._target.exists():
            return
        if not self._target.is_dir():
            raise ShardError(f"{self.out}: expected a folder; it is a file")
        if os.path.ismount(self._target):
            raise ShardError(f"{self.out}: a mount point, which cannot be replaced; choose a folder inside it")
        with os.scandir(self._target) as entries:
            found = sorted((entry.name, is_packed_name(entry.name) and entry.is_file()) for entry in entries)
        if not found:
            return
        names = [name for name, _ in found]
        if not self._overwrite:
            state = "holds packed shards" if MANIFEST in names else "is not empty"
            raise ShardError(f"{self.out}: the folder {state} ({names[0]}); use --overwrite or another folder")
        only = f"{self.out}: --overwrite replaces packed shards only; the folder has"
        for name, ours in found:
            if not ours:
                raise ShardError(f"{only} {name}; choose another folder")
        if MANIFEST in names and not _is_own_manifest(self._target / MANIFEST):
            raise ShardError(f"{only} a {MANIFEST} that is not of packed shards; choose another folder")

    def _beside(self, state: str) -> Path:
        """A hidden name beside the folder that is free: a killed run may have had this process's number."""
        for number in itertools.count():
            suffix = f"-{number}" if number else ""
            path = self._target.with_name(f".{self._target.name}.{state}-{os.getpid()}{suffix}")
            if not path.exists():
                break
        return path

    def open(self) -> None:
        """Make the hidden folder."""
        self._made = [parent for parent in self._target.parents if not parent.exists()]
        self._target.parent.mkdir(parents=True, exist_ok=True)
        self.folder.mkdir()

    def publish(self) -> None:
        """Put the hidden folder, now whole, in the place of ``out``; what stood there goes last."""
        self._check()
        if self._target.exists():
            self._aside = self._beside("replaced")
            self._target.rename(self._aside)
        self.folder.rename(self._target)
        for path in (self._target, *self._made):
            sync(path.parent)
        if self._aside is not None:
            shutil.rmtree(self._aside, ignore_errors=True)

    def abandon(self) -> None:
        """Leave everything as it was before; after ``publish`` there is nothing to do."""
        with suppress(OSError):
            if self._aside is not None and not self._target.exists():
                self._aside.rename(self._target)
            elif self._aside is not None:
                shutil.rmtree(self._aside, ignore_errors=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        with suppress(OSError):
            for parent in self._made:
                parent.rmdir()


def _is_own_manifest(path: Path) -> bool:
    try:
        content = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError):
        return False
    return isinstance(content, dict) and content.get("format") == FORMAT


def sync(path: Path) -> None:
    """Have a file or folder on the disk before going on."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let no further Ctrl-C stop the clean-up after the first one; only the main thread receives them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


@contextmanager
def writing(out: Path) -> Iterator[None]:
    """Name the folder in errors of the file system."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise ShardError(f"{out}: cannot be written: {reason}; nothing was kept") from error
