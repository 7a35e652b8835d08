"""What a packing run is told to do. No heavy imports: the command line reads its defaults from here."""

from dataclasses import dataclass
from enum import StrEnum

from seampack._fields import Config, check_choice, check_integer, option
from seampack.errors import ConfigError

MAX_SEQ_LEN = 1 << 24


class Strategy(StrEnum):
    """How documents become rows."""

    SEAMLESS = "seamless"
    """Overlapping windows over long documents, First-Fit-Decreasing with a little extra room for the rest."""
    CONCAT = "concat"
    """All documents end to end, cut every ``seq_len`` tokens (naive concatenation)."""
    BEST_FIT = "best_fit"
    """Documents cut at ``seq_len``, then Best-Fit-Decreasing: no further cut, a little padding."""
    FFD = "ffd"
    """Documents cut at ``seq_len``, then First-Fit-Decreasing: no further cut, a little padding."""
    PAD = "pad"
    """Documents cut at ``seq_len``, each piece a row of its own: no mixing, most padding."""


class ExtraRoom(StrEnum):
    """When ``seamless`` lets a bin grow beyond ``seq_len``, at the price of the tail that is cut off."""

    NEEDED = "needed"
    """Only where nothing fits within ``seq_len`` any more, and then for the piece that loses least."""
    ALWAYS = "always"
    """For every piece: plain First-Fit-Decreasing with the larger capacity (the paper's)."""


class Leftover(StrEnum):
    """What ``seamless`` does with bins that did not get full."""

    CONCAT = "concat"
    """Join their pieces end to end and cut every ``seq_len`` tokens: at most one row is padded."""
    PAD = "pad"
    """Each becomes a row of its own: no document is cut, the rows are padded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanConfig(Config):
    """How lengths become a plan. All lengths in tokens.

    Raises ConfigError naming the field, what was expected and what was given.
    """

    seq_len: int = option(2048, "Tokens of a row.")
    strategy: str = option(Strategy.SEAMLESS.value, "How documents become rows.")
    max_overlap: float = option(
        0.3,
        "seamless: largest share of a row by which two neighbouring windows may overlap (the paper's r).",
    )
    extra_tokens: int = option(
        50,
        "seamless: room of a bin beyond seq-len (the paper's extra capacity); a bin that is over loses its tail, at "
        "most this many tokens. 0 drops nothing.",
    )
    extra_room: str = option(
        ExtraRoom.NEEDED.value,
        "seamless: use the extra room only where a row would not get full otherwise, or always, as the paper does.",
    )
    leftover: str = option(
        Leftover.CONCAT.value, "seamless: what becomes of bins that did not get full: joined end to end, or padded."
    )
    drop_last: bool = option(
        False,
        "concat, and seamless with joined leftovers: drop the last row when it is not full.",
    )
    shuffle: bool = option(
        True,
        "Shuffle the rows, within a window of the stream; otherwise they are sorted by length within it.",
    )
    seed: int = option(0, "Seed of the shuffle.")

    def __post_init__(self) -> None:
        check_integer("seq_len", self.seq_len, 1, MAX_SEQ_LEN)
        check_choice("strategy", self.strategy, Strategy)
        check_choice("extra_room", self.extra_room, ExtraRoom)
        check_choice("leftover", self.leftover, Leftover)
        check_integer("extra_tokens", self.extra_tokens, 0, MAX_SEQ_LEN)
        check_integer("seed", self.seed, 0, 2**63 - 1)
        if not isinstance(self.max_overlap, int | float) or not 0 <= self.max_overlap < 1:
            raise ConfigError(f"max_overlap: expected a share from 0 to below 1; got {self.max_overlap!r}")

    @property
    def max_overlap_tokens(self) -> int:
        """Largest overlap of two neighbouring windows in tokens; 0 for strategies without windows."""
        return int(self.max_overlap * self.seq_len + 1e-9) if self.strategy == Strategy.SEAMLESS else 0

    @property
    def extra_room_tokens(self) -> int:
        """Room of a bin beyond ``seq_len``; 0 for strategies that cut nothing off."""
        return min(self.extra_tokens, self.seq_len - 1) if self.strategy == Strategy.SEAMLESS else 0


class InputFormat(StrEnum):
    """How input files are read."""

    AUTO = "auto"
    """From each file's first bytes, then its name."""
    JSONL = "jsonl"
    """One JSON object a line."""
    PARQUET = "parquet"
    """Apache Parquet."""
    ARROW = "arrow"
    """Arrow IPC, file or stream format."""
    LINES = "lines"
    """Plain text, a document a line."""
    PARAGRAPHS = "paragraphs"
    """Plain text, documents separated by blank lines."""
    FILE = "file"
    """Plain text, a document a file."""


class OnBad(StrEnum):
    """What happens at a record that cannot be read."""

    STOP = "stop"
    """The run ends with the record's file and line."""
    QUARANTINE = "quarantine"
    """The record is written with the reason to ``quarantine.jsonl`` in the output folder, and counted."""


class OutputFormat(StrEnum):
    """How shards are written."""

    ARROW = "arrow"
    """Arrow IPC stream files, uncompressed: opened memory-mapped."""
    PARQUET = "parquet"
    """Parquet with zstd: smaller, slower to write, copied into memory when read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackConfig(PlanConfig):
    """A whole packing run: reading, tokenising, planning, writing. Equal configs and inputs give equal bytes.

    Raises ConfigError naming the field, what was expected and what was given.
    """

    input_format: str = option(
        InputFormat.AUTO.value,
        "How inputs are read: auto goes by each file's first bytes and name, and takes plain text for lines (a "
        "document a line); paragraphs are separated by blank lines; file is one document a file, its path the id.",
    )
    text_column: str = option("text", "Field or column that holds a document's text.")
    input_ids_column: str = option(
        "input_ids",
        "Column of token ids, read where there is no text column: the documents are tokenised already.",
    )
    id_column: str | None = option(
        None,
        "Field or column that names a document; without it documents are numbered from 0 in reading order.",
    )
    on_bad: str = option(
        OnBad.STOP.value,
        "At a record that cannot be read: stop, or write it with the reason to quarantine.jsonl and go on.",
    )
    special_tokens_in_text: bool = option(
        False,
        "Let text such as <|endoftext|> inside a document become the control token of that name.",
    )
    bos: str | None = option(None, "Token put before each document, by its name in the vocabulary.")
    eos: str | None = option(None, "Token put behind each document, by its name in the vocabulary.")
    pad: str | None = option(
        None,
        "Token that fills rows up to seq-len, by its name; without it, rows that are not full are shorter.",
    )
    labels: bool = option(
        False,
        "Write a column labels: the ids as int32, with -100 where a token is repeated or padding.",
    )
    window_tokens: int = option(
        1 << 24,
        "Tokens that are planned at a time: bounds the memory. What fills no row goes over to the next window.",
    )
    output_format: str = option(OutputFormat.ARROW.value, "How shards are written.")
    shard_tokens: int = option(1 << 26, "Tokens of a shard, rounded down to whole rows.")

    def __post_init__(self) -> None:
        PlanConfig.__post_init__(self)
        check_choice("input_format", self.input_format, InputFormat)
        check_choice("on_bad", self.on_bad, OnBad)
        check_choice("output_format", self.output_format, OutputFormat)
        check_integer("window_tokens", self.window_tokens, self.seq_len, 1 << 30, " (at least seq_len)")
        check_integer("shard_tokens", self.shard_tokens, 1, 1 << 40)
        for name in ("text_column", "input_ids_column"):
            if not getattr(self, name):
                raise ConfigError(f"{name}: expected a name; got {getattr(self, name)!r}")

        if self.id_column in (self.text_column, self.input_ids_column):
            raise ConfigError(f"id_column: expected another field than the content's; got {self.id_column!r} for both")

    @property
    def shard_rows(self) -> int:
        """Rows of a shard."""
        return max(1, self.shard_tokens // self.seq_len)
