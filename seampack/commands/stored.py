"""Token stores, as ``seampack inspect`` and ``seampack verify`` show them."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from seampack.commands.report import first_few, origin_lines, print_json, quarantine_lines
from seampack.io.places import shown
from seampack.packer.config import PackConfig

if TYPE_CHECKING:
    from seampack.packer.distributions import Distribution
    from seampack.packer.store_manifest import StoreManifest

_VERIFIED = "verified: every file, and the manifest against the documents"


def refuse_for_store(folder: str, options: Mapping[str, object]) -> None:
    """Raise click.UsageError for options that were given, and that need packed rows."""
    for option, value in options.items():
        if value:
            raise click.UsageError(
                f"{option} needs packed rows; {shown(folder)} is a token store: pack it with seampack pack"
            )


def verify_store(folder: str | os.PathLike[str]) -> str:
    """Check every file of a token store, and return the line that says so. Raise ShardError for a damaged file."""
    from seampack.packer.store_facts import lengths_of
    from seampack.packer.token_store import TokenStore

    lengths_of(TokenStore(folder), verify=True)
    return _VERIFIED


def inspect_store(folder: str, *, verify: bool, as_json: bool) -> None:
    """Print what a token store holds. Raise ShardError for a damaged file."""
    from seampack.packer.store_facts import lengths_of
    from seampack.packer.token_store import TokenStore

    store = TokenStore(folder)
    is_local = isinstance(store.folder, Path)
    lengths = lengths_of(store, verify=verify) if is_local or verify else None
    if as_json:
        counts = {"documents": store.manifest.documents, "tokens": store.manifest.tokens, "lengths": _lengths(lengths)}
        print_json(store.manifest.to_dict() | counts | ({"verified": True} if verify else {}))
        return
    click.echo("\n".join([*_lines(store.manifest, lengths), *([_VERIFIED] if verify else [])]))


def _lengths(lengths: "Distribution | None") -> dict[str, Any] | None:
    """Return the entries of the lengths for JSON; None if they were not read."""
    if lengths is None:
        return None
    shares = {"shortest": 0, "median": 0.5, "longest": 1}
    return {name: lengths.quantile(share) for name, share in shares.items()} | {"mean": lengths.mean}


def _lines(manifest: "StoreManifest", lengths: "Distribution | None") -> list[str]:
    """Return the lines of the description."""
    tokenizer, defaults = manifest.tokenizer, PackConfig().to_dict()
    options = [f"{name} {_text(value)}" for name, value in manifest.config.items() if value != defaults[name]]
    options += [f"{name} {manifest.notes[name]}" for name in ("pre_segment",) if name in manifest.notes]
    of_each = "lengths with --verify, which fetches them" if lengths is None else lengths.summary("tokens")
    special = sorted(manifest.special_tokens, key=lambda name: manifest.special_tokens[name])
    framing = f"begin token: {tokenizer.bos or 'none'}; end token: {tokenizer.eos or 'none'}"
    lines = [
        f"format      {'token store':>16}   seampack {manifest.seampack_version}",
        *origin_lines(tokenizer, [each for partition in manifest.partitions for each in partition.inputs]),
        f"special     {len(special):>16,}   added tokens: {first_few(special) or 'none'}; {framing}",
        *([f"options     {len(options):>16,}   other than by default: {', '.join(options)}"] if options else []),
        f"documents   {manifest.documents:>16,}   {of_each}",
        f"tokens      {manifest.tokens:>16,}",
        f"columns     {len(manifest.columns):>16,}   " + ", ".join(f"{n}: {t}" for n, t in manifest.columns.items()),
        *quarantine_lines(manifest.quarantined),
    ]
    for each in manifest.partitions:
        counts = f"{each.documents:>10,} documents  {each.tokens:>14,} tokens"
        lines.append(f"{each.file}  {counts}  {each.bytes / 1e6:>9,.1f} MB  {each.checksum}")
    return lines


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
