"""``seampack inspect``: show and verify a packed folder, or a token store."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from seampack.commands import options as shared
from seampack.commands.grouped import PATH
from seampack.commands.packed import balance_lines, with_imbalance
from seampack.commands.report import (
    accounting_lines,
    echo_sources,
    origin_lines,
    print_json,
    quarantine_lines,
    row_text,
    warn,
)
from seampack.commands.stored import inspect_store, refuse_for_store
from seampack.commands.verify import verified_line
from seampack.errors import SeampackError

if TYPE_CHECKING:
    from seampack.packer.entries import TokenizerFacts
    from seampack.packer.manifest import Manifest


@click.command()
@click.argument("folder", type=PATH)
@click.option(
    "--row",
    "rows",
    type=shared.Integer(),
    multiple=True,
    metavar="N",
    help="Show row N, counted from 0, as text. Can be repeated; --json then prints a list.",
)
@click.option("--verify", is_flag=True, help="Check the files against the manifest, and the manifest against the rows.")
@click.option(
    "--tokenizer",
    default=None,
    type=PATH,
    metavar="FILE|NAME",
    help="Tokenizer that decodes the rows; by default the one that packed the folder.",
)
@shared.stores
@click.option(
    "--html",
    type=PATH,
    default=None,
    metavar="FILE",
    help="Also write a report as one HTML page: accounting, lengths, fill, cost, a sample of rows. An earlier report "
    "is replaced.",
)
@click.option("--compare", is_flag=True, help="Plan the other strategies for the report too.")
@shared.as_json
def inspect(
    folder: str,
    rows: tuple[int, ...],
    verify: bool,
    tokenizer: str | None,
    stores: tuple[str, ...],
    html: str | None,
    compare: bool,
    as_json: bool,
) -> None:
    """Show or verify a packed folder or a token store.

    With --row, shows rows as text, segment by segment. Of a token store, shows its documents, their lengths, the
    tokenizer, options and files; the lengths of a store at an address only with --verify, which fetches all of it.

    \b
    seampack inspect packed/ --html report.html --compare
    """
    if compare and html is None:
        raise click.UsageError("--compare adds the other strategies to a report: give --html")
    from seampack._pandas import leave_out_pandas

    leave_out_pandas()
    from seampack.packer.folder import PackedFolder
    from seampack.packer.store_manifest import is_token_store

    if is_token_store(folder):
        refuse_for_store(folder, {"--row": rows, "--tokenizer": tokenizer, "--store": stores, "--html": html})
        inspect_store(folder, verify=verify, as_json=as_json)
        return
    packed = PackedFolder(folder, stores or None)
    if verify:
        packed.verify()
    verified = {"verified": True} if verify else {}
    decode = None
    if html is not None or (rows and not as_json):
        decode = _decoder(packed.manifest.tokenizer, tokenizer)
    if html is not None:
        from seampack.packer.report_page import write_report

        write_report(packed, html, decode=decode, compare=compare)
    if rows:
        shown = {index: packed.row(index) for index in rows}
        if as_json:
            entries = [{"row": index, **shown[index], **verified} for index in rows]
            print_json(entries if len(entries) > 1 else entries[0])
        for index in () if as_json else rows:
            click.echo(f"row {index}\n{row_text(shown[index], decode)}")
    elif as_json:
        print_json(with_imbalance(packed.manifest, packed.imbalance()) | verified)
    else:
        _show_manifest(packed.manifest, packed.imbalance())
    if verify and not as_json:
        click.echo(verified_line(packed.manifest))
    if html is not None and not as_json:
        click.echo(f"report      {html}")


def _show_manifest(manifest: "Manifest", imbalance: float | None) -> None:
    click.echo(f"strategy    {manifest.config['strategy']:>16}   seampack {manifest.seampack_version}")
    click.echo("\n".join(origin_lines(manifest.tokenizer, manifest.inputs)))
    echo_sources(manifest.notes)
    lines = [accounting_lines(manifest.accounting.to_dict()), *balance_lines(manifest, imbalance)]
    click.echo("\n".join([*lines, *quarantine_lines(manifest.quarantined, manifest.notes)]))
    width = max(len(file.file) for shard in manifest.shards for file in shard.files)
    for shard in manifest.shards:
        for file in shard.files:
            rows = f"{shard.rows:>10,} rows" if file is shard else " " * 15
            click.echo(f"{file.file:<{width}}  {rows}  {file.bytes / 1e6:>9,.1f} MB  {file.checksum}")


def report_on(folder: str, out: str) -> None:
    """Write the report about a folder that was just packed, with text by its own tokenizer."""
    from seampack.packer.folder import PackedFolder
    from seampack.packer.report_page import write_report

    packed = PackedFolder(folder)
    write_report(packed, out, decode=_decoder(packed.manifest.tokenizer, None))


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
    if not tokenizer.is_recorded_as(facts.fingerprint):
        warn("this is not the tokenizer that the folder was packed with")
    return tokenizer.decode
