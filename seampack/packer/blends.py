"""Blends: documents of several token stores in given shares of the tokens, evenly mixed.

Of each source, as many tokens are taken as its weight says, to the nearest document, in a drawn order. At any place of
the blend, the shares of the sources so far are those of the weights, within a document of each. Blends are packed as
any other documents; nothing is written but the rows.
"""

import json
import os
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from seampack.errors import ConfigError, ShardError
from seampack.io.arrow import arrow_of
from seampack.io.bad_records import BadRecord
from seampack.io.places import is_url
from seampack.io.ragged import offsets_of
from seampack.packer import _copy_kernels as kernels
from seampack.packer.columns import joined_fields
from seampack.packer.config import PackConfig
from seampack.packer.documents import Origin, TokenBatch
from seampack.packer.entries import Input, TokenizerFacts
from seampack.packer.formats.registry import OutputFormat
from seampack.packer.gather import Ragged
from seampack.packer.mixes import MIX, Mix, TokenisedMix, refuse_groups, take, targets
from seampack.packer.names import QUARANTINE
from seampack.packer.numbering import numbers_of, places_of
from seampack.packer.option_groups import READING
from seampack.packer.pipeline import Counted, Progress
from seampack.packer.plans import Int64
from seampack.packer.store_files import NAMES, named_types
from seampack.packer.store_manifest import is_token_store
from seampack.packer.token_store import TokenStore
from seampack.packer.tokenizing import AnyTokenizer

_BLOCK_TOKENS = 1 << 21
_MOST = 1 << 30
"""Documents that a blend may have: about 30 bytes of memory are needed for each."""


class Blend:
    """The documents of a mix, as ``pack`` reads them.

    Raises ShardError as ``TokenStore``; ConfigError for stores that have no tokens, or differ in what their rows would
    be.
    """

    def __init__(self, mix: Mix, config: PackConfig) -> None:
        self._mix = mix
        self._corpora = mix.corpora if isinstance(mix, TokenisedMix) else {}
        self._is_index = config.output_format == OutputFormat.INDEX
        self._stores = {name: _opened(name, place) for name, place in mix.stores.items()}
        self._first = next(iter(self._stores.values()))
        self.name = f"the mix of {', '.join(mix.stores)}"
        for name, store in self._stores.items():
            self._check(name, store)
        self._refuse_twice()
        lengths = {name: store.lengths() for name, store in self._stores.items()}
        wanted = targets(
            [store.manifest.tokens for store in self._stores.values()],
            [mix.weights[name] for name in self._stores],
            repeat=mix.repeat,
        )
        self._refuse_too_many(wanted)
        self._taken = {
            name: take(lengths[name], target, (config.seed, place))
            for place, ((name, _), target) in enumerate(zip(lengths.items(), wanted, strict=True))
        }
        self._refuse_nothing(wanted)
        sizes = [lengths[name][taken.documents] for name, taken in self._taken.items()]
        progress = [
            (np.cumsum(size) - size / 2) / max(1, int(size.sum())) for size in sizes
        ]  # of the middle of each document
        order = np.argsort(np.concatenate(progress), kind="stable")
        self._source = np.repeat(np.arange(len(sizes)), [size.size for size in sizes])[order]
        self._number = np.concatenate([self._numbers(name) for name in self._taken])[order]
        self._epoch = np.concatenate([taken.epochs for taken in self._taken.values()])[order]
        self._length = np.concatenate(sizes)[order]
        bytes_before = (np.cumsum(self._length) - self._length) * self._first.dtype.itemsize
        self._bounds = _bounds(bytes_before // config.partition_bytes)
        self.notes = {MIX: {"repeat": mix.repeat, "sources": self._accounts(sizes)}}

    def _check(self, name: str, store: TokenStore) -> None:
        """Raise ConfigError if a source has no tokens, or others than the first source."""
        if not store.manifest.tokens:
            raise ConfigError(f"mix: {name}: {self._place(name)}: the source has no tokens")
        other, same = store.manifest, self._first.manifest
        for what, got, expected in (
            ("tokenizer", other.tokenizer.fingerprint, same.tokenizer.fingerprint),
            ("bos", other.tokenizer.bos, same.tokenizer.bos),
            ("eos", other.tokenizer.eos, same.tokenizer.eos),
            ("columns", other.columns, same.columns),
        ):
            if got != expected:
                raise ConfigError(
                    f"mix: {name}: {self._place(name)}: {what}: expected {expected or 'none'}, as in "
                    f"{self._place(next(iter(self._stores)))}; got {got or 'none'}; tokenise the sources alike"
                )

    def _place(self, name: str) -> Any:
        """Return where a source is, for messages."""
        return self._corpora.get(name, self._stores[name].folder)

    def _refuse_twice(self) -> None:
        """Raise ConfigError for a store that two sources name, whose documents would be repeated without a word."""
        names: dict[str, str] = {}
        for name, store in self._stores.items():
            if (other := names.setdefault(store.fingerprint, name)) != name:
                raise ConfigError(
                    f"mix: {name}: {self._place(name)}: the same documents as {other}; give others, or name them "
                    "once, with the sum of both weights"
                )

    def _refuse_too_many(self, wanted: list[int]) -> None:
        counts = [
            (target // store.manifest.tokens + 1) * store.manifest.documents
            for target, store in zip(wanted, self._stores.values(), strict=True)
        ]
        if sum(counts) > _MOST:
            name = max(zip(counts, self._stores, strict=True))[1]
            raise ConfigError(
                f"mix: {name}: with these weights, the blend would have more than {_MOST:,} documents, most of them of "
                "this source; give the others larger weights"
            )

    def _refuse_nothing(self, wanted: list[int]) -> None:
        """Raise ConfigError for a source whose share is less than half of its first document."""
        for (name, taken), target in zip(self._taken.items(), wanted, strict=True):
            if not taken.documents.size:
                tokens = {each: store.manifest.tokens for each, store in self._stores.items()}
                scarce = min(tokens, key=lambda each: tokens[each] / self._mix.weights[each])
                raise ConfigError(
                    f"mix: {name}: its share of the blend would be {target:,} tokens, which is no document: the blend "
                    f"ends with {scarce}, of {tokens[scarce]:,} tokens; repeat {scarce} with --mix-repeat, or give "
                    f"{name} a larger weight, or omit it"
                )

    def _numbers(self, name: str) -> Int64:
        counts = [partition.documents for partition in self._stores[name].manifest.partitions]
        return numbers_of(self._taken[name].documents, counts)

    def _accounts(self, sizes: list[Int64]) -> list[dict[str, Any]]:
        """Return what was taken of each source."""
        total = int(self._length.sum())
        accounts = []
        for name, size in zip(self._taken, sizes, strict=True):
            manifest, tokens = self._stores[name].manifest, int(size.sum())
            of_store = {"folder": self._stores[name].absolute, **manifest.noted_quarantine}
            accounts.append(
                {
                    "name": name,
                    **({"input": self._corpora[name]} if name in self._corpora else of_store),
                    "fingerprint": self.fingerprints[name],
                    "weight": self._mix.weights[name],
                    "documents": int(size.size),
                    "tokens": tokens,
                    "share": round(tokens / max(1, total), 8),
                    "epochs": round(tokens / manifest.tokens, 4),
                    "documents_unused": max(0, manifest.documents - int(size.size)),
                    "tokens_unused": max(0, manifest.tokens - tokens),
                }
            )
        return accounts

    @property
    def fingerprints(self) -> dict[str, str]:
        """The fingerprint of each store by name; of one that does not outlive the run, that of its documents."""
        return {
            name: store.manifest.contents if name in self._corpora else store.fingerprint
            for name, store in self._stores.items()
        }

    @property
    def paths(self) -> list[str]:
        """The files of all stores."""
        return [path for store in self._stores.values() for path in store.paths]

    @property
    def partitions(self) -> list[tuple[str, ...]]:
        """The files that each partition is read from."""
        return [tuple(self.paths)] * (self._bounds.size - 1)

    @property
    def inputs(self) -> list[Input]:
        """The inputs of the corpora."""
        return [each for store in self._stores.values() for each in store.inputs]

    def refuse_tokenizer(self, tokenizer: AnyTokenizer) -> None:
        """Raise ConfigError for a tokenizer other than the default: there is nothing to tokenise."""
        self._first.refuse_tokenizer(tokenizer)

    def config_for(self, given: PackConfig) -> PackConfig:
        """Return the options of packing the mix; options of reading that the stores differ in are at their defaults.

        Raises ConfigError as ``TokenStore.config_for`` does.
        """
        several = [
            store.config_for(given.replace(partition_bytes=store.config.partition_bytes))
            for store in self._stores.values()
        ]
        defaults = PackConfig()
        stated = {
            name: getattr(several[0] if len({getattr(each, name) for each in several}) == 1 else defaults, name)
            for name in READING
        }
        refuse_groups(stated["group_column"])
        # the ids of sources may have other names; that there are some is the same
        return given.replace(**stated | {"id_column": several[0].id_column, "partition_bytes": given.partition_bytes})

    def facts(self, pad: str | None) -> TokenizerFacts:
        """Return the manifest's description of the tokenizer. Raise ConfigError if it has no such padding token."""
        return self._first.facts(pad)

    def batches(
        self,
        chosen: Iterable[int] | None = None,
        *,
        checks: bool = False,
        on_progress: Callable[[Progress], None] | None = None,
        counted: Counted = Counted(),  # noqa: B008  # immutable
    ) -> Generator[TokenBatch, None, None]:
        """Yield the documents of partitions; each ends with a batch without documents. Raise as ``TokenStore``."""
        documents, tokens, size = counted.documents, counted.tokens, counted.bytes
        if checks:
            self.verify()
        for partition in range(self._bounds.size - 1) if chosen is None else chosen:
            first, last = (int(bound) for bound in self._bounds[partition : partition + 2])
            before = np.cumsum(self._length[first:last]) - self._length[first:last]
            bounds = first + _bounds(before // _BLOCK_TOKENS)
            for start, stop in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
                batch = self._block(start, stop, partition)
                if start == 0:
                    batch.bad.extend(self._quarantined())
                documents, tokens, size = (
                    documents + stop - start,
                    tokens + batch.ids.size,
                    size + batch.input_bytes,
                )
                yield batch
                if on_progress is not None:
                    on_progress(Progress(documents, tokens, size))
            nothing = np.empty(0, self._first.dtype)
            inputs = tuple(self.inputs) if partition == 0 else ()
            yield TokenBatch(nothing, np.zeros(1, np.int64), origin=Origin(partition=partition, inputs=inputs))

    def _quarantined(self) -> Iterator[BadRecord]:
        """Yield the records of corpora that could not be read; those of other stores stay there."""
        for name in self._corpora:
            if self._stores[name].manifest.quarantined:
                with (self._stores[name].folder / QUARANTINE).open("rb") as lines:
                    yield from (BadRecord(**json.loads(line)) for line in lines)

    def _block(self, start: int, stop: int, partition: int) -> TokenBatch:
        """Return documents of the blend; those of an index without their tokens, which are not looked at."""
        offsets = offsets_of(self._length[start:stop])
        if self._is_index:
            nothing = np.broadcast_to(np.empty(1, self._first.dtype), int(offsets[-1]))
            return TokenBatch(nothing, offsets, origin=Origin(b"", nothing.nbytes, partition))
        columns, fields = self._documents(np.arange(start, stop))
        values: dict[str, Any] = {}
        for name, lists in columns.items():
            values[name] = out = np.empty(int(offsets[-1]), lists.dtype)
            kernels.copy_segments(lists.addresses, lists.lengths, offsets[:-1], out.dtype.itemsize, out.ctypes.data)
        ids = values.pop("input_ids")
        origin = Origin(b"", ids.nbytes, partition)
        return TokenBatch(ids, offsets, fields.pop(NAMES, None), origin=origin, columns=values, fields=fields)

    def documents(self, numbers: Int64) -> tuple[dict[str, Ragged], dict[str, pa.Array]]:
        """Return documents by their numbers in the blend; see ``TokenStore.documents``."""
        places = places_of(numbers, np.diff(self._bounds).tolist())
        if (places < 0).any():
            raise ShardError(f"{self.name}: no document {int(numbers[places.argmin()])} in the blend")
        return self._documents(places)

    def _documents(self, places: Int64) -> tuple[dict[str, Ragged], dict[str, pa.Array]]:
        """Return the documents at some places of the blend."""
        source, number, epoch = self._source[places], self._number[places], self._epoch[places]
        columns, fields, order = [], [], []
        for place, (name, store) in enumerate(self._stores.items()):
            mine = np.flatnonzero(source == place)
            lists, values = store.documents(number[mine])
            if NAMES in values:
                values[NAMES] = _names(name, values[NAMES], epoch[mine])
            columns.append(lists)
            fields.append(values)
            order.append(mine)
        back = np.argsort(np.concatenate(order), kind="stable")
        joined = joined_fields(fields, named_types(self._first.config))
        return (
            {
                name: Ragged.joined([lists[name] for lists in columns], dtype).taken(back)
                for name, dtype in self._first.columns.items()
            },
            {name: values.take(arrow_of(back)) for name, values in joined.items()},
        )

    def verify(self) -> None:
        """Compare all files of the stores with their checksums. Raise ShardError for another."""
        for store in self._stores.values():
            store.verify()


def _opened(name: str, place: str | os.PathLike[str]) -> TokenStore:
    """Open the store of a source. Raise ShardError, with the name of the source, as ``TokenStore``."""
    try:
        return TokenStore(place)
    except ShardError as error:
        raise ShardError(f"mix: {name}: {error}") from error


def is_store(place: object) -> bool:
    """Return whether an input is the path or the address of a token store."""
    return isinstance(place, str | os.PathLike) and is_token_store(place)


def _bounds(groups: Int64) -> Int64:
    """Return the index at which each group of equal, rising numbers begins, and their count."""
    changes = np.flatnonzero(np.diff(groups)) + 1
    return np.concatenate([np.zeros(1, np.int64), changes, np.array([groups.size])])


def _names(source: str, names: pa.Array, epochs: Int64) -> pa.Array:
    """Return names that no two documents of a blend share: ``source/name``, and ``source/name@2`` for the second."""
    marked = [
        f"{source}/{name}{f'@{epoch + 1}' if epoch else ''}"
        for name, epoch in zip(names.to_pylist(), epochs.tolist(), strict=True)
    ]
    return pa.array(marked, pa.large_string())


def _refuse_corpora(mix: Mix) -> None:
    """Raise ConfigError for sources that are not tokenised."""
    for name, place in mix.stores.items():
        if not is_store(place):
            shown = f"{os.fspath(place)}: " if isinstance(place, str | os.PathLike) else ""
            raise ConfigError(
                f"mix: {name}: {shown}expected a token store, because only pack by one process tokenises the inputs of "
                "a mix; make one with: seampack tokenize"
            )


def tokens_of(source: Any, config: PackConfig) -> TokenStore | Blend | None:
    """Return the token store or the mix that is the input of a run, or None. Raise as ``TokenStore`` and ``Blend``."""
    if isinstance(source, Mix):
        _refuse_corpora(source)
        return Blend(source, config)
    items = [source] if isinstance(source, str | os.PathLike) else source
    if not isinstance(items, list | tuple) or not all(isinstance(item, str | os.PathLike) for item in items):
        return None
    stores = [item for item in items if (len(items) == 1 or not is_url(item)) and is_token_store(item)]
    if not stores:
        return None
    if len(items) > 1:
        raise ConfigError(
            f"{os.fspath(stores[0])}: a token store is packed alone, or in a mix; got {len(items):,} inputs"
        )
    return TokenStore(stores[0])
