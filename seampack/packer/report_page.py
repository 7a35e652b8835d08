"""The report about a packed folder: one HTML page that needs nothing else, neither files nor a network."""

from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from seampack.errors import ConfigError, ShardError
from seampack.io.output import staged_path, writing
from seampack.io.places import is_url, shown
from seampack.packer.accounting import percent
from seampack.packer.comparison import Comparison
from seampack.packer.folder import PackedFolder
from seampack.packer.manifest import Manifest
from seampack.packer.report_facts import Facts, compared, facts_of
from seampack.packer.report_markup import Markup, element, joined
from seampack.packer.report_rows import sample_section
from seampack.packer.report_sections import (
    accounting_section,
    cost_section,
    documents_section,
    origin_section,
    rows_section,
    strategies_section,
)

Decode = Callable[[Any], str]
_LISTED = 200
_START = (
    '<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8"><meta name="generator" content="seampack report">'
)
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def check_report(out: str, folder: str) -> None:
    """Check that a report can be written to the file ``out``.

    Raises ConfigError for a place in the packed folder, ShardError for a missing folder, an address, and an existing
    file that is not a report.
    """
    path = Path(out)
    if is_url(out):
        raise ShardError(f"{shown(out)}: cannot be written: expected a local file; copy the report there afterwards")
    if not is_url(folder) and Path(folder).resolve() in path.resolve().parents:
        raise ConfigError(f"{out}: the report is in the packed folder {folder}; choose another place")
    if path.is_dir() or not path.name:
        raise ShardError(f"{out}: cannot be written: it is a folder; name a file")
    if not path.absolute().parent.is_dir():
        raise ShardError(f"{out}: cannot be written: there is no folder {path.parent}")
    if path.is_file() and path.stat().st_size:
        with path.open("rb") as file:
            if file.read(len(_START)) != _START.encode():
                raise ShardError(f"{out}: the file exists, and is not a report; use another name")


def write_report(folder: PackedFolder, out: str, *, decode: Decode | None, compare: bool = False) -> None:
    """Write the report about a folder to a file that appears when it is complete; an earlier report is replaced.

    Args:
        folder: The packed folder.
        out: The file.
        decode: Returns the text of token ids; None to show ids.
        compare: Whether to plan the documents by the other strategies too.

    Raises ConfigError or ShardError; ``out`` is then unchanged.
    """
    check_report(out, str(folder.folder))
    facts = facts_of(folder, ordered=compare)
    page = report(folder, facts, decode, compared(facts, folder.manifest) if compare else None)
    with staged_path(Path(out)) as partial, writing(out):
        partial.write_text(page, "utf-8", newline="\n")


def report(
    folder: PackedFolder, facts: Facts, decode: Decode | None, comparisons: Sequence[Comparison] | None = None
) -> str:
    """Return the page. The same folder gives the same page."""
    manifest = folder.manifest
    name = shown(str(folder.folder))
    sections = {
        "accounting": ("Accounting", accounting_section(manifest)),
        "documents": ("Documents", documents_section(manifest, facts)),
        "rows": ("Rows", rows_section(manifest.accounting, facts)),
        "strategies": ("Strategies", strategies_section(manifest, facts, comparisons)),
        "cost": ("Cost of rows", cost_section(facts)),
        "sample": ("Sample of rows", sample_section(facts, manifest, decode)),
        "origin": ("Origin", origin_section(manifest)),
    }
    links = [element("li", element("a", title, href=f"#{key}")) for key, (title, _) in sections.items()]
    body = joined(
        element("header", element("h1", f"Packed rows: {name}"), _tiles(manifest), _nav(links)),
        element("main", *(_section(key, title, content) for key, (title, content) in sections.items())),
    )
    head = joined(
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"seampack report: {name}"),
        element("style", Markup(files("seampack").joinpath("data/report.css").read_text("utf-8"))),
    )
    return f"{_START}{head}</head>\n{element('body', body)}\n</html>\n"


def _nav(links: list[Markup]) -> Markup:
    return element("nav", element("ul", *links), aria_label="Sections")


def _section(key: str, title: str, content: Markup) -> Markup:
    return element("section", element("h2", title, id=f"{key}-title"), content, id=key, aria_labelledby=f"{key}-title")


def _tiles(manifest: Manifest) -> Markup:
    a = manifest.accounting
    tiles = {
        "strategy": manifest.config["strategy"],
        "documents": f"{a.documents:,}",
        "rows": f"{a.rows:,}",
        "tokens out": f"{a.tokens_out:,}",
        "fill": percent(a.fill),
        "dropped": f"{a.dropped:,}",
    }
    pairs = (element("div", element("dt", name), element("dd", value)) for name, value in tiles.items())
    return element("dl", *pairs, class_="tiles")
