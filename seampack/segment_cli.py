"""The commands of ``seampack segment``: words from unspaced text. Heavy imports are inside the commands."""

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

import click

from seampack._options import config_options
from seampack._report import table
from seampack.errors import DataError
from seampack.segmenter.apply_config import ApplyConfig, FileFormat, OnBad, Output
from seampack.segmenter.config import DistillConfig, TrainConfig

if TYPE_CHECKING:
    from seampack.segmenter.model import Segmenter

Command = TypeVar("Command", bound=Callable[..., Any])
_CHOICES = {"output": Output, "input_format": FileFormat, "output_format": FileFormat, "on_bad": OnBad}
_READING = ("text_column", "input_format", "on_bad")
_WRITING = ("output", "n_best", "output_column", "output_format")
_INTERRUPTED = 130
_LOW_AGREEMENT = 0.7

_raw = click.argument("inputs", nargs=-1, required=True, metavar="RAW...")
_inputs = click.argument("inputs", nargs=-1, metavar="[INPUT]...")
_reading = config_options(ApplyConfig, choices=_CHOICES, leave_out=_WRITING)
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
_gold = click.option(
    "--gold", required=True, metavar="FILE", help="The right words: a line a text, spaces between words."
)
_out = click.option("-o", "--out", default="-", metavar="FILE", help="File to write; without it, standard output.")
_model = click.option(
    "-m",
    "--model",
    default="zh",
    show_default=True,
    metavar="MODEL",
    help="A trained segmenter: its folder, or zh or th, the bundled ones for Chinese and Thai.",
)


def _decoding(command: Command) -> Command:
    """The options that decide where words end."""
    for option in (
        click.option(
            "--dictionary",
            default=None,
            metavar="FILE",
            help="Words that hold whatever the model says, one a line; a space in one says where it is cut.",
        ),
        click.option(
            "--threshold",
            type=click.FloatRange(0, 1),
            default=None,
            help="Probability from which a word ends: below 0.5 for finer words, above for coarser ones.",
        ),
        click.option(
            "--decoder",
            default=None,
            metavar="NAME",
            help="How both directions of the language model are combined: posterior, product, mean, likelier, merge, "
            "boundary, forward or backward. Means --exact.",
        ),
        click.option("--exact", is_flag=True, help="Use the language model, slower, in place of the fast student."),
    ):
        command = option(command)
    return command


@click.group()
def segment() -> None:
    """Find words in text that is written without spaces."""


@segment.command()
@_raw
@click.option("-o", "--out", required=True, metavar="MODEL", help="Folder for the trained segmenter.")
@click.option("--resume", is_flag=True, help="Go on with a run that was stopped, to the same result.")
@click.option("--overwrite", is_flag=True, help="Train anew where the folder holds a segmenter or checkpoints.")
@click.option("--threads", type=click.IntRange(min=1), default=None, help="Threads; by default all cores.")
@config_options(TrainConfig, choices={})
@_reading
@_json
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
    from seampack.segmenter.train import train as run

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
@_raw
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
@config_options(DistillConfig, choices={})
@_reading
@_json
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
    from seampack.segmenter.train import distill as run

    started = time.perf_counter()
    loaded = [Segmenter.load(teacher) for teacher in teachers]
    description = run(
        loaded, texts(inputs, **reading), out, config=config, keep_teacher=keep_teacher, overwrite=overwrite
    )
    _show_trained(out, description, time.perf_counter() - started, as_json)


@segment.command()
@_inputs
@_model
@_decoding
@click.option("--posteriors", is_flag=True, help="Write the probabilities of word ends: --output posteriors.")
@_out
@config_options(ApplyConfig, choices=_CHOICES, leave_out=("n_best",))
@click.option(
    "--n-best", type=click.IntRange(min=1), default=None, help="Write the N best segmentations: --output n-best."
)
def apply(
    inputs: tuple[str, ...],
    model: str,
    posteriors: bool,
    n_best: int | None,
    out: str,
    exact: bool,
    decoder: str | None,
    threshold: float | None,
    dictionary: str | None,
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
    config = ApplyConfig(**options)
    from seampack.segmenter.stream import apply as run

    settings = _settings(exact, decoder, threshold, dictionary)
    run(_load(model), inputs or ("-",), out, config, **settings)


@segment.command()
@_inputs
@_out
def restore(inputs: tuple[str, ...], out: str) -> None:
    """Give back the text of which apply made spaced text, to the last character.

    INPUT: files or globs of spaced text; without one, or as -, standard input.
    """
    from seampack.segmenter.stream import restore as run

    run(inputs or ("-",), out)


@segment.command("eval")
@_inputs
@_gold
@click.option("-m", "--model", default=None, metavar="MODEL", help="Score what this segmenter makes of raw text.")
@_decoding
@click.option("--errors", type=click.IntRange(min=0), default=10, show_default=True, help="Most frequent errors shown.")
@click.option(
    "--known", default=None, metavar="FILE", help="Spaced text; the recall of words that it lacks is shown too."
)
@_json
def evaluate(
    inputs: tuple[str, ...],
    gold: str,
    model: str | None,
    exact: bool,
    decoder: str | None,
    threshold: float | None,
    dictionary: str | None,
    errors: int,
    known: str | None,
    as_json: bool,
) -> None:
    """Compare words with the right ones: words, boundaries, different words, by length, frequent errors.

    INPUT: spaced text, by default from standard input; with -m the raw text, by default the gold text without spaces.
    """
    settings = _settings(exact, decoder, threshold, dictionary)
    if model is None and any(value is not None and value is not False for value in settings.values()):
        raise click.UsageError("--exact, --decoder, --threshold and --dictionary need a model: -m")
    from seampack.segmenter.evaluate import raw_text, score, split_line

    words = None if known is None else {word for line in _lines([known]) for word in split_line(line)}
    if model is None:
        scores = score(_lines([gold]), _lines(inputs or ("-",)), words)
    else:
        segmenter = _load(model)
        raw: Iterable[str] = _lines(inputs) if inputs else map(raw_text, _lines([gold]))
        scores = score(_lines([gold]), _segmented(segmenter, raw, settings), words)
    if not scores.words.gold:
        raise DataError(f"{gold}: no word; expected a line a text, spaces between words")
    click.echo(json.dumps(scores.to_dict(errors), ensure_ascii=False) if as_json else scores.to_text(errors))


@segment.command()
@click.argument("raw", required=False, metavar="[RAW]")
@_gold
@click.option(
    "-m",
    "--model",
    "models",
    multiple=True,
    metavar="MODEL",
    help="A trained segmenter; may be given often. Without one, the bundled one for Chinese.",
)
@_decoding
@_json
def compare(
    raw: str | None,
    gold: str,
    models: tuple[str, ...],
    exact: bool,
    decoder: str | None,
    threshold: float | None,
    dictionary: str | None,
    as_json: bool,
) -> None:
    """Score segmenters beside the other programs that are installed: jieba, budoux, pythainlp, sentencepiece.

    RAW: the text of the gold lines; by default they without spaces.
    """
    settings = _settings(exact, decoder, threshold, dictionary)
    from seampack.segmenter.evaluate import raw_text, split_line
    from seampack.segmenter.peers import measure, peers_text, run_peers

    lines = list(_lines([gold]))
    words = list(map(split_line, lines))
    if not any(words):
        raise DataError(f"{gold}: no word; expected a line a text, spaces between words")
    texts = list(_lines([raw])) if raw is not None else list(map(raw_text, lines))
    if len(texts) != len(lines):
        raise DataError(f"{raw}: expected the {len(lines):,} lines of {gold}; got {len(texts):,}")
    loaded = {model: _load(model) for model in models or ("zh",)}
    scripts = sorted({segmenter.description["script"] for segmenter in loaded.values()})
    if len(scripts) > 1:
        raise click.UsageError(f"models of the scripts {' and '.join(scripts)}: compare those of each by themselves")
    found = [
        measure(model, lambda segmenter=segmenter: lambda batch: segmenter.segment(batch, **settings), words, texts)  # type: ignore[misc]
        for model, segmenter in loaded.items()
    ]
    found.extend(run_peers(words, texts, scripts[0]))
    if as_json:
        click.echo(json.dumps([result.to_dict() for result in found], ensure_ascii=False))
        return
    click.echo(peers_text(found))


@segment.command()
@_raw
@click.option(
    "-m", "--model", "models", multiple=True, required=True, metavar="MODEL", help="A trained segmenter; give several."
)
@_reading
@_json
def agree(inputs: tuple[str, ...], models: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Say how far the language models of segmenters agree on where the words of raw text end, without gold.

    Of settings of training that differ, take those whose models, of two seeds at least, agree most.
    """
    if len(set(models)) < len(models):
        raise click.UsageError("--model: expected each model once")
    from seampack.segmenter.agreement import agreement, mean_kappa
    from seampack.segmenter.inputs import texts

    lines = [text for batch in texts(inputs, **options) for text in batch]
    pairs = agreement({model: _load(model) for model in models}, lines)
    mean = mean_kappa(pairs)
    if as_json:
        click.echo(json.dumps({"mean": mean, "pairs": [asdict(pair) for pair in pairs]}, ensure_ascii=False))
        return
    rows = [asdict(pair) | {"kappa": "" if pair.kappa is None else f"{pair.kappa:.3f}"} for pair in pairs]
    click.echo(table(rows, {"one": "one", "other": "other", "kappa": "Cohen's kappa"}))
    click.echo(f"mean: {'none, as two models have made one choice everywhere' if mean is None else f'{mean:.3f}'}")


def _load(model: str) -> "Segmenter":
    from seampack.segmenter.model import Segmenter

    return Segmenter.load(model)


def _settings(exact: bool, decoder: str | None, threshold: float | None, dictionary: str | None) -> dict[str, Any]:
    """The options of ``Segmenter.spans``."""
    words: Any = dictionary
    if dictionary is not None:
        from seampack.segmenter.dictionary import Dictionary

        words = Dictionary.load(dictionary)
    return {"exact": exact, "decoder": decoder, "threshold": threshold, "dictionary": words}


def _lines(inputs: Iterable[str]) -> Iterator[str]:
    from seampack.segmenter.inputs import texts

    for batch in texts(tuple(inputs), input_format=FileFormat.LINES.value):
        yield from batch


def _segmented(segmenter: "Segmenter", raw: Iterable[str], settings: dict[str, Any]) -> Iterator[str]:
    """Lines of words, a thousand texts at a time."""
    batch: list[str] = []
    for text in raw:
        batch.append(text)
        if len(batch) == 1000:
            yield from map(" ".join, segmenter.segment(batch, **settings))
            batch = []
    yield from map(" ".join, segmenter.segment(batch, **settings))


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
