"""Packing: from a corpus to a folder of packed shards.

    partitions -> read_partitions -> decode + tokenise (threads) -> windows of tokens -> plan -> gather -> shards
    tails of all partitions -> plan -> gather -> shards -> manifest

The main thread reads and collects; workers decode and tokenise; one more thread plans, gathers and writes a window
while the next one fills. Pieces that fill no row are carried, with their tokens, into the next window. Partitions may
be packed by any number of processes, on any machines; ``merge`` completes the folder.
"""

import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, TypeVar

from seampack._threads import thread_count
from seampack.errors import ConfigError, ShardError
from seampack.io.places import check_path, place_of, shown
from seampack.packer.accounting import Accounting, dropped_documents
from seampack.packer.config import PackConfig
from seampack.packer.documents import Split
from seampack.packer.entries import TokenizerFacts
from seampack.packer.manifest import Manifest, is_manifest
from seampack.packer.memory_sources import MEMORY, MemorySource
from seampack.packer.mixed_corpora import has_corpora, tokenised
from seampack.packer.mixes import Mix
from seampack.packer.names import MANIFEST
from seampack.packer.pipeline import Progress
from seampack.packer.plan_config import different_lengths
from seampack.packer.row_groups import warn_without_step
from seampack.packer.run_folder import RunFolder, refuse_output
from seampack.packer.shared_folders import run_at_address, shared_folder, unfinished_folder
from seampack.packer.stage import Stage
from seampack.packer.tokenizing import BUNDLED, AnyTokenizer, TextTokenizer
from seampack.packer.work import Inputs, Work, refuse_pipes

_Result = TypeVar("_Result")

# Share of tokens; trained models lost ends of documents where 2.8 % were dropped.
_MUCH_DROPPED = 0.005


def pack(
    source: Inputs | Any,
    config: PackConfig | None = None,
    out: str | os.PathLike[str] = "packed",
    *,
    tokenizer: AnyTokenizer = BUNDLED,
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
        source: Paths, globs, folders, addresses such as ``s3://bucket/folder``, or ``"-"`` for standard input; or
            documents in memory, as texts or token ids: a ``datasets.Dataset`` or ``IterableDataset``, an Arrow table,
            a data frame, or an iterable of dicts or texts. A list of texts is a list of paths; for texts, give
            ``iter(texts)``. Or a ``Mix`` of several such sources, or of token stores.
        config: The options; by default ``PackConfig()``.
        out: Output folder. For an address, the folder is written locally, then uploaded, its manifest last.
        tokenizer: A ``tokenizer.json``, a hub name, or ``"bundled"``, a small tokenizer; or a ``tokenizers.Tokenizer``
            or a fast tokenizer of transformers.
        threads: Number of worker threads; by default all cores.
        overwrite: Whether to replace a packed folder at ``out``, or what a run that did not finish has left.
        resume: Whether to go on after the partitions that a run which did not finish has left, also one by
            ``pack_partitions``. Finished partitions are not tokenised again. Those of files that were modified since,
            and of pipes, are read again, and their checksums are compared. The result is the same, byte for byte.
            Without such a run, packing begins from the start; if an output of the same inputs and options is complete,
            nothing is done.
        split: Cuts texts into pieces that no token crosses, such as ``Segmenter.pieces``.
        notes: Entries to add to the manifest.
        on_tokenizer: Called once with the tokenizer, which has found its begin and end token.
        on_progress: Called after each batch of documents.
        options: Fields of PackConfig; they override ``config``.

    Raises ConfigError, DataError or ShardError; ``out`` is then unchanged. Finished partitions are kept for ``resume``.
    """
    config = PackConfig.given(config, **options)
    threads = thread_count(threads)
    if has_corpora(source):
        reading = {"tokenizer": tokenizer, "split": split, "on_tokenizer": on_tokenizer}
        given: dict[str, Any] = {"threads": threads, "on_progress": on_progress, "notes": notes}
        given |= {"overwrite": overwrite, "resume": resume}
        return _pack_corpora(pack, source, config, out, [out], reading, given)
    work, reader = Work.begin(source, config, out, tokenizer, notes or {}, on_tokenizer)
    if resume and isinstance(work.paths, MemorySource):
        raise ConfigError(f"resume: expected files or standard input; got {MEMORY}, which cannot be read again")
    if resume and (manifest := work.completed(out, overwrite=overwrite)) is not None:
        return manifest
    numbers = range(len(work.partitions))
    if (place := run_at_address(out)) is not None:
        if not resume:
            raise ShardError(
                f"{shown(out)}: processes that did not finish have left partitions in {place}; go on with --resume, or "
                f"remove {place} to start again"
            )
        with shared_folder(out, work.config, work.description, overwrite=overwrite) as folder:
            folder.load(numbers, tails=False)
            work.pack(reader, folder, numbers, threads=threads, split=split, on_progress=on_progress)
        return merge(out, overwrite=overwrite)
    with RunFolder(out, work.config, run=work.description, overwrite=overwrite, resume=resume) as folder:
        folder.load(numbers, tails=True)
        work.pack(reader, folder, numbers, threads=threads, split=split, on_progress=on_progress)
        return _finish(folder)


def pack_lengths(
    source: Inputs | Any,
    config: PackConfig | None = None,
    out: str | os.PathLike[str] = "packed",
    *,
    seq_lens: Sequence[int],
    tokenizer: AnyTokenizer = BUNDLED,
    threads: int | None = None,
    overwrite: bool = False,
    resume: bool = False,
    split: Split | None = None,
    notes: Mapping[str, Any] | None = None,
    on_tokenizer: Callable[[TextTokenizer], None] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    **options: Any,
) -> dict[int, Manifest]:
    """Pack a corpus for several lengths of rows, in one pass, and return the manifest of each.

    The corpus is read and tokenised once. Each folder, such as ``out/2048``, is that of ``pack``, byte for byte. Memory
    for the leftovers and the open shard is needed for each length.

    Args:
        seq_lens: The lengths, in place of ``config.seq_len``.
        resume: Also goes on after runs that packed for one of the lengths alone.
        source, config, out, tokenizer, threads, overwrite, split, notes, on_tokenizer, on_progress, options: See
            ``pack``.

    Raises what ``pack`` raises, and ConfigError for a length that is there twice.
    """
    check_path(out, "out")
    threads = thread_count(threads)
    lengths = sorted(different_lengths(seq_lens))
    config = PackConfig.given(config, **{**options, "seq_len": lengths[0]})
    if is_manifest(place_of(out) / MANIFEST):
        raise ConfigError(f"{shown(out)}: packed shards are there; choose another folder for those of several lengths")
    outs = {length: f"{os.fspath(out).rstrip('/')}/{length}" for length in lengths}
    if has_corpora(source):
        reading = {"tokenizer": tokenizer, "split": split, "on_tokenizer": on_tokenizer}
        given: dict[str, Any] = {"threads": threads, "on_progress": on_progress, "notes": notes}
        given |= {"overwrite": overwrite, "resume": resume, "seq_lens": seq_lens}
        return _pack_corpora(pack_lengths, source, config, out, outs.values(), reading, given)
    work, reader = Work.begin(source, config, out, tokenizer, notes or {}, on_tokenizer)
    works = {length: work.of_length(length) for length in lengths}
    if resume and isinstance(work.paths, MemorySource):
        raise ConfigError(f"resume: expected files or standard input; got {MEMORY}, which cannot be read again")
    found = {
        length: works[length].completed(outs[length], overwrite=overwrite) if resume else None for length in lengths
    }
    manifests = {length: manifest for length, manifest in found.items() if manifest is not None}
    with ExitStack() as stack:
        folders = {}
        for length in lengths:
            if length not in manifests:
                each = works[length]
                folder = RunFolder(outs[length], each.config, run=each.description, overwrite=overwrite, resume=resume)
                folders[length] = stack.enter_context(folder)
                folder.load(range(len(work.partitions)), tails=True)
        if folders:
            numbers = range(len(work.partitions))
            first, *others = folders.values()
            work.pack(reader, first, numbers, others=others, threads=threads, split=split, on_progress=on_progress)
        manifests |= {length: _finish(folder) for length, folder in folders.items()}
    return {length: manifests[length] for length in lengths}


def _pack_corpora(
    run: Callable[..., _Result],
    mix: Mix,
    config: PackConfig,
    out: str | os.PathLike[str],
    outs: Iterable[str | os.PathLike[str]],
    reading: Mapping[str, Any],
    given: Mapping[str, Any],
) -> _Result:
    """Tokenise the corpora of a mix, with the arguments ``reading``, and ``run`` the packing of their stores.

    ``outs``: the folders that the run writes, which are looked at before anything is tokenised.
    """
    for place in () if given["resume"] else outs:
        refuse_output(place, overwrite=given["overwrite"])
    shared = {name: given[name] for name in ("threads", "on_progress")}
    with tokenised(mix, config, out, **reading, **shared) as stores:
        return run(stores, config, out, **given)


@dataclass(frozen=True, slots=True)
class Packed:
    """What ``pack_partitions`` has done."""

    numbers: tuple[int, ...]
    """The partitions that are finished, of those that were chosen."""
    partitions: int
    """Number of partitions of the run."""
    tokens: int
    """Tokens of the chosen partitions; 0 if the folder is complete already."""


def pack_partitions(
    source: Inputs,
    config: PackConfig | None = None,
    out: str | os.PathLike[str] = "packed",
    *,
    chosen: Callable[[int], Iterable[int]],
    tokenizer: str | os.PathLike[str] = BUNDLED,
    threads: int | None = None,
    overwrite: bool = False,
    split: Split | None = None,
    notes: Mapping[str, Any] | None = None,
    on_tokenizer: Callable[[TextTokenizer], None] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    **options: Any,
) -> Packed:
    """Pack some partitions of a corpus into the hidden folder next to ``out``; ``merge`` completes it.

    Several processes, on one machine or on many that share a file system, may work on partitions of one run at the same
    time. They must be given the same files and options. Partitions that are finished are not packed again, so that a
    process that was killed is simply started again.

    Args:
        chosen: Receives the number of partitions and returns the numbers of those to pack, such as
            ``lambda count: range(3, count, 16)``.
        overwrite: Whether ``merge`` will replace a packed folder at ``out``.
        source, config, tokenizer, threads, split, notes, on_tokenizer, on_progress, options: See ``pack``.

    Raises ConfigError, DataError or ShardError. Finished partitions are kept.
    """
    config = PackConfig.given(config, **options)
    threads = thread_count(threads)
    work, reader = Work.begin(source, config, out, tokenizer, notes or {}, on_tokenizer)
    refuse_pipes(work.paths)
    numbers = tuple(sorted(set(chosen(len(work.partitions)))))
    if outside := set(numbers) - set(range(len(work.partitions))):
        raise ConfigError(f"chosen: expected numbers from 0 to {len(work.partitions) - 1:,}; got {min(outside)}")
    tokens = 0
    if work.completed(out, overwrite=overwrite) is None:
        with shared_folder(out, work.config, work.description, overwrite=overwrite) as folder:
            for number in numbers:
                folder.claim(number)
            folder.load(numbers, tails=False)
            work.pack(reader, folder, numbers, threads=threads, split=split, on_progress=on_progress)
            tokens = sum(receipt.tokens for receipt in folder.journal.in_order)
    return Packed(numbers, len(work.partitions), tokens)


def merge(out: str | os.PathLike[str] = "packed", *, overwrite: bool = False) -> Manifest:
    """Complete the folder whose partitions were packed by ``pack_partitions``: pack their tails, write the manifest.

    ``overwrite``: whether to replace a packed folder at ``out``. Returns the manifest; the folder is the same, byte for
    byte, as that of ``pack``. If ``out`` is complete, nothing is done.

    Raises ShardError if there is no such run, if partitions are missing, or if a file is damaged; ConfigError if
    another version has packed them.
    """
    check_path(out, "out")
    folder = unfinished_folder(out, overwrite=overwrite)
    if folder is None:
        return Manifest.read(place_of(out) / MANIFEST)
    partitions = folder.run["given"]["partitions"]
    with folder:
        folder.load(range(partitions), tails=True)
        if missing := [number for number in range(partitions) if not folder.journal.is_complete(number)]:
            named = ", ".join(map(str, missing[:20])) + (", ..." if len(missing) > 20 else "")
            raise ShardError(
                f"{shown(out)}: {len(missing):,} of {partitions:,} partitions are not finished: {named}; pack them "
                "with the same command as before"
            )
        return _finish(folder)


def _finish(folder: RunFolder) -> Manifest:
    """Pack the tails of all partitions, and complete the folder."""
    given, facts = folder.run["given"], TokenizerFacts(**folder.run["tokenizer"])
    stage = Stage(folder.config, facts, folder, partitions=given["partitions"])
    writer, accounting = stage.pack_tails()
    for receipt in folder.journal.in_order:
        accounting += Accounting(**receipt.accounting)
    _warn_of_drops(accounting)
    warn_without_step(accounting.rows, folder.config)
    return folder.finish(writer, stage.schema, accounting, facts, given["notes"])


def _warn_of_drops(accounting: Accounting) -> None:
    """Warn if a model would miss the ends of documents, or whole ones."""
    share = accounting.dropped / max(1, accounting.tokens_in)
    if share > _MUCH_DROPPED:
        what = dropped_documents(accounting.documents_shortened, accounting.documents_dropped or 0)
        warnings.warn(
            f"{share:.2%} of the tokens are dropped: {what}; "
            "without extra_tokens, drop_last and rest=drop, and with long=window or split, nothing is",
            stacklevel=3,
        )
