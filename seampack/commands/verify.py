"""``seampack verify``: check a packed folder by itself, and against its source."""

import dataclasses
from typing import TYPE_CHECKING

import click

from seampack.commands import options as shared
from seampack.commands.grouped import PATH
from seampack.commands.report import note, print_json, set_interrupted, set_memory_advice
from seampack.commands.terminal import live_line
from seampack.errors import ShardError
from seampack.io.places import shown

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
    "token store. Can be repeated; give the inputs in the order in which they were packed, and those of a blend as "
    "NAME=STORE.",
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
    """Verify a packed folder.

    Checks every file against its checksum in the manifest, the manifest against its own, and the manifest against the
    rows.

    With --against, the source is read and tokenised again, with the options in the manifest; a token store is only
    read. Each document must be in
    the rows exactly once (repeated tokens apart), with its id and all its tokens at their positions, and what was
    dropped must be as counted. Each kind of difference is shown on one line. The exit code is 1 if there is any.

    The comparison needs about 110 bytes of memory per segment (a document has one, and one more for each cut), and with
    an id column about 150 more per document. Tokens of Parquet shards are copied into a temporary file.

    \b
    seampack verify packed/ --against 'corpus/*.jsonl.zst'
    """
    from seampack._pandas import leave_out_pandas

    leave_out_pandas()
    from seampack.packer.folder import PackedFolder

    set_interrupted("interrupted")
    result: dict[str, object] = {"folder": shown(folder)}
    try:
        packed = PackedFolder(folder, stores or None)
        packed.verify()
        compared = _compare(packed, source, tokenizer, threads) if source else None
    except ShardError as error:
        if as_json:
            print_json({**result, "verified": False, "differences": [{"kind": "folder", "message": str(error)}]})
        raise
    differences = compared.differences if compared else ()
    if as_json:
        if compared:
            result |= {"documents": compared.documents, "tokens": compared.tokens}
        listed = [dataclasses.asdict(difference) for difference in differences]
        print_json({**result, "verified": not differences, "differences": listed})
    else:
        click.echo(verified_line(packed.manifest))
    for difference in differences:
        note(str(difference))
    if differences:
        raise ShardError(f"{shown(folder)}: differs from its source")
    if compared and not as_json:
        click.echo(f"verified: {compared.tokens:,} tokens of {compared.documents:,} documents against the source")


def _compare(packed: "PackedFolder", source: tuple[str, ...], tokenizer: str | None, threads: int | None) -> "Outcome":
    """Compare a folder with its source, split into words as it was by ``--pre-segment``."""
    from seampack._memory import keep_freed_memory

    keep_freed_memory()
    from seampack.packer.against import verify_against
    from seampack.packer.mixes import noted_sources, pairs

    set_memory_advice("the comparison needs memory for each segment; use fewer --threads")
    is_blend = bool(noted_sources(packed.manifest.notes))
    split = shared.splitter(None if is_blend else packed.manifest.notes.get("pre_segment"))
    given = pairs(source, "--against", "NAME=STORE") if is_blend else source
    with live_line("comparing") as on_progress:
        return verify_against(packed, given, tokenizer=tokenizer, threads=threads, split=split, on_progress=on_progress)


def verified_line(manifest: "Manifest") -> str:
    """Return the line of a folder that is verified. Version 1 of the format has checksums of its shards only."""
    outcome = "verified: every file, and the manifest against the rows"
    if manifest.format_version > 1:
        return outcome
    return f"{outcome}; in format version 1, nothing proves the other entries (strategy, seed, tokens in, dropped, ...)"
