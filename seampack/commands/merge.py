"""``seampack merge``: complete a folder that several processes have packed."""

import click

from seampack.commands import options as shared
from seampack.commands.grouped import PATH
from seampack.commands.packed import report_packed
from seampack.commands.report import set_memory_advice, set_written, stopwatch


@click.command()
@click.argument("folder", type=PATH)
@click.option("--overwrite", is_flag=True, help="Replace the packed shards in the folder.")
@shared.as_json
def merge(folder: str, overwrite: bool, as_json: bool) -> None:
    """Complete a folder that several processes have packed.

    Packs what filled no row in the partitions of `seampack pack --partition`, writes the manifest, and makes FOLDER
    appear. It is the same, byte for byte, as that of a single process.

    \b
    seampack pack corpus/ -o packed/ --partition 0/2    # on one machine
    seampack pack corpus/ -o packed/ --partition 1/2    # on another
    seampack merge packed/
    """
    from seampack._memory import keep_freed_memory
    from seampack._pandas import leave_out_pandas

    keep_freed_memory()
    leave_out_pandas()
    from seampack.packer.packing import merge as run

    set_memory_advice("run it on a machine with more memory")
    elapsed = stopwatch()
    manifest = run(folder, overwrite=overwrite)
    set_written(folder)
    report_packed(manifest, folder, as_json, elapsed())
