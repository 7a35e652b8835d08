"""The token accounting of a run: exact, and additive over windows."""

from collections.abc import Mapping
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
    "documents_fit_but_cut": "fit but cut",
    "cuts": "cuts",
}
"""The counts in which strategies are compared, with their headings."""


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
    with ``rest``, or what is longer than a row with ``long``. Includes those that lost all tokens."""
    documents_dropped: int | None = 0
    """Documents that lost all their tokens, so that no row has them; None: not counted."""
    documents_fit_but_cut: int | None = 0
    """Documents of at most ``seq_len`` tokens that have more than one segment or lost tokens; None: not counted."""

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

    def __add__(self, other: "Accounting") -> "Accounting":
        counts = [field.name for field in fields(self) if field.name != "seq_len"]
        return Accounting(seq_len=self.seq_len, **{name: getattr(self, name) + getattr(other, name) for name in counts})

    def to_dict(self) -> dict[str, int | float | None]:
        """Return the counts with ``padding`` and ``fill``, for JSON."""
        fill = None if self.fill is None else round(self.fill, 8)
        return {**asdict(self), "padding": self.padding, "fill": fill}


def percent(share: float | None) -> str:
    """Return a share in per cent, or a dash for the share of nothing."""
    return "-" if share is None else f"{share:.4%}"


def described(accounting: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return the name, value and remark of each count of a run, as all reports show them."""
    a = accounting
    share = 100 / max(1, a["tokens_in"])
    whole = f" ({a['documents_dropped']:,} of them dropped whole)" if a["documents_dropped"] else ""
    documents = (
        f"{a['documents_split']:,} split, {a['documents_truncated']:,} truncated{whole}, {a['empty_documents']:,} empty"
    )
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
