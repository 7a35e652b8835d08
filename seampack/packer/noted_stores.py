"""The token stores that a packed folder was packed from, opened again: for the rows of its index, and to compare it."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from seampack.errors import ConfigError, ShardError
from seampack.io.places import Place, shown
from seampack.packer.blends import Blend, is_store, tokens_of
from seampack.packer.config import PackConfig
from seampack.packer.manifest import Manifest
from seampack.packer.mixes import MIX, TokenisedMix, noted_sources, pairs
from seampack.packer.token_store import STORE, TokenStore

Stores = str | os.PathLike[str] | Mapping[str, str | os.PathLike[str]] | Sequence[str]
"""The place of a token store, or those of several by name; also as given on the command line, each ``NAME=STORE``."""
_MOVED = "; if it was moved, put it back, or name its place: --store {}, or store= in Python"
_BY_NAME = "NAME=STORE"
_DRAWN_BY = ("seed", "partition_bytes")
"""Options that decide the documents of a blend, and their numbers."""
_COLUMNS = ("id_column", "carry", "kept", "messages_column", "prompt_column", "completion_column")
"""Options that decide the columns of a token store."""


def noted_stores(folder: Place, manifest: Manifest, store: Stores | None = None) -> TokenStore | Blend:
    """Open the token store of an index, or draw its blend again; ``store`` is where they are, if they were moved.

    Raises ShardError if a store is missing or damaged, or is not the one that was packed; ConfigError for places that
    the index does not have.
    """
    if not isinstance(store, str | os.PathLike | Mapping | Sequence | None):
        raise ConfigError(f"store: expected the place of a token store, or places by name; got {store!r}")
    is_blend = MIX in manifest.notes and STORE not in manifest.notes
    return _blend(folder, manifest, store) if is_blend else _store(folder, manifest, store)


def quarantined_in_stores(notes: Mapping[str, Any]) -> int:
    """Return the number of records that the token stores of a packed folder lack, because they could not be read."""
    noted = [each for each in (notes.get(STORE), *noted_sources(notes)) if isinstance(each, Mapping)]
    return sum(count for each in noted if isinstance(count := each.get("quarantined"), int))


def stores_of(source: Any, folder: Place, manifest: Manifest, config: PackConfig) -> TokenStore | Blend | None:
    """Return the token store that a folder is compared with, or the blend of the stores by name; None for a corpus.

    ``config``: the options with which the folder was packed.

    Raises ConfigError for a store that another tokenizer made, or that has other columns.
    """
    if noted_sources(manifest.notes):
        if not isinstance(source, Mapping):
            raise ConfigError(f"{folder}: a blend is compared with its sources, each as NAME=INPUT")
        return _drawn_again(manifest, source)
    tokens = tokens_of(source, config)
    if not isinstance(tokens, TokenStore):
        return None
    for name, got, expected in (
        ("tokenizer", tokens.manifest.tokenizer.fingerprint, manifest.tokenizer.fingerprint),
        *((name, getattr(tokens.config, name), getattr(config, name)) for name in _COLUMNS),
    ):
        if got != expected:
            raise ConfigError(
                f"{tokens.folder}: {name}: expected that of the folder, {expected}; got a token store made with {got}"
            )
    return tokens


def check_corpora(places: Mapping[str, Any], manifest: Manifest) -> None:
    """Raise ConfigError for other names than those of the sources, and for a corpus in place of a token store.

    Of a source that was a token store, the manifest has the fingerprint of the store, which its corpus does not prove.
    """
    _check_sources(places, manifest)
    for each in noted_sources(manifest.notes):
        if "folder" in each and not is_store(given := places[each["name"]]):
            got = shown(given) if isinstance(given, str | os.PathLike) else "a corpus"
            raise ConfigError(
                f"mix: {each['name']}: expected the token store that was packed, {each['folder']}; got {got}"
            )


def _check_sources(places: Mapping[str, Any], manifest: Manifest) -> None:
    """Raise ConfigError for names that are not those of the sources of a blend."""
    names = [each["name"] for each in manifest.notes[MIX]["sources"]]
    listed = f"the sources are {', '.join(names)}"
    if unknown := [name for name in places if name not in names]:
        raise ConfigError(f"mix: no source is named {unknown[0]!r}; {listed}")
    if missing := [name for name in names if name not in places]:
        raise ConfigError(f"mix: the source {missing[0]!r} is missing; {listed}")


def _drawn_again(manifest: Manifest, places: Mapping[str, str | os.PathLike[str]]) -> Blend:
    """Draw the blend of a packed folder again. Raise ConfigError as ``Blend`` does, and for other stores."""
    noted = manifest.notes[MIX]
    sources = {each["name"]: each for each in noted["sources"]}
    _check_sources(places, manifest)
    mix = TokenisedMix(
        # in the order of the blend, which decides its documents
        stores={name: places[name] for name in sources},
        weights={name: each["weight"] for name, each in sources.items()},
        repeat=noted["repeat"],
        corpora={name: each["input"] for name, each in sources.items() if "input" in each},
    )
    blend = Blend(mix, PackConfig(**{name: manifest.config[name] for name in _DRAWN_BY}))
    for name, fingerprint in blend.fingerprints.items():
        if fingerprint != sources[name]["fingerprint"]:
            other = "another corpus" if name in mix.corpora else "another token store"
            raise ConfigError(
                f"mix: {name}: {mix.corpora.get(name) or shown(mix.stores[name])}: {other} than the one that was "
                f"packed: expected {sources[name]['fingerprint']}; got {fingerprint}"
            )
    return blend


def _store(folder: Place, manifest: Manifest, store: Stores | None) -> TokenStore:
    """Open the token store of an index."""
    noted: Any = manifest.notes.get(STORE)
    if not isinstance(noted, Mapping) or not {"folder", "fingerprint"} <= noted.keys():
        raise ShardError(f"{folder}: the manifest is damaged: {STORE}: expected a folder and a fingerprint")
    place = noted["folder"] if store is None else store
    if not isinstance(place, str | os.PathLike):
        if isinstance(place, Mapping) or len(place) != 1:
            raise ConfigError(f"store: {folder} is an index of one token store; expected its place; got {len(place):,}")
        (place,) = place
    try:
        opened = TokenStore(place)
    except ShardError as error:
        moved = _MOVED.format("STORE")
        raise ShardError(f"{folder}: an index, whose tokens are in a token store: {error}{moved}") from error
    if opened.fingerprint != noted["fingerprint"]:
        raise ShardError(
            f"{folder}: an index of another token store: expected {noted['fingerprint']}; {opened.folder} is "
            f"{opened.fingerprint}; pack again"
        )
    return opened


def _blend(folder: Place, manifest: Manifest, stores: Stores | None) -> Blend:
    """Draw the blend of an index again. Stores that are not named are where they were."""
    if isinstance(stores, str | os.PathLike):
        raise ConfigError(f"store: {folder} is an index of a blend; expected its stores by name; got {shown(stores)}")
    moved = dict(stores) if isinstance(stores, Mapping) else pairs(stores or (), "store", _BY_NAME)
    try:
        places = {each["name"]: each["folder"] for each in manifest.notes[MIX]["sources"]}
        return _drawn_again(manifest, places | moved)
    except (ConfigError, ShardError) as error:
        hint = _MOVED.format(_BY_NAME)
        raise ShardError(f"{folder}: an index, whose tokens are in token stores: {error}{hint}") from error
    except (LookupError, TypeError) as error:
        raise ShardError(f"{folder}: the manifest is damaged: {MIX}: expected the sources of a blend") from error
