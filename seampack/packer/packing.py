"""Packing: from a corpus to a folder of packed shards.

    read_blocks -> decode + tokenise (threads) -> window of tokens -> plan -> gather -> shards + manifest

The main thread reads and collects; workers decode and tokenise; one more thread plans, gathers and writes a window
while the next one fills. Pieces that fill no row are carried, with their tokens, into the next window.
"""

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from seampack._threads import thread_count
from seampack.errors import ConfigError
from seampack.io.arrow import arrow_of
from seampack.io.ragged import offsets_of
from seampack.io.sources import STDIN, expand
from seampack.packer import _copy_kernels as kernels
from seampack.packer.accounting import Accounting
from seampack.packer.config import PackConfig
from seampack.packer.documents import Split, TokenBatch
from seampack.packer.gather import Ragged, gather
from seampack.packer.manifest import Input, Manifest, TokenizerFacts, check_notes
from seampack.packer.pipeline import Progress, known_bytes, token_batches
from seampack.packer.planning import plan
from seampack.packer.shards import ShardWriter
from seampack.packer.tokenizing import BUNDLED, TextTokenizer
from seampack.packer.windows import Window, WindowPlanner, joined_lengths, windows_of

# Share of tokens; trained models lost ends of documents where 2.8 % were dropped.
_MUCH_DROPPED = 0.005

Inputs = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


def pack(
    source: Inputs,
    config: PackConfig | None = None,
    out: str | os.PathLike[str] = "packed",
    *,
    tokenizer: str | os.PathLike[str] = BUNDLED,
    threads: int | None = None,
    overwrite: bool = False,
    split: Split | None = None,
    notes: Mapping[str, Any] | None = None,
    on_tokenizer: Callable[[TextTokenizer], None] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    **options: Any,
) -> Manifest:
    """Pack a corpus of any size into the folder ``out`` and return its manifest.

    Memory is bounded by ``config.window_tokens`` and the longest document. The output does not depend on ``threads``.

    Args:
        source: Paths, globs, folders, or ``"-"`` for standard input.
        config: The options; by default ``PackConfig()``.
        out: Output folder.
        tokenizer: A ``tokenizer.json``, a hub name, or ``"bundled"``, a small tokenizer.
        threads: Number of worker threads; by default all cores.
        overwrite: Whether to replace a packed folder at ``out``.
        split: Cuts texts into pieces that no token crosses, such as ``Segmenter.pieces``.
        notes: Entries to add to the manifest.
        on_tokenizer: Called once with the tokenizer, which has found its begin and end token.
        on_progress: Called after each batch of documents.
        options: Fields of PackConfig; they override ``config``.

    Raises ConfigError, DataError or ShardError; ``out`` is then unchanged.
    """
    config = PackConfig.given(config, **options)
    notes = check_notes(notes or {})
    workers = thread_count(threads)
    paths = expand(source)
    _refuse_own_input(paths, Path(out))
    with ThreadPoolExecutor(1) as loading:
        loading.submit(_load_kernels)
        text_tokenizer = TextTokenizer(tokenizer, config, input_bytes=known_bytes(paths))
    if on_tokenizer is not None:
        on_tokenizer(text_tokenizer)
    inputs: list[Input] = []
    # The writing thread ends before the writer cleans up, so that a failed run writes nothing afterwards.
    with (
        ShardWriter(out, config, overwrite=overwrite) as writer,
        ThreadPoolExecutor(1, thread_name_prefix="write") as thread,
        closing(
            token_batches(
                paths,
                text_tokenizer,
                config,
                threads=workers,
                split=split,
                on_bad=writer.quarantine,
                on_input=inputs.append,
                on_progress=on_progress,
            )
        ) as batches,
    ):
        stage = _WindowStage(config, text_tokenizer, writer)
        pending: Future[None] | None = None
        for window, last in windows_of(batches, config):
            if pending is not None:
                pending.result()
            pending = thread.submit(stage.run, window, last)
        if pending is not None:
            pending.result()
        _warn_of_drops(stage.accounting)
        return writer.finish(stage.accounting, _facts(text_tokenizer), inputs, notes)


def _warn_of_drops(accounting: Accounting) -> None:
    """Warn if a model would miss the ends of documents."""
    share = accounting.dropped / max(1, accounting.tokens_in)
    if share > _MUCH_DROPPED:
        warnings.warn(
            f"{share:.2%} of the tokens are dropped, at the ends of documents ({accounting.documents_truncated:,} "
            "truncated); without extra_tokens and drop_last, nothing is",
            stacklevel=3,
        )


def _refuse_own_input(paths: Sequence[str], out: Path) -> None:
    """Raise ConfigError if an input is in the output folder, which would be replaced."""
    folder = out.resolve()
    for path in paths:
        if path != STDIN and folder in Path(path).resolve().parents:
            raise ConfigError(f"{path}: the input is in the output folder {out}; choose another folder")


def _load_kernels() -> None:
    """Load the kernels, or compile them in the first run, while the tokenizer loads."""
    plan([1]).account()


def _facts(tokenizer: TextTokenizer) -> TokenizerFacts:
    """Return the manifest's description of the tokenizer."""
    return TokenizerFacts(
        name=tokenizer.name,
        fingerprint=tokenizer.fingerprint,
        vocab_size=tokenizer.vocab_size,
        pad_id=tokenizer.pad if tokenizer.pad >= 0 else None,
        bos=tokenizer.bos.name,
        bos_id=tokenizer.bos.id if tokenizer.bos.name is not None else None,
        eos=tokenizer.eos.name,
        eos_id=tokenizer.eos.id if tokenizer.eos.name is not None else None,
    )


class _WindowStage:
    """Plans, gathers and writes one window at a time; keeps the tokens of the carried pieces."""

    def __init__(self, config: PackConfig, tokenizer: TextTokenizer, writer: ShardWriter) -> None:
        self._config = config
        self._planner = WindowPlanner(config, keep_ends=tokenizer.eos.name is not None)
        self._pads = {"input_ids": tokenizer.pad} if tokenizer.pad >= 0 else None
        self._writer = writer
        self._tokens = np.empty(0, tokenizer.dtype)
        self._lengths = np.empty(0, np.int64)
        self._names = pa.nulls(0, pa.large_string())
        self.accounting = Accounting(seq_len=config.seq_len)

    def run(self, batches: list[TokenBatch], last: bool) -> None:
        carried = Ragged.of_values(self._tokens, offsets_of(self._lengths))
        parts = [carried, *(Ragged.of_values(batch.ids, batch.offsets) for batch in batches)]
        documents = Ragged.joined(parts, self._tokens.dtype)
        window = self._planner.plan(joined_lengths(batches), last=last)
        names = self._names_of(batches, window)
        for batch in gather(
            {"input_ids": documents},
            window.plan,
            doc_ids=names,
            bases=window.base,
            pads=self._pads,
            labels=self._config.labels,
        ):
            self._writer.write(batch)
        self.accounting += window.accounting
        self._carry(documents, window)
        if self._config.id_column is not None:
            self._names = names.take(arrow_of(window.plan.carried.document))

    def _names_of(self, batches: list[TokenBatch], window: Window) -> pa.Array | npt.NDArray[np.int64]:
        """Return the name of each part of the window: from the id column, else the document's number."""
        if self._config.id_column is None:
            return window.document
        return pa.concat_arrays([self._names, *(batch.names for batch in batches)])

    def _carry(self, documents: Ragged, window: Window) -> None:
        carried = window.plan.carried
        self._lengths = carried.length.astype(np.int64)
        self._tokens = np.empty(carried.tokens, documents.dtype)
        targets = offsets_of(self._lengths)[:-1]
        size = documents.dtype.itemsize
        first = documents.addresses[carried.document] + carried.start.astype(np.int64) * size
        kernels.copy_segments(first, carried.length, targets, size, self._tokens.ctypes.data)
