"""The commands of ``seampack segment`` that say how good segmenters are. Heavy imports are inside the commands."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from seampack.commands import segment_options as shared
from seampack.commands.report import table
from seampack.errors import DataError
from seampack.segmenter.apply_config import DecodeConfig, FileFormat

if TYPE_CHECKING:
    from seampack.segmenter.dictionary import Dictionary
    from seampack.segmenter.model import Segmenter

_gold = click.option(
    "--gold", required=True, metavar="FILE", help="The right words: a line a text, spaces between words."
)


@click.command("eval")
@shared.inputs
@_gold
@click.option("-m", "--model", default=None, metavar="MODEL", help="Score what this segmenter makes of raw text.")
@shared.decoding
@click.option("--errors", type=click.IntRange(min=0), default=10, show_default=True, help="Most frequent errors shown.")
@click.option(
    "--known", default=None, metavar="FILE", help="Spaced text; the recall of words that it lacks is shown too."
)
@shared.as_json
def evaluate(
    inputs: tuple[str, ...],
    gold: str,
    model: str | None,
    errors: int,
    known: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Compare words with the right ones: words, boundaries, different words, by length, frequent errors.

    INPUT: spaced text, by default from standard input; with -m the raw text, by default the gold text without spaces.
    """
    decode, dictionary = shared.taken_decoding(options)
    if model is None and (decode, dictionary) != (DecodeConfig(), None):
        raise click.UsageError("--exact, --decoder, --threshold and --dictionary need a model: -m")
    from seampack.commands.segment_tables import scores_text
    from seampack.segmenter.evaluate import raw_text, score, split_line

    words = None if known is None else {word for line in _lines([known]) for word in split_line(line)}
    if model is None:
        scores = score(_lines([gold]), _lines(inputs or ("-",)), words)
    else:
        segmenter = shared.load(model)
        raw: Iterable[str] = _lines(inputs) if inputs else map(raw_text, _lines([gold]))
        scores = score(_lines([gold]), _segmented(segmenter, raw, decode, dictionary), words)
    if not scores.words.gold:
        raise DataError(f"{gold}: no word; expected a line a text, spaces between words")
    click.echo(json.dumps(scores.to_dict(errors), ensure_ascii=False) if as_json else scores_text(scores, errors))


@click.command()
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
@shared.decoding
@shared.as_json
def compare(
    raw: str | None,
    gold: str,
    models: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Score segmenters beside the other programs that are installed: jieba, budoux, pythainlp, sentencepiece.

    RAW: the text of the gold lines; by default they without spaces.
    """
    decode, dictionary = shared.taken_decoding(options)
    from seampack.commands.segment_tables import results_text
    from seampack.segmenter.evaluate import raw_text, split_line
    from seampack.segmenter.peers import measure, run_peers

    lines = list(_lines([gold]))
    words = list(map(split_line, lines))
    if not any(words):
        raise DataError(f"{gold}: no word; expected a line a text, spaces between words")
    texts = list(_lines([raw])) if raw is not None else list(map(raw_text, lines))
    if len(texts) != len(lines):
        raise DataError(f"{raw}: expected the {len(lines):,} lines of {gold}; got {len(texts):,}")
    loaded = {model: shared.load(model) for model in models or ("zh",)}
    scripts = sorted({segmenter.script for segmenter in loaded.values()})
    if len(scripts) > 1:
        raise click.UsageError(f"models of the scripts {' and '.join(scripts)}: compare those of each by themselves")
    found = [
        measure(model, partial(_splitter, segmenter, decode, dictionary), words, texts)
        for model, segmenter in loaded.items()
    ]
    found.extend(run_peers(words, texts, scripts[0]))
    if as_json:
        click.echo(json.dumps([result.to_dict() for result in found], ensure_ascii=False))
        return
    click.echo(results_text(found))


@click.command()
@shared.raw
@click.option(
    "-m", "--model", "models", multiple=True, required=True, metavar="MODEL", help="A trained segmenter; give several."
)
@shared.reading
@shared.as_json
def agree(inputs: tuple[str, ...], models: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Say how far the language models of segmenters agree on where the words of raw text end, without gold.

    Of settings of training that differ, take those whose models, of two seeds at least, agree most.
    """
    if len(set(models)) < len(models):
        raise click.UsageError("--model: expected each model once")
    from seampack.segmenter.agreement import agreement, mean_kappa
    from seampack.segmenter.inputs import texts

    lines = [text for batch in texts(inputs, **options) for text in batch]
    pairs = agreement({model: shared.load(model) for model in models}, lines)
    mean = mean_kappa(pairs)
    if as_json:
        click.echo(json.dumps({"mean": mean, "pairs": [asdict(pair) for pair in pairs]}, ensure_ascii=False))
        return
    rows = [asdict(pair) | {"kappa": "" if pair.kappa is None else f"{pair.kappa:.3f}"} for pair in pairs]
    click.echo(table(rows, {"one": "one", "other": "other", "kappa": "Cohen's kappa"}))
    click.echo(f"mean: {'none, as two models have made one choice everywhere' if mean is None else f'{mean:.3f}'}")


def _lines(inputs: Iterable[str]) -> Iterator[str]:
    from seampack.segmenter.inputs import texts

    for batch in texts(tuple(inputs), input_format=FileFormat.LINES.value):
        yield from batch


def _splitter(
    segmenter: "Segmenter", decode: DecodeConfig, dictionary: "Dictionary | None"
) -> Callable[[list[str]], list[list[str]]]:
    """Return a function from texts to their words."""
    return lambda texts: segmenter.decode(texts, decode, dictionary).words(texts)


def _segmented(
    segmenter: "Segmenter", raw: Iterable[str], decode: DecodeConfig, dictionary: "Dictionary | None"
) -> Iterator[str]:
    """Yield the words of each text as a line; a thousand texts are segmented at a time."""
    split = _splitter(segmenter, decode, dictionary)
    texts = iter(raw)
    while batch := list(islice(texts, 1000)):
        yield from map(" ".join, split(batch))
