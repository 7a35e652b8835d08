"""``seampack segment lexicon``: count words in raw text, and write a segmenter that knows them."""

from typing import Any

import click

from seampack.commands import options as shared
from seampack.commands.grouped import PATH
from seampack.commands.report import print_json, set_memory_advice, set_written, stopwatch
from seampack.segmenter.config import LexiconConfig


@click.command()
@shared.raw
@click.option(
    "-m",
    "--model",
    default="zh",
    show_default=True,
    type=PATH,
    metavar="MODEL",
    help="Segmenter with a student: the folder of a trained one, or zh, th or ja, the bundled ones.",
)
@click.option(
    "-o", "--out", required=True, type=PATH, metavar="MODEL", help="Folder for the segmenter with its lexicon."
)
@click.option("--overwrite", is_flag=True, help="Replace the segmenter in the folder; it may be MODEL itself.")
@shared.config_options(LexiconConfig)
@shared.reading
@shared.as_json
@shared.with_formats
def lexicon(inputs: tuple[str, ...], model: str, out: str, overwrite: bool, as_json: bool, **options: Any) -> None:
    """Give a segmenter a lexicon of the words in raw text.

    The words that the segmenter finds are counted; frequent ones outweigh what the student decides in a single place.
    The new segmenter has all parts of the old one and uses the lexicon by default. Texts of many kinds, 10 million
    characters, are enough.

    RAW: {formats}; or - for standard input.

    \b
    seampack segment lexicon raw/*.txt -m my.model -o my.lexicon.model
    """
    reading = {name: options.pop(name) for name in shared.READING}
    config = LexiconConfig(**options)
    from seampack.segmenter.inputs import texts
    from seampack.segmenter.lexicon_counts import build_lexicon

    set_memory_advice("the counts of all different words are held in memory: give less text")
    elapsed = stopwatch()
    segmenter = shared.load_segmenter(model)
    description = build_lexicon(segmenter, texts(inputs, **reading), out, config, overwrite=overwrite)
    set_written(out)
    seconds = elapsed()["seconds"]
    if as_json:
        print_json({**description, "seconds": seconds})
        return
    facts = description["lexicon"]
    click.echo(
        f"{out}: a lexicon of {facts['words']:,} words, from {facts['characters']:,} characters in {seconds:,.0f} s; "
        f"{facts['unknown']:.1%} of the running words are not in it"
    )
