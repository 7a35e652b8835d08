"""Reading and tokenising in parallel threads, with results in the order of the input."""

import dataclasses
import os
import threading
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum, auto
from typing import TypeVar

import numpy as np

from seampack._threads import thread_count
from seampack.io.bad_records import BadRecord
from seampack.packer.config import OnBad, PackConfig
from seampack.packer.documents import SKIP_ADVICE, Doubled, Origin, Split, TokenBatch
from seampack.packer.manifest import Input
from seampack.packer.memory_sources import MemorySource
from seampack.packer.readers import Block, read_blocks
from seampack.packer.tokenizing import TextTokenizer

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a run: counts of the input read so far."""

    documents: int
    tokens: int
    input_bytes: int


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
    return sum(os.path.getsize(path) for path in paths if os.path.isfile(path))


@dataclass(frozen=True, slots=True)
class Finished:
    """What an earlier run has finished: the blocks that are not encoded again, and what it counted in them."""

    blocks: int = 0
    documents: int = 0
    tokens: int = 0
    bytes: int = 0
    doubled: Doubled = Doubled()  # noqa: RUF009  # immutable


class _Phase(Enum):
    """How a block is encoded. It depends on the input alone, so that every run gives the same ids."""

    FINISHED = auto()
    REFERENCE = auto()
    FIRST_FAST = auto()
    FAST = auto()


def _in_phases(blocks: Iterable[Block], finished: int, fast_from: int) -> Iterator[tuple[Block, _Phase]]:
    """Yield each block with its phase: the fast path begins with the block that reaches ``fast_from`` bytes of input.

    A small input thus never pays for loading it, and a large one at most twice. The first blocks are ``finished``.
    """
    size = 0
    fast = _Phase.FIRST_FAST
    for number, block in enumerate(blocks):
        size += block.size
        if number < finished:
            yield block, _Phase.FINISHED
        elif size < fast_from:
            yield block, _Phase.REFERENCE
        else:
            yield block, fast
            fast = _Phase.FAST


def token_batches(
    paths: Sequence[str] | MemorySource,
    tokenizer: TextTokenizer,
    config: PackConfig,
    *,
    threads: int | None = None,
    split: Split | None = None,
    on_bad: Callable[[list[BadRecord]], None] | None = None,
    on_input: Callable[[Input], None] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    finished: Finished = Finished(),  # immutable
) -> Generator[TokenBatch, None, None]:
    """Yield all documents of the inputs as token ids, in order.

    ``split`` cuts texts into pieces that no token crosses. With ``config.on_bad == "quarantine"``, ``on_bad`` receives
    the records that could not be read. Blocks that are ``finished`` give batches without documents.

    Warns of documents that have the begin or end token already.

    Raises DataError for inputs that cannot be read and, with ``config.on_bad == "stop"``, at the first such record.
    """
    workers = thread_count(threads)
    stop = config.on_bad == OnBad.STOP
    lock, first_is_done = threading.Lock(), threading.Event()

    def encode(block: Block, phase: _Phase) -> TokenBatch:
        try:
            documents = block.decode()
            if stop and documents.bad:
                raise documents.bad[0].error(SKIP_ADVICE)
            if isinstance(documents, TokenBatch):
                return tokenizer.adopt(documents)
            if phase == _Phase.FAST:
                first_is_done.wait()  # it decides how all later blocks are encoded, even if another thread is faster
            if phase != _Phase.REFERENCE:
                with lock:
                    tokenizer.load_fast(documents.texts)
        finally:
            if phase == _Phase.FIRST_FAST:
                first_is_done.set()
        return tokenizer.encode(documents, split, fast=phase != _Phase.REFERENCE)

    def read(item: tuple[Block, _Phase]) -> TokenBatch:
        block, phase = item
        origin = Origin(block.checksum(), block.size)
        if phase == _Phase.FINISHED:
            return TokenBatch(np.empty(0, tokenizer.dtype), np.zeros(1, np.int64), origin=origin)
        return dataclasses.replace(encode(block, phase), origin=origin)

    stream = read_blocks(paths, config, tokenizer.vocab_size, on_input)
    documents, tokens, size, doubled = finished.documents, finished.tokens, finished.bytes, finished.doubled
    with ThreadPoolExecutor(workers, thread_name_prefix="tokenize") as pool:
        blocks = _in_phases(stream, finished.blocks, tokenizer.fast_from)
        for number, batch in enumerate(ordered_map(read, blocks, pool, workers + 4)):
            if number < finished.blocks:
                yield batch
                continue
            if batch.bad and on_bad is not None:
                on_bad(batch.bad)
            documents += batch.offsets.size - 1
            tokens += int(batch.offsets[-1])
            size += batch.origin.bytes
            doubled = Doubled(*map(sum, zip(doubled, batch.doubled, strict=True)))
            if on_progress is not None:
                on_progress(Progress(documents, tokens, size))
            yield batch
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


def _counted(documents: dict[str, int]) -> str:
    return " and ".join(f"{count:,} document(s) {fact}" for fact, count in documents.items() if count)
