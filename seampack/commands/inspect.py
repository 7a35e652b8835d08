"""``seampack inspect``: show and verify a packed folder."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from seampack.commands import options as shared
from seampack.commands.report import accounting_lines, print_json, row_text, warn
from seampack.commands.verify import verified_line
from seampack.errors import SeampackError

if TYPE_CHECKING:
    from seampack.packer.entries import TokenizerFacts
    from seampack.packer.manifest import Manifest


@click.command()
@click.argument("folder")
@click.option(
    "--row",
    "rows",
    type=shared.Integer(),
    multiple=True,
    metavar="N",
    help="Show row N, counted from 0, as text. Can be repeated.",
)
@click.option("--verify", is_flag=True, help="Check the files against the manifest, and the manifest against the rows.")
@click.option(
    "--tokenizer",
    default=None,
    metavar="FILE|NAME",
    help="Tokenizer that decodes the rows; by default the one that packed the folder.",
)
@shared.as_json
def inspect(folder: str, rows: tuple[int, ...], verify: bool, tokenizer: str | None, as_json: bool) -> None:
    """Show or verify the contents of a packed folder.

    With --row, shows rows as text, segment by segment.
    """
    from seampack._pandas import leave_out_pandas

    leave_out_pandas()
    from seampack.packer.folder import PackedFolder

    packed = PackedFolder(folder)
    if verify:
        packed.verify()
    verified = {"verified": True} if verify else {}
    if rows:
        shown = {index: packed.row(index) for index in rows}
        decode = None if as_json else _decoder(packed.manifest.tokenizer, tokenizer)
        for index in rows:
            if as_json:
                print_json({"row": index, **shown[index], **verified})
            else:
                click.echo(f"row {index}\n{row_text(shown[index], decode)}")
    elif as_json:
        print_json(packed.manifest.to_dict() | verified)
    else:
        _show_manifest(packed.manifest)
    if verify and not as_json:
        click.echo(verified_line(packed.manifest))


def _show_manifest(manifest: "Manifest") -> None:
    click.echo(f"strategy    {manifest.config['strategy']:>16}   seampack {manifest.seampack_version}")
    click.echo(f"tokenizer   {manifest.tokenizer.vocab_size:>16,}   ids, {manifest.tokenizer.name}")
    if manifest.inputs:
        megabytes = sum(each.bytes for each in manifest.inputs) / 1e6
        names = ", ".join(each.path for each in manifest.inputs[:3]) + (", ..." if len(manifest.inputs) > 3 else "")
        click.echo(f"inputs      {len(manifest.inputs):>16,}   {megabytes:,.1f} MB, {names}")
    click.echo(accounting_lines(manifest.accounting.to_dict()))
    width = max(len(file.file) for shard in manifest.shards for file in shard.files)
    for shard in manifest.shards:
        for file in shard.files:
            rows = f"{shard.rows:>10,} rows" if file is shard else " " * 15
            click.echo(f"{file.file:<{width}}  {rows}  {file.bytes / 1e6:>9,.1f} MB  {file.checksum}")


def _decoder(facts: "TokenizerFacts", name: str | None) -> Callable[[Any], str] | None:
    """Return the decoding function of the folder's tokenizer, or None if it cannot be loaded; ``name`` overrides it.

    Warn if another tokenizer packed the folder. Raise SeampackError if the tokenizer ``name`` cannot be loaded.
    """
    from seampack.packer.tokenizing import TextTokenizer

    try:
        tokenizer = TextTokenizer(name or facts.name)
    except SeampackError as error:
        if name is not None:
            raise
        warn(f"the rows are shown as ids: {error}; give --tokenizer")
        return None
    if tokenizer.fingerprint != facts.fingerprint:
        warn("this is not the tokenizer that the folder was packed with")
    return tokenizer.decode
