"""Reports about a packing run: a folder, one for each length of rows, or some partitions."""

import shlex
from typing import TYPE_CHECKING

import click

from seampack.commands.report import accounting_lines, echo_sources, note, print_json, quarantine_lines, warn
from seampack.io.places import shown

if TYPE_CHECKING:
    from seampack.packer.accounting import Accounting
    from seampack.packer.manifest import Manifest
    from seampack.packer.packing import Packed


def report_partitions(packed: "Packed", out: str, as_json: bool, times: dict[str, float]) -> None:
    """Print what a process has packed of a run."""
    if as_json:
        print_json({"numbers": packed.numbers, "partitions": packed.partitions, "tokens": packed.tokens} | times)
        return
    click.echo(f"partitions  {len(packed.numbers):>16,}   of {packed.partitions:,}: {_numbers(packed.numbers)}")
    click.echo(f"tokens      {packed.tokens:>16,}")
    click.echo(_time_line(times))
    note(f"when all processes have finished: seampack merge {shlex.quote(out)}")


def report_lengths(manifests: "dict[int, Manifest]", out: str, as_json: bool, times: dict[str, float]) -> None:
    """Print the accounting of a folder for each length of rows."""
    if as_json:
        print_json({str(length): manifest.to_dict() for length, manifest in manifests.items()} | times)
        return
    first = next(iter(manifests.values()))
    warn_of_nothing(first.accounting, first.quarantined)
    for length, manifest in manifests.items():
        echo_sources(manifest.notes)
        click.echo(_folder_lines(manifest, f"{shown(out).rstrip('/')}/{length}"))
        click.echo()
    click.echo(_time_line(times))


def _numbers(numbers: tuple[int, ...]) -> str:
    shown = ", ".join(map(str, numbers[:10])) or "none; there are fewer partitions than processes"
    return shown + (", ..." if len(numbers) > 10 else "")


def report_packed(manifest: "Manifest", out: str, as_json: bool, times: dict[str, float]) -> None:
    """Print the accounting of a complete folder."""
    warn_of_nothing(manifest.accounting, manifest.quarantined)
    if as_json:
        print_json(manifest.to_dict() | times)
        return
    echo_sources(manifest.notes)
    click.echo(_folder_lines(manifest, shown(out)))
    click.echo(_time_line(times))


def _folder_lines(manifest: "Manifest", out: str) -> str:
    """Return the lines of the report about a folder."""
    lines = [accounting_lines(manifest.accounting.to_dict())]
    lines += quarantine_lines(manifest.quarantined)
    megabytes = sum(file.bytes for shard in manifest.shards for file in shard.files) / 1e6
    lines.append(f"written     {megabytes:>13,.1f} MB   in {len(manifest.shards)} shard(s), {out}")
    return "\n".join(lines)


def _time_line(times: dict[str, float]) -> str:
    return f"time        {times['seconds']:>14,.1f} s   {times['cpu_seconds']:,.1f} CPU-s"


def warn_of_nothing(accounting: "Accounting", quarantined: int = 0) -> None:
    """Warn of an input without documents, or without tokens."""
    if quarantined and not accounting.documents:
        warn(f"all {quarantined:,} records of the input were quarantined: none could be read")
    elif not accounting.documents:
        warn("the input has no documents")
    elif not accounting.tokens_in:
        warn("no document of the input has a token")
