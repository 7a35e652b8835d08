"""Mixes of corpora: each corpus is tokenised into a store for one run, which then packs the mix of the stores.

The stores are in a hidden folder next to the output, which is removed when the run ends. What a killed run has left
there is removed, with a warning, by the next run of the same output.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from os import PathLike, fspath
from pathlib import Path
from typing import Any, TypeGuard

from seampack._signals import uninterrupted
from seampack.errors import ConfigError
from seampack.io.output import FolderKind, staging_of
from seampack.io.sources import name_of
from seampack.packer.blends import is_store
from seampack.packer.config import PackConfig
from seampack.packer.documents import Split
from seampack.packer.entries import TokenizerFacts
from seampack.packer.formats.registry import OutputFormat
from seampack.packer.memory_sources import MEMORY, MemorySource, opened
from seampack.packer.mixes import Mix, TokenisedMix, refuse_groups
from seampack.packer.option_groups import READING
from seampack.packer.pipeline import Progress
from seampack.packer.tokenize import special_tokens_of, tokenize
from seampack.packer.tokenizing import AnyTokenizer, TextTokenizer, check_recorded
from seampack.packer.work import refuse_own_input, refuse_unpadded

_BESIDE = FolderKind("token stores of one run", "", needs_marker=False)
"""The hidden folder next to an output, which it does not replace."""


def has_corpora(source: object) -> TypeGuard[Mix]:
    """Return whether an input of ``pack`` is a mix with a source that is not tokenised yet."""
    return isinstance(source, Mix) and not all(map(is_store, source.stores.values()))


@contextmanager
def tokenised(
    mix: Mix,
    config: PackConfig,
    out: str | PathLike[str],
    *,
    tokenizer: AnyTokenizer,
    threads: int | None,
    split: Split | None,
    on_tokenizer: Callable[[TextTokenizer], None] | None,
    on_progress: Callable[[Progress], None] | None,
) -> Iterator[TokenisedMix]:
    """Tokenise the corpora of a mix, and yield the mix of token stores, which are removed at the end.

    Raises what ``tokenize`` raises, and ConfigError for options that a mix cannot have, before anything is read.
    """
    if config.output_format == OutputFormat.INDEX:
        raise ConfigError("output_format: an index refers to token stores; make one of each input: seampack tokenize")
    refuse_groups(config.group_column)
    refuse_unpadded(config)
    names = {name: _checked(corpus, out) for name, corpus in mix.stores.items() if not is_store(corpus)}

    def begin(loaded: TextTokenizer) -> None:
        if config.pad is not None and config.pad not in special_tokens_of(loaded):
            known = ", ".join(map(repr, special_tokens_of(loaded)))
            raise ConfigError(f"pad: expected an added token of {loaded.name}, such as {known}; got {config.pad!r}")
        if on_tokenizer is not None:
            on_tokenizer(loaded)

    staging = staging_of(out, _BESIDE, overwrite=True)
    try:
        staging.open()
        stores = _stores(
            mix.stores,
            config,
            staging.folder,
            tokenizer=tokenizer,
            threads=threads,
            split=split,
            on_tokenizer=begin,
            on_progress=on_progress,
        )
        yield TokenisedMix(stores=stores, weights=mix.weights, repeat=mix.repeat, corpora=names)
    finally:
        with uninterrupted():
            staging.abandon()


@contextmanager
def tokenised_again(
    sources: Mapping[str, Any],
    config: PackConfig,
    facts: TokenizerFacts,
    *,
    tokenizer: AnyTokenizer | None,
    **options: Any,
) -> Iterator[dict[str, Any]]:
    """Tokenise the corpora among the sources of a packed folder into a temporary folder, and yield all as stores.

    ``options``: see ``tokenize``. Raises ConfigError for another tokenizer than that of the folder.
    """
    with tempfile.TemporaryDirectory(prefix="seampack-") as place:
        yield _stores(
            sources,
            config,
            Path(place),
            tokenizer=facts.name if tokenizer is None else tokenizer,
            on_tokenizer=lambda loaded: check_recorded(loaded, facts),
            **options,
        )


def _stores(
    sources: Mapping[str, Any],
    config: PackConfig,
    folder: Path,
    *,
    on_tokenizer: Callable[[TextTokenizer], None],
    **options: Any,
) -> dict[str, Any]:
    """Return sources by name, those that are corpora as token stores in a folder.

    ``on_tokenizer`` is called once; ``options``: see ``tokenize``.
    """
    reading = PackConfig(**{name: getattr(config, name) for name in READING})
    stores = dict(sources)
    begin: Callable[[TextTokenizer], None] | None = on_tokenizer
    for number, (name, corpus) in enumerate(sources.items()):
        if not is_store(corpus):
            stores[name] = folder / f"source-{number}"
            tokenize(corpus, reading, stores[name], on_tokenizer=begin, **options)
            begin = None
    return stores


def _checked(corpus: Any, out: str | PathLike[str]) -> str:
    """Return the name of a corpus for messages and manifests. Raise DataError or ConfigError if it cannot be read."""
    paths = opened(corpus)
    if isinstance(paths, MemorySource):
        return MEMORY
    refuse_own_input(corpus, paths, out)
    given = [corpus] if isinstance(corpus, str | PathLike) else corpus
    return ", ".join(name_of(fspath(each)) for each in given)
