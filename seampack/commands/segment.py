"""``seampack segment``: train and apply segmenters. The commands that score them are in ``segment_scores``."""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from seampack.commands import options as shared
from seampack.commands.grouped import PATH
from seampack.commands.report import (
    note,
    print_json,
    set_interrupted,
    set_memory_advice,
    set_written,
    stopwatch,
    warn,
)
from seampack.commands.segment_lexicon import lexicon
from seampack.commands.segment_scores import agree, compare, evaluate
from seampack.segmenter.apply_config import ApplyConfig, Output
from seampack.segmenter.config import LOW_AGREEMENT, MOST_RETRIES, DistillConfig, TrainConfig

if TYPE_CHECKING:
    from seampack.segmenter.model import Segmenter

_FIELDS = {field.name: field for field in dataclasses.fields(ApplyConfig)}
_FEW_UNITS = 0.3
"""Exponent of the longest word in the number of units per word below which, at the first validation, a direction will
probably not learn words: 1.39 for 3 units, 1.87 for 8."""
_REMEDY = "train with --word-cost 0.25 or more, or with --retry 2, which raises the cost and changes the seed"

_out = click.option(
    "-o", "--out", default="-", type=PATH, metavar="FILE", help="Output file; by default standard output."
)


@click.group()
def segment() -> None:
    """Find the words of text that is written without spaces."""


for command in (lexicon, evaluate, compare, agree):
    segment.add_command(command)


@segment.command()
@shared.raw
@click.option("-o", "--out", required=True, type=PATH, metavar="MODEL", help="Folder for the trained segmenter.")
@click.option(
    "--init",
    type=PATH,
    metavar="MODEL",
    help="Train the language models of this segmenter further on the text, instead of new ones: a folder, or zh or th. "
    "Options of the models that are not given are those of MODEL. Its student and lexicon are not kept.",
)
@click.option("--resume", is_flag=True, help="Continue an interrupted run; the result is the same as without the stop.")
@click.option("--overwrite", is_flag=True, help="Replace the segmenter or the checkpoints in the folder.")
@click.option(
    "--retry",
    type=shared.Integer(0, MOST_RETRIES),
    default=0,
    show_default=True,
    metavar="N",
    help="If both directions agree so little that they have probably not learned words, train again with another seed "
    "and a higher --word-cost (at least 0.25, 0.5, ...), up to N times, and keep the run with the highest agreement.",
)
@shared.threads
@shared.config_options(TrainConfig)
@shared.reading
@shared.as_json
@shared.with_formats
def train(
    inputs: tuple[str, ...],
    out: str,
    init: str | None,
    resume: bool,
    overwrite: bool,
    retry: int,
    threads: int | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Train a segmenter on raw text alone.

    RAW: {formats}; or - for standard input.

    \b
    seampack segment train raw.txt -o zh.model
    """
    reading = {name: options.pop(name) for name in shared.READING}
    start = None if init is None else shared.load_segmenter(init)
    config = TrainConfig(**{**options, **_options_of(start)})
    from seampack.segmenter.inputs import texts
    from seampack.segmenter.training import train as run

    set_interrupted("interrupted; run the same command with --resume to continue from the last checkpoint")
    set_memory_advice("all text is held in memory: give less of it, or use fewer --threads")
    elapsed = stopwatch()
    description = run(
        texts(inputs, **reading),
        config,
        out,
        init=start,
        resume=resume,
        overwrite=overwrite,
        threads=threads,
        retry=retry,
        on_report=_progress(config.longest, retry),
    )
    set_written(out)
    _show_trained(out, description, elapsed()["seconds"], as_json)


@segment.command()
@shared.raw
@click.option(
    "--teacher",
    "teachers",
    required=True,
    multiple=True,
    type=PATH,
    metavar="MODEL",
    help="Trained segmenter to learn from. Can be repeated: several teachers vote.",
)
@click.option("-o", "--out", required=True, type=PATH, metavar="MODEL", help="Folder for the student.")
@click.option(
    "--keep-teacher",
    is_flag=True,
    help="Also write the teacher, for apply --exact; needs a single --teacher.",
)
@click.option("--overwrite", is_flag=True, help="Replace the segmenter or the checkpoints in the folder.")
@shared.config_options(DistillConfig)
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
    """Train a fast student on other segmenters.

    The student learns the segmentations that one or several trained segmenters give to raw text.

    RAW: as for train.
    """
    reading = {name: options.pop(name) for name in shared.READING}
    config = DistillConfig(**options)
    from seampack.segmenter.inputs import texts
    from seampack.segmenter.training import distill as run

    set_memory_advice("all text is held in memory: give less of it")
    elapsed = stopwatch()
    description = run(
        [shared.load_segmenter(teacher) for teacher in teachers],
        texts(inputs, **reading),
        out,
        config=config,
        keep_teacher=keep_teacher,
        overwrite=overwrite,
    )
    set_written(out)
    _show_trained(out, description, elapsed()["seconds"], as_json)


@segment.command()
@click.argument("models", nargs=-1, required=True, metavar="MODEL...", type=PATH)
@click.option("-o", "--out", required=True, type=PATH, metavar="MODEL", help="Folder for the segmenter.")
@click.option("--overwrite", is_flag=True, help="Replace the segmenter or the checkpoints in the folder.")
@shared.as_json
def average(models: tuple[str, ...], out: str, overwrite: bool, as_json: bool) -> None:
    """Average the language models of segmenters.

    The mean of the parameters of models before and after train --init is often better than each, and as fast as one.
    The new segmenter has no student and no lexicon: make them with distill --keep-teacher and lexicon.

    MODEL: two or more segmenters, each trained from another one or from the same.
    """
    from seampack.segmenter.averaging import average as run

    elapsed = stopwatch()
    description = run([shared.load_segmenter(model) for model in models], out, overwrite=overwrite)
    set_written(out)
    if as_json:
        print_json(description | elapsed())
    else:
        note(f"{out}: the mean of {len(models)} segmenters; language models of {description['vocabulary']:,} units")


@segment.command()
@shared.texts
@click.option(
    "-m",
    "--model",
    default="zh",
    show_default=True,
    type=PATH,
    metavar="MODEL",
    help="Segmenter: the folder of a trained one, or zh, th or ja, the bundled ones for Chinese, Thai and Japanese.",
)
@shared.decoding
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="Number of threads of the language models (--exact): with 2, both run at the same time; more seldom help.",
)
@click.option("--posteriors", is_flag=True, help="Write probabilities of word ends: short for --output posteriors.")
@_out
@shared.config_options(ApplyConfig, skip=("n_best",))
@click.option(
    "--n-best",
    type=shared.click_type(_FIELDS["n_best"]),
    default=None,
    metavar="N",
    help="Write the N best segmentations of each text with their scores: implies --output n-best. The scores are those "
    "of student and lexicon, or, with --exact, of the language models. The first may differ from the words that apply "
    "writes, which are chosen for the most expected correct words.",
)
@shared.with_formats
def apply(
    inputs: tuple[str, ...],
    model: str,
    threads: int,
    posteriors: bool,
    n_best: int | None,
    out: str,
    **options: Any,
) -> None:
    """Split text into words.

    INPUT: {formats}; by default, or as -, standard input.

    \b
    echo 研究生命的起源 | seampack segment apply
    """
    if posteriors and n_best is not None:
        raise click.UsageError("--posteriors and --n-best: give one of the two")
    for flag, is_given, output in (
        ("--posteriors", posteriors, Output.POSTERIORS.value),
        ("--n-best", n_best is not None, Output.N_BEST.value),
    ):
        if not is_given:
            continue
        if options["output"] not in (Output.AUTO.value, output):
            raise click.UsageError(f"{flag} and --output {options['output']}: give one of the two")
        options["output"] = output
    if n_best is not None:
        options["n_best"] = n_best
    decode, dictionary = shared.taken_decoding(options)
    config = ApplyConfig(**options)
    from seampack._pandas import leave_out_pandas

    leave_out_pandas()
    from seampack.segmenter.apply import apply as run

    if out == "-":
        set_interrupted("interrupted; standard output has a part of the text")
    segmenter = shared.load_segmenter(model, threads=threads)
    run(segmenter, inputs or ("-",), out, config, decode=decode, dictionary=dictionary)


@segment.command()
@shared.texts
@_out
def restore(inputs: tuple[str, ...], out: str) -> None:
    """Restore the original of apply's spaced text.

    The result equals the original text, character for character. Only restore what apply wrote as spaced text: other
    text cannot always be recognised, and then loses the single spaces between its words.

    INPUT: files or globs of spaced text; by default, or as -, standard input.
    """
    from seampack._pandas import leave_out_pandas

    leave_out_pandas()
    from seampack.segmenter.apply import restore as run

    run(inputs or ("-",), out)


def _options_of(init: "Segmenter | None") -> dict[str, Any]:
    """Return the options of the language models of ``init`` that are not on the command line."""
    if init is None:
        return {}
    from seampack.segmenter.artifact import DECODING

    own = init.description.get("config") or {}
    given = click.get_current_context().get_parameter_source
    return {name: own[name] for name in DECODING if name in own and given(name) != ParameterSource.COMMANDLINE}


def _progress(longest: int, retry: int) -> Callable[[Any], None]:
    """Return a function that shows the reports of training, and warns if the first of a direction has hardly a word."""
    least = longest**_FEW_UNITS
    seen: set[tuple[int, str]] = set()
    way_out = f"stop (Ctrl-C) and {_REMEDY}, or wait for" if not retry else "--retry decides by"

    def show(report: Any) -> None:
        _show_progress(report)
        key = report.seed, report.direction
        if key not in seen and report.units_per_word < least:
            warn(
                f"{report.direction}: {report.units_per_word:.2f} units per word at the first validation, less than "
                f"{least:.2f}: so far, most units are words; {way_out} the agreement of both directions at the "
                "end, because some runs find words later"
            )
        seen.add(key)

    return show


def _show_progress(report: Any) -> None:
    note(
        f"{report.direction:<8}  {report.step:>7,} of {report.steps:,} batches  "
        f"{report.characters_per_second:>8,.0f} characters/s  {report.train_nats:.4f} nats, "
        f"{report.validation_nats:.4f} held out, {report.units_per_word:.2f} units per word"
    )


def _show_trained(out: str, description: dict[str, Any], seconds: float, as_json: bool) -> None:
    """Print a trained model. Warn if the two directions of its language model hardly agree."""
    has_agreement, kappa = "agreement" in description, description.get("agreement")
    if has_agreement and (kappa is None or kappa < LOW_AGREEMENT):
        warn(_why_low(description))
    if as_json:
        print_json({**description, "seconds": seconds})
        return
    units = description.get("student", description)["units"]
    click.echo(f"{out}: trained on {units:,} units in {seconds:,.0f} s; {' and '.join(description['parts'])}")
    runs = description.get("runs", [])
    if len(runs) > 1:
        config = description["config"]
        click.echo(f"{len(runs)} runs; kept the one with seed {config['seed']} and word cost {config['word_cost']:g}")
    if has_agreement:
        shown = "undefined: every unit became a word, or none did" if kappa is None else f"{kappa:.2f}"
        click.echo(f"agreement of the two directions on word ends (Cohen's kappa): {shown}")


def _why_low(description: dict[str, Any]) -> str:
    """Return why both directions of a model hardly agree, and what to do."""
    units_per_word = description.get("units_per_word", {})
    least = description["config"]["longest"] ** _FEW_UNITS
    if not units_per_word or min(units_per_word.values()) < least:
        return f"such low agreement means that at least one direction makes most units words; {_REMEDY}"
    shown = ", ".join(f"{units:.2f} {direction}" for direction, units in units_per_word.items())
    return (
        f"such low agreement with enough units per word ({shown}) means that the text or the epochs were too few; give "
        "more text, or more --epochs"
    )
