"""Packing: from a corpus to a folder of packed shards.

    partitions -> read_partitions -> decode + tokenise (threads) -> windows of tokens -> plan -> gather -> shards
    tails of all partitions -> plan -> gather -> shards -> manifest

The main thread reads and collects; workers decode and tokenise; one more thread plans, gathers and writes a window
while the next one fills. Pieces that fill no row are carried, with their tokens, into the next window. Partitions may
be packed by any number of processes, on any machines; ``merge`` completes the folder.
"""

import dataclasses
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from seampack._threads import thread_count
from seampack._version import __version__
from seampack.errors import ConfigError, ShardError
from seampack.io.sources import STDIN, expand, name_of
from seampack.packer.accounting import Accounting
from seampack.packer.config import PackConfig
from seampack.packer.documents import Split
from seampack.packer.journal import changes
from seampack.packer.manifest import MANIFEST, Manifest, TokenizerFacts, check_notes, is_manifest
from seampack.packer.partitions import Partition, partitions_of
from seampack.packer.pipeline import Progress, known_bytes, token_batches
from seampack.packer.planning import plan
from seampack.packer.resuming import counted, finished, unfinished
from seampack.packer.run_folder import RunFolder, discard_unfinished
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
    run = _Run.begin(source, PackConfig.given(config, **options), out, tokenizer, notes or {}, on_tokenizer)
    if resume and (manifest := _complete(Path(out), run.given)) is not None:
        return manifest
    with RunFolder(out, run.config, run=run.to_dict(), overwrite=overwrite, resume=resume) as folder:
        numbers = range(len(run.partitions))
        folder.journal.load(numbers)
        run.pack(folder, numbers, threads=thread_count(threads), split=split, on_progress=on_progress)
        return _finish(folder, run.config, run.facts, len(run.partitions), run.notes)


@dataclass(frozen=True, slots=True)
class Packed:
    """What ``pack_partitions`` has done."""

    numbers: tuple[int, ...]
    """The partitions that are finished, of those that were chosen."""
    partitions: int
    """Number of partitions of the run."""
    tokens: int
    """Tokens of the chosen partitions."""


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
    run = _Run.begin(source, PackConfig.given(config, **options), out, tokenizer, notes or {}, on_tokenizer)
    if STDIN in run.paths:
        raise ConfigError("standard input has no partitions to choose from; give files, or pack it by one process")
    numbers = sorted(set(chosen(len(run.partitions))))
    if outside := set(numbers) - set(range(len(run.partitions))):
        raise ConfigError(f"chosen: expected numbers from 0 to {len(run.partitions) - 1:,}; got {min(outside)}")
    if (manifest := _complete(Path(out), run.given)) is not None:
        return Packed(tuple(numbers), len(run.partitions), manifest.accounting.tokens_in)
    with RunFolder(out, run.config, run=run.to_dict(), overwrite=overwrite, shared=True) as folder:
        for number in numbers:
            folder.claim(number)
        folder.journal.load(numbers)
        run.pack(folder, numbers, threads=thread_count(threads), split=split, on_progress=on_progress)
        tokens = sum(receipt.tokens for receipt in folder.journal.in_order)
        return Packed(tuple(numbers), len(run.partitions), tokens)


def merge(out: str | os.PathLike[str] = "packed", *, overwrite: bool = False) -> Manifest:
    """Complete the folder whose partitions were packed by ``pack_partitions``: pack their tails, write the manifest.

    ``overwrite``: whether to replace a packed folder at ``out``. Returns the manifest; the folder is the same, byte for
    byte, as that of ``pack``. If ``out`` is complete, nothing is done.

    Raises ShardError if there is no such run, if partitions are missing, or if a file is damaged.
    """
    folder = RunFolder.unfinished(out, overwrite=overwrite)
    if folder is None:
        return Manifest.read(Path(out) / MANIFEST)
    run = folder.run
    config = PackConfig(**run["given"]["options"])
    partitions = run["given"]["partitions"]
    with folder:
        folder.journal.load(range(partitions))
        if missing := [number for number in range(partitions) if not folder.journal.is_complete(number)]:
            named = ", ".join(map(str, missing[:20])) + (", ..." if len(missing) > 20 else "")
            raise ShardError(
                f"{out}: {len(missing):,} of {partitions:,} partitions are not finished: {named}; pack them with the "
                "same command as before"
            )
        return _finish(folder, config, TokenizerFacts(**run["tokenizer"]), partitions, run["given"]["notes"])


@dataclass(frozen=True, slots=True)
class _Run:
    """What a run was given, and its partitions."""

    config: PackConfig
    paths: list[str]
    partitions: list[Partition]
    tokenizer: TextTokenizer
    notes: dict[str, Any]

    @classmethod
    def begin(
        cls,
        source: Inputs,
        config: PackConfig,
        out: str | os.PathLike[str],
        tokenizer: str | os.PathLike[str],
        notes: Mapping[str, Any],
        on_tokenizer: Callable[[TextTokenizer], None] | None,
    ) -> Self:
        """Find the inputs, and load the tokenizer."""
        notes = check_notes(notes)
        paths = expand(source)
        _refuse_own_input(source, paths, Path(out))
        with ThreadPoolExecutor(1) as loading:
            loading.submit(_load_kernels)
            text_tokenizer = TextTokenizer(tokenizer, config, input_bytes=known_bytes(paths))
        if on_tokenizer is not None:
            on_tokenizer(text_tokenizer)
        return cls(config, paths, partitions_of(paths, config), text_tokenizer, notes)

    @property
    def facts(self) -> TokenizerFacts:
        """The manifest's description of the tokenizer."""
        return _facts(self.tokenizer)

    @property
    def given(self) -> dict[str, Any]:
        """What another run must be given to go on after this one."""
        return {
            "seampack": __version__,
            "inputs": [path if path == STDIN else name_of(path) for path in self.paths],
            "sizes": {name_of(path): os.path.getsize(path) for path in self.paths if os.path.isfile(path)},
            "partitions": len(self.partitions),
            "tokenizer": self.tokenizer.fingerprint,
            "options": self.config.to_dict(),
            "notes": self.notes,
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the content of ``run.json``."""
        return {"given": self.given, "tokenizer": dataclasses.asdict(self.facts), "modified": self._modified()}

    def _modified(self) -> dict[str, int]:
        """Return when the files were modified, in nanoseconds."""
        return {name_of(path): os.stat(path).st_mtime_ns for path in self.paths if os.path.isfile(path)}

    def pack(
        self,
        folder: RunFolder,
        numbers: Iterable[int],
        *,
        threads: int,
        split: Split | None,
        on_progress: Callable[[Progress], None] | None,
    ) -> None:
        """Pack the partitions that are not finished."""
        journal = folder.journal
        before, now = journal.read_run()["modified"], self._modified()
        same = {path for path in self.paths if name_of(path) in now and before.get(name_of(path)) == now[name_of(path)]}
        chosen = [
            number
            for number in numbers
            if not (journal.is_complete(number) and all(piece.path in same for piece in self.partitions[number]))
        ]
        receipts = {number: tuple(journal.receipts[number]) for number in chosen if number in journal.receipts}
        # The writing thread ends before the folder is left, so that a failed run writes nothing afterwards.
        with (
            ThreadPoolExecutor(1, thread_name_prefix="write") as thread,
            closing(
                token_batches(
                    self.paths,
                    self.tokenizer,
                    self.config,
                    partitions=self.partitions,
                    chosen=chosen,
                    threads=threads,
                    split=split,
                    on_progress=on_progress,
                    finished={number: finished(each) for number, each in receipts.items()},
                    counted=counted(journal.in_order),
                )
            ) as batches,
        ):
            stage = Stage(self.config, self.facts, folder, partitions=len(self.partitions))
            pending: Future[None] | None = None
            for window, end in windows_of(unfinished(batches, receipts), self.config):
                if pending is not None:
                    pending.result()
                pending = thread.submit(stage.run, window, end)
            if pending is not None:
                pending.result()


def _finish(
    folder: RunFolder, config: PackConfig, facts: TokenizerFacts, partitions: int, notes: Mapping[str, Any]
) -> Manifest:
    """Pack the tails of all partitions, and complete the folder."""
    writer, accounting = Stage(config, facts, folder, partitions=partitions).pack_tails()
    for receipt in folder.journal.in_order:
        accounting += Accounting(**receipt.accounting)
    _warn_of_drops(accounting)
    return folder.finish(writer, accounting, facts, notes)


def _complete(out: Path, given: Mapping[str, Any]) -> Manifest | None:
    """Return the manifest of an output that a run which was given the same has completed, or None.

    A run may be killed after it has completed its output, when its caller does not know yet.
    """
    if not is_manifest(out / MANIFEST):
        return None
    manifest = Manifest.read(out / MANIFEST)
    sizes = {each.path: 0 for each in manifest.inputs if each.path in given["sizes"]}
    for each in manifest.inputs:
        if each.path in sizes:
            sizes[each.path] += each.bytes
    before = {
        "seampack": manifest.seampack_version,
        "inputs": [each.path for each in manifest.inputs if each.part == 0],
        "sizes": sizes,
        "partitions": len(manifest.partitions),
        "tokenizer": manifest.tokenizer.fingerprint,
        "options": dict(manifest.config),
        "notes": dict(manifest.notes),
    }
    if list(changes(before, given)):
        return None
    discard_unfinished(out)
    return manifest


def _warn_of_drops(accounting: Accounting) -> None:
    """Warn if a model would miss the ends of documents."""
    share = accounting.dropped / max(1, accounting.tokens_in)
    if share > _MUCH_DROPPED:
        warnings.warn(
            f"{share:.2%} of the tokens are dropped, at the ends of documents ({accounting.documents_truncated:,} "
            "truncated); without extra_tokens and drop_last, nothing is",
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
