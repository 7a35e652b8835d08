"""The token accounting of a run: exact, and additive over windows."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from seampack.errors import SeampackError

COMPARED = {
    "rows": "rows",
    "fill": "fill",
    "padding": "padding",
    "dropped": "dropped",
    "repeated": "repeated",
    "documents_split": "split",
    "documents_truncated": "truncated",
    "documents_dropped": "dropped whole",
    "documents_fit_but_cut": "fit but cut",
    "cuts": "cuts",
}
"""The counts in which strategies are compared, with their headings; see ``compared_counts``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounting:
    """Counts with ``tokens_in == tokens_out - repeated + dropped``; ``+`` adds the counts of two runs."""

    seq_len: int
    rows: int = 0
    documents: int = 0
    """Documents read, including empty ones."""
    empty_documents: int = 0
    """Documents without tokens; they do not appear in the rows."""
    tokens_in: int = 0
    tokens_out: int = 0
    """Tokens in the rows, without padding."""
    repeated: int = 0
    """Tokens of ``tokens_out`` that repeat tokens of another row."""
    dropped: int = 0
    """Tokens of ``tokens_in`` that are in no row."""
    segments: int = 0
    cuts: int = 0
    """Places where a document was cut in two."""
    documents_split: int = 0
    """Documents that have more than one segment."""
    documents_truncated: int = 0
    """Documents that lost their end: up to ``extra_tokens``, what fills no whole row with ``drop_last``, the last rows
    with ``rest``, or what is longer than a row with ``long``. Includes those that lost all tokens, which reports count
    apart."""
    documents_dropped: int | None = 0
    """Documents that lost all their tokens, so that no row has them; None: not counted."""
    documents_fit_but_cut: int | None = 0
    """Documents of at most ``seq_len`` tokens that have more than one segment, or lost some of their tokens, not all;
    None: not counted."""

    def __post_init__(self) -> None:
        if self.tokens_in != self.tokens_out - self.repeated + self.dropped or self.padding < 0:
            raise SeampackError(f"internal error: the token accounting does not balance: {asdict(self)}")

    @property
    def padding(self) -> int:
        """Positions of the rows that hold no token: ``rows * seq_len - tokens_out``."""
        return self.rows * self.seq_len - self.tokens_out

    @property
    def fill(self) -> float | None:
        """Share of ``rows * seq_len`` that holds tokens; None if there are no rows."""
        return self.tokens_out / (self.rows * self.seq_len) if self.rows else None

    @property
    def documents_shortened(self) -> int:
        """Documents that lost some of their tokens, not all; with those that lost all, if these are not counted."""
        return self.documents_truncated - (self.documents_dropped or 0)

    def __add__(self, other: "Accounting") -> "Accounting":
        counts = [field.name for field in fields(self) if field.name != "seq_len"]
        return Accounting(seq_len=self.seq_len, **{name: getattr(self, name) + getattr(other, name) for name in counts})

    def to_dict(self) -> dict[str, int | float | None]:
        """Return the counts with ``padding`` and ``fill``, for JSON."""
        fill = None if self.fill is None else round(self.fill, 8)
        return {**asdict(self), "padding": self.padding, "fill": fill}


def compared_counts(accountings: Sequence[Accounting]) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """Return the headings of the counts in which strategies are compared, by name, and the counts of each.

    Documents that are dropped whole are not among the truncated ones, and have a column only if there are some.
    """
    has_lost = any(each.documents_dropped for each in accountings)
    headings = {name: head for name, head in COMPARED.items() if has_lost or name != "documents_dropped"}
    return headings, [each.to_dict() | {"documents_truncated": each.documents_shortened} for each in accountings]


def dropped_documents(shortened: int, whole: int) -> str:
    """Return of which documents tokens are dropped, in words: the ends of some, and others whole."""
    counted = {"the ends of {:,} document(s)": shortened, "{:,} whole document(s)": whole}
    return " and ".join(words.format(count) for words, count in counted.items() if count)


def percent(share: float | None) -> str:
    """Return a share in per cent, or a dash for the share of nothing."""
    return "-" if share is None else f"{share:.4%}"


def described(accounting: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return the name, value and remark of each count of a run, as all reports show them."""
    a = accounting
    share = 100 / max(1, a["tokens_in"])
    lost = a["documents_dropped"] or 0
    whole = f", {lost:,} dropped whole" if lost else ""
    truncated = a["documents_truncated"] - lost
    documents = f"{a['documents_split']:,} split, {truncated:,} truncated{whole}, {a['empty_documents']:,} empty"
    lines = [("documents", f"{a['documents']:,}", documents)]
    if a["documents_fit_but_cut"] is not None:
        fit = f"documents of at most {a['seq_len']:,} tokens, split or truncated"
        lines.append(("  fit but cut", f"{a['documents_fit_but_cut']:,}", fit))
    return [
        *lines,
        ("rows", f"{a['rows']:,}", f"of {a['seq_len']:,} tokens, {a['segments']:,} segments, {a['cuts']:,} cuts"),
        ("tokens in", f"{a['tokens_in']:,}", ""),
        ("  + repeated", f"{a['repeated']:,}", f"{a['repeated'] * share:.3f} %"),
        ("  - dropped", f"{a['dropped']:,}", f"{a['dropped'] * share:.3f} %"),
        ("tokens out", f"{a['tokens_out']:,}", ""),
        ("padding", f"{a['padding']:,}", ""),
        ("fill", percent(a["fill"]), ""),
    ]
