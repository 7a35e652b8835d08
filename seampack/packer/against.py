"""Verification of a packed folder against its source: every token of the rows, document by document."""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from seampack.errors import ConfigError
from seampack.io.arrow import arrow_of
from seampack.io.ragged import offsets_of
from seampack.packer.blends import Blend, is_store
from seampack.packer.column_types import TRAINED, carried_types
from seampack.packer.columns import token_columns
from seampack.packer.config import AUTO, NONE, PackConfig
from seampack.packer.documents import Split, TokenBatch
from seampack.packer.entries import Input
from seampack.packer.folder import PackedFolder
from seampack.packer.manifest import CHAT_TEMPLATE, Manifest
from seampack.packer.memory_sources import opened
from seampack.packer.mixed_corpora import tokenised_again
from seampack.packer.mixes import noted_sources
from seampack.packer.noted_stores import check_corpora, stores_of
from seampack.packer.numbering import BITS, numbers_of
from seampack.packer.pipeline import Progress, known_bytes, token_batches
from seampack.packer.rows import Int32, Int64
from seampack.packer.segments import gathered
from seampack.packer.token_store import STORE, TokenStore
from seampack.packer.tokenizing import AnyTokenizer, TextTokenizer, recorded_tokenizer

Inputs = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]

_READING = (
    *("input_format", "text_column", "input_ids_column", "id_column"),
    *("messages_column", "prompt_column", "completion_column", "tools_column", "chat_template"),
    *("template_variables", "train_on", "labels", "carry", "keep", "group_column", "on_bad", "max_document_bytes"),
    *("special_tokens_in_text", "partition_bytes"),
)
"""Options that decide which documents are read, and as which tokens."""
_COUNTS = ("documents", "empty_documents", "tokens_in", "dropped", "documents_truncated", "documents_dropped")
"""Entries of the accounting that the source proves; the rows prove the others."""


@dataclass(slots=True)
class Difference:
    """A kind of difference between a folder and its source: the first of its kind, and the number of them."""

    kind: str
    """``tokens``, ``length``, ``twice``, ``foreign``, ``count`` or ``input``; ``column NAME`` of another column."""
    message: str
    document: int | str | None = None
    """Id of the document; None if the difference is not that of a document."""
    position: int | None = None
    """First differing token within the document."""
    expected: int | float | str | None = None
    got: int | float | str | None = None
    documents: int = 1
    """Number of documents that differ in this way."""

    def __str__(self) -> str:
        others = f" (and {self.documents - 1:,} more documents)" if self.documents > 1 else ""
        return self.message + others


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of ``verify_against``."""

    documents: int
    """Documents of the source, including empty ones."""
    tokens: int
    """Tokens of the source, with those that packing puts around documents."""
    differences: tuple[Difference, ...]
    """Empty if each document is in the rows exactly once, token by token."""


def verify_against(
    folder: PackedFolder,
    source: Inputs | Any,
    *,
    tokenizer: AnyTokenizer | None = None,
    threads: int | None = None,
    split: Split | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Outcome:
    """Compare every token of a packed folder with the documents that it was packed from.

    The source is read and tokenised again with the recorded options; a token store is only read. Memory use is that of
    ``PackedFolder.segments`` (about 110 bytes per segment), with an id column about 150 bytes more per document, and of
    the blocks that are read.

    Args:
        folder: The packed folder; ``verify`` has checked it.
        source: Paths, globs, folders, or ``"-"`` for standard input; or the documents in memory that were packed; or
            the folder of a token store. Of a blend, its sources by name: token stores, or corpora, which are
            tokenised into a temporary folder.
        tokenizer: The tokenizer that packed the folder, if it is no longer at the recorded place.
        threads: Number of worker threads; by default all cores.
        split: The function that cut texts into pieces, if the folder was packed with one.
        on_progress: Called after each batch of documents.

    Raises ConfigError for another tokenizer or token store; DataError for a source that cannot be read, and ShardError
    if the segments of a document do not follow each other.
    """
    config = _recorded(folder.manifest)
    is_blend = bool(noted_sources(folder.manifest.notes))
    if is_blend and isinstance(source, Mapping) and not all(map(is_store, source.values())):
        check_corpora(source, folder.manifest)
        facts = folder.manifest.tokenizer
        given: dict[str, Any] = {"tokenizer": tokenizer, "threads": threads, "split": split}
        with tokenised_again(source, config, facts, on_progress=on_progress, **given) as stores:
            return verify_against(folder, stores, on_progress=on_progress)
    comparing = _Comparing(folder)
    inputs: list[Input] = []
    tokens = stores_of(source, folder.folder, folder.manifest, config)
    if tokens is not None:
        reading = tokens.batches(checks=True, on_progress=on_progress)
        if isinstance(tokens, TokenStore):
            comparing.skip(tokens.manifest.quarantined)
    else:
        paths = opened(source)
        text_tokenizer = recorded_tokenizer(
            folder.manifest.tokenizer, tokenizer, config, input_bytes=known_bytes(paths)
        )
        _check_template(text_tokenizer, folder.manifest)
        reading = token_batches(
            paths,
            text_tokenizer,
            config,
            threads=threads,
            split=split,
            on_bad=lambda bad: comparing.skip(len(bad)),
            on_progress=on_progress,
        )
    with closing(reading) as batches:
        for batch in batches:
            if batch.origin.inputs is None:
                comparing.add(batch)
                if isinstance(tokens, Blend):
                    comparing.skip(len(batch.bad))
            else:
                inputs += batch.origin.inputs
    return comparing.finish(inputs)


def _check_template(tokenizer: TextTokenizer, manifest: Manifest) -> None:
    """Raise ConfigError if conversations would be written by another template than when they were packed."""
    if tokenizer.chats is None:
        return
    expected, got = manifest.notes.get(CHAT_TEMPLATE), tokenizer.chats.digest
    if expected != got:
        raise ConfigError(
            f"{tokenizer.name}: expected the chat template that packed the folder, {expected}; got {got}; restore the "
            "template and the special tokens of tokenizer_config.json"
        )


def _recorded(manifest: Manifest) -> PackConfig:
    """Return the options of reading with which a folder was packed."""
    given = {name: manifest.config[name] for name in _READING if name in manifest.config}
    for name, token in (("bos", manifest.tokenizer.bos), ("eos", manifest.tokenizer.eos)):
        option = manifest.config.get(name)  # the first manifests had the tokens only there
        given[name] = token or (NONE if option in (None, AUTO) else option)
    return PackConfig(**given)


class _Comparing:
    """Compares batches of documents with the rows, in the order of the source."""

    def __init__(self, folder: PackedFolder) -> None:
        self._manifest = folder.manifest
        self._index = folder.segments()
        self._covered = self._index.covered
        self._seen = np.zeros(len(self._index.ids), np.bool_)
        self._has_names = self._manifest.config.get("id_column") is not None
        if self._has_names:
            self._documents = dict(zip(self._index.ids.to_pylist(), range(len(self._index.ids)), strict=True))
        else:
            self._numbers = self._index.ids.to_numpy()
        self._partitions = [*self._manifest.partitions[:-1], 1 << BITS]  # the source may have more documents
        self._carried = carried_types(self._manifest.config)
        self._counts = dict.fromkeys(_COUNTS, 0)
        self._quarantined = 0
        self._lost: str = ""  # the first document that lost tokens
        self._found: dict[str, Difference] = {}

    def skip(self, bad: int) -> None:
        """Count records that cannot be read. Those of a token store stay there."""
        self._quarantined += 0 if STORE in self._manifest.notes else bad

    def add(self, batch: TokenBatch) -> None:
        """Compare the next documents."""
        lengths = batch.lengths
        if self._has_names:
            names = batch.names
        else:
            names = arrow_of(numbers_of(self._counts["documents"] + np.arange(lengths.size), self._partitions))
        places = self._places(names)
        present = np.flatnonzero(places >= 0)
        _, first = np.unique(places[present], return_index=True)
        is_new = np.zeros(present.size, np.bool_)
        is_new[first] = True
        is_new &= ~self._seen[places[present]]
        self._note_twice(names, present[~is_new])
        present = present[is_new]
        self._seen[places[present]] = True
        covered = np.zeros(lengths.size, np.int64)
        covered[places >= 0] = self._covered[places[places >= 0]]
        self._note_longer(names, lengths, covered)
        lost = np.maximum(lengths - covered, 0)
        self._count(names, lengths, covered, lost)
        self._compare(batch, names, places, present[covered[present] <= lengths[present]], covered)

    def _places(self, names: pa.Array) -> Int64:
        """Return the index of each document in the folder; -1 for a document that no row has."""
        if self._has_names:
            return np.fromiter((self._documents.get(name, -1) for name in names.to_pylist()), np.int64, len(names))
        numbers = names.to_numpy()
        places: Int64 = np.searchsorted(self._numbers, numbers)
        places[places == self._numbers.size] = -1
        if self._numbers.size:
            places[self._numbers[places] != numbers] = -1
        return places

    def _note_twice(self, names: pa.Array, documents: Int64) -> None:
        if documents.size:
            name = names[int(documents[0])].as_py()
            message = f"document {name!r}: expected once in the source; got it again"
            self._note(Difference("twice", message, name, documents=documents.size))

    def _note_longer(self, names: pa.Array, lengths: Int64, covered: Int64) -> None:
        longer = np.flatnonzero(covered > lengths)
        if longer.size:
            first = int(longer[0])
            name, expected, got = names[first].as_py(), int(lengths[first]), int(covered[first])
            message = f"document {name!r}: expected {expected:,} tokens, as in the source; the rows have {got:,}"
            self._note(Difference("length", message, name, expected, expected, got, longer.size))

    def _count(self, names: pa.Array, lengths: Int64, covered: Int64, lost: Int64) -> None:
        shorter = np.flatnonzero(lost)
        if shorter.size and not self._lost:
            first = int(shorter[0])
            self._lost = f"; the first document of which the rows lack tokens is {names[first].as_py()!r}, from token "
            self._lost += f"{covered[first]:,} of {lengths[first]:,} on"
        whole = np.count_nonzero(covered[shorter] == 0)
        counts = (lengths.size, np.count_nonzero(lengths == 0), lengths.sum(), lost.sum(), shorter.size, whole)
        for name, count in zip(_COUNTS, counts, strict=True):
            self._counts[name] += int(count)

    def _compare(self, batch: TokenBatch, names: pa.Array, places: Int64, documents: Int64, covered: Int64) -> None:
        """Compare the values of all segments of documents; those of repeated tokens too, unless they are masked."""
        segments, counts = self._index.segments_of(places[documents])
        document = np.repeat(documents, counts)
        for name, values in token_columns(batch, self._carried).items():
            is_masked = name in TRAINED and self._manifest.config.get("labels")
            skipped = self._index.repeated[segments] if is_masked else 0
            self._compare_column(name, values, batch, names, covered, segments, document, skipped)
        for name, kept in batch.fields.items():
            wanted = kept.take(arrow_of(documents))
            given = self._index.fields[name].take(arrow_of(places[documents]))
            wrong = np.flatnonzero(pc.not_equal(wanted, given).to_numpy())
            if wrong.size:
                where, first = names[int(documents[wrong[0]])].as_py(), int(wrong[0])
                expected, got = wanted[first].as_py(), given[first].as_py()
                message = f"document {where!r}, {name}: expected {expected!r}, as in the source; the rows have {got!r}"
                self._note(Difference(f"column {name}", message, where, None, expected, got, wrong.size))

    def _compare_column(
        self,
        column: str,
        values: npt.NDArray[Any],
        batch: TokenBatch,
        names: pa.Array,
        covered: Int64,
        segments: Int64,
        document: Int64,
        skipped: Int32 | int,
    ) -> None:
        """Compare the values of a column with a value for each token, in the segments of some documents."""
        index = self._index
        start, length = index.start[segments] + skipped, index.length[segments] - np.int32(skipped)
        first = values.ctypes.data + (batch.offsets[document] + start) * values.itemsize
        expected = gathered(first, length, values.dtype)
        got = index.columns[column].values(segments, skipped, length)
        wrong = np.flatnonzero(expected != got)
        if not wrong.size:
            return
        offsets = offsets_of(length)
        segment = np.searchsorted(offsets[1:], wrong, side="right")
        document = document[segment]
        position = start[segment] + wrong - offsets[segment]
        if (
            self._manifest.tokenizer.eos is not None
        ):  # a truncated document may end with it, in place of a dropped token
            at_cut = (position == covered[document] - 1) & (covered[document] < batch.lengths[document])
            is_wrong = ~(at_cut & (got[wrong] == values[batch.offsets[document + 1] - 1]))
            wrong, document, position = wrong[is_wrong], document[is_wrong], position[is_wrong]
        if wrong.size:
            name, where = names[int(document[0])].as_py(), int(position[0])
            wanted, given = expected[wrong[0]].item(), got[wrong[0]].item()
            is_tokens = column == "input_ids"
            kind, what = ("tokens", "") if is_tokens else (f"column {column}", f", {column}")
            message = (
                f"document {name!r}, token {where:,}{what}: expected {wanted}, as in the source; the rows have {given}"
            )
            self._note(Difference(kind, message, name, where, wanted, given, np.unique(document).size))

    def _note(self, difference: Difference) -> None:
        """Count a difference; the first of its kind is kept."""
        first = self._found.setdefault(difference.kind, difference)
        if first is not difference:
            first.documents += difference.documents

    def finish(self, inputs: list[Input]) -> Outcome:
        """Return the outcome, when all documents have been added."""
        foreign = np.flatnonzero(~self._seen)
        if foreign.size:
            name = self._index.ids[int(foreign[0])].as_py()
            message = f"document {name!r}: expected no tokens, because the source lacks it; the rows have some"
            self._note(Difference("foreign", message, name, documents=foreign.size))
        differences = [*self._found.values(), *self._differing_counts()]
        if differences:
            differences[:0] = self._changed_inputs(inputs)
        return Outcome(self._counts["documents"], self._counts["tokens_in"], tuple(differences))

    def _differing_counts(self) -> list[Difference]:
        stated = {**dataclasses.asdict(self._manifest.accounting), "quarantined": self._manifest.quarantined}
        given = {**self._counts, "quarantined": self._quarantined}
        differences = []
        for name, count in given.items():
            if stated[name] is not None and count != stated[name]:
                where = self._lost if name == "dropped" else ""
                message = f"{name}: the manifest says {stated[name]:,}; against the source it is {count:,}{where}"
                differences.append(Difference("count", message, None, None, stated[name], count))
        return differences

    def _changed_inputs(self, inputs: list[Input]) -> list[Difference]:
        """Return the inputs that were not packed, as far as the manifest tells: they explain other differences."""
        packed = {each.checksum for each in self._manifest.inputs}
        changed = [each for each in inputs if each.checksum not in packed]
        is_known = all(packed) and all(each.checksum for each in inputs)
        if not packed or not changed or not is_known:
            return []
        others = f"; {len(changed) - 1:,} other inputs too" if len(changed) > 1 else ""
        message = f"{changed[0].path}: expected an input that was packed; got one with another checksum{others}"
        return [Difference("input", message)]
