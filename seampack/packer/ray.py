"""Packing on a Ray cluster: partitions go to a pool of workers, receipts stay in the output, counts come back.

Tokens never pass through Ray: each worker reads its partitions itself and writes their shards itself. So the output
must be a place that all workers and this process can write to, and the inputs a place that all of them can read from.
"""

import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Self

from seampack._threads import thread_count
from seampack.config import check_integer
from seampack.errors import ConfigError, MissingExtraError, ShardError
from seampack.io.places import is_url
from seampack.packer.config import PackConfig
from seampack.packer.documents import Split
from seampack.packer.journal import Receipt
from seampack.packer.manifest import Manifest
from seampack.packer.packing import merge
from seampack.packer.partitions import stored_bytes
from seampack.packer.pipeline import Progress
from seampack.packer.ray_worker import Job, Result, Worker
from seampack.packer.shared_folders import shared_folder
from seampack.packer.tokenizing import BUNDLED, TextTokenizer
from seampack.packer.work import Inputs, Work, refuse_pipes

_TRIES = 4
"""Number of workers that may die in a partition, or at their start, before the run stops."""
_PATIENCE_SECONDS = 60.0
"""Time without any worker after which the run says that it waits."""


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
    threads = thread_count(threads)
    if workers is not None:
        check_integer("workers", workers, low=1)
    refuse_pipes(work.paths)
    if not isinstance(tokens, TextTokenizer):
        raise ConfigError(f"{tokens.name}: a token store is not packed by Ray; it is fast to pack without")
    if (manifest := work.completed(out, overwrite=overwrite)) is not None:
        return manifest
    numbers = range(len(work.partitions))
    with shared_folder(out, config, work.description, overwrite=overwrite) as folder:
        folder.load(numbers, tails=False)
        left = work.left(folder.journal, numbers)
        done = [receipt for number in set(numbers).difference(left) for receipt in folder.journal.receipts[number]]
    counts = _Counts(work, left, done, on_progress)
    job = Job(work, os.fspath(out), os.fspath(tokenizer), overwrite, split, threads, os.getcwd())
    if left:
        with _cluster(ray, address):
            count = workers or max(1, int(ray.cluster_resources().get("CPU", 1)) // threads)
            _check_size(ray, threads)
            with _Pool(ray, job, min(count, len(left))) as pool:
                pool.pack(left, counts)
        _check_place(job, left)
    return merge(out, overwrite=overwrite)


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError("ray", "ray", "packing on a cluster") from error
    return ray


@contextmanager
def _cluster(ray: Any, address: str | None) -> Iterator[None]:
    """Use the caller's cluster; otherwise, connect to one, or start one here."""
    started = not ray.is_initialized()
    if started:
        ray.init(address=address, log_to_driver=False, logging_level="warning", include_dashboard=False)
    try:
        yield
    finally:
        if started:
            ray.shutdown()


def _check_size(ray: Any, threads: int) -> None:
    """Raise ConfigError if no machine has the CPUs of a worker, which would wait for ever."""
    largest = int(max((node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]), default=0))
    if 0 < largest < threads:  # 0: the machines will be started when they are needed
        raise ConfigError(f"threads: expected at most {largest}, the CPUs of the largest machine; got {threads}")


def _check_place(job: Job, numbers: list[int]) -> None:
    """Raise ShardError if the receipts of the workers are not where this process sees them."""
    if is_url(job.out):
        return
    with shared_folder(job.out, job.work.config, job.work.description, overwrite=job.overwrite) as folder:
        folder.load(numbers, tails=False)
        if absent := [number for number in numbers if not folder.journal.is_complete(number)]:
            raise ShardError(
                f"{job.out}: workers have packed {len(absent):,} partition(s) that are not there; give a folder that "
                "all machines share, or an address such as s3://bucket/folder"
            )


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
    """Workers, each of which packs one partition at a time. A context manager, at whose end no worker is left."""

    def __init__(self, ray: Any, job: Job, workers: int) -> None:
        self._ray = ray
        self._job = ray.put(job)
        self._kind = ray.remote(num_cpus=job.threads)(Worker)
        self._starting: dict[Any, Any] = {}
        """Workers that have not answered yet. They get no partition: if the cluster is full, they wait for a CPU."""
        self._workers: set[Any] = set()
        self._deaths: Counter[int | None] = Counter()
        self._warned: set[str] = set()
        for _ in range(workers):
            self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for worker in list(self._workers):
            self._remove(worker)

    def _start(self) -> None:
        worker = self._kind.remote(self._job)
        self._workers.add(worker)
        self._starting[worker.ready.remote()] = worker

    def _remove(self, worker: Any) -> None:
        """End a worker, also one that only seems to be dead: it must not go on with its partition."""
        self._workers.discard(worker)
        with suppress(Exception):
            self._ray.kill(worker)

    def pack(self, numbers: list[int], counts: _Counts) -> None:
        """Pack partitions. Raise the error of a worker; raise ShardError if workers die again and again."""
        waiting, idle = numbers[::-1], list[Any]()
        running: dict[Any, tuple[Any, int]] = {}
        while waiting or running:
            while waiting and idle:
                free, first = idle.pop(), waiting.pop()
                running[free.pack.remote(first)] = free, first
            for ended in self._ended([*running, *self._starting], patience=None if running else _PATIENCE_SECONDS):
                worker, number = running.pop(ended) if ended in running else (self._starting.pop(ended), None)
                try:
                    result = self._ray.get(ended)
                except self._ray.exceptions.RayTaskError:
                    raise
                except self._ray.exceptions.RayError as error:
                    self._replace(worker, number, error)
                    waiting += [] if number is None else [number]
                    continue
                if number is not None:
                    self._take(result, number, counts)
                idle.append(worker)

    def _ended(self, tasks: list[Any], patience: float | None) -> list[Any]:
        """Return the first task that has ended; none, with a warning, if all only wait for a worker to start."""
        ended: list[Any] = self._ray.wait(tasks, timeout=patience)[0]
        if not ended:
            self._warn(
                f"no worker has started in {patience:.0f} seconds: the cluster has no free CPU; give fewer --threads "
                "for a worker, or wait"
            )
        return ended

    def _replace(self, worker: Any, number: int | None, error: Exception) -> None:
        """Start a worker instead of one that has died in a partition, or at its start."""
        self._remove(worker)
        self._deaths[number] += 1
        if self._deaths[number] == _TRIES:
            where = "at their start" if number is None else f"in partition {number}"
            raise ShardError(
                f"{_TRIES} workers have died {where}, the last one so: {_short(error)}; if memory was short, give "
                "fewer workers; finished partitions are kept"
            ) from error
        self._start()

    def _take(self, result: Result, number: int, counts: _Counts) -> None:
        """Count what a worker has packed. Raise its error."""
        for message in result.warnings:
            self._warn(message)
        if result.error is not None:
            raise result.error
        counts.add(result.counts, number)

    def _warn(self, message: str) -> None:
        """Warn, once."""
        if message not in self._warned:
            self._warned.add(message)
            warnings.warn(message, stacklevel=4)


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
