"""The worker of a Ray cluster: packs partitions in a separate process, on any machine. Ray itself is not imported."""

import os
import warnings
from contextlib import suppress
from platform import node
from typing import NamedTuple

from seampack._memory import keep_freed_memory
from seampack._pandas import leave_out_pandas
from seampack._version import __version__
from seampack.errors import ConfigError, DataError, SeampackError, ShardError, reason_of_os
from seampack.io.sources import name_of, size_of
from seampack.packer.documents import Split
from seampack.packer.shared_folders import shared_folder
from seampack.packer.tokenizing import TextTokenizer
from seampack.packer.work import Work, load_tokenizer


class Job(NamedTuple):
    """What a worker needs to pack a partition."""

    work: Work
    out: str
    tokenizer: str
    overwrite: bool
    split: Split | None
    threads: int
    folder: str
    """The working folder, in which relative paths are found."""


class Result(NamedTuple):
    """What a worker returns."""

    counts: tuple[int, int, int]
    """Documents, tokens and bytes of the partition."""
    error: SeampackError | None
    warnings: list[str]


class Worker:
    """Packs partitions in a separate process."""

    def __init__(self, job: Job) -> None:
        keep_freed_memory()
        leave_out_pandas()
        with suppress(OSError):  # another machine may lack the folder; absolute paths and addresses need none
            os.chdir(job.folder)
        self._job = job
        self._tokenizer: TextTokenizer | None = None

    def ready(self) -> None:
        """Do nothing: the worker has started."""

    def pack(self, number: int) -> Result:
        """Pack a partition. An error that a user can mend is part of the result."""
        counts, error = (0, 0, 0), None
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                counts = self._pack(number)
            except SeampackError as failed:
                error = failed
            except OSError as failed:
                error = ShardError(f"{failed.filename or 'a file'}: {reason_of_os(failed)}")
        return Result(counts, error, [str(warning.message) for warning in caught])

    def _pack(self, number: int) -> tuple[int, int, int]:
        job, work = self._job, self._job.work
        if self._tokenizer is None:
            self._tokenizer = self._load()
        self._check_files(number)
        with shared_folder(job.out, work.config, work.description, overwrite=job.overwrite) as folder:
            folder.claim(number)
            folder.load([number], tails=False)
            work.pack(self._tokenizer, folder, [number], threads=job.threads, split=job.split)
            receipts = folder.journal.receipts[number]
        return (
            sum(receipt.documents for receipt in receipts),
            sum(receipt.tokens for receipt in receipts),
            sum(receipt.bytes for receipt in receipts),
        )

    def _load(self) -> TextTokenizer:
        """Return the tokenizer. Raise ConfigError if this machine has another program or tokenizer than the run."""
        given, name = self._job.work.description["given"], self._job.tokenizer
        if given["seampack"] != __version__:
            raise ConfigError(
                f"{node()}: expected seampack {given['seampack']}, as where the run began; got {__version__}"
            )
        tokenizer = load_tokenizer(name, self._job.work.config, sum(given["sizes"].values()))
        if not tokenizer.is_recorded_as(given["tokenizer"]):
            raise ConfigError(f"{name}: another tokenizer on {node()}; expected the same on every machine")
        return tokenizer

    def _check_files(self, number: int) -> None:
        """Raise DataError if a file of a partition has another size on this machine."""
        sizes = self._job.work.description["given"]["sizes"]
        for piece in self._job.work.partitions[number]:
            expected, size = sizes[name_of(piece.path)], size_of(piece.path)
            if size != expected:
                got = "no file" if size is None else f"{size:,}"
                raise DataError(
                    f"{name_of(piece.path)}: expected {expected:,} bytes, as where the run began; got {got} on "
                    f"{node()}; workers need the same files"
                )
