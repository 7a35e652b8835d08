"""The commands of ``seampack segment``: words from unspaced text. Heavy imports are inside the commands."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from seampack.commands import segment_options as shared
from seampack.commands.options import config_options
from seampack.commands.segment_scores import agree, compare, evaluate
from seampack.segmenter.apply_config import ApplyConfig, Output
from seampack.segmenter.config import DistillConfig, TrainConfig

_READING = ("text_column", "input_format", "on_bad")
_INTERRUPTED = 130
_LOW_AGREEMENT = 0.7

_out = click.option("-o", "--out", default="-", metavar="FILE", help="File to write; without it, standard output.")
_model = click.option(
    "-m",
    "--model",
    default="zh",
    show_default=True,
    metavar="MODEL",
    help="A trained segmenter: its folder, or zh or th, the bundled ones for Chinese and Thai.",
)


@click.group()
def segment() -> None:
    """Find words in text that is written without spaces."""


for command in (evaluate, compare, agree):
    segment.add_command(command)


@segment.command()
@shared.raw
@click.option("-o", "--out", required=True, metavar="MODEL", help="Folder for the trained segmenter.")
@click.option("--resume", is_flag=True, help="Go on with a run that was stopped, to the same result.")
@click.option("--overwrite", is_flag=True, help="Train anew where the folder holds a segmenter or checkpoints.")
@click.option("--threads", type=click.IntRange(min=1), default=None, help="Threads; by default all cores.")
@config_options(TrainConfig)
@shared.reading
@shared.as_json
def train(
    inputs: tuple[str, ...],
    out: str,
    resume: bool,
    overwrite: bool,
    threads: int | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Learn words from raw text alone.

    RAW: files or globs of text, JSONL (plain, .gz, .zst), Parquet or Arrow, or - for standard input.

    \b
    seampack segment train raw.txt -o zh.model
    """
    reading = {name: options.pop(name) for name in _READING}
    config = TrainConfig(**options)
    from seampack.segmenter.inputs import texts
    from seampack.segmenter.training import train as run

    started = time.perf_counter()
    with _resumable():
        description = run(
            texts(inputs, **reading),
            config,
            out,
            resume=resume,
            overwrite=overwrite,
            threads=threads,
            on_report=_show_progress,
        )
    _show_trained(out, description, time.perf_counter() - started, as_json)


@segment.command()
@shared.raw
@click.option(
    "--teacher",
    "teachers",
    required=True,
    multiple=True,
    metavar="MODEL",
    help="A trained segmenter to learn from; given often, they vote.",
)
@click.option("-o", "--out", required=True, metavar="MODEL", help="Folder for the fast segmenter.")
@click.option("--keep-teacher", is_flag=True, help="Write the one teacher too, so that apply --exact goes on working.")
@click.option("--overwrite", is_flag=True, help="Replace the segmenter or the checkpoints that the folder holds.")
@config_options(DistillConfig)
@shared.reading
@shared.as_json
def distill(
    inputs: tuple[str, ...],
    teachers: tuple[str, ...],
    out: str,
    keep_teacher: bool,
    overwrite: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Train a small fast segmenter on what one or several trained ones say of raw text."""
    reading = {name: options.pop(name) for name in _READING}
    config = DistillConfig(**options)
    from seampack.segmenter.inputs import texts
    from seampack.segmenter.model import Segmenter
    from seampack.segmenter.training import distill as run

    started = time.perf_counter()
    loaded = [Segmenter.load(teacher) for teacher in teachers]
    description = run(
        loaded, texts(inputs, **reading), out, config=config, keep_teacher=keep_teacher, overwrite=overwrite
    )
    _show_trained(out, description, time.perf_counter() - started, as_json)


@segment.command()
@shared.inputs
@_model
@shared.decoding
@click.option("--posteriors", is_flag=True, help="Write the probabilities of word ends: --output posteriors.")
@_out
@config_options(ApplyConfig, skip=("n_best",))
@click.option(
    "--n-best", type=click.IntRange(min=1), default=None, help="Write the N best segmentations: --output n-best."
)
def apply(
    inputs: tuple[str, ...],
    model: str,
    posteriors: bool,
    n_best: int | None,
    out: str,
    **options: Any,
) -> None:
    """Split text into words.

    INPUT: files or globs of text, JSONL (plain, .gz, .zst), Parquet or Arrow; without one, or as -, standard input.

    \b
    echo 研究生命的起源 | seampack segment apply
    """
    if posteriors and n_best is not None:
        raise click.UsageError("--posteriors and --n-best: give one of the two")
    for flag, given, meant in (
        ("--posteriors", posteriors, Output.POSTERIORS.value),
        ("--n-best", n_best is not None, Output.N_BEST.value),
    ):
        if given and options["output"] not in (Output.AUTO.value, meant):
            raise click.UsageError(f"{flag} and --output {options['output']}: give one of the two")
    if posteriors:
        options["output"] = Output.POSTERIORS.value
    elif n_best is not None:
        options |= {"output": Output.N_BEST.value, "n_best": n_best}
    decode, words = shared.taken_decoding(options)
    config = ApplyConfig(**options)
    from seampack.segmenter.apply import apply as run

    run(shared.load(model), inputs or ("-",), out, config, decode=decode, dictionary=words)


@segment.command()
@shared.inputs
@_out
def restore(inputs: tuple[str, ...], out: str) -> None:
    """Give back the text of which apply made spaced text, to the last character.

    INPUT: files or globs of spaced text; without one, or as -, standard input.
    """
    from seampack.segmenter.apply import restore as run

    run(inputs or ("-",), out)


@contextmanager
def _resumable() -> Iterator[None]:
    """What an interrupted training says: unlike other commands it keeps its checkpoints."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo("seampack: interrupted; the same command with --resume goes on from the last checkpoint", err=True)
        sys.exit(_INTERRUPTED)


def _show_progress(report: Any) -> None:
    click.echo(
        f"{report.direction:<8}  {report.step:>7,} of {report.steps:,} batches  "
        f"{report.characters_per_second:>8,.0f} characters/s  {report.train_nats:.4f} nats, "
        f"{report.validation_nats:.4f} held out, {report.units_per_word:.2f} units a word",
        err=True,
    )


def _show_trained(out: str, description: dict[str, Any], seconds: float, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({**description, "seconds": seconds}, ensure_ascii=False))
        return
    units = description.get("student", description)["units"]
    click.echo(f"{out}: trained on {units:,} units in {seconds:,.0f} s; {' and '.join(description['parts'])}")
    if "agreement" in description:
        found = description["agreement"]
        told = "none: every unit became a word, or none did" if found is None else f"{found:.2f}"
        click.echo(f"agreement of both directions on where words end (Cohen's kappa): {told}")
        if found is None or found < _LOW_AGREEMENT:
            click.echo(
                "seampack: so little agreement means that one direction, or both, makes every unit a word; "
                "train with --word-cost 0.25, or more, or with another --seed",
                err=True,
            )
