"""The token stores that a packed folder was packed from, opened again: for the rows of its index, and to compare it."""

import os
from collections.abc import Mapping
from typing import Any

from seampack.errors import ConfigError, ShardError
from seampack.io.places import Place, shown
from seampack.packer.blends import Blend, tokens_of
from seampack.packer.config import PackConfig
from seampack.packer.manifest import Manifest
from seampack.packer.mixes import MIX, TokenisedMix, noted_sources
from seampack.packer.token_store import STORE, TokenStore

Stores = str | os.PathLike[str] | Mapping[str, str | os.PathLike[str]]
"""The place of a token store, or those of several by name."""
_MOVED = "; if it was moved, put it back, or name its place: seampack.PackedFolder(folder, store=...)"
_DRAWN_BY = ("seed", "partition_bytes")
"""Options that decide the documents of a blend, and their numbers."""
_COLUMNS = ("id_column", "carry", "kept", "messages_column", "prompt_column", "completion_column")
"""Options that decide the columns of a token store."""


def noted_stores(folder: Place, manifest: Manifest, store: Stores | None = None) -> TokenStore | Blend:
    """Open the token store of an index, or draw its blend again; ``store`` is where they are, if they were moved.

    Raises ShardError if a store is missing or damaged, or is not the one that was packed.
    """
    is_blend = MIX in manifest.notes and STORE not in manifest.notes
    return _blend(folder, manifest, store) if is_blend else _store(folder, manifest, store)


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


def check_sources(places: Mapping[str, Any], manifest: Manifest) -> None:
    """Raise ConfigError for names that are not those of the sources of a blend."""
    names = [each["name"] for each in noted_sources(manifest.notes)]
    if set(places) != set(names):
        got = ", ".join(places) or "none"
        raise ConfigError(f"mix: expected the sources of the blend by name, {', '.join(names)}; got {got}")


def _drawn_again(manifest: Manifest, places: Mapping[str, str | os.PathLike[str]] | None) -> Blend:
    """Draw the blend of a packed folder again. Raise ConfigError as ``Blend`` does, and for other stores."""
    noted = manifest.notes[MIX]
    sources = {each["name"]: each for each in noted["sources"]}
    if places is not None:
        check_sources(places, manifest)
    # in the order of the blend, which decides its documents
    stores = {name: each["folder"] if places is None else places[name] for name, each in sources.items()}
    mix = TokenisedMix(
        stores=stores,
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
    if isinstance(store, Mapping):
        raise ShardError(f"{folder}: an index of one token store; got {len(store):,} by name")
    place = noted["folder"] if store is None else store
    try:
        opened = TokenStore(place)
    except ShardError as error:
        raise ShardError(f"{folder}: an index, whose tokens are in a token store: {error}{_MOVED}") from error
    if opened.fingerprint != noted["fingerprint"]:
        raise ShardError(
            f"{folder}: an index of another token store: expected {noted['fingerprint']}; {opened.folder} is "
            f"{opened.fingerprint}; pack again"
        )
    return opened


def _blend(folder: Place, manifest: Manifest, stores: Stores | None) -> Blend:
    """Draw the blend of an index again."""
    if stores is not None and not isinstance(stores, Mapping):
        raise ShardError(f"{folder}: an index of several token stores; expected them by name; got {shown(stores)}")
    try:
        return _drawn_again(manifest, stores)
    except (ConfigError, ShardError) as error:
        raise ShardError(f"{folder}: an index, whose tokens are in token stores: {error}{_MOVED}") from error
    except (LookupError, TypeError) as error:
        raise ShardError(f"{folder}: the manifest is damaged: {MIX}: expected the sources of a blend") from error
