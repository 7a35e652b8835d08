"""Packing: from a corpus to a folder of packed shards.

    read_blocks -> decode + tokenise (threads) -> window of tokens -> plan -> gather -> shards + manifest

The main thread reads and collects; workers decode and tokenise; one more thread plans, gathers and writes a window
while the next one fills. Pieces that fill no row are carried, with their tokens, into the next window.
"""

import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

from seampack._threads import thread_count
from seampack._version import __version__
from seampack.errors import ConfigError, DataError
from seampack.io.sources import STDIN, expand, name_of
from seampack.packer.accounting import Accounting
from seampack.packer.config import PackConfig
from seampack.packer.documents import Doubled, Split, TokenBatch
from seampack.packer.journal import BlockDigest, Receipt, changes
from seampack.packer.manifest import MANIFEST, Input, Manifest, TokenizerFacts, check_notes, is_manifest
from seampack.packer.pipeline import Finished, Progress, known_bytes, token_batches
from seampack.packer.planning import plan
from seampack.packer.shards import ShardWriter, discard_unfinished
from seampack.packer.stage import Stage
from seampack.packer.tokenizing import BUNDLED, TextTokenizer
from seampack.packer.windows import windows_of

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
    resume: bool = False,
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
        overwrite: Whether to replace a packed folder at ``out``, or what a run that did not finish has left.
        resume: Whether to go on after the partitions that a run which did not finish has left. The input is read
            again from its beginning, and its checksum is compared, but finished partitions are not tokenised again.
            The result is the same, byte for byte. Without such a run, packing begins from the start; if an output of
            the same inputs and options is complete, nothing is done.
        split: Cuts texts into pieces that no token crosses, such as ``Segmenter.pieces``.
        notes: Entries to add to the manifest.
        on_tokenizer: Called once with the tokenizer, which has found its begin and end token.
        on_progress: Called after each batch of documents.
        options: Fields of PackConfig; they override ``config``.

    Raises ConfigError, DataError or ShardError; ``out`` is then unchanged. Finished partitions are kept for ``resume``.
    """
    config = PackConfig.given(config, **options)
    notes = check_notes(notes or {})
    workers = thread_count(threads)
    paths = expand(source)
    _refuse_own_input(source, paths, Path(out))
    with ThreadPoolExecutor(1) as loading:
        loading.submit(_load_kernels)
        text_tokenizer = TextTokenizer(tokenizer, config, input_bytes=known_bytes(paths))
    if on_tokenizer is not None:
        on_tokenizer(text_tokenizer)
    inputs: list[Input] = []
    run = {
        "seampack": __version__,
        "inputs": [path if path == STDIN else name_of(path) for path in paths],
        "tokenizer": text_tokenizer.fingerprint,
        "options": config.to_dict(),
        "notes": dict(notes),
    }
    if resume and (manifest := _complete(Path(out), run)) is not None:
        return manifest
    # The writing thread ends before the writer cleans up, so that a failed run writes nothing afterwards.
    with (
        ShardWriter(out, config, overwrite=overwrite, resume=resume, run=run) as writer,
        ThreadPoolExecutor(1, thread_name_prefix="write") as thread,
    ):
        receipts = tuple(writer.journal.receipts)
        if any(receipt.uses_reference for receipt in receipts):
            text_tokenizer.distrust_fast()
        with closing(
            token_batches(
                paths,
                text_tokenizer,
                config,
                threads=workers,
                split=split,
                on_input=inputs.append,
                on_progress=on_progress,
                finished=_finished(receipts),
            )
        ) as batches:
            _check_input(batches, receipts)
            stage = Stage(config, text_tokenizer, writer)
            pending: Future[None] | None = None
            for window, end in windows_of(batches, config):
                if pending is not None:
                    pending.result()
                pending = thread.submit(stage.run, window, end)
            if pending is not None:
                pending.result()
            thread.submit(stage.pack_tails).result()
        _warn_of_drops(stage.accounting)
        return writer.finish(stage.accounting, _facts(text_tokenizer), inputs, notes)


def _complete(out: Path, run: Mapping[str, Any]) -> Manifest | None:
    """Return the manifest of an output that a run which was given the same has completed, or None.

    A run may be killed after it has completed its output, when its caller does not know yet.
    """
    if not is_manifest(out / MANIFEST):
        return None
    manifest = Manifest.read(out / MANIFEST)
    before = {
        "seampack": manifest.seampack_version,
        "inputs": [given.path for given in manifest.inputs],
        "tokenizer": manifest.tokenizer.fingerprint,
        "options": dict(manifest.config),
        "notes": dict(manifest.notes),
    }
    sizes = {given.path: given.bytes for given in manifest.inputs}
    is_same = all(os.path.getsize(path) == size for path, size in sizes.items() if os.path.isfile(path))
    if not is_same or list(changes(before, run)):
        return None
    discard_unfinished(out)
    return manifest


def _finished(receipts: Sequence[Receipt]) -> Finished:
    """Return what the receipts count."""
    doubled = (0, 0, 0, 0), *(receipt.doubled for receipt in receipts)
    return Finished(
        blocks=sum(receipt.blocks for receipt in receipts),
        documents=sum(receipt.documents for receipt in receipts),
        tokens=sum(receipt.tokens for receipt in receipts),
        bytes=sum(receipt.bytes for receipt in receipts),
        doubled=Doubled(*map(sum, zip(*doubled, strict=True))),
    )


def _check_input(batches: Iterator[TokenBatch], receipts: Sequence[Receipt]) -> None:
    """Read over the finished partitions. Raise DataError if their input has changed."""
    for number, receipt in enumerate(receipts):
        digest = BlockDigest()
        for batch in islice(batches, receipt.blocks):
            digest.add(batch.origin)
        if (digest.blocks, str(digest)) != (receipt.blocks, receipt.checksum):
            raise DataError(
                f"cannot resume: the input of partition {number} has changed since the run that did not finish; give "
                "the same input, or start again with --overwrite"
            )


def _warn_of_drops(accounting: Accounting) -> None:
    """Warn if a model would miss the ends of documents."""
    share = accounting.dropped / max(1, accounting.tokens_in)
    if share > _MUCH_DROPPED:
        warnings.warn(
            f"{share:.2%} of the tokens are dropped, at the ends of documents ({accounting.documents_truncated:,} "
            "truncated); without extra_tokens, drop_last and rest=drop, nothing is",
            stacklevel=3,
        )


def _refuse_own_input(source: Inputs, paths: Sequence[str], out: Path) -> None:
    """Raise ConfigError if the output folder, which would be replaced, has an input, or is in an input folder."""
    folder = out.resolve()
    for item in [source] if isinstance(source, str | os.PathLike) else source:
        if Path(item).is_dir() and Path(item).resolve() in folder.parents:
            raise ConfigError(f"{out}: the output is in the input folder {os.fspath(item)}; choose another folder")
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
