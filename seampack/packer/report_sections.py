"""The sections of a report: the numbers of a packed folder as tables and bars."""

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from seampack.packer.accounting import Accounting, compared_counts, described, percent
from seampack.packer.comparison import Comparison
from seampack.packer.distributions import Distribution
from seampack.packer.manifest import Manifest
from seampack.packer.mixes import SOURCE_COLUMNS, noted_sources
from seampack.packer.noted_stores import quarantined_in_stores
from seampack.packer.report_facts import TOKEN_COST, Facts
from seampack.packer.report_markup import Markup, element, histogram, joined, table

_LISTED = 200
"""Entries of a list that are shown."""


def accounting_section(manifest: Manifest) -> Markup:
    """Return the account of all tokens."""
    rows = [[name.strip(), value, remark] for name, value, remark in described(manifest.accounting.to_dict())]
    if manifest.quarantined:
        rows.append(["quarantined", f"{manifest.quarantined:,}", "records, in quarantine.jsonl"])
    if in_stores := quarantined_in_stores(manifest.notes):
        rows.append(["quarantined", f"{in_stores:,}", "records, when the token stores were made"])
    return joined(
        element("p", "tokens in = tokens out - repeated + dropped, exactly."),
        table("Where every token went", ["count", "number", "remark"], rows, numbers=" n"),
        _sources(manifest),
    )


def _sources(manifest: Manifest) -> Markup:
    """Return what was taken of each source of a blend."""
    sources = noted_sources(manifest.notes)[:_LISTED]
    if not sources:
        return Markup("")
    rows = [[_cell(each[key]) for key in SOURCE_COLUMNS] for each in sources]
    return table("Sources of the blend", list(SOURCE_COLUMNS.values()), rows, numbers=" nnnnnnn")


def _cell(value: Any) -> str:
    return f"{value:,.3f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def documents_section(manifest: Manifest, facts: Facts) -> Markup:
    """Return the lengths of the documents, and what became of them."""
    a = manifest.accounting
    fates = {
        "split": a.documents_split,
        "fit but cut": a.documents_fit_but_cut,
        "truncated": a.documents_shortened,
        "dropped whole": a.documents_dropped,
        "empty": a.empty_documents,
    }
    share = 1 / max(1, a.documents)
    rows = [
        [name, "not counted" if count is None else f"{count:,}", "" if count is None else percent(count * share)]
        for name, count in fates.items()
    ]
    return joined(
        element("p", f"In the rows: {facts.lengths.count:,} documents; {facts.lengths.summary('tokens')}."),
        element(
            "div",
            histogram("Tokens of a document in the rows", "tokens", _doubling(facts.lengths), "documents"),
            table("What became of documents", ["documents that are", "number", "share"], rows, numbers=" nn"),
            class_="pair",
        ),
    )


def _doubling(numbers: Distribution) -> list[tuple[str, int]]:
    """Return the histogram of positive numbers in intervals, each twice as long as the one before."""
    if not numbers.count:
        return []
    last = int(numbers.values[-1]).bit_length()
    edges = 2 ** np.arange(int(numbers.values[0]).bit_length() - 1, last + 1, dtype=np.int64)
    labels = [f"{a:,}" if b == a + 1 else f"{a:,} to {b - 1:,}" for a, b in pairwise(edges)]
    return list(zip(labels, numbers.between(edges).tolist(), strict=True))


def rows_section(accounting: Accounting, facts: Facts) -> Markup:
    """Return how full the rows are, and of how many segments."""
    begun = facts.begun / max(1, accounting.rows)
    return joined(
        element(
            "p",
            f"{facts.begun:,} of {accounting.rows:,} rows ({begun:.1%}) begin with the first token of a document. "
            f"A row has {facts.row_segments.summary('segments')}.",
        ),
        element(
            "div",
            histogram("Fill of rows, in steps of 10 %", "fill", _fill(facts.row_tokens, accounting.seq_len), "rows"),
            histogram("Segments of a row", "segments", _doubling(facts.row_segments), "rows"),
            class_="pair",
        ),
    )


def _fill(tokens: Distribution, seq_len: int) -> list[tuple[str, int]]:
    """Return the histogram of the fill in steps of 10 %, from the least filled row on; full rows are separate."""
    edges = np.append(-(np.arange(11) * -seq_len // 10), seq_len + 1)
    labels = [*(f"from {low} %" for low in range(0, 100, 10)), "full"]
    counted = list(zip(labels, tokens.between(edges).tolist(), strict=True))
    first = next((place for place, (_, count) in enumerate(counted) if count), len(counted) - 1)
    return counted[first:]


def strategies_section(manifest: Manifest, facts: Facts, comparisons: Sequence[Comparison] | None) -> Markup:
    """Return the strategies next to each other."""
    own = manifest.config["strategy"]
    others = comparisons or ()
    headings, counts = compared_counts([manifest.accounting, *(each.accounting for each in others)])
    names = [f"{own}, this folder", *(each.strategy for each in others)]
    rows = [[name, *_counts(own_counts, headings)] for name, own_counts in zip(names, counts, strict=True)]
    if comparisons is None:
        note = "Only this folder. To add the other strategies: seampack inspect FOLDER --html FILE --compare"
    else:
        order = "that of the input" if facts.ordered is not None else "random, because their ids do not show it"
        note = (
            "Each strategy was planned with the options of this folder, from the lengths of the documents in its rows, "
            f"as a single partition. The order of the documents is {order}. Tokens that packing has dropped are "
            "missing. paper is seamless as published."
        )
    heads = ["strategy", *headings.values()]
    return joined(element("p", note), table("Strategies", heads, rows, numbers=" " + "n" * len(headings)))


def _counts(counts: Mapping[str, Any], names: Iterable[str]) -> list[str]:
    return [percent(counts[name]) if name == "fill" else _count(counts[name]) for name in names]


def _count(number: float | None) -> str:
    return "not counted" if number is None else f"{number:,}"


def cost_section(facts: Facts) -> Markup:
    """Return what the rows cost, and how evenly."""
    balances = [
        [f"{each.ranks}", f"{each.steps:,}", *("-" if x is None else f"{x:.3f}" for x in (each.mean, each.worst))]
        for each in facts.balances
    ]
    about = (
        f"The cost of a row is {TOKEN_COST:,} for each token, plus the square of the length of each segment, as for "
        "attention within documents. The balance is that of steps in which each rank has one of as many consecutive "
        "rows: all wait for the dearest. 1 is perfect."
    )
    heads = ["ranks", "steps", "dearest / mean", "worst step"]
    return joined(
        element("p", about),
        element(
            "div",
            histogram("Cost of a row / mean cost", "cost", _costs(facts), "rows"),
            table("Balance of consecutive rows", heads, balances, numbers="nnnn"),
            class_="pair",
        ),
    )


def _costs(facts: Facts, steps: int = 10) -> list[tuple[str, int]]:
    """Return the histogram of the costs of rows: equal intervals, and one for the cheapest and dearest 1 % each."""
    costs = facts.row_costs
    low, high = costs.quantile(0.01), costs.quantile(0.99)
    if low is None or high is None or not costs.mean:
        return []
    inner = np.linspace(low, high + 1, min(steps, high + 1 - low) + 1).round().astype(np.int64)
    edges = np.unique([costs.values[0], *inner, costs.values[-1] + 1])
    labels = [f"{a / costs.mean:.3f} to {b / costs.mean:.3f}" for a, b in pairwise(edges)]
    return list(zip(labels, costs.between(edges).tolist(), strict=True))


def origin_section(manifest: Manifest) -> Markup:
    """Return what the folder was made of, and by what."""
    tokenizer = [[name, _value(getattr(manifest.tokenizer, name))] for name in manifest.tokenizer.__dataclass_fields__]
    options = [[name, _value(value)] for name, value in manifest.config.items()]
    notes = [[name, _value(value)] for name, value in manifest.notes.items()]
    inputs = [
        [each.path, f"{each.part + 1} of {each.parts}", f"{each.bytes:,}", each.checksum] for each in manifest.inputs
    ]
    partitions = [[f"{number:,}", f"{documents:,}"] for number, documents in enumerate(manifest.partitions)]
    shards = [[each.file, f"{each.rows:,}", f"{each.bytes:,}", each.checksum] for each in manifest.shards]
    columns = [[name, kind] for name, kind in manifest.columns.items()]
    made = [
        table("Tokenizer", ["entry", "value"], tokenizer),
        table("Columns of the rows", ["column", "type"], columns),
    ]
    if notes:
        made.append(table("Notes", ["note", "value"], notes))
    return joined(
        element("p", f"Packed by seampack {manifest.seampack_version}, in format version {manifest.format_version}."),
        element("div", element("div", *made), table("Options", ["option", "value"], options), class_="pair"),
        _listed("Inputs", ["path", "part", "bytes", "checksum"], inputs, " nn", class_="long"),
        _listed("Partitions of the inputs", ["partition", "documents"], partitions, "nn"),
        _listed("Shards", ["file", "rows", "bytes", "checksum"], shards, " nn", class_="long"),
    )


def _listed(caption: str, heads: list[str], rows: list[list[str]], numbers: str, class_: str | None = None) -> Markup:
    """Return a table of the first rows, and how many more there are."""
    content = [table(caption, heads, rows[:_LISTED], numbers=numbers)]
    if len(rows) > _LISTED:
        content.append(element("p", f"and {len(rows) - _LISTED:,} more, in manifest.json"))
    return element("div", *content, class_=class_)


def _value(value: Any) -> Markup:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return element("span", text, class_="value")
