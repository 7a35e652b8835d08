"""Reading and tokenising in parallel threads, with results in the order of the input."""

import threading
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from seampack._threads import thread_count
from seampack.io.bad_records import BadRecord
from seampack.packer.config import OnBad, PackConfig
from seampack.packer.documents import SKIP_ADVICE, Doubled, Split, Texts, TokenBatch
from seampack.packer.manifest import Input
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
        for future in pending:
            future.cancel()


def token_batches(
    paths: Sequence[str],
    tokenizer: TextTokenizer,
    config: PackConfig,
    *,
    threads: int | None = None,
    split: Split | None = None,
    on_bad: Callable[[list[BadRecord]], None] | None = None,
    on_input: Callable[[Input], None] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Generator[TokenBatch, None, None]:
    """Yield all documents of the inputs as token ids, in order.

    ``split`` cuts texts into pieces that no token crosses. With ``config.on_bad == "quarantine"``, ``on_bad`` receives
    the records that could not be read.

    Warns of documents that have the begin or end token already.

    Raises DataError for inputs that cannot be read and, with ``config.on_bad == "stop"``, at the first such record.
    """
    workers = thread_count(threads)
    stop = config.on_bad == OnBad.STOP
    checked = threading.Event()

    def encode(numbered: tuple[int, Block]) -> tuple[TokenBatch, int]:
        number, block = numbered
        try:
            documents = block.decode()
            if stop and documents.bad:
                raise documents.bad[0].error(SKIP_ADVICE)
            if number == 0 and isinstance(documents, Texts):
                tokenizer.check_on(documents.texts)
        finally:
            if number == 0:
                checked.set()
        if isinstance(documents, TokenBatch):
            return tokenizer.adopt(documents), documents.ids.nbytes
        checked.wait()  # the first block decides how all blocks are encoded, even if another thread is faster
        return tokenizer.encode(documents, split), _size(block, documents)

    blocks = read_blocks(paths, config, tokenizer.vocab_size, on_input)
    documents = tokens = size = 0
    doubled = Doubled()
    with ThreadPoolExecutor(workers, thread_name_prefix="tokenize") as pool:
        for batch, read in ordered_map(encode, enumerate(blocks), pool, workers + 4):
            if batch.bad and on_bad is not None:
                on_bad(batch.bad)
            documents += batch.offsets.size - 1
            tokens += int(batch.offsets[-1])
            size += read
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


def _size(block: Block, documents: Texts) -> int:
    data = getattr(block, "data", None)
    return len(data) if data is not None else sum(map(len, documents.texts))
