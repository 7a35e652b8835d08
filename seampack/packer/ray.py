"""Packing on a Ray cluster: partitions go to a pool of workers, receipts stay in the output, counts come back.

Tokens never pass through Ray: each worker reads its partitions itself and writes their shards itself. So the output
must be a place that all workers and this process can write to, and the inputs a place that all of them can read from.
"""

import os
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from seampack._memory import keep_freed_memory
from seampack._pandas import leave_out_pandas
from seampack._threads import thread_count
from seampack.errors import ConfigError, MissingExtraError, SeampackError, ShardError
from seampack.packer.config import PackConfig
from seampack.packer.documents import Split
from seampack.packer.journal import Receipt
from seampack.packer.manifest import Manifest
from seampack.packer.packing import merge
from seampack.packer.partitions import stored_bytes
from seampack.packer.pipeline import Progress
from seampack.packer.shared_folders import shared_folder
from seampack.packer.tokenizing import BUNDLED, TextTokenizer
from seampack.packer.work import Inputs, Work, load_tokenizer, refuse_pipes

_TRIES = 4
"""Number of workers that may die in a partition before the run stops."""


def pack(
    source: Inputs,
    config: PackConfig | None = None,
    out: str | os.PathLike[str] = "packed",
    *,
    tokenizer: str | os.PathLike[str] = BUNDLED,
    address: str | None = None,
    workers: int | None = None,
    threads: int = 1,
    overwrite: bool = False,
    split: Split | None = None,
    notes: Mapping[str, Any] | None = None,
    on_tokenizer: Callable[[TextTokenizer], None] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    **options: Any,
) -> Manifest:
    """Pack a corpus into the folder ``out`` by the workers of a Ray cluster, and return its manifest.

    The folder is the same, byte for byte, as that of ``seampack.pack``, with any number of workers. A partition in
    which a worker dies is packed again by a new one. Finished partitions are never packed again: a run that was killed
    is simply started again.

    Args:
        address: Address of the cluster, such as ``auto`` or ``ray://host:10001``; by default Ray is started here.
        workers: Number of workers; by default as many as the cluster has CPUs for.
        threads: CPUs and tokenising threads of a worker. With one, a worker needs about 1 GB of memory; see
            ``docs/many_machines.md``.
        on_progress: Called after each partition.
        source, config, out, tokenizer, overwrite, split, notes, on_tokenizer, options: See ``seampack.pack``.

    Raises MissingExtraError without Ray, and what ``seampack.pack`` raises. Finished partitions are kept.
    """
    ray = _ray()
    config = PackConfig.given(config, **options)
    work, tokens = Work.begin(source, config, out, tokenizer, notes or {}, on_tokenizer)
    refuse_pipes(work.paths)
    if not isinstance(tokens, TextTokenizer):
        raise ConfigError(f"{tokens.name}: a token store is not packed by Ray; it is fast to pack without")
    if (manifest := work.completed(out)) is not None:
        return manifest
    numbers = range(len(work.partitions))
    with shared_folder(out, config, work.description, overwrite=overwrite) as folder:
        folder.load(numbers, tails=False)
        done = folder.journal.in_order
        left = [number for number in numbers if not folder.journal.is_complete(number)]
    job = _Job(work, os.fspath(out), os.fspath(tokenizer), overwrite, split, thread_count(threads), os.getcwd())
    started = not ray.is_initialized()
    if started:
        ray.init(address=address, log_to_driver=False, logging_level="warning", include_dashboard=False)
    try:
        count = workers or max(1, int(ray.cluster_resources().get("CPU", 1)) // threads)
        _Pool(ray, job, min(count, len(left))).pack(left, _Counts(work, left, done, on_progress))
    finally:
        if started:
            ray.shutdown()
    return merge(out, overwrite=overwrite)


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError("ray", "ray", "packing on a cluster") from error
    return ray


class _Job(NamedTuple):
    """What a worker needs to pack a partition."""

    work: Work
    out: str
    tokenizer: str
    overwrite: bool
    split: Split | None
    threads: int
    folder: str
    """The working folder, in which relative paths are found."""


class _Counts:
    """The progress of all workers."""

    def __init__(
        self, work: Work, left: list[int], done: list[Receipt], on_progress: Callable[[Progress], None] | None
    ) -> None:
        self._on_progress = on_progress
        self._documents = self._tokens = self._bytes = 0
        self._sizes = {number: stored_bytes(work.partitions[number]) or 0 for number in left}
        self._total = sum(self._sizes.values())
        for receipt in done:
            self.add((receipt.documents, receipt.tokens, receipt.bytes))

    def add(self, counts: tuple[int, int, int], number: int = -1) -> None:
        """Add the documents, tokens and bytes of a partition, or of a part of one that an earlier run has packed."""
        self._sizes.pop(number, None)
        self._documents += counts[0]
        self._tokens += counts[1]
        self._bytes += counts[2]
        if self._on_progress is not None:
            stored = self._total - sum(self._sizes.values())
            self._on_progress(Progress(self._documents, self._tokens, self._bytes, stored, self._total))


class _Pool:
    """Workers, each of which packs one partition at a time."""

    def __init__(self, ray: Any, job: _Job, workers: int) -> None:
        self._ray = ray
        self._job = ray.put(job)
        self._kind = ray.remote(num_cpus=job.threads)(_Worker)
        self._idle = [self._new() for _ in range(workers)]
        self._warned: set[str] = set()

    def _new(self) -> Any:
        return self._kind.remote(self._job)

    def pack(self, numbers: list[int], counts: _Counts) -> None:
        """Pack partitions. Raise the error of a worker; raise ShardError if workers die again and again."""
        waiting = numbers[::-1]
        deaths = dict.fromkeys(numbers, 0)
        running: dict[Any, tuple[Any, int]] = {}
        while waiting or running:
            while waiting and self._idle:
                worker, number = self._idle.pop(), waiting.pop()
                running[worker.pack.remote(number)] = worker, number
            (ended,), _ = self._ray.wait(list(running))
            worker, number = running.pop(ended)
            try:
                result = self._ray.get(ended)
            except self._ray.exceptions.RayActorError as error:
                deaths[number] += 1
                if deaths[number] == _TRIES:
                    raise ShardError(
                        f"{_TRIES} workers have died in partition {number}, the last one so: {_short(error)}; if "
                        "memory was short, give fewer workers; finished partitions are kept"
                    ) from error
                waiting.append(number)
                self._idle.append(self._new())
                continue
            for message in result.warnings:
                if message not in self._warned:
                    self._warned.add(message)
                    warnings.warn(message, stacklevel=3)
            if result.error is not None:
                raise result.error
            counts.add(result.counts, number)
            self._idle.append(worker)


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


class _Result(NamedTuple):
    """What a worker returns."""

    counts: tuple[int, int, int]
    """Documents, tokens and bytes of the partition."""
    error: SeampackError | None
    warnings: list[str]


class _Worker:
    """Packs partitions in a separate process."""

    def __init__(self, job: _Job) -> None:
        keep_freed_memory()
        leave_out_pandas()
        with suppress(OSError):  # another machine may lack the folder; absolute paths and addresses need none
            os.chdir(job.folder)
        self._job = job
        self._tokenizer: TextTokenizer | None = None

    def pack(self, number: int) -> _Result:
        """Pack a partition. An error that a user can mend is part of the result."""
        counts, error = (0, 0, 0), None
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                counts = self._pack(number)
            except SeampackError as failed:
                error = failed
            except OSError as failed:
                error = ShardError(f"{failed.filename or 'a file'}: {failed.strerror or failed}")
        return _Result(counts, error, [str(warning.message) for warning in caught])

    def _pack(self, number: int) -> tuple[int, int, int]:
        job, work = self._job, self._job.work
        if self._tokenizer is None:
            self._tokenizer = load_tokenizer(
                job.tokenizer, work.config, sum(work.description["given"]["sizes"].values())
            )
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
