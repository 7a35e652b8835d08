"""Token stores: the documents of a corpus as token ids on the disk, to be packed often, without a tokenizer.

    STORE/tokens.json          the manifest: tokenizer, options that decided the reading, partitions, checksums
          tokens-00000.arrow   the documents of a partition: a record batch for each block of the input
          quarantine.jsonl     records that could not be read

A store has the partitions and blocks of its corpus, so that packing it gives the shards of packing the corpus. Its
files are mapped into memory; a plan needs the lengths of the documents only. Of a store at an address, a partition is
copied to the disk while it is read.
"""

import dataclasses
import os
from collections.abc import Callable, Generator, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from seampack.errors import ConfigError, ShardError
from seampack.io.arrow import arrow_of
from seampack.io.places import on_disk, place_of
from seampack.io.ragged import offsets_of
from seampack.io.sources import listed
from seampack.packer.checksums import checksum
from seampack.packer.columns import joined_fields
from seampack.packer.config import PackConfig
from seampack.packer.documents import Origin, TokenBatch, id_type
from seampack.packer.entries import File, Input, TokenizerFacts
from seampack.packer.gather import Ragged
from seampack.packer.numbering import BITS
from seampack.packer.option_groups import READING
from seampack.packer.pipeline import Counted, Progress
from seampack.packer.store_files import IDS, NAMES, named_types, read_blocks, schema_of, with_labels
from seampack.packer.store_manifest import (
    MARKER,
    TOKENISE_AGAIN,
    StoredPartition,
    StoreManifest,
)
from seampack.packer.tokenizing import BUNDLED, AnyTokenizer

STORE = "token_store"
"""Note of a packed folder with the folder and the fingerprint of the store that it was packed from."""

_NOTHING = Counted()

Int64 = npt.NDArray[np.int64]


class TokenStore:
    """A token store, whose files are opened as they are needed.

    Raises ShardError if the manifest is missing, damaged or of a later format, or if a file is missing or has another
    size than in the manifest.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = place_of(folder)
        """The folder; of one at an address, each partition is copied to the disk while it is read."""
        self.manifest = StoreManifest.read(self.folder / MARKER)
        self.name = str(self.folder)
        self.fingerprint = self.manifest.fingerprint
        self.config = PackConfig.given(None, **self.manifest.config)
        """The options that decided the reading, with the defaults of all others."""
        self._schema = schema_of(self._with_labels, self.manifest.tokenizer.vocab_size)
        if {each.name: str(each.type) for each in self._schema} != self.manifest.columns:
            raise ShardError(
                f"{self.folder / MARKER}: the token store is damaged: columns: expected those of its options; got "
                f"{', '.join(self.manifest.columns)}; tokenise again"
            )
        self._opened: dict[int, _Opened] = {}
        files = {entry.name: entry for entry in self.folder.iterdir() if entry.is_file()}
        for each in self._files():
            if each.file not in files or files[each.file].stat().st_size != each.bytes:
                raise ShardError(
                    f"{self.folder / each.file}: expected a file of {each.bytes:,} bytes: it is missing or damaged; "
                    f"{TOKENISE_AGAIN}"
                )

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without open files; another process opens them again."""
        return {**self.__dict__, "_opened": {}}

    @property
    def _with_labels(self) -> PackConfig:
        return with_labels(self.config)

    @property
    def absolute(self) -> str:
        """The absolute path of the folder, or its address without credentials."""
        return str(self.folder.resolve() if isinstance(self.folder, Path) else self.folder)

    @property
    def paths(self) -> list[str]:
        """The files of the partitions."""
        return [str(self.folder / partition.file) for partition in self.manifest.partitions]

    @property
    def partitions(self) -> list[tuple[str, ...]]:
        """The files that each partition is read from."""
        return [(path,) for path in self.paths]

    @property
    def inputs(self) -> list[Input]:
        """The inputs of the corpus."""
        return [each for partition in self.manifest.partitions for each in partition.inputs]

    @property
    def notes(self) -> dict[str, Any]:
        """What a folder that is packed from the store notes of it."""
        noted = {"folder": self.absolute, "fingerprint": self.fingerprint, **self.manifest.noted_quarantine}
        return {**self.manifest.notes, STORE: noted}

    def refuse_tokenizer(self, tokenizer: AnyTokenizer) -> None:
        """Raise ConfigError for a tokenizer other than the default: there is nothing to tokenise."""
        if tokenizer != BUNDLED:
            raise ConfigError(
                f"{self.name}: a token store, whose tokens are those of {self.manifest.tokenizer.name}; omit the "
                "tokenizer, or tokenise again with it"
            )

    def config_for(self, given: PackConfig) -> PackConfig:
        """Return the options of packing the store: how to read is decided already.

        Raises ConfigError if an option of reading is neither its default nor that of the store.
        """
        stated = {name: getattr(self.config, name) for name in READING}
        for option in dataclasses.fields(given):
            value = getattr(given, option.name)
            if option.name in READING and value not in (option.default, stated[option.name]):
                raise ConfigError(
                    f"{self.folder}: {option.name}: the token store was made with {_shown(stated[option.name])}; got "
                    f"{_shown(value)}; omit the option, or tokenise again with it"
                )
        return given.replace(**stated)

    def facts(self, pad: str | None) -> TokenizerFacts:
        """Return the manifest's description of the tokenizer. Raise ConfigError if it has no such padding token."""
        if pad is None:
            return self.manifest.tokenizer
        known = self.manifest.special_tokens
        if pad not in known:
            raise ConfigError(
                f"pad: no token {pad!r} in the token store {self.folder}; it knows {listed(sorted(known))}"
            )
        return dataclasses.replace(self.manifest.tokenizer, pad_id=known[pad])

    def batches(
        self,
        chosen: Iterable[int] | None = None,
        *,
        checks: bool = False,
        on_progress: Callable[[Progress], None] | None = None,
        counted: Counted = _NOTHING,
    ) -> Generator[TokenBatch, None, None]:
        """Yield the documents of partitions, by default all; each partition ends with a batch without documents.

        The tokens stay on the disk until they are looked at. ``checks``: whether to compare the checksums first.

        Raises ShardError for a damaged file.
        """
        documents, tokens, size = counted.documents, counted.tokens, counted.bytes
        for number in range(len(self.manifest.partitions)) if chosen is None else chosen:
            for block in self._partition(number, checks=checks).blocks:
                documents += block.offsets.size - 1
                tokens += block.ids.size
                size += block.input_bytes
                yield block
                if on_progress is not None:
                    on_progress(Progress(documents, tokens, size))
            nothing = TokenBatch(np.empty(0, self.dtype), np.zeros(1, np.int64))
            inputs = self.manifest.partitions[number].inputs
            yield dataclasses.replace(nothing, origin=Origin(partition=number, inputs=inputs))
            if not isinstance(self.folder, Path):
                del self._opened[number]  # and the copy with it, when its documents are packed

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger]:
        """Type of the token ids."""
        return id_type(self.manifest.tokenizer.vocab_size)

    @property
    def columns(self) -> dict[str, np.dtype[Any]]:
        """Types of the values that each token has: its id, and the carried columns."""
        return {IDS: self.dtype, **{name: np.dtype(kind) for name, kind in self._with_labels.carried.items()}}

    def documents(self, numbers: Int64) -> tuple[dict[str, Ragged], dict[str, pa.Array]]:
        """Return documents by their numbers: their tokens, which are not copied, and a value for each by column.

        Raises ShardError for a number that no document has, and for a damaged file.
        """
        addresses = {name: np.empty(numbers.size, np.int64) for name in self.columns}
        lengths = np.empty(numbers.size, np.int64)
        places = np.empty(numbers.size, np.int64)
        blocks: list[TokenBatch] = []
        before = 0
        partition, within = numbers >> BITS, numbers & ((1 << BITS) - 1)
        for number in np.unique(partition).tolist():
            opened = self._partition(number) if 0 <= number < len(self.manifest.partitions) else None
            here = np.flatnonzero(partition == number)
            if opened is None or within[here].max() >= opened.firsts[-1]:
                raise ShardError(f"{self.folder}: no document {int(numbers[here[within[here].argmax()]])} in the store")
            of_block = np.searchsorted(opened.firsts[1:], within[here], side="right")
            order = np.argsort(of_block, kind="stable")
            borders = np.flatnonzero(np.diff(of_block[order])) + 1
            for mine in np.split(here[order], borders):
                chosen = int(np.searchsorted(opened.firsts[1:], within[mine[0]], side="right"))
                block = opened.blocks[chosen]
                position = within[mine] - opened.firsts[chosen]
                lengths[mine] = block.offsets[position + 1] - block.offsets[position]
                for name, values in (("input_ids", block.ids), *block.columns.items()):
                    addresses[name][mine] = values.ctypes.data + block.offsets[position] * values.itemsize
                places[mine] = before + position
                before += block.offsets.size - 1
                blocks.append(block)
        kept = [[*block.columns.values(), block.ids] for block in blocks]
        ragged = {
            name: Ragged(addresses[name], lengths, dtype, [values for several in kept for values in several])
            for name, dtype in self.columns.items()
        }
        fields = joined_fields([_fields(block) for block in blocks], named_types(self.config))
        return ragged, {name: values.take(arrow_of(places)) for name, values in fields.items()}

    def lengths(self) -> Int64:
        """Return the lengths of all documents. All partitions are then open."""
        partitions = map(self._partition, range(len(self.manifest.partitions)))
        blocks = (block.lengths for opened in partitions for block in opened.blocks)
        return np.concatenate([np.empty(0, np.int64), *blocks])

    def verify(self) -> None:
        """Compare all files with their checksums. Raise ShardError for another."""
        for number in range(len(self.manifest.partitions)):
            self._partition(number, checks=True)
        self.verify_other_files()

    def verify_other_files(self) -> None:
        """Compare the files without documents with their checksums. Raise ShardError for another."""
        for each in self.manifest.files:
            with on_disk(self.folder / each.file) as path:
                self._check(each, path)

    def _check(self, file: StoredPartition | File, path: Path) -> None:
        if checksum(path) != file.checksum:
            raise ShardError(f"{self.folder / file.file}: the checksum differs: it is damaged; {TOKENISE_AGAIN}")

    def _files(self) -> Sequence[StoredPartition | File]:
        return *self.manifest.partitions, *self.manifest.files

    def _partition(self, number: int, *, checks: bool = False) -> "_Opened":
        is_copy = not isinstance(self.folder, Path)  # compared when it is made
        if number not in self._opened or (checks and not is_copy):
            stated = self.manifest.partitions[number]
            path = self.folder / stated.file
            try:
                with on_disk(path) as local:  # mapped, which a temporary file outlives
                    if checks or is_copy:
                        self._check(stated, local)
                    blocks = list(read_blocks(local, self._schema, number))
            except (OSError, ValueError, LookupError, pa.ArrowException) as error:
                raise ShardError(f"{path}: the token store is damaged: {error}; {TOKENISE_AGAIN}") from error
            firsts = offsets_of(np.array([block.offsets.size - 1 for block in blocks], np.int64))
            got = (int(firsts[-1]), sum(block.ids.size for block in blocks))
            if got != (stated.documents, stated.tokens):
                raise ShardError(
                    f"{path}: expected {stated.documents:,} documents of {stated.tokens:,} tokens; got {got[0]:,} of "
                    f"{got[1]:,}; {TOKENISE_AGAIN}"
                )
            self._opened[number] = _Opened(blocks, firsts)
        return self._opened[number]


class _Opened(NamedTuple):
    """An open partition."""

    blocks: list[TokenBatch]
    firsts: Int64
    """Number of the first document of each block, and of all documents."""


def _fields(block: TokenBatch) -> dict[str, pa.Array]:
    return dict(block.fields) if block.names is None else {NAMES: block.names, **block.fields}


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) or "none" if isinstance(value, tuple) else "none" if value is None else str(value)
