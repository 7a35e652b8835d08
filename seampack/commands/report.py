"""Output of the commands: results on standard output; notes, warnings and progress on standard error."""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from seampack.commands.terminal import WARNING, show_message
from seampack.io.formats import Format, format_of_name
from seampack.io.places import shown
from seampack.packer.accounting import described, percent

if TYPE_CHECKING:
    from seampack.packer.entries import Input, TokenizerFacts

_DIGITS = {"plan_seconds": 4}  # as the comparison rounds them, so that all have the same form
_INTERRUPTED, _WRITTEN, _MEMORY = "seampack.interrupted", "seampack.written", "seampack.memory"


def note(message: str, colour: str | None = None) -> None:
    """Print a message on one line of standard error, after the name of the program; see ``show_message``.

    A run does not fail because standard error is closed or full.
    """
    try:
        show_message(" ".join(message.splitlines()), colour)
    except OSError:
        discard(sys.stderr)


def discard(stream: Any) -> None:
    """Drop all further output of a standard stream that cannot be written, also what it has buffered."""
    with suppress(OSError, ValueError, AttributeError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def warn(message: str) -> None:
    """Print a warning on standard error."""
    note(f"warning: {message}", WARNING)


def set_interrupted(message: str) -> None:
    """Set the message that the running command prints if it is interrupted."""
    click.get_current_context().meta[_INTERRUPTED] = message


def interrupted(context: click.Context) -> str:
    """Return the message that a command prints if it is interrupted."""
    message: str = context.meta.get(_INTERRUPTED, "interrupted; the output is unchanged")
    return message


def set_written(out: str) -> None:
    """Mark that the output of the running command is complete; only its report on standard output may be missing."""
    click.get_current_context().meta[_WRITTEN] = out
    set_interrupted(f"interrupted; {out} is complete")


def written(context: click.Context) -> str | None:
    """Return the output that a command has completed, or None."""
    out: str | None = context.meta.get(_WRITTEN)
    return out


def set_memory_advice(advice: str) -> None:
    """Set what the user can do if the running command runs out of memory."""
    click.get_current_context().meta[_MEMORY] = advice


def memory_advice(context: click.Context) -> str:
    """Return what the user can do if a command runs out of memory, after a semicolon, or nothing."""
    advice: str | None = context.meta.get(_MEMORY)
    return f"; {advice}" if advice else ""


def note_lines(inputs: Sequence[str], input_format: str) -> None:
    """Say that each line is a document if there are several files of plain text, which may be a document each."""
    from seampack.io.sources import expand, name_of

    files = [path for path in expand(inputs) if format_of_name(shown(path)) == Format.LINES]
    if input_format == Format.AUTO and len(files) > 1:
        note(
            f"each line of the {len(files):,} text files ({name_of(files[0])}, ...) is a document; if each file is "
            "one, give --input-format file"
        )


def print_json(value: Any) -> None:
    """Print a value as JSON on one line. Characters that standard output cannot encode are escaped."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(value)
    click.echo(text)


def stopwatch() -> Callable[[], dict[str, float]]:
    """Start a stopwatch. Return a function that returns the seconds and CPU seconds since the start."""
    wall, cpu = time.perf_counter(), time.process_time()
    return lambda: {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}


def table(rows: list[dict[str, Any]], columns: dict[str, str]) -> str:
    """Return rows as text under headings, with numbers aligned to the right. ``columns`` maps keys to headings."""
    cells = [list(columns.values())] + [[_cell(key, row[key]) for key in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    numeric = [rows and not isinstance(rows[0][key], str) for key in columns]
    lines = []
    for row in cells:
        padded = (c.rjust(w) if n else c.ljust(w) for c, w, n in zip(row, widths, numeric, strict=True))
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def echo_sources(notes: Mapping[str, Any]) -> None:
    """Print what was taken of each source, if the notes are those of a blend."""
    from seampack.packer.mixes import SOURCE_COLUMNS, noted_sources

    if sources := noted_sources(notes):
        click.echo(table(sources, SOURCE_COLUMNS))


def _cell(key: str, value: Any) -> str:
    return percent(value) if key == "fill" else readable(value, _DIGITS.get(key, 3))


def readable(value: Any, digits: int = 3) -> str:
    """Return a value as text: yes or no, a number with ``digits`` decimals, or 1.2e-07 if these would be zeros.

    A dash: there is no such value.
    """
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.1e}" if 0 < abs(value) < 0.5 * 10**-digits else f"{value:,.{digits}f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def definitions(title: str, entries: Sequence[tuple[str, str]]) -> str:
    """Return terms and their descriptions under a title, wrapped to the terminal as ``--help`` wraps options."""
    formatter = click.HelpFormatter(max_width=110)
    with formatter.section(title):
        formatter.write_dl(entries)
    return formatter.getvalue().rstrip("\n")


def origin_lines(tokenizer: "TokenizerFacts", inputs: "Sequence[Input]") -> list[str]:
    """Return the lines about the tokenizer and the inputs of a folder."""
    lines = [f"tokenizer   {tokenizer.vocab_size:>16,}   ids, {tokenizer.name}"]
    if inputs:
        paths = list(dict.fromkeys(each.path for each in inputs))  # parts of a file are several inputs
        megabytes = sum(each.bytes for each in inputs) / 1e6
        lines.append(f"inputs      {len(paths):>16,}   {megabytes:,.1f} MB, {first_few(paths)}")
    return lines


def first_few(names: Sequence[str], most: int = 3) -> str:
    """Return the first names of a list as text."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def quarantine_lines(records: int, notes: Mapping[str, Any] | None = None) -> list[str]:
    """Return the lines of the report about records that could not be read, if there are any.

    ``notes``: those of a packed folder, which name the records that its token stores lack.
    """
    from seampack.packer.noted_stores import quarantined_in_stores

    counts = {"": records, " of the token stores": quarantined_in_stores(notes or {})}
    return [
        f"quarantined {count:>16,}   records, in quarantine.jsonl{where}" for where, count in counts.items() if count
    ]


def accounting_lines(accounting: dict[str, Any]) -> str:
    """Return the token accounting of a run, one line per count."""
    return "\n".join(f"{name:<13}{value:>15}   {remark}".rstrip() for name, value, remark in described(accounting))


def row_text(row: dict[str, Any], decode: Callable[[Any], str] | None) -> str:
    """Return a row segment by segment: its source, then its text, or its ids if ``decode`` is None."""
    lines = []
    first = 0
    # seq_lengths has one more entry for the padding
    padding = row.get("padding") or [0] * len(row["doc_ids"])
    segments = zip(row["doc_ids"], row["doc_starts"], row["repeated"], row["seq_lengths"], padding, strict=False)
    for document, start, repeated, space, padded in segments:
        length = space - padded
        suffix = (f", {repeated} repeated" if repeated else "") + (f", {padded} of padding" if padded else "")
        lines.append(f"──┤ document {document}, tokens {start}..{start + length - 1}{suffix} ├──")
        ids = row["input_ids"][first : first + length]
        lines.append(decode(ids) if decode else " ".join(map(str, ids)))
        first += space
    if first < len(row["input_ids"]):
        lines.append(f"──┤ {len(row['input_ids']) - first} tokens of padding ├──")
    return "\n".join(lines)
