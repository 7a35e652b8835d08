"""The commands of ``seampack models``: one adapter's prepare, train or evaluate. Heavy imports are inside."""

import dataclasses
import json
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from seampack.commands.report import readable, table
from seampack.config import Config
from seampack.errors import ConfigError
from seampack.models.registry import METHODS

if TYPE_CHECKING:
    from datasets import Dataset

    from seampack.models.base import Adapter

Command = TypeVar("Command", bound=Callable[..., Any])

_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
_method = click.argument("method", metavar="METHOD")
_out = click.option("-o", "--out", required=True, metavar="FOLDER", help="Folder to write; it must not be there yet.")
_overwrite = click.option("--overwrite", is_flag=True, help="Replace what this command has written there before.")


def _reading(command: Command) -> Command:
    """The options that say what to work on, and how."""
    for option in (
        click.option(
            "--set",
            "changes",
            multiple=True,
            metavar="NAME=VALUE",
            help="One option of the method, before those of --config; may be given often.",
        ),
        click.option(
            "--config",
            "config_file",
            type=click.Path(exists=True, dir_okay=False),
            help="Options of the method, as TOML.",
        ),
        click.option("--split", default=None, help="Which split of a dataset that has several."),
        click.option(
            "--data",
            required=True,
            metavar="FILE|FOLDER|NAME",
            help="CSV, TSV, JSON, JSON lines, Parquet, Arrow, a saved dataset's folder, or a dataset of the hub.",
        ),
    ):
        command = option(command)
    return command


@click.group()
def models() -> None:
    """Train and evaluate methods on datasets."""


@models.command("list")
@click.argument("method", required=False)
@_json
def list_methods(method: str | None, as_json: bool) -> None:
    """Show the methods, or the columns and options of METHOD."""
    if method is None:
        rows = [{"method": name, "what": found.summary} for name, found in METHODS.items()]
        click.echo(json.dumps(rows) if as_json else table(rows, {"method": "method", "what": "what it does"}))
        return
    adapter = _adapter(method)
    fields = [
        {"option": field.name, "default": _toml(field.default), "what": field.metadata["help"]}
        for field in dataclasses.fields(adapter.config)
    ]
    columns = [{"column": name, "what": what} for name, what in adapter.columns.items()]
    if as_json:
        click.echo(json.dumps({"method": method, "columns": columns, "options": fields}))
        return
    click.echo(f"{method}: {METHODS[method].summary}\n")
    click.echo(table(columns, {"column": "column", "what": "what it holds"}) + "\n")
    click.echo(table(fields, {"option": "option", "default": "default", "what": "what it does"}))


@models.command()
@_method
@_reading
@_out
@_overwrite
@_json
def prepare(
    method: str,
    data: str,
    split: str | None,
    config_file: str | None,
    changes: tuple[str, ...],
    out: str,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Write a dataset as METHOD's training and evaluation want it, to be loaded with datasets.load_from_disk."""
    adapter = _adapter(method)
    config = _config(adapter.config(), config_file, changes)
    from seampack.models.folders import new_folder
    from seampack.models.progress import no_bars_in_files

    with no_bars_in_files(), new_folder(Path(out), overwrite=overwrite, marker="dataset_info.json") as folder:
        prepared = adapter.prepare(_load(data, split), config)
        prepared.save_to_disk(str(folder))
    facts = {"rows": len(prepared), "columns": prepared.column_names}
    click.echo(json.dumps(facts) if as_json else f"{out}: {len(prepared):,} rows of {', '.join(prepared.column_names)}")


@models.command()
@_method
@_reading
@_out
@_overwrite
@_json
def train(
    method: str,
    data: str,
    split: str | None,
    config_file: str | None,
    changes: tuple[str, ...],
    out: str,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Train METHOD on a dataset, prepared or not, and write the artifact.

    \b
    seampack models train ranmask --data reviews.csv --set rate=0.7 -o robust/
    """
    adapter = _adapter(method)
    config = _config(adapter.config(), config_file, changes)
    from seampack.models.artifact import DESCRIPTION
    from seampack.models.folders import new_folder
    from seampack.models.progress import no_bars_in_files

    started = time.perf_counter(), time.process_time()
    with no_bars_in_files(), new_folder(Path(out), overwrite=overwrite, marker=DESCRIPTION) as folder:
        artifact = adapter.train(adapter.prepare(_load(data, split), config), config)
        artifact.save(folder)
    spent = {"seconds": time.perf_counter() - started[0], "cpu_seconds": time.process_time() - started[1]}
    if as_json:
        click.echo(json.dumps({"method": method, "facts": artifact.facts, "config": artifact.config, **spent}))
    else:
        click.echo(f"{out}: {method} trained, {spent['seconds']:,.1f} s, {spent['cpu_seconds']:,.1f} CPU-s")


@models.command()
@_method
@click.option("--artifact", "trained", required=True, metavar="FOLDER", help="What train wrote.")
@_reading
@_out
@_overwrite
@_json
def evaluate(
    method: str,
    trained: str,
    data: str,
    split: str | None,
    config_file: str | None,
    changes: tuple[str, ...],
    out: str,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Measure an artifact of METHOD on a dataset: metrics, rows, tables and pictures in a folder.

    The options are those of training, changed by --config and --set; a checkpoint is its own.
    """
    adapter = _adapter(method)
    from seampack.models.artifact import Artifact
    from seampack.models.folders import new_folder
    from seampack.models.progress import no_bars_in_files

    artifact = Artifact.load(Path(trained), method)
    trained_with = {name: value for name, value in artifact.config.items() if name not in adapter.per_run}
    config = _config(adapter.config().replace(**trained_with), config_file, changes)
    with no_bars_in_files(), new_folder(Path(out), overwrite=overwrite, marker="metrics.json") as folder:
        found = adapter.evaluate(adapter.prepare(_load(data, split), config), artifact, config)
        found.save(folder)
    if as_json:
        click.echo(json.dumps({"method": method, "metrics": found.metrics, "tables": found.tables}))
        return
    for name, value in found.metrics.items():
        click.echo(f"{name:<28} {readable(value, 4)}")
    for name, rows in found.tables.items():
        if rows:
            click.echo(f"\n{name}\n" + table(rows, {column: column for column in rows[0]}))


def _adapter(method: str) -> "Adapter[Any]":
    from seampack.models.registry import get

    return get(method)


def _load(data: str, split: str | None) -> "Dataset":
    from seampack.models.data import load

    return load(data, split)


def _config(config: Any, path: str | None, changes: tuple[str, ...]) -> Any:
    """A config with the changes of a TOML file, then those of --set. Raises ConfigError for what is not an option."""
    wanted: dict[str, Any] = {}
    if path is not None:
        try:
            wanted |= tomllib.loads(Path(path).read_text("utf-8"))
        except ValueError as error:
            raise ConfigError(f"{path}: not TOML: {error}") from error
    for change in changes:
        name, equals, value = change.partition("=")
        if not equals:
            raise ConfigError(f"--set {change}: expected NAME=VALUE")
        texts = {field.name for field in dataclasses.fields(config) if isinstance(field.default, str)}
        wanted[name.strip()] = value if name.strip() in texts else _value(value)
    changed: Config = config.replace(**wanted)
    return changed


def _value(text: str) -> Any:
    """A value as TOML has it; what is none, a bare word or path, is text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except ValueError:
        return text


def _toml(value: Any) -> str:
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)
