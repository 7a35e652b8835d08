"""The token accounting of a run: exact, and additive over windows."""

from dataclasses import asdict, dataclass, fields

from seampack.errors import SeampackError


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
