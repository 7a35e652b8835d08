"""``seampack models``: prepare a dataset for a method, train the method on it, and evaluate the artifact."""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from seampack.commands import options as shared
from seampack.commands.grouped import PATH
from seampack.commands.report import (
    definitions,
    print_json,
    readable,
    set_memory_advice,
    set_written,
    stopwatch,
    table,
    warn,
)
from seampack.config import bounds, check_names, check_value, value_type
from seampack.errors import ConfigError
from seampack.models.registry import METHODS, config_of, get

if TYPE_CHECKING:
    from seampack.config import Config
    from seampack.io.output import FolderKind
    from seampack.models.base import Adapter
    from seampack.models.options import MethodConfig

_NOUNS = {bool: "true or false", int: "integer", float: "number", str: "text"}
_SCOPES = {
    "saved": "evaluate uses the value of training unless --config or --set gives another value",
    "fixed": "set by training; evaluate accepts no other value",
    "per run": "not inherited from training; evaluate starts from the default",
}

_method = click.argument("method", metavar="METHOD")
_reading = shared.all_of(
    click.option(
        "--data",
        required=True,
        type=PATH,
        metavar="FILE|FOLDER|NAME",
        help="Dataset: a file (CSV, TSV, JSON, JSON lines, Parquet, Arrow), the folder of a saved dataset, or a name "
        "on the Hugging Face hub.",
    ),
    click.option("--split", default=None, metavar="NAME", help="Split to use of a dataset that has several."),
    click.option(
        "--config",
        "config_file",
        type=click.Path(exists=True, dir_okay=False),
        help="TOML file with options of the method, NAME = VALUE. By default all options keep their defaults.",
    ),
    click.option(
        "--set",
        "changes",
        multiple=True,
        metavar="NAME=VALUE",
        help="Set one option of the method; overrides --config. VALUE is text or a TOML value; a list of one item "
        "needs no brackets. Can be repeated.",
    ),
)
_writing = shared.all_of(
    click.option(
        "-o", "--out", required=True, type=PATH, metavar="FOLDER", help="Output folder; must be new or empty."
    ),
    click.option("--overwrite", is_flag=True, help="Replace the earlier output of this command in the folder."),
    shared.as_json,
)


@click.group()
def models() -> None:
    """Train and evaluate methods on datasets."""


@models.command("list")
@click.argument("method", required=False)
@shared.as_json
def list_methods(method: str | None, as_json: bool) -> None:
    """List the methods, or the columns and options of METHOD."""
    if method is None:
        rows = [{"method": name, "summary": entry.summary} for name, entry in METHODS.items()]
        if as_json:
            print_json(rows)
        else:
            click.echo(table(rows, {"method": "method", "summary": "summary"}))
        return
    config = config_of(method)
    options = [_described(field, config) for field in dataclasses.fields(config)]  # type: ignore[arg-type]
    if as_json:
        columns = [{"column": name, "help": meaning} for name, meaning in config.columns.items()]
        print_json({"method": method, "columns": columns, "options": options})
        return
    click.echo(f"{method}: {METHODS[method].summary}\n")
    click.echo(definitions("Columns", list(config.columns.items())) + "\n")
    click.echo(definitions("Options", [(option["option"], _option_text(option)) for option in options]))
    used = {option["scope"] for option in options}
    notes = [(scope, meaning) for scope, meaning in _SCOPES.items() if scope in used and scope != "saved"]
    if notes:
        click.echo("\n" + definitions("Marks", notes))


@models.command()
@_method
@_reading
@_writing
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
    """Prepare a dataset for METHOD.

    The output is a saved dataset for train, evaluate and datasets.load_from_disk. Both commands also take data that is
    not prepared.
    """
    config = _changed(config_of(method)(), config_file, changes)
    adapter = _checked_adapter(method, data)
    from seampack.models.data import PREPARED, load

    with _output(out, PREPARED, overwrite) as folder:
        prepared = adapter.prepare(load(data, split), config)
        prepared.save_to_disk(str(folder))
    if as_json:
        print_json({"rows": len(prepared), "columns": prepared.column_names})
    else:
        click.echo(f"{out}: {len(prepared):,} rows of {', '.join(prepared.column_names)}")


@models.command()
@_method
@_reading
@_writing
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
    """Train METHOD on a dataset.

    The dataset may be prepared or not. The output is the artifact that evaluate takes.

    \b
    seampack models train ranmask --data reviews.csv --set rate=0.7 -o robust/
    """
    config = _changed(config_of(method)(), config_file, changes)
    adapter = _checked_adapter(method, data)
    from seampack.models.artifact import FOLDER
    from seampack.models.data import load

    elapsed = stopwatch()
    with _output(out, FOLDER, overwrite) as folder:
        artifact = adapter.train(adapter.prepare(load(data, split), config), config)
        artifact.save(folder)
    _warn_of(artifact.facts["notes"])
    times = elapsed()
    if as_json:
        print_json({"method": method, "facts": artifact.facts, "config": artifact.config, **times})
    else:
        click.echo(f"{out}: {method} trained, {times['seconds']:,.1f} s, {times['cpu_seconds']:,.1f} CPU-s")


@models.command()
@_method
@click.option("--artifact", "trained", required=True, type=PATH, metavar="FOLDER", help="Folder that train wrote.")
@_reading
@_writing
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
    """Evaluate an artifact of METHOD on a dataset.

    Writes metrics, rows, tables and pictures to a folder. Uses the options saved at training time, overridden by
    --config and --set. `seampack models list METHOD` marks the exceptions: options that are fixed or per run.
    """
    from seampack.models.artifact import Artifact

    defaults = config_of(method)
    artifact = Artifact.load(Path(trained), method)
    config = _changed(defaults.of_training(artifact.config, method), config_file, changes)
    config.check_fixed(artifact.config)
    adapter = _checked_adapter(method, data)
    from seampack.models.base import EVALUATION
    from seampack.models.data import load

    with _output(out, EVALUATION, overwrite) as folder:
        evaluation = adapter.evaluate(adapter.prepare(load(data, split), config), artifact, config)
        evaluation.save(folder)
    _warn_of(evaluation.notes)
    if as_json:
        report = {"metrics": evaluation.metrics, "notes": list(evaluation.notes), "tables": evaluation.tables}
        print_json({"method": method} | report)
        return
    for name, value in evaluation.metrics.items():
        click.echo(f"{name:<28} {readable(value, 4)}")
    for name, rows in evaluation.tables.items():
        if rows:
            click.echo(f"\n{name}\n" + table(rows, {column: column for column in rows[0]}))


def _checked_adapter(method: str, data: str) -> "Adapter[Any]":
    """Return the adapter, which imports torch. A dataset that does not exist is named before that."""
    from seampack.models.sources import check_source

    check_source(data)
    return get(method)


def _warn_of(notes: Sequence[str]) -> None:
    """Print each note on results that mean nothing."""
    for note in notes:
        warn(note)


@contextmanager
def _output(out: str, kind: "FolderKind", overwrite: bool) -> Iterator[Path]:
    """Yield a folder that becomes ``out`` if the block succeeds. Silence other libraries' progress bars in files."""
    from seampack.io.output import staged_folder
    from seampack.models.progress import no_bars_in_files

    set_memory_advice("use less data, or a smaller batch: --set batch_rows=8, where the method has this option")
    with no_bars_in_files(), staged_folder(out, kind, overwrite=overwrite) as folder:
        yield folder
    set_written(out)


def _described(field: "dataclasses.Field[Any]", config: "type[MethodConfig]") -> dict[str, Any]:
    """Return an option for JSON: its metadata, and its scope, which says how evaluation uses the trained value."""
    metadata = field.metadata
    kind, is_list = value_type(field.type)
    return {
        "option": field.name,
        "kind": _NOUNS[kind],
        "list": is_list,
        "default": field.default,
        "low": metadata["low"],
        "high": metadata["high"],
        "below": metadata["below"],
        "choices": None if metadata["choices"] is None else [member.value for member in metadata["choices"]],
        "unit": metadata["unit"],
        "accepts": _accepted(field),
        "scope": config.scope(field.name).value,
        "help": metadata["help"],
    }


def _accepted(field: "dataclasses.Field[Any]") -> str:
    """Return the values that an option accepts in words: ``integer, 1 to 100 tokens`` or ``one of sft, grpo``."""
    kind, is_list = value_type(field.type)
    limits = bounds(field)
    if field.metadata["choices"] is not None:
        return f"list, each {limits}" if is_list else limits
    if is_list:
        return f"list of {_NOUNS[kind]}s" + (f", each {limits}" if limits else "")
    return ", ".join(part for part in (_NOUNS[kind], limits) if part)


def _option_text(option: dict[str, Any]) -> str:
    mark = "" if option["scope"] == "saved" else f"; {option['scope']}"
    default = "none" if option["default"] is None else json.dumps(option["default"], ensure_ascii=False)
    return f"{option['help']}  [default: {default}; {option['accepts']}{mark}]"


def _changed(config: "Config", path: str | None, changes: tuple[str, ...]) -> Any:
    """Return the config with the options of a TOML file and of ``--set``, which overrides the file.

    Raise ConfigError for an unknown option, or a value of the wrong kind or out of bounds.
    """
    values: dict[str, Any] = {}
    if path is not None:
        from tomllib import loads

        try:
            values |= loads(Path(path).read_text("utf-8"))
        except ValueError as error:
            raise ConfigError(f"{path}: not TOML: {error}") from error
        _check_file(path, values, type(config))
    types = {field.name: value_type(field.type) for field in dataclasses.fields(config)}  # type: ignore[arg-type]
    for change in changes:
        name, equals, text = change.partition("=")
        name = name.strip()
        if not equals:
            raise ConfigError(f"--set {change}: expected NAME=VALUE")
        kind, is_list = types.get(name, (object, False))
        is_text = kind is str and not (is_list and text.lstrip().startswith("["))
        value = text if is_text else _value(text)
        if is_list and kind is not str and isinstance(value, str) and "," in value:
            raise ConfigError(f"--set {change}: write a list in brackets: --set '{name}=[{text.strip()}]'")
        values[name] = [value] if is_list and not isinstance(value, list) else value
    return config.replace(**values)


def _check_file(path: str, values: dict[str, Any], config: "type[Config]") -> None:
    """Raise ConfigError, naming the file, for a section, an unknown option or a wrong value in a TOML file."""
    for name, value in values.items():
        if isinstance(value, dict):
            raise ConfigError(f"{path}: [{name}]: expected options without a section, NAME = VALUE")
    try:
        check_names(config, values)
        for field in dataclasses.fields(config):  # type: ignore[arg-type]
            if field.name in values:
                check_value(field.name, values[field.name], field.type, field.metadata)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _value(text: str) -> Any:
    """Return a TOML value, or the text itself if it is not TOML (a word or a path without quotes)."""
    from tomllib import loads

    try:
        return loads(f"value = {text}")["value"]
    except ValueError:
        return text
