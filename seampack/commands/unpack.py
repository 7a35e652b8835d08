"""``seampack unpack``: write the documents of a packed folder to a file."""

from typing import TYPE_CHECKING

import click

from seampack.commands import options as shared
from seampack.commands.grouped import PATH
from seampack.commands.report import note, set_memory_advice, set_written
from seampack.packer.accounting import dropped_documents

if TYPE_CHECKING:
    from seampack.packer.unpacking import Unpacked


@click.command()
@click.argument("folder", type=PATH)
@click.option(
    "-o",
    "--out",
    required=True,
    type=PATH,
    metavar="FILE",
    help="Output: a name that ends in .jsonl (also .jsonl.zst, .jsonl.gz, ...), .parquet or .arrow; or - for JSON "
    "lines on standard output.",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
@click.option("--ids", is_flag=True, help="Write token ids (input_ids) instead of text.")
@click.option(
    "--special/--no-special",
    default=None,
    help="Keep or remove the begin and end token of documents; by default they are removed from text and kept with "
    "--ids. A document that had such a token before it was packed loses it too.",
)
@click.option(
    "--tokenizer",
    default=None,
    type=PATH,
    metavar="FILE|NAME",
    help="Tokenizer that gives the text; by default the one that packed the folder.",
)
@shared.stores
def unpack(
    folder: str,
    out: str,
    overwrite: bool,
    ids: bool,
    special: bool | None,
    tokenizer: str | None,
    stores: tuple[str, ...],
) -> None:
    """Restore the documents of a packed folder.

    Checks the checksums of the shards and writes the fields text (or input_ids and the carried columns), id and the
    kept columns. Repeated tokens appear once.
    Numbered documents are in the order of the input; with an id column, documents are in the order of their ids,
    because the rows are shuffled and do not hold the order of the input.

    What packing did not keep is named on standard error: tokens that it dropped at the ends of documents, documents
    without tokens, and records that could not be read. The text is exact if the tokenizer is: a tokenizer that
    normalises text or drops spaces gives the text as it sees it.

    About 110 bytes of memory are needed per segment: a document has one, and one more for each cut. Tokens of Parquet
    shards are copied into a temporary file.

    \b
    seampack unpack packed/ -o documents.jsonl.zst
    """
    from seampack._memory import keep_freed_memory
    from seampack._pandas import leave_out_pandas

    keep_freed_memory()
    leave_out_pandas()
    from seampack.packer.unpacking import unpack as run

    set_memory_advice("the index needs memory for each segment of the folder")
    unpacked = run(
        folder, out, ids=ids, special=special, tokenizer=tokenizer, store=stores or None, overwrite=overwrite
    )
    set_written("the output" if out == "-" else out)
    note(_counts(unpacked))


def _counts(unpacked: "Unpacked") -> str:
    """Return the line of what was written and of what was not."""
    missing = []
    if unpacked.dropped:
        what = dropped_documents(unpacked.truncated - unpacked.lost, unpacked.lost)
        missing.append(f"{unpacked.dropped:,} tokens of {what}")
    if unpacked.empty:
        missing.append(f"{unpacked.empty:,} documents without tokens")
    if unpacked.quarantined:
        missing.append(f"{unpacked.quarantined:,} records in quarantine.jsonl")
    if unpacked.quarantined_in_stores:
        missing.append(f"{unpacked.quarantined_in_stores:,} records in quarantine.jsonl of the token stores")
    absent = f"; not in the rows: {', '.join(missing)}" if missing else ""
    return f"{unpacked.documents:,} documents of {unpacked.tokens:,} tokens restored{absent}"
