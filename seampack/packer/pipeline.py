"""Reading and tokenising in parallel threads, with results in the order of the input."""

import dataclasses
import threading
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

from seampack._threads import thread_count
from seampack.errors import ConfigError
from seampack.io.bad_records import BadRecord
from seampack.io.sources import size_of
from seampack.packer.config import OnBad, PackConfig
from seampack.packer.documents import SKIP_ADVICE, BadBlock, Doubled, Origin, Split, Texts, TokenBatch
from seampack.packer.memory_sources import MemorySource
from seampack.packer.partitions import Partition, partitions_of, total_bytes
from seampack.packer.plan_config import Long
from seampack.packer.readers import Block, Ended, read_partitions
from seampack.packer.tokenizing import TextTokenizer
from seampack.packer.waits import Wait, Waits

if TYPE_CHECKING:
    from seampack.packer.chats import Chats

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a run: counts of the input read so far."""

    documents: int
    tokens: int
    input_bytes: int
    """Bytes of the documents: of lines without compression, or of the columns that are read."""
    stored_bytes: int = 0
    """Bytes of the files, as they are stored. Those of a mapped table count when it ends."""
    total_bytes: int | None = None
    """Bytes of all files to read, as they are stored; None if they are not known, as of a pipe."""
    limit: Wait | None = None
    """The slowest stage, which the others wait for; None if it is not known."""


def ordered_map(
    function: Callable[[Item], Result], items: Iterable[Item], pool: ThreadPoolExecutor, ahead: int
) -> Iterator[Result]:
    """Apply a function to items in threads. Yield the results in order, with up to ``ahead`` items in flight."""
    pending: deque[Future[Result]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) >= ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in reversed(pending):  # none starts whose predecessor, for which it may wait, is cancelled
            future.cancel()


def known_bytes(paths: Sequence[str] | MemorySource) -> int:
    """Return the size of the files among the inputs; the size of a pipe is not known before it is read."""
    if isinstance(paths, MemorySource):
        return paths.bytes
    return sum(size_of(path) or 0 for path in paths)


@dataclass(frozen=True, slots=True)
class Finished:
    """What an earlier run has finished of a partition."""

    blocks: int
    """Blocks that are not encoded again."""
    trusts_fast: bool | None
    """Whether they were encoded by the fast path of the tokenizer; None if that was not decided yet."""


@dataclass(frozen=True, slots=True)
class Counted:
    """What an earlier run has counted."""

    documents: int = 0
    tokens: int = 0
    bytes: int = 0
    doubled: Doubled = Doubled()  # noqa: RUF009  # immutable


class _Trust:
    """Whether a partition uses the fast path of the tokenizer; its first block that could use it decides."""

    def __init__(self, known: bool | None = None) -> None:
        self._known = known
        self._is_settled = threading.Event()
        if known is not None:
            self._is_settled.set()

    def settle(self, trusts: bool) -> None:
        """Decide."""
        self._known = trusts
        self._is_settled.set()

    def wait(self) -> bool:
        """Return the decision when it is made."""
        self._is_settled.wait()
        return bool(self._known)


class _Job(NamedTuple):
    """A block and how it is encoded, which depends on its partition alone, so that every run gives the same ids."""

    partition: int
    block: Block | Ended
    is_finished: bool
    trust: _Trust | None
    """None for the reference."""
    decides: bool
    """Whether the block decides whether to trust the fast path."""


def _jobs(
    blocks: Iterable[tuple[int, Block | Ended]], finished: Mapping[int, Finished], fast_from: int
) -> Iterator[_Job]:
    """Yield a job for each block: the fast path begins with the block that reaches ``fast_from`` bytes of a partition.

    A small input thus never pays for loading it.
    """
    for partition, group in groupby(blocks, itemgetter(0)):
        before = finished.get(partition, Finished(0, None))
        trust = None if before.trusts_fast is None else _Trust(before.trusts_fast)
        size = 0
        for number, (_, block) in enumerate(group):
            if isinstance(block, Ended):
                yield _Job(partition, block, False, None, False)
                break
            size += block.size
            is_finished = number < before.blocks
            decides = trust is None and size >= fast_from and not is_finished
            if decides:
                trust = _Trust()
            yield _Job(partition, block, is_finished, trust, decides)


def token_batches(
    paths: Sequence[str] | MemorySource,
    tokenizer: TextTokenizer,
    config: PackConfig,
    *,
    partitions: Sequence[Partition] | None = None,
    chosen: Sequence[int] | None = None,
    threads: int | None = None,
    split: Split | None = None,
    on_bad: Callable[[list[BadRecord]], None] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    finished: Mapping[int, Finished] = MappingProxyType({}),
    counted: Counted = Counted(),  # immutable
) -> Generator[TokenBatch, None, None]:
    """Yield all documents of the inputs as token ids, in order; each partition ends with a batch without documents.

    ``partitions`` are those of the inputs, if they are known; ``chosen`` are the numbers of those to read, by default
    all. ``split`` cuts texts into pieces that no token crosses. With ``config.on_bad == "quarantine"``, ``on_bad``
    receives the records that could not be read. Blocks that are ``finished`` give batches without documents; what was
    ``counted`` in them is part of the progress.

    Warns of documents that have the begin or end token already.

    Raises ConfigError if conversations are to be split; DataError for inputs that cannot be read and, with
    ``config.on_bad == "stop"``, at the first such record.
    """
    workers = thread_count(threads)
    if split is not None and config.reads_chats:
        raise ConfigError("conversations are not split into words; omit --pre-segment")
    stop = config.on_bad == OnBad.STOP
    lock = threading.Lock()
    partitions = partitions_of(paths, config) if partitions is None else partitions
    numbers = range(len(partitions)) if chosen is None else chosen
    is_large = known_bytes(paths) >= tokenizer.fast_from

    def written(chats: "Chats") -> TokenBatch:
        from seampack.packer.chat_tokens import encode_chats

        return encode_chats(chats, tokenizer)

    def encode(job: _Job, block: Block) -> TokenBatch:
        trusts = False
        try:
            documents = block.decode()
            if not isinstance(documents, Texts | TokenBatch):
                documents = written(documents)
            if stop and documents.bad:
                raise documents.bad[0].error(SKIP_ADVICE)
            if isinstance(documents, TokenBatch):
                trusts = True  # there is no text to compare; text that follows loads the fast path
                return documents if config.reads_chats else tokenizer.adopt(documents)
            if job.decides:
                with lock:
                    trusts = tokenizer.trusts_fast(documents.texts)
        finally:
            if job.decides and job.trust is not None:
                job.trust.settle(trusts)
        fast = job.trust is not None and job.trust.wait()
        if fast and not tokenizer.is_fast:  # an earlier run, or a block without text, decided
            with lock:
                fast = tokenizer.trusts_fast([])
        return tokenizer.encode(documents, split, fast=fast)

    def read(job: _Job) -> TokenBatch:
        nothing = TokenBatch(np.empty(0, tokenizer.dtype), np.zeros(1, np.int64))
        if isinstance(job.block, Ended):
            return dataclasses.replace(nothing, origin=Origin(partition=job.partition, inputs=job.block.inputs))
        checksum = job.block.checksum()
        batch = nothing if job.is_finished else encode(job, job.block)
        trusts = None if job.trust is None else job.trust.wait()
        long_at = None
        if config.long_rule == Long.ERROR and not isinstance(job.block, BadBlock):
            long = np.flatnonzero(batch.lengths > config.seq_len)[:1].tolist()
            long_at = next(((index, job.block.place(index, batch.bad)) for index in long), None)
        origin = Origin(checksum, job.block.size, job.partition, trusts, long_at=long_at)
        return dataclasses.replace(batch, origin=origin)

    stored = 0

    def count(size: int) -> None:
        nonlocal stored
        stored += size

    chosen_partitions = [(number, partitions[number]) for number in numbers]
    total = None if on_progress is None else total_bytes(partition for _, partition in chosen_partitions)
    blocks = read_partitions(paths, chosen_partitions, config, tokenizer.vocab_size, on_read=count)
    jobs = _jobs(blocks, finished, 0 if is_large else tokenizer.fast_from)
    documents, tokens, size, doubled = counted.documents, counted.tokens, counted.bytes, counted.doubled
    waits = Waits()
    with ThreadPoolExecutor(workers, thread_name_prefix="tokenize") as pool:
        skipped = {number: before.blocks for number, before in finished.items()}
        encoded = ordered_map(read, waits.until(jobs, Wait.READ), pool, workers + 4)
        for batch in waits.until(encoded, Wait.TOKENISE):
            if skipped.get(batch.origin.partition, 0):
                skipped[batch.origin.partition] -= 1
                yield batch
                continue
            if batch.bad and on_bad is not None:
                on_bad(batch.bad)
            documents += batch.offsets.size - 1
            tokens += int(batch.offsets[-1])
            size += batch.origin.bytes
            doubled = Doubled(*map(sum, zip(doubled, batch.doubled, strict=True)))
            if on_progress is not None:
                on_progress(Progress(documents, tokens, size, stored, total, waits.limit))
            yield batch
            waits.end(Wait.USE)
    _warn_of_doubled(doubled, tokenizer)


def _warn_of_doubled(doubled: Doubled, tokenizer: TextTokenizer) -> None:
    begin, end = f"begin with {tokenizer.bos.name}", f"end with {tokenizer.eos.name}"
    if counted := _counted({begin: doubled.begun, end: doubled.ended}):
        warnings.warn(f"{counted} already; no second one was added", stacklevel=3)
    if counted := _counted({begin: doubled.begun_as_text, end: doubled.ended_as_text}):
        warnings.warn(
            f"{counted} as plain text, next to the token; --special-tokens-in-text reads the text as the token",
            stacklevel=3,
        )

    if doubled.control:
        warnings.warn(
            f"{doubled.control:,} conversation(s) have the name of a control token in what a message says; it is "
            "packed as the token, as in transformers; remove such names from what users wrote",
            stacklevel=3,
        )


def _counted(documents: dict[str, int]) -> str:
    return " and ".join(f"{count:,} document(s) {fact}" for fact, count in documents.items() if count)
