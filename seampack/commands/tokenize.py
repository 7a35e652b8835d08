"""``seampack tokenize``: write a corpus as token ids, to be packed often."""

from typing import TYPE_CHECKING, Any

import click

from seampack.commands import options as shared
from seampack.commands.grouped import PATH
from seampack.commands.report import (
    note_lines,
    print_json,
    quarantine_lines,
    set_memory_advice,
    set_written,
    stopwatch,
)
from seampack.commands.terminal import live_line
from seampack.io.places import shown
from seampack.packer.config import PackConfig
from seampack.packer.option_groups import NOT_READING

if TYPE_CHECKING:
    from seampack.packer.store_manifest import StoreManifest


@click.command()
@shared.corpus
@click.option(
    "-o", "--out", required=True, type=PATH, metavar="STORE", help="Folder for the token ids and their manifest."
)
@click.option("--overwrite", is_flag=True, help="Replace the token store in the folder.")
@shared.tokenizer
@shared.pre_segment
@shared.config_options(PackConfig, skip=NOT_READING)
@shared.threads
@shared.as_json
@shared.with_formats
def tokenize(
    inputs: tuple[str, ...],
    out: str,
    overwrite: bool,
    tokenizer: str | None,
    pre_segment: str | None,
    threads: int | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Tokenise a corpus once, to pack it often.

    Writes a token store, which `seampack pack STORE` packs without the tokenizer, for any row length, strategy and
    seed. INPUT: {formats}; or - for standard input.

    \b
    seampack tokenize corpus.jsonl.zst --tokenizer tokenizer.json -o tokens/
    seampack pack tokens/ --seq-len 2048 -o packed/
    """
    config = PackConfig(**options)
    from seampack._memory import keep_freed_memory
    from seampack._pandas import leave_out_pandas

    keep_freed_memory()
    leave_out_pandas()
    from seampack.packer.tokenize import tokenize as run

    set_memory_advice("use fewer --threads")
    note_lines(inputs, config.input_format)
    elapsed = stopwatch()
    with live_line("writing") as on_progress:
        manifest = run(
            inputs,
            config,
            out,
            tokenizer=shared.tokenizer_name(tokenizer),
            threads=threads,
            overwrite=overwrite,
            split=shared.splitter(pre_segment),
            notes={"pre_segment": pre_segment} if pre_segment else None,
            on_tokenizer=shared.note_special_tokens if shared.frames_automatically(config) else None,
            on_progress=on_progress,
        )
    set_written(shown(out))
    _report(manifest, out, as_json, elapsed())


def _report(manifest: "StoreManifest", out: str, as_json: bool, times: dict[str, float]) -> None:
    """Print what the store holds."""
    if as_json:
        print_json(manifest.to_dict() | times)
        return
    click.echo(f"documents   {manifest.documents:>16,}")
    click.echo(f"tokens      {manifest.tokens:>16,}")
    for line in quarantine_lines(manifest.quarantined):
        click.echo(line)
    size = sum(each.bytes for each in manifest.partitions) / 1e6
    click.echo(f"written     {size:>13,.1f} MB   in {len(manifest.partitions)} partition(s), {shown(out)}")
    click.echo(f"time        {times['seconds']:>14,.1f} s   {times['cpu_seconds']:,.1f} CPU-s")
