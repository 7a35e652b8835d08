"""The work of a run: its inputs, divided into partitions, any of which any process can pack."""

import dataclasses
import os
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from seampack._version import __version__
from seampack.errors import ConfigError, DataError, ShardError
from seampack.io.places import check_path, is_url, local_path, place_of, shown
from seampack.io.sources import STDIN, name_of, size_of
from seampack.packer.blends import Blend, tokens_of
from seampack.packer.config import PackConfig
from seampack.packer.documents import Split, TokenBatch
from seampack.packer.entries import TokenizerFacts
from seampack.packer.formats.registry import OutputFormat
from seampack.packer.group_column import with_groups
from seampack.packer.journal import Journal, Receipt, changes
from seampack.packer.manifest import CHAT_TEMPLATE, Manifest, check_notes, is_manifest
from seampack.packer.memory_sources import MEMORY, MemorySource, opened
from seampack.packer.names import MANIFEST
from seampack.packer.partitions import Partition, Piece, partitions_of
from seampack.packer.pipeline import Progress, known_bytes, token_batches
from seampack.packer.planning import plan
from seampack.packer.resuming import counted, finished, modified_inputs, read_once, unfinished
from seampack.packer.run_folder import RunFolder, discard_finished
from seampack.packer.stage import Stage
from seampack.packer.token_store import TokenStore
from seampack.packer.tokenizing import AnyTokenizer, TextTokenizer
from seampack.packer.windows import End, windows_of

_SHOWN = 3
"""Number of names in a message."""

Inputs = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


@dataclass(frozen=True, slots=True)
class Work:
    """What a run was given; any process with its tokenizer can pack any of its partitions."""

    config: PackConfig
    paths: list[str] | MemorySource
    partitions: list[Partition]
    description: dict[str, Any]
    """The content of ``run.json``: what another process must be given to work on the same run (``given``), the
    manifest's description of the tokenizer, and when the files were modified, in nanoseconds."""

    @classmethod
    def begin(
        cls,
        source: Inputs | Any,
        config: PackConfig,
        out: str | os.PathLike[str],
        tokenizer: AnyTokenizer,
        notes: Mapping[str, Any],
        on_tokenizer: Callable[[TextTokenizer], None] | None,
    ) -> tuple[Self, TextTokenizer | TokenStore | Blend]:
        """Find the inputs, and load the tokenizer, which a token store replaces."""
        check_path(out, "out")
        refuse_unpadded(config)
        notes = check_notes(notes)
        if (tokens := tokens_of(source, config)) is not None:
            return cls._of_tokens(tokens, config, out, tokenizer, notes), tokens
        if config.output_format == OutputFormat.INDEX:
            raise ConfigError("output_format: an index refers to a token store; make one with: seampack tokenize")
        paths = opened(source)
        files = [] if isinstance(paths, MemorySource) else paths
        refuse_own_input(source, files, out)
        loaded = load_tokenizer(tokenizer, config, known_bytes(paths))
        if on_tokenizer is not None:
            on_tokenizer(loaded)
        if loaded.chats is not None:
            notes[CHAT_TEMPLATE] = loaded.chats.digest
        partitions = partitions_of(paths, config)
        sizes = {name_of(path): size for path in files if (size := size_of(path)) is not None}
        names = [path if path == STDIN else name_of(path) for path in files] or [MEMORY]
        facts = facts_of(loaded)
        description = _described(config, names, sizes, files, len(partitions), facts, notes)
        return cls(config, paths, partitions, description), loaded

    @classmethod
    def _of_tokens(
        cls,
        tokens: TokenStore | Blend,
        config: PackConfig,
        out: str | os.PathLike[str],
        tokenizer: AnyTokenizer,
        notes: dict[str, Any],
    ) -> Self:
        """Describe the packing of token stores, whose inputs are those of their corpora."""
        facts = tokens.facts(config.pad)
        tokens.refuse_tokenizer(tokenizer)
        refuse_own_input([os.path.dirname(path) for path in tokens.paths], tokens.paths, out)
        config = tokens.config_for(config)
        sizes = {name: sum(each.bytes for each in parts) for name, parts in read_once(tokens.inputs).items()}
        names = [each.path for each in tokens.inputs if each.part == 0]
        partitions = [tuple(map(Piece, paths)) for paths in tokens.partitions]
        notes = {**notes, **tokens.notes}
        description = _described(config, names, sizes, tokens.paths, len(partitions), facts, notes)
        return cls(config, tokens.paths, partitions, description)

    @property
    def facts(self) -> TokenizerFacts:
        """The manifest's description of the tokenizer."""
        return TokenizerFacts(**self.description["tokenizer"])

    def completed(self, out: str | os.PathLike[str], *, overwrite: bool) -> Manifest | None:
        """Return the manifest of an output that a run which was given the same has completed, or None.

        A run may be killed after it has completed its output, when its caller does not know yet. Files that were
        modified since, and pipes, are compared with the checksums of the manifest.

        Raises ShardError if the output is of a run that was given something else, and ``overwrite`` is not set.
        """
        path, given = place_of(out) / MANIFEST, self.description["given"]
        if not is_manifest(path):
            return None
        manifest = Manifest.read(path)
        inputs = read_once(manifest.inputs)
        before = {
            "seampack": manifest.seampack_version,
            "inputs": [each.path for each in manifest.inputs if each.part == 0],
            "sizes": {name: sum(each.bytes for each in inputs[name]) for name in given["sizes"] if name in inputs},
            "partitions": len(manifest.partitions),
            "tokenizer": manifest.tokenizer.fingerprint,
            "options": dict(manifest.config),
            "notes": dict(manifest.notes),
        }
        changed = list(changes(before, given))
        files = [] if isinstance(self.paths, MemorySource) else self.paths
        if overwrite and any(size_of(file) is None for file in files):
            return None  # a pipe can be read only once
        if not changed:
            changed = [f"{name} has changed" for name in modified_inputs(files, inputs, path)]
        if not changed:
            discard_finished(out)
            return manifest
        if not overwrite:
            raise ShardError(
                f"{shown(out)}: the folder is complete, but something else was packed: {'; '.join(changed)}; use "
                "--overwrite or another folder"
            )
        return None

    def left(self, journal: Journal, numbers: Iterable[int]) -> list[int]:
        """Return the partitions that are not finished, or that have a file which was modified since."""
        same = self._unmodified(journal)
        return [
            number
            for number in numbers
            if not (journal.is_complete(number) and all(piece.path in same for piece in self.partitions[number]))
        ]

    def _unmodified(self, journal: Journal) -> set[str]:
        """Return the paths of the files that were not modified since the run began. Their sizes are the same."""
        now, before = self.description["modified"], journal.read_run()["modified"]
        files = [] if isinstance(self.paths, MemorySource) else self.paths
        return {path for path in files if now.get(name_of(path)) == before.get(name_of(path), is_url(path))}

    def of_length(self, seq_len: int) -> Self:
        """Return the work for rows of another length; the partitions and the windows are the same."""
        config = self.config.replace(seq_len=seq_len)
        given = {**self.description["given"], "options": config.to_dict()}
        return dataclasses.replace(self, config=config, description={**self.description, "given": given})

    def pack(
        self,
        tokens: TextTokenizer | TokenStore | Blend,
        folder: RunFolder,
        numbers: Iterable[int],
        *,
        others: Sequence[RunFolder] = (),
        threads: int | None,
        split: Split | None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> None:
        """Pack the partitions that are not finished, when the receipts of all of them have been read.

        ``others``: folders for rows of other lengths, into which the same windows are packed. Partitions of which the
        folders have different receipts are packed folder by folder.
        """
        folders = (folder, *others)
        options: dict[str, Any] = {"threads": threads, "split": split, "on_progress": on_progress}
        states = {number: {each.journal.state(number) for each in folders} for number in numbers}
        if different := [number for number, several in states.items() if len(several) > 1]:
            for each in folders:
                self._pack(tokens, [each], different, **options)
        self._pack(tokens, folders, [number for number in states if number not in different], **options)

    def _pack(
        self,
        tokens: TextTokenizer | TokenStore | Blend,
        folders: Sequence[RunFolder],
        numbers: Iterable[int],
        *,
        threads: int | None,
        split: Split | None,
        on_progress: Callable[[Progress], None] | None,
    ) -> None:
        """Pack partitions of which all folders have the same receipts."""
        journal = folders[0].journal
        unmodified = [self._unmodified(folder.journal) for folder in folders]
        same = set.intersection(*unmodified)
        chosen = sorted({number for folder in folders for number in self.left(folder.journal, numbers)})

        def changed(number: int) -> DataError:
            files = [name_of(piece.path) for piece in self.partitions[number] if piece.path not in same]
            names = ", ".join(files[:_SHOWN]) + (", ..." if len(files) > _SHOWN else "")
            return DataError(
                f"{folders[0].out}: cannot resume: {names} (partition {number}) has changed since the run that "
                f"did not finish; give the same input, or remove {journal.place} to start again"
            )

        receipts = {number: tuple(journal.receipts[number]) for number in chosen if number in journal.receipts}
        # The writing thread ends before the folders are left, so that a failed run writes nothing afterwards.
        with (
            ThreadPoolExecutor(1, thread_name_prefix="write") as thread,
            closing(self._batches(tokens, chosen, receipts, journal.in_order, threads, split, on_progress)) as batches,
        ):
            partitions = len(self.partitions)
            stages = [Stage(folder.config, self.facts, folder, partitions=partitions) for folder in folders]

            def run(window: list[TokenBatch], end: End) -> None:
                for stage in stages:
                    stage.run(window, end)

            pending: Future[None] | None = None
            left = unfinished(batches, receipts, changed)
            for window, end in windows_of(with_groups(left, self.config), self.config):
                if pending is not None:
                    pending.result()
                pending = thread.submit(run, window, end)
            if pending is not None:
                pending.result()

    def _batches(
        self,
        tokens: TextTokenizer | TokenStore | Blend,
        chosen: list[int],
        receipts: Mapping[int, tuple[Receipt, ...]],
        before: Sequence[Receipt],
        threads: int | None,
        split: Split | None,
        on_progress: Callable[[Progress], None] | None,
    ) -> Generator[TokenBatch, None, None]:
        """Return the documents of partitions, of which an earlier run left ``receipts``."""
        if not isinstance(tokens, TextTokenizer):
            if split is not None:
                raise ConfigError(f"{tokens.name}: a token store has no texts to split; split them with tokenize")
            checks = self.config.output_format != OutputFormat.INDEX  # which does not look at the tokens
            return tokens.batches(chosen, checks=checks, on_progress=on_progress, counted=counted(before))
        return token_batches(
            self.paths,
            tokens,
            self.config,
            partitions=self.partitions,
            chosen=chosen,
            threads=threads,
            split=split,
            on_progress=on_progress,
            finished={number: finished(each) for number, each in receipts.items()},
            counted=counted(before),
        )


def load_tokenizer(name: AnyTokenizer, config: PackConfig, input_bytes: int) -> TextTokenizer:
    """Return the tokenizer. Meanwhile, the kernels are loaded, or compiled in the first run."""
    with ThreadPoolExecutor(1) as loading:
        loading.submit(lambda: plan([1]).account())
        return TextTokenizer(name, config, input_bytes=input_bytes)


def refuse_unpadded(config: PackConfig) -> None:
    """Raise ConfigError for segments that are to be padded, without a token to do so."""
    if config.pad_to_multiple > 1 and config.pad is None:
        raise ConfigError("pad_to_multiple: expected a token to pad with; give --pad, such as the end token")


def refuse_pipes(paths: Sequence[str] | MemorySource) -> None:
    """Raise ConfigError for an input that other processes cannot read."""
    if isinstance(paths, MemorySource):
        raise ConfigError(f"expected files, which several processes can read; got {MEMORY}")
    for path in paths:
        if size_of(path) is None:
            name = name_of(path)
            raise ConfigError(f"{name}: expected files, which several processes can read; pack it by one process")


def refuse_own_input(source: Inputs, paths: Sequence[str], out: str | os.PathLike[str]) -> None:
    """Raise ConfigError if the output folder, which would be replaced, has an input, or is in an input folder."""
    if not paths:
        return
    for item in [source] if isinstance(source, str | os.PathLike) else source:
        if (is_url(item) or Path(item).is_dir()) and _is_inside(out, item):
            raise ConfigError(f"{shown(out)}: the output is in the input folder {shown(item)}; choose another folder")
    for path in paths:
        if path != STDIN and _is_inside(path, out):
            raise ConfigError(f"{shown(path)}: the input is in the output folder {shown(out)}; choose another folder")


def _is_inside(path: str | os.PathLike[str], folder: str | os.PathLike[str]) -> bool:
    if is_url(path) or is_url(folder):
        return shown(path).startswith(shown(folder).rstrip("/") + "/")
    return Path(local_path(folder)).resolve() in Path(local_path(path)).resolve().parents


def _described(
    config: PackConfig,
    inputs: list[str],
    sizes: dict[str, int],
    files: Sequence[str],
    partitions: int,
    tokenizer: TokenizerFacts,
    notes: dict[str, Any],
) -> dict[str, Any]:
    """Return the content of ``run.json``. ``sizes``: bytes of the inputs; ``files``: what the run reads."""
    given = {
        "seampack": __version__,
        "inputs": inputs,
        "sizes": sizes,
        "partitions": partitions,
        "tokenizer": tokenizer.fingerprint,
        "options": config.to_dict(),
        "notes": notes,
    }
    return {
        "given": given,
        "tokenizer": dataclasses.asdict(tokenizer),
        "modified": {name_of(path): os.stat(path).st_mtime_ns for path in files if os.path.isfile(path)},
    }


def facts_of(tokenizer: TextTokenizer) -> TokenizerFacts:
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
