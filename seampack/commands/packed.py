"""Reports about a packing run: a folder, one for each length of rows, or some partitions."""

import shlex
from typing import TYPE_CHECKING, Any

import click

from seampack.commands.report import accounting_lines, echo_sources, note, print_json, quarantine_lines, readable, warn
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
    places = {length: f"{out.rstrip('/')}/{length}" for length in manifests}
    if as_json:
        folders = {
            str(length): with_imbalance(manifest, _imbalance(manifest, places[length]))
            for length, manifest in manifests.items()
        }
        print_json(folders | times)
        return
    first = next(iter(manifests.values()))
    warn_of_nothing(first.accounting, _unread(first))
    for length, manifest in manifests.items():
        echo_sources(manifest.notes)
        click.echo(_folder_lines(manifest, places[length]))
        click.echo()
    click.echo(_time_line(times))


def _numbers(numbers: tuple[int, ...]) -> str:
    shown = ", ".join(map(str, numbers[:10])) or "none; there are fewer partitions than processes"
    return shown + (", ..." if len(numbers) > 10 else "")


def report_packed(manifest: "Manifest", out: str, as_json: bool, times: dict[str, float]) -> None:
    """Print the accounting of a complete folder."""
    warn_of_nothing(manifest.accounting, _unread(manifest))
    if as_json:
        print_json(with_imbalance(manifest, _imbalance(manifest, out)) | times)
        return
    echo_sources(manifest.notes)
    click.echo(_folder_lines(manifest, out))
    click.echo(_time_line(times))


def _folder_lines(manifest: "Manifest", out: str) -> str:
    """Return the lines of the report about a folder."""
    lines = [accounting_lines(manifest.accounting.to_dict())]
    lines += balance_lines(manifest, _imbalance(manifest, out))
    lines += quarantine_lines(manifest.quarantined, manifest.notes)
    megabytes = sum(file.bytes for shard in manifest.shards for file in shard.files) / 1e6
    lines.append(f"written     {megabytes:>13,.1f} MB   in {len(manifest.shards)} shard(s), {shown(out)}")
    return "\n".join(lines)


def _imbalance(manifest: "Manifest", out: str) -> float | None:
    """Return the imbalance of the rows in a folder; None if they are not balanced, so that no row is read."""
    if manifest.config.get("balance") is None:
        return None
    from seampack.packer.folder import PackedFolder

    return PackedFolder(out).imbalance()


def with_imbalance(manifest: "Manifest", ratio: float | None) -> dict[str, Any]:
    """Return the entries of a manifest, with the imbalance of balanced rows, for JSON."""
    if manifest.config.get("balance") is None:
        return manifest.to_dict()
    return manifest.to_dict() | {"imbalance": None if ratio is None else round(ratio, 4)}


def balance_lines(manifest: "Manifest", ratio: float | None) -> list[str]:
    """Return the line with the imbalance of balanced rows; none for others."""
    if (ranks := manifest.config.get("balance")) is None:
        return []
    remark = f"the dearest rows of steps of {ranks:,} ranks over the mean"
    return [f"imbalance   {readable(ratio, 4):>16}   {remark}"]


def _time_line(times: dict[str, float]) -> str:
    return f"time        {times['seconds']:>14,.1f} s   {times['cpu_seconds']:,.1f} CPU-s"


def _unread(manifest: "Manifest") -> int:
    """Return the number of records that could not be read, when the folder was packed or its token stores were made."""
    from seampack.packer.noted_stores import quarantined_in_stores

    return manifest.quarantined + quarantined_in_stores(manifest.notes)


def warn_of_nothing(accounting: "Accounting", quarantined: int = 0) -> None:
    """Warn of an input without documents, or without tokens."""
    if quarantined and not accounting.documents:
        warn(f"all {quarantined:,} records of the input were quarantined: none could be read")
    elif not accounting.documents:
        warn("the input has no documents")
    elif not accounting.tokens_in:
        warn("no document of the input has a token")
