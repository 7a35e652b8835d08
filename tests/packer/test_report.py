"""The report: its numbers against slow obvious counts, and a page that no document can break."""

import dataclasses
from collections import Counter, defaultdict
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import seampack
from seampack.errors import ConfigError, ShardError
from seampack.packer.accounting import Accounting, compared_counts, described, percent
from seampack.packer.distributions import Distribution
from seampack.packer.folder import PackedFolder
from seampack.packer.report_facts import RANKS, TOKEN_COST, compared, facts_of
from seampack.packer.report_markup import element, escaped
from seampack.packer.report_page import check_report, report, write_report
from seampack.packer.report_sample import LEAST_TOKENS, MOST_SEGMENTS, MOST_TOKENS, shown_rows
from seampack.packer.report_sections import origin_section
from tests.packer.corpus import SHORT_ROWS, SMALL, TOKENIZER, UNFRAMED
from tests.packer.tampering import write_shard

HOSTILE = [
    "</script><script>alert(1)</script><img src=x onerror=alert(1)>",
    '" onmouseover="x" \' & &amp; <!-- --> ]]> </p></style>',
    "\x00\x01\x1b[0m\x7f\x85\u202eevil\u2066 \ufffe <b>\r\n",
    "</details></div><h1>" * 60,
]


@settings(max_examples=50)
@given(st.lists(st.tuples(st.lists(st.integers(1, 90)), st.integers(0, 3))), st.lists(st.integers(0, 99), min_size=2))
def test_a_distribution_counts_as_a_counter(batches: list[tuple[list[int], int]], borders: list[int]) -> None:
    counted: Counter[int] = Counter()
    distribution = Distribution()
    for numbers, weight in batches:
        distribution = distribution.plus(np.array(numbers, np.int64), weight)
        counted.update({number: weight * numbers.count(number) for number in numbers})
    every = sorted(counted.elements())
    assert dict(zip(distribution.values.tolist(), distribution.counts.tolist(), strict=True)) == +counted
    assert distribution.count == len(every)
    edges = np.array(sorted(borders))
    expected = [sum(low <= number < high for number in every) for low, high in pairwise(edges)]
    assert distribution.between(edges).tolist() == expected
    if every:
        assert distribution.mean == pytest.approx(mean(every))
        for share in (0, 0.5, 0.99, 1):
            expected_quantile = next(n for n in every if sum(m <= n for m in every) >= share * len(every))
            assert distribution.quantile(share) == expected_quantile
    else:
        assert distribution.mean is distribution.quantile(0.5) is None
    assert not distribution.plus(np.array(every, np.int64), -1).count


def numbers_of(distribution: Distribution) -> list[int]:
    return np.repeat(distribution.values, distribution.counts).tolist()


@pytest.mark.parametrize(
    ("strategy", "options"),
    [
        ("seamless", {}),
        ("concat", {"id_column": "id", "output_format": "parquet"}),
        ("best_fit", {"pad": "<|endoftext|>", "output_format": "megatron"}),
    ],
    ids=str,
)
def test_the_facts_are_those_of_the_rows(corpus: Path, tmp_path: Path, strategy: str, options: dict[str, Any]) -> None:
    seampack.pack(corpus, out=tmp_path / "out", strategy=strategy, **SMALL, **options)
    folder = PackedFolder(tmp_path / "out")
    facts = facts_of(folder, ordered=True)
    ends: dict[int | str, int] = defaultdict(int)
    tokens, segments, costs, begun = [], [], [], 0
    rows = [row for table in folder.tables() for row in table.to_pylist()]
    for row in rows:
        lengths = row["seq_lengths"][: len(row["doc_ids"])]
        for document, start, length in zip(row["doc_ids"], row["doc_starts"], lengths, strict=True):
            ends[document] = max(ends[document], start + length)
        tokens.append(sum(lengths))
        segments.append(len(lengths))
        costs.append(TOKEN_COST * sum(lengths) + sum(length**2 for length in lengths))
        begun += row["doc_starts"][0] == 0
    assert numbers_of(facts.lengths) == sorted(ends.values())
    assert numbers_of(facts.row_tokens) == sorted(tokens)
    assert numbers_of(facts.row_segments) == sorted(segments)
    assert numbers_of(facts.row_costs) == sorted(cost // facts.cost_step for cost in costs)
    assert facts.begun == begun
    for balance, ranks in zip(facts.balances, RANKS, strict=True):
        steps = [costs[first : first + ranks] for first in range(0, len(costs) // ranks * ranks, ranks)]
        shares = [max(step) / mean(step) for step in steps]
        assert (balance.ranks, balance.steps) == (ranks, len(steps))
        assert balance.mean == (pytest.approx(mean(shares)) if shares else None)
        assert balance.worst == (pytest.approx(max(shares)) if shares else None)
    if "id_column" in options:
        assert facts.ordered is None
    else:
        assert facts.ordered is not None
        assert facts.ordered.tolist() == [ends[number] for number in range(folder.manifest.accounting.documents)]
    assert facts.sample.to_pylist() == [rows[number] for number in facts.sampled]
    assert len(set(facts.sampled.tolist())) == min(50, len(rows))


@pytest.mark.parametrize(
    ("strategies", "message"),
    [
        ("concat", r"strategies: expected a list, such as \['seamless', 'concat'\]; got 'concat'"),
        (("foo",), "strategies: expected some of seamless, .*, optimal, paper; got 'foo'"),
        ((3,), "strategies: expected some of seamless, .*, optimal, paper; got 3"),
    ],
)
def test_what_is_no_strategy_to_compare(corpus: Path, strategies: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        seampack.compare(corpus, strategies=strategies)
    assert [each.strategy for each in seampack.compare(iter(["a"]), strategies=["best-fit", "paper"])] == [
        "best-fit",
        "paper",
    ]


def test_the_strategies_are_planned_as_compare_does(corpus: Path, tmp_path: Path) -> None:
    for strategy in ("seamless", "pad"):
        manifest = seampack.pack(corpus, out=tmp_path / strategy, strategy=strategy, seq_len=64, **UNFRAMED)
        facts = facts_of(PackedFolder(tmp_path / strategy), ordered=True)
        planned = {each.strategy: each.accounting for each in compared(facts, manifest)}
        assert planned[strategy] == manifest.accounting
        assert planned == {each.strategy: each.accounting for each in seampack.compare(corpus, seq_len=64, **UNFRAMED)}


def test_documents_with_ids_are_compared_too(corpus: Path, tmp_path: Path) -> None:
    manifest = seampack.pack(corpus, out=tmp_path / "out", id_column="id", **SMALL)
    for each in compared(facts_of(PackedFolder(tmp_path / "out"), ordered=True), manifest):
        assert each.accounting.tokens_in == manifest.accounting.tokens_in
        assert each.accounting.documents == manifest.accounting.documents - manifest.accounting.empty_documents


def test_a_missing_segment_is_found(corpus: Path, tmp_path: Path) -> None:
    seampack.pack(corpus, out=tmp_path / "out", **{**SMALL, "shard_tokens": 1 << 20})
    folder = PackedFolder(tmp_path / "out")
    table = folder.table(0)
    starts = [[start + 10_000 for start in row] for row in table["doc_starts"].to_pylist()]
    place = table.column_names.index("doc_starts")
    changed = table.set_column(place, "doc_starts", pa.array(starts, table.schema.field(place).type))
    write_shard(tmp_path / "out", changed)
    with pytest.raises(ShardError, match=r"expected a segment that ends at token \d+ of its document"):
        facts_of(PackedFolder(tmp_path / "out"))


def test_a_sample_shows_each_token_once_or_counts_it(corpus: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {**SMALL, "seq_len": 4096, "window_tokens": 4096, "strategy": "concat", "labels": True}
    manifest = seampack.pack(corpus, out=tmp_path / "out", **options)
    folder = PackedFolder(tmp_path / "out")
    facts = facts_of(folder)
    for row in shown_rows(facts.sample, facts.sampled, manifest):
        content = folder.row(row.number)
        assert list(row.lengths) == content["seq_lengths"]
        assert len(row.segments) == min(MOST_SEGMENTS, len(row.lengths))
        first = 0
        for segment in row.segments:
            share = max(LEAST_TOKENS, MOST_TOKENS // len(row.lengths))
            assert sum(run.ids.size for run in segment.runs) == min(share, segment.tokens)
            place = first
            for run in segment.runs:
                assert run.ids.tolist() == content["input_ids"][place : place + run.ids.size]
                assert all((label == -100) == run.masked for label in content["labels"][place : place + run.ids.size])
                place += run.ids.size + run.skipped
            first += segment.tokens
            assert place == first


def test_repeated_and_masked_tokens_are_marked(corpus: Path, tmp_path: Path) -> None:
    manifest = seampack.pack(corpus, out=tmp_path / "out", labels=True, **SMALL)
    facts = facts_of(PackedFolder(tmp_path / "out"))
    segments = [each for row in shown_rows(facts.sample, facts.sampled, manifest) for each in row.segments]
    assert any(segment.repeated for segment in segments)
    for segment in segments:
        assert sum(run.ids.size for run in segment.runs if run.repeated) == segment.repeated
        assert all(run.repeated == run.masked for run in segment.runs)


KNOWN = {
    *("html", "head", "meta", "title", "style", "body", "header", "nav", "main", "section", "h1", "h2", "h4", "p", "a"),
    *("dl", "div", "dt", "dd", "ul", "li", "table", "caption", "thead", "tbody", "tr", "th", "td", "svg", "rect"),
    *("details", "summary", "span", "small"),
}


class Page(HTMLParser):
    """The elements of a page; fails if they are not nested, or one is unknown."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.cells: list[list[str]] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in KNOWN, tag
        assert not any(name.startswith("on") or name in ("src", "style") for name, _ in attrs)
        self.attributes.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)
        if tag == "tr":
            self.cells.append([])
        if tag in ("th", "td"):
            self.cells[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if {"th", "td"} & set(self.open):
            self.cells[-1][-1] += data

    def handle_comment(self, data: str) -> None:
        pytest.fail(f"a comment: {data}")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> tuple[PackedFolder, str]:
    """A folder whose documents, ids, columns and notes are markup, and the report about it."""
    out = tmp_path_factory.mktemp("hostile") / "<i>&"
    records = ({"text": text, "id": f"<b>{n}", "source": text} for n, text in enumerate(HOSTILE * 3))
    options: dict[str, Any] = {"id_column": "id", "keep": ["source"], "labels": True, "seq_len": 64}
    seampack.pack(records, out=out, notes={"</style><h1>": ["<b>", "'\""]}, **options)
    folder = PackedFolder(out)
    facts = facts_of(folder, ordered=True)
    return folder, report(folder, facts, TOKENIZER.decode, compared(facts, folder.manifest))


def test_no_document_breaks_the_page(hostile: tuple[PackedFolder, str]) -> None:
    page = hostile[1]
    page.encode()  # no lone surrogates
    read = Page(page)
    assert page.count("<script") == page.count("http:") == page.count("https:") == page.count("url(") == 0
    assert not any(ord(character) < 32 and character not in "\n\t" for character in page)
    text = "".join(read.texts)
    for part in (
        "</script><script>alert(1)",
        "\u2400\u2401\u241b[0m\u2421",
        r"\u202eevil\u2066 \ufffe",
        "document <b>0",
    ):
        assert part in text
    ids = [attributes["id"] for _, attributes in read.attributes if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [attributes["href"] for tag, attributes in read.attributes if tag == "a"]
    assert {link[1:] for link in links if link} <= set(ids)
    for tag, attributes in read.attributes:
        assert tag != "svg" or attributes.get("aria-hidden") == "true" or attributes["aria-label"]
        assert tag != "th" or attributes["scope"] in ("row", "col")


def test_the_numbers_of_the_page_are_those_of_the_manifest(packed: Path) -> None:
    folder = PackedFolder(packed)
    manifest = folder.manifest
    read = Page(report(folder, facts_of(folder), None))
    for name, value, remark in described(manifest.accounting.to_dict()):
        assert [name.strip(), value, remark] in read.cells
    headings, (counts,) = compared_counts([manifest.accounting])
    shown = [percent(counts[name]) if name == "fill" else f"{counts[name]:,}" for name in headings]
    assert ["seamless, this folder", *shown] in read.cells
    assert ["quarantined", "1", "records, in quarantine.jsonl"] in read.cells
    assert ["seq_len", "32"] in read.cells
    assert ["fingerprint", manifest.tokenizer.fingerprint] in read.cells
    for shard in manifest.shards:
        assert [shard.file, f"{shard.rows:,}", f"{shard.bytes:,}", shard.checksum] in read.cells
    assert "as token ids, because the tokenizer was not found" in "".join(read.texts)
    ids = " ".join(map(str, folder.row(0)["input_ids"][:5]))
    assert ids in "".join(read.texts)


def test_what_is_not_shown_is_counted(packed: Path) -> None:
    manifest = dataclasses.replace(PackedFolder(packed).manifest, partitions=tuple(range(1000)))
    read = Page(origin_section(manifest))
    assert ["199", "199"] in read.cells
    assert ["200", "200"] not in read.cells
    assert "and 800 more, in manifest.json" in read.texts


def test_an_empty_folder_has_a_report(tmp_path: Path) -> None:
    seampack.pack(iter([""]), out=tmp_path / "out", eos="none")
    write_report(PackedFolder(tmp_path / "out"), str(tmp_path / "r.html"), decode=None, compare=True)
    assert "The folder has no rows." in (tmp_path / "r.html").read_text()
    Page((tmp_path / "r.html").read_text())


@settings(max_examples=50)
@given(st.text())
def test_escaped_text_has_no_markup(text: str) -> None:
    page = element("p", text, title=text)
    page.encode()

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            assert (tag, [name for name, _ in attrs]) == ("p", ["title"])

    Reader().feed(page)
    assert escaped("\ud800\r\n\ufffe&") == "\\ud800\u240d\n\\ufffe&amp;"


def test_a_report_replaces_only_a_report(packed: Path, tmp_path: Path) -> None:
    folder = PackedFolder(packed)
    out = tmp_path / "report.html"
    write_report(folder, str(out), decode=None)
    first = out.read_bytes()
    write_report(folder, str(out), decode=None)
    assert out.read_bytes() == first
    out.write_text("<html>")
    for place, error, message in (
        (str(out), ShardError, "the file exists, and is not a report"),
        (str(packed / "r.html"), ConfigError, "the report is in the packed folder"),
        (str(tmp_path), ShardError, "it is a folder"),
        (str(tmp_path / "no" / "r.html"), ShardError, "there is no folder"),
        ("s3://bucket/r.html", ShardError, "expected a local file"),
    ):
        with pytest.raises(error, match=message):
            check_report(place, str(packed))
    assert out.read_text() == "<html>"


def test_the_accounting_of_no_rows_is_described() -> None:
    lines = {name.strip(): value for name, value, _ in described(Accounting(seq_len=4).to_dict())}
    assert lines["fill"] == "-"


@pytest.mark.xdist_group("s3")  # one server
@SHORT_ROWS
def test_a_remote_folder_of_another_format_has_a_report(corpus: Path, bucket: str, tmp_path: Path) -> None:
    address = f"{bucket}/packed"
    seampack.pack(corpus, out=address, output_format="npy", **SMALL)
    write_report(PackedFolder(address), str(tmp_path / "r.html"), decode=TOKENIZER.decode)
    assert f"Packed rows: {address}" in "".join(Page((tmp_path / "r.html").read_text("utf-8")).texts)
