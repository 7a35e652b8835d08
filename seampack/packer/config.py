"""Options of a packing run. No heavy imports: the command line is made from these."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from seampack.config import Config, option, seed_option
from seampack.errors import ConfigError
from seampack.io.formats import Format
from seampack.packer.chat_rules import check_chats
from seampack.packer.column_types import CARRIED_BY, LABELS, TrainOn, carried_types, kept_types
from seampack.packer.formats.registry import OutputFormat

MAX_SEQ_LEN = 1 << 24
AUTO = "auto"
NONE = "none"
FROM_TOKENIZER = "from-tokenizer"


class Strategy(StrEnum):
    """How documents become rows."""

    SEAMLESS = "seamless"
    """Overlapping windows over long documents; First-Fit-Decreasing for the rest, in full rows."""
    CONCAT = "concat"
    """All documents end to end, cut every ``seq_len`` tokens (naive concatenation)."""
    BEST_FIT = "best_fit"
    """Documents cut at ``seq_len``, then Best-Fit-Decreasing: no further cut, a little padding."""
    FFD = "ffd"
    """Documents cut at ``seq_len``, then First-Fit-Decreasing: no further cut, a little padding."""
    PAD = "pad"
    """Documents cut at ``seq_len``, each piece in a row alone: no mixing, most padding."""


class ExtraRoom(StrEnum):
    """When ``seamless`` lets a bin exceed ``seq_len``; the excess is cut off the bin's tail."""

    NEEDED = "needed"
    """Only if no piece fits within ``seq_len`` any more, and then for the piece that loses the fewest tokens."""
    ALWAYS = "always"
    """For every piece: plain First-Fit-Decreasing with the larger capacity, as in the paper."""


class Leftover(StrEnum):
    """How ``seamless``, ``best_fit`` and ``ffd`` write bins that are not full."""

    AUTO = "auto"
    """``fill`` for ``seamless``; ``pad`` for ``best_fit`` and ``ffd``, as they are published."""
    FILL = "fill"
    """Dissolve the emptiest bins, and fill the gaps of the others with their documents: the fewest rows, few cuts."""
    PAD = "pad"
    """Make each a row: no document is cut, the rows are padded."""
    CONCAT = "concat"
    """Join their pieces end to end and cut every ``seq_len`` tokens, as in the paper: many cuts."""


class Long(StrEnum):
    """What becomes of documents of more than ``seq_len`` tokens."""

    AUTO = "auto"
    """``error`` for conversations, whose parts would lack what was said before; ``window`` for all others."""
    WINDOW = "window"
    """Every token is packed: ``seamless`` covers them by overlapping windows, other strategies cut them."""
    SPLIT = "split"
    """Every token is packed once: they are cut every ``seq_len`` tokens, without overlap."""
    TRUNCATE = "truncate"
    """Keep their first ``seq_len`` tokens, with the end token if there is one, and drop the rest."""
    DROP = "drop"
    """Drop them whole."""
    ERROR = "error"
    """Stop with an error that counts them."""


PAPER = {
    "strategy": Strategy.SEAMLESS.value,
    "max_overlap": 0.3,
    "extra_tokens": 50,
    "extra_room": ExtraRoom.ALWAYS.value,
    "leftover": Leftover.CONCAT.value,
}
"""The options of Seamless Packing as published: Yin et al. 2025, arXiv 2505.22018."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanConfig(Config):
    """Options of planning: how lengths become rows. All lengths are in tokens.

    Raises ConfigError, naming the field, the expected values and the given one.
    """

    seq_len: int = option(2048, "Length of a row.", low=1, high=MAX_SEQ_LEN, unit="tokens")
    strategy: str = option(Strategy.SEAMLESS.value, "How documents become rows.", choices=Strategy)
    long: str = option(
        Long.AUTO.value,
        "What becomes of documents longer than a row. window: seamless covers them by overlapping windows, other "
        "strategies cut them. split: they are cut without overlap. truncate: their first seq-len tokens are kept. "
        "drop: they are dropped whole. error: the run stops and counts them. auto: error for conversations, window for "
        "all others.",
        choices=Long,
    )
    max_overlap: float = option(
        0.3,
        "seamless: largest overlap of two neighbouring windows, as a share of a row (r in the paper).",
        low=0,
        below=1,
    )
    extra_tokens: int = option(
        0,
        "seamless: extra capacity of a bin beyond seq-len (the paper has 50). A bin that exceeds seq-len loses its "
        "tail, up to this many tokens, but keeps its end token.",
        low=0,
        high=MAX_SEQ_LEN,
        unit="tokens",
    )
    extra_room: str = option(
        ExtraRoom.NEEDED.value,
        "seamless: when to use the extra capacity: only if the row would not be full otherwise, or always (the paper).",
        choices=ExtraRoom,
    )
    leftover: str = option(
        Leftover.AUTO.value,
        "seamless, best_fit, ffd: what becomes of bins that are not full. fill: the emptiest are dissolved into the "
        "gaps of the others, so that rows are full and few documents are cut. pad: each is a row. concat: they are "
        "joined end to end (the paper). auto: fill for seamless, pad for the others.",
        choices=Leftover,
    )
    drop_last: bool = option(False, "concat, and leftovers that are filled or joined: drop what fills no whole row.")
    shuffle: bool = option(
        True, "Shuffle the rows of each planning window. Without it, rows are sorted by length within a window."
    )
    seed: int = seed_option("Seed of the shuffle.")

    @classmethod
    def paper(cls, **options: Any) -> Self:
        """Return a config with the options of the published method; ``options`` override them."""
        return cls(**{**PAPER, **options})

    def idle_options(self) -> list[str]:
        """Return the options that have no effect, because the strategy does not use them."""
        idle = []
        if self.strategy != Strategy.SEAMLESS:
            idle += ["max_overlap", "extra_tokens", "extra_room"]
        elif self.long_rule != Long.WINDOW:
            idle += ["max_overlap"]
        if self.strategy in (Strategy.CONCAT, Strategy.PAD):
            idle += ["leftover"]
        pads = self.strategy != Strategy.CONCAT and self.leftover_rule == Leftover.PAD
        return [*idle, "drop_last"] if pads else idle

    @property
    def leftover_rule(self) -> Leftover:
        """What becomes of bins that are not full, where ``leftover`` is ``auto`` too; ``pad`` without bins."""
        if self.strategy == Strategy.PAD or (self.leftover == Leftover.AUTO and self.strategy != Strategy.SEAMLESS):
            return Leftover.PAD
        return Leftover.FILL if self.leftover == Leftover.AUTO else Leftover(self.leftover)

    @property
    def long_rule(self) -> Long:
        """What becomes of documents longer than a row, where ``long`` is ``auto`` too."""
        return Long.WINDOW if self.long == Long.AUTO else Long(self.long)

    @property
    def max_overlap_tokens(self) -> int:
        """Largest overlap of two neighbouring windows in tokens; 0 without windows."""
        has_windows = self.strategy == Strategy.SEAMLESS and self.long_rule == Long.WINDOW
        return int(self.max_overlap * self.seq_len + 1e-9) if has_windows else 0

    @property
    def extra_room_tokens(self) -> int:
        """Extra capacity of a bin beyond ``seq_len``; 0 for strategies that cut nothing off."""
        return min(self.extra_tokens, self.seq_len - 1) if self.strategy == Strategy.SEAMLESS else 0


class OnBad(StrEnum):
    """Action on a record that cannot be read."""

    STOP = "stop"
    """Stop the run with an error that names the file and line."""
    QUARANTINE = "quarantine"
    """Write the record with the reason to ``quarantine.jsonl`` in the output folder, count it, and continue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackConfig(PlanConfig):
    """Options of a whole packing run: reading, tokenising, planning, writing.

    The same config and input give the same bytes.

    Raises ConfigError, naming the field, the expected values and the given one.
    """

    input_format: str = option(
        Format.AUTO.value,
        "Format of the inputs. auto detects it from each file's first bytes and name; plain text is then read as lines "
        "(one document per line). json: an array, or objects over several lines. paragraphs: documents separated by "
        "blank lines. file: one document per file, with its path as id.",
        choices=Format,
    )
    text_column: str = option("text", "Field or column with the text of a document.", empty=False)
    input_ids_column: str = option(
        "input_ids",
        "Column with token ids, for documents that are already tokenised; used if there is no text column.",
        empty=False,
    )
    messages_column: str | None = option(
        None,
        "Field or column with the messages of a conversation. The chat template writes them as text, with all begin "
        "and end tokens, and the column loss_mask of the rows says which tokens to train on.",
    )
    prompt_column: str | None = option(
        None,
        "Field or column with a prompt, which is not trained on, in place of messages-column: a text, or messages for "
        "the chat template.",
    )
    completion_column: str = option(
        "completion", "Field or column with the completion of a prompt: a text or messages, as the prompt.", empty=False
    )
    tools_column: str = option(
        "tools", "Field or column with the tools of a conversation, as JSON schemas, if there is one.", empty=False
    )
    chat_template: str = option(
        FROM_TOKENIZER,
        "Jinja template that writes conversations: a file, or from-tokenizer: chat_template.jinja or "
        "tokenizer_config.json next to the tokenizer.",
        empty=False,
    )
    train_on: str = option(
        TrainOn.ALL.value,
        "Messages of the assistant to train on, in the column loss_mask: all, or the last. none: no loss_mask, so that "
        "every token is trained on.",
        choices=TrainOn,
    )
    id_column: str | None = option(
        None, "Field or column with the id of a document; by default documents are numbered from 0 in input order."
    )
    carry: tuple[str, ...] = option(
        (),
        "Column of numbers, one for each token id, that travels with the ids of documents that are already tokenised: "
        "NAME or NAME:TYPE, such as labels, loss_mask or weights:float32. By default labels are int32, masks uint8, "
        "others int64.",
    )
    keep: tuple[str, ...] = option(
        (),
        "Column with one value for each document, such as source or score:float64, that the rows repeat for each "
        "segment: NAME or NAME:TYPE with string (the default), int64 or float64.",
    )
    on_bad: str = option(
        OnBad.STOP.value,
        "Action on a record that cannot be read: stop, or continue without it. pack writes such records with the "
        "reason to quarantine.jsonl; compare and tokenizer train warn of their number.",
        choices=OnBad,
    )
    max_document_bytes: int = option(
        1 << 30,
        "Largest size of a document: of its line, JSON value, paragraph, file, row of CSV or text in a table, "
        "decompressed. A longer one is a bad record. Limits memory use: a document takes several times its size.",
        low=1,
        high=1 << 40,
        unit="bytes",
    )
    special_tokens_in_text: bool = option(
        False, "Parse special tokens in the text, such as <|endoftext|>; by default they are plain text."
    )
    bos: str | None = option(
        AUTO,
        "Token to put before each document, by its name in the vocabulary. auto: the begin token that the tokenizer "
        "itself puts there, if any. none: no token.",
    )
    eos: str | None = option(
        AUTO,
        "Token to put after each document, by its name in the vocabulary. auto: the tokenizer's end token, as named by "
        "tokenizer_config.json or its post-processor, or a well-known name such as <|endoftext|>. none: no token.",
    )
    pad: str | None = option(
        None, "Token to pad rows with, by its name in the vocabulary; by default rows that are not full are shorter."
    )
    labels: bool = option(False, "Add a column labels: the ids as int32, with -100 for repeated tokens and padding.")
    window_tokens: int = option(
        1 << 24,
        "Tokens planned per window; limits memory use. Leftovers are carried into the next window.",
        low=1,
        high=1 << 30,
        unit="tokens",
    )
    partition_bytes: int = option(
        1 << 28,
        "Bytes of input that are packed by themselves, by any process. A run can be resumed after each such partition. "
        "What fills no row of a partition is packed in the end.",
        low=1 << 16,
        high=1 << 40,
        unit="bytes",
    )
    output_format: str = option(
        OutputFormat.ARROW.value,
        "Format of the shards: docs/formats.md says what reads each. All can be inspected, verified and unpacked.",
        choices=OutputFormat,
    )
    shard_tokens: int = option(
        1 << 26, "Size of a shard, rounded down to whole rows.", low=1, high=1 << 40, unit="tokens"
    )

    def check_rules(self) -> None:
        """Check the rules between fields."""
        if self.window_tokens < self.seq_len:
            raise ConfigError(f"window_tokens: expected at least seq_len, {self.seq_len:,}; got {self.window_tokens:,}")
        if self.id_column in (self.text_column, self.input_ids_column):
            raise ConfigError(f"id_column: expected a field other than the content's; got {self.id_column!r} for both")
        carried, kept = self.carried, self.kept
        content = {self.text_column, self.input_ids_column, self.id_column, *self.chat_columns.values()}
        if twice := [*(content & {*carried, *kept}), *(carried.keys() & kept), *({LABELS} & kept.keys())]:
            raise ConfigError(f"carry, keep: expected columns that no other option names; got {twice[0]!r}")
        check_chats(self)

    @property
    def long_rule(self) -> Long:
        """What becomes of documents longer than a row, where ``long`` is ``auto`` too."""
        return Long.ERROR if self.long == Long.AUTO and self.reads_chats else super(PackConfig, self).long_rule

    @property
    def reads_chats(self) -> bool:
        """Whether documents are conversations, or prompts with completions."""
        return self.messages_column is not None or self.prompt_column is not None

    @property
    def chat_columns(self) -> dict[str, str]:
        """The columns of conversations by the fields of ``Chat``; empty if documents are texts or token ids."""
        if self.messages_column is not None:
            return {"messages": self.messages_column, "tools": self.tools_column}
        if self.prompt_column is not None:
            return {"messages": self.prompt_column, "completion": self.completion_column, "tools": self.tools_column}
        return {}

    @property
    def chat_options(self) -> dict[str, str]:
        """The options that name the columns of conversations that each record must have, by the fields of ``Chat``."""
        if self.prompt_column is not None:
            return {"messages": "--prompt-column", "completion": "--completion-column"}
        return {"messages": "--messages-column"} if self.reads_chats else {}

    @property
    def carried(self) -> dict[str, str]:
        """Type of each carried column, by name."""
        return carried_types({name: getattr(self, name) for name in CARRIED_BY})

    @property
    def kept(self) -> dict[str, str]:
        """Type of each kept column, by name."""
        return kept_types({"keep": self.keep})

    @property
    def shard_rows(self) -> int:
        """Rows of a shard."""
        return max(1, self.shard_tokens // self.seq_len)
