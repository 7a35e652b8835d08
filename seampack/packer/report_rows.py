"""The rows of a report's sample as HTML: segments in colours, with repeated and masked tokens marked."""

from collections.abc import Callable
from typing import Any

from seampack.packer.manifest import Manifest
from seampack.packer.report_facts import Facts
from seampack.packer.report_markup import Markup, element, joined
from seampack.packer.report_sample import Run, ShownRow, ShownSegment, mask_column, shown_rows

_COLOURS = 6
_NAMED_SEGMENTS = 20
_MOST_CHARACTERS = 200


def sample_section(facts: Facts, manifest: Manifest, decode: Callable[[Any], str] | None) -> Markup:
    """Return the rows of the sample; as ids if ``decode`` is None."""
    seq_len = manifest.accounting.seq_len
    rows = [
        _row(row, seq_len, decode, is_open=place == 0)
        for place, row in enumerate(shown_rows(facts.sample, facts.sampled, manifest))
    ]
    if not rows:
        return element("p", "The folder has no rows.")
    text = "" if decode else " They are shown as token ids, because the tokenizer was not found."
    marks = [joined(element("span", "Underlined", class_="r"), ": repeated from another row. ")]
    if mask := mask_column(manifest.columns):
        marks.append(joined(element("span", "Italic", class_="m"), f": not trained on, by the column {mask}. "))
    about = f"{len(rows):,} rows, evenly distributed over the folder. Each colour is a segment.{text} "
    return joined(element("p", about, *marks), *rows)


def _row(row: ShownRow, seq_len: int, decode: Callable[[Any], str] | None, *, is_open: bool) -> Markup:
    tokens = sum(row.lengths)
    padding = f", {row.padding:,} of padding" if row.padding else ""
    title = f"Row {row.number:,}: {_counted(tokens, 'token')} in {_counted(len(row.lengths), 'segment')}{padding}"
    content = [_segment(segment, place, decode) for place, segment in enumerate(row.segments)]
    if hidden := len(row.lengths) - len(row.segments):
        content.append(element("p", f"{_counted(hidden, 'more segment')}, not shown"))
    if row.padding:
        content.append(element("p", f"{_counted(row.padding, 'token')} of padding"))
    summary = element("summary", title, _picture(row, seq_len))
    return element("details", summary, element("div", *content), open=True if is_open else None)


def _picture(row: ShownRow, seq_len: int) -> Markup:
    """Return the row as a bar with a colour for each segment."""
    named = ", ".join(f"{length:,}" for length in row.lengths[:_NAMED_SEGMENTS])
    more = ", ..." if len(row.lengths) > _NAMED_SEGMENTS else ""
    parts, first = [], 0
    for place, length in enumerate(row.lengths):
        x, width = (f"{100 * tokens / seq_len:.3f}%" for tokens in (first, length))
        parts.append(element("rect", x=x, width=width, height="100%", class_=f"e{place % _COLOURS}"))
        first += length
    label = f"Segments of {named}{more} tokens in a row of {seq_len:,}"
    return element("svg", *parts, class_="row", role="img", aria_label=label)


def _segment(segment: ShownSegment, place: int, decode: Callable[[Any], str] | None) -> Markup:
    repeated = f", {segment.repeated:,} repeated" if segment.repeated else ""
    end = segment.start + segment.tokens - 1
    kept = "".join(f", {name}: {_short(value)}" for name, value in segment.kept.items())
    head = element(
        "h4",
        f"document {_short(segment.document)}",
        element("small", f", tokens {segment.start:,} to {end:,}{repeated}{kept}"),
    )
    text = element("p", *(_run(run, decode) for run in segment.runs), class_="text", dir="auto")
    return element("div", head, text, class_=f"segment s{place % _COLOURS}")


def _run(run: Run, decode: Callable[[Any], str] | None) -> Markup:
    if run.skipped:
        return element("span", f"{_counted(run.skipped, 'token')} not shown", class_="skip")
    text = decode(run.ids) if decode else " ".join(map(str, run.ids.tolist())) + " "
    kinds = [*(["r"] if run.repeated else []), *(["m"] if run.masked else [])]
    titles = [*(["repeated"] if run.repeated else []), *(["not trained on"] if run.masked else [])]
    if not kinds:
        return joined(text)
    return element("span", text, class_=" ".join(kinds), title=", ".join(titles))


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}..."


def _counted(number: int, thing: str) -> str:
    return f"{number:,} {thing}" + ("" if number == 1 else "s")
