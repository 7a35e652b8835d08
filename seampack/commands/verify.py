"""``seampack verify``: check a packed folder by itself, and against its source; or a token store."""

import dataclasses
import os
from typing import TYPE_CHECKING

import click

from seampack.commands import options as shared
from seampack.commands.grouped import PATH
from seampack.commands.report import note, print_json, set_interrupted, set_memory_advice
from seampack.commands.stored import refuse_for_store, verify_store
from seampack.commands.terminal import live_line
from seampack.errors import ShardError
from seampack.io.places import place_of, shown

if TYPE_CHECKING:
    from seampack.packer.against import Outcome
    from seampack.packer.folder import PackedFolder
    from seampack.packer.manifest import Manifest


@click.command()
@click.argument("folder", type=PATH)
@click.option(
    "--against",
    "source",
    multiple=True,
    type=PATH,
    metavar="INPUT",
    help="Also compare every token with the source: a file, glob or folder, as for pack, or - for standard input; or a "
    "token store. Can be repeated; give the inputs in the order in which they were packed, and those of a mix as "
    "NAME=INPUT.",
)
@click.option(
    "--tokenizer",
    default=None,
    type=PATH,
    metavar="FILE|NAME",
    help="Place of the tokenizer that packed the folder; by default where it was. Another tokenizer is refused.",
)
@shared.stores
@shared.threads
@shared.as_json
def verify(
    folder: str,
    source: tuple[str, ...],
    tokenizer: str | None,
    stores: tuple[str, ...],
    threads: int | None,
    as_json: bool,
) -> None:
    """Verify a packed folder, or a token store.

    Checks every file against its checksum in the manifest, the manifest against its own, and the manifest against the
    rows, or the documents of the store. Of the output of several --seq-len, verifies the folder of each.

    With --against, the source is read and tokenised again, with the options in the manifest; a token store is only
    read. Each document must be in the rows exactly once (repeated tokens apart), with its id and all its tokens at
    their positions, and what was dropped must be as counted. Each kind of difference is shown on one line. The exit
    code is 1 if there is any.

    The comparison needs about 110 bytes of memory per segment (a document has one, and one more for each cut), and with
    an id column about 150 more per document. Tokens of Parquet shards are copied into a temporary file.

    \b
    seampack verify packed/ --against 'corpus/*.jsonl.zst'
    """
    from seampack._pandas import leave_out_pandas

    leave_out_pandas()
    from seampack.io.sources import STDIN
    from seampack.packer.folder import folders_inside
    from seampack.packer.store_manifest import is_token_store

    if is_token_store(folder):
        refuse_for_store(folder, {"--against": source, "--tokenizer": tokenizer, "--store": stores})
    set_interrupted("interrupted")
    inside = folders_inside(place_of(folder))
    if len(inside) > 1 and STDIN in source:
        raise click.UsageError(f"--against -: standard input can be read only once; name one folder in {shown(folder)}")
    folders: list[str | os.PathLike[str]] = [*inside] or [folder]
    outcomes = [
        _outcome(each, source, stores, tokenizer, threads, as_json=as_json, name=f"{shown(each)}: " if inside else "")
        for each in folders
    ]
    if as_json:
        results = [result for result, _ in outcomes]
        print_json(results if inside else results[0])
    errors = [error for _, error in outcomes if error is not None]
    if errors and not inside:
        raise errors[0]
    for error in errors:
        note(str(error))
    if errors:
        raise ShardError(f"{shown(folder)}: {len(errors)} of {len(outcomes)} folders are not verified")


def _outcome(
    folder: str | os.PathLike[str],
    source: tuple[str, ...],
    stores: tuple[str, ...],
    tokenizer: str | None,
    threads: int | None,
    *,
    as_json: bool,
    name: str,
) -> tuple[dict[str, object], ShardError | None]:
    """Verify a folder. Return the result for JSON and the error, if there is one; print the rest after ``name``."""
    from seampack.packer.folder import PackedFolder
    from seampack.packer.store_manifest import is_token_store

    result: dict[str, object] = {"folder": shown(folder)}
    compared: Outcome | None = None
    try:
        if is_token_store(folder):
            line = verify_store(folder)
        else:
            packed = PackedFolder(folder, stores or None)
            packed.verify()
            line = verified_line(packed.manifest)
            compared = _compare(packed, source, tokenizer, threads) if source else None
    except ShardError as error:
        return {**result, "verified": False, "differences": [{"kind": "folder", "message": str(error)}]}, error
    differences = compared.differences if compared else ()
    if compared:
        result |= {"documents": compared.documents, "tokens": compared.tokens}
    listed = [dataclasses.asdict(difference) for difference in differences]
    if not as_json:
        click.echo(name + line)
    for difference in differences:
        note(name + str(difference))
    if compared and not differences and not as_json:
        tokens = f"{compared.tokens:,} tokens of {compared.documents:,} documents"
        click.echo(f"{name}verified: {tokens} against the source")
    differs = ShardError(f"{shown(folder)}: differs from its source") if differences else None
    return {**result, "verified": not differences, "differences": listed}, differs


def _compare(packed: "PackedFolder", source: tuple[str, ...], tokenizer: str | None, threads: int | None) -> "Outcome":
    """Compare a folder with its source, split into words as it was by ``--pre-segment``."""
    from seampack._memory import keep_freed_memory

    keep_freed_memory()
    from seampack.packer.against import verify_against
    from seampack.packer.mixes import noted_sources, pairs

    set_memory_advice("the comparison needs memory for each segment; use fewer --threads")
    split = shared.splitter(packed.manifest.notes.get("pre_segment"))
    given = pairs(source, "--against", "NAME=INPUT") if noted_sources(packed.manifest.notes) else source
    with live_line("comparing") as on_progress:
        return verify_against(packed, given, tokenizer=tokenizer, threads=threads, split=split, on_progress=on_progress)


def verified_line(manifest: "Manifest") -> str:
    """Return the line of a folder that is verified. Version 1 of the format has checksums of its shards only."""
    outcome = "verified: every file, and the manifest against the rows"
    if manifest.format_version > 1:
        return outcome
    return f"{outcome}; in format version 1, nothing proves the other entries (strategy, seed, tokens in, dropped, ...)"
