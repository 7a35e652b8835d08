"""Commands of ``seampack segment`` that measure segmenters: eval, compare and agree."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from seampack.commands import options as shared
from seampack.commands.grouped import PATH
from seampack.commands.report import note, print_json, table
from seampack.errors import DataError
from seampack.io.formats import Format
from seampack.segmenter.apply_config import DecodeConfig

if TYPE_CHECKING:
    from seampack.segmenter.dictionary import Dictionary
    from seampack.segmenter.model import Segmenter

_BATCH = 1000

_gold = click.option(
    "--gold",
    required=True,
    type=PATH,
    metavar="FILE",
    help="Gold segmentation: one text per line, with spaces between words.",
)


@click.command("eval")
@shared.texts
@_gold
@click.option(
    "-m",
    "--model",
    default=None,
    type=PATH,
    metavar="MODEL",
    help="Score this segmenter; by default INPUT is already segmented.",
)
@shared.decoding
@click.option(
    "--errors", type=shared.Integer(min=0), default=10, show_default=True, help="Number of frequent errors to show."
)
@click.option(
    "--known",
    default=None,
    type=PATH,
    metavar="FILE",
    help="Spaced text whose words are known, such as the training text; also show the recall of unknown words.",
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
    """Score a segmentation against gold.

    Shows precision, recall and F1 of words, boundaries and distinct words, recall by word length, and frequent errors.

    INPUT: spaced text, by default standard input; with --model raw text, by default the gold text without its spaces.
    """
    decode, dictionary = shared.taken_decoding(options)
    if model is None and (decode, dictionary) != (DecodeConfig(), None):
        raise click.UsageError("--exact, --decoder, --threshold, --no-lexicon and --dictionary need a model: -m")
    from seampack.commands.segment_tables import scores_text
    from seampack.segmenter.evaluate import raw_text, score, split_line

    known_words = None if known is None else {word for line in _lines([known]) for word in split_line(line)}
    if model is None:
        segmented = _lines(inputs or ("-",))
    else:
        raw = _lines(inputs) if inputs else map(raw_text, _lines([gold]))
        segmented = _segmented(_splitter(shared.load_segmenter(model), decode, dictionary), raw)
    scores = score(_lines([gold]), segmented, known_words)
    if not scores.words.gold:
        raise _no_words(gold)
    if as_json:
        print_json(scores.to_dict(errors))
    else:
        click.echo(scores_text(scores, errors))


@click.command()
@click.argument("raw", type=PATH, required=False, metavar="[RAW]")
@_gold
@click.option(
    "-m",
    "--model",
    "models",
    multiple=True,
    type=PATH,
    metavar="MODEL",
    help="Trained segmenter. Can be repeated. By default zh, the bundled one for Chinese.",
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
    """Compare segmenters with other programs.

    The other programs are jieba, pkuseg, budoux, pythainlp, attacut, mecab (fugashi, unidic-lite) and sentencepiece,
    if they are installed.

    RAW: file with the raw text of the gold lines, by default the gold text without its spaces.
    """
    decode, dictionary = shared.taken_decoding(options)
    from seampack.commands.segment_tables import results_text
    from seampack.segmenter.evaluate import raw_text, split_line
    from seampack.segmenter.peers import measure, missing_packages, run_peers

    lines = list(_lines([gold]))
    words = list(map(split_line, lines))
    if not any(words):
        raise _no_words(gold)
    texts = list(_lines([raw])) if raw is not None else list(map(raw_text, lines))
    if len(texts) != len(lines):
        raise DataError(f"{raw}: expected {len(lines):,} lines as in {gold}; got {len(texts):,}")
    segmenters = {model: shared.load_segmenter(model) for model in models or ("zh",)}
    scripts = sorted({segmenter.script for segmenter in segmenters.values()})
    if len(scripts) > 1:
        raise click.UsageError(f"models of the scripts {' and '.join(scripts)}: compare models of one script")
    if missing := missing_packages(scripts[0]):
        note(f"not installed: {', '.join(missing)}; to compare them too: pip install {' '.join(missing)}")
    results = [
        measure(model, partial(_splitter, segmenter, decode, dictionary), words, texts)
        for model, segmenter in segmenters.items()
    ]
    results.extend(run_peers(words, texts, scripts[0]))
    if as_json:
        print_json([result.to_dict() for result in results])
    else:
        click.echo(results_text(results))


@click.command()
@shared.raw
@click.option(
    "-m",
    "--model",
    "models",
    multiple=True,
    required=True,
    type=PATH,
    metavar="MODEL",
    help="Trained segmenter. Can be repeated; each segmenter counts as two models, one per direction.",
)
@shared.reading
@shared.as_json
def agree(inputs: tuple[str, ...], models: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Measure the agreement of segmenters without gold.

    Shows Cohen's kappa of their language models on the word ends of raw text. To choose between training settings,
    train at least two seeds with each and take the settings whose models agree most.

    RAW: as for train.
    """
    if len(set(models)) < len(models):
        raise click.UsageError("--model: expected each model once")
    from seampack.segmenter.agreement import agreement, mean_kappa
    from seampack.segmenter.inputs import texts

    lines = [text for batch in texts(inputs, **options) for text in batch]
    pairs = agreement({model: shared.load_segmenter(model) for model in models}, lines)
    mean = mean_kappa(pairs)
    if as_json:
        print_json({"mean": mean, "pairs": [asdict(pair) for pair in pairs]})
        return
    rows = [asdict(pair) | {"kappa": "" if pair.kappa is None else f"{pair.kappa:.3f}"} for pair in pairs]
    click.echo(table(rows, {"one": "one", "other": "other", "kappa": "Cohen's kappa"}))
    undefined = "undefined: two models made the same choice everywhere"
    click.echo(f"mean: {undefined if mean is None else f'{mean:.3f}'}")


def _no_words(gold: str) -> DataError:
    return DataError(f"{gold}: no words; expected one text per line, with spaces between words")


def _lines(inputs: Iterable[str]) -> Iterator[str]:
    from seampack.segmenter.inputs import texts

    for batch in texts(tuple(inputs), input_format=Format.LINES):
        yield from batch


def _splitter(
    segmenter: "Segmenter", decode: DecodeConfig, dictionary: "Dictionary | None"
) -> Callable[[list[str]], list[list[str]]]:
    """Return a function from texts to their words."""
    return lambda texts: segmenter.decode(texts, decode, dictionary).words(texts)


def _segmented(split: Callable[[list[str]], list[list[str]]], raw: Iterable[str]) -> Iterator[str]:
    """Yield each raw text with spaces between its words."""
    texts = iter(raw)
    while batch := list(islice(texts, _BATCH)):
        yield from map(" ".join, split(batch))
