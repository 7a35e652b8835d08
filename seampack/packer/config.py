"""Options of a packing run. No heavy imports: the command line is made from these."""

from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from seampack.config import Group, option
from seampack.errors import ConfigError
from seampack.io.formats import Format
from seampack.packer.chat_rules import check_chats, normal_variables
from seampack.packer.column_types import CARRIED_BY, LABELS, TrainOn, carried_types, kept_types
from seampack.packer.formats.registry import OutputFormat
from seampack.packer.plan_config import Leftover, Long, PlanConfig, Rest, Strategy

AUTO = "auto"
NONE = "none"
FROM_TOKENIZER = "from-tokenizer"

_input, _tokens, _planning, _output, _run = (partial(option, group=group) for group in Group)


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

    input_format: str = _input(
        Format.AUTO.value,
        "Format of the inputs. auto detects it from each file's first bytes and name; plain text is then read as lines "
        "(one document per line). json: an array, or objects over several lines. paragraphs: documents separated by "
        "blank lines. file: one document per file, with its path as id.",
        choices=Format,
    )
    text_column: str = _input("text", "Field or column with the text of a document.", empty=False)
    input_ids_column: str = _input(
        "input_ids",
        "Column with token ids, for documents that are already tokenised; used if there is no text column.",
        empty=False,
    )
    messages_column: str | None = _input(
        None,
        "Field or column with the messages of a conversation. The chat template writes them as text, with all begin "
        "and end tokens, and the column loss_mask of the rows says which tokens to train on.",
    )
    prompt_column: str | None = _input(
        None,
        "Field or column with a prompt, which is not trained on, in place of messages-column: a text, or messages for "
        "the chat template.",
    )
    completion_column: str = _input(
        "completion", "Field or column with the completion of a prompt: a text or messages, as the prompt.", empty=False
    )
    tools_column: str = _input(
        "tools", "Field or column with the tools of a conversation, as JSON schemas, if there is one.", empty=False
    )
    chat_template: str = _tokens(
        FROM_TOKENIZER,
        "Jinja template that writes conversations: a file, or from-tokenizer: chat_template.jinja or "
        "tokenizer_config.json next to the tokenizer.",
        empty=False,
    )
    template_variables: tuple[str, ...] = _tokens(
        (),
        "Variable of the chat template: NAME=VALUE with a value in JSON, such as enable_thinking=false or "
        'effort="low". From Python also as a mapping.',
    )
    train_on: str = _tokens(
        TrainOn.ALL.value,
        "Messages of the assistant to train on, in the column loss_mask: all, or the last. none: no loss_mask, so that "
        "every token is trained on.",
        choices=TrainOn,
    )
    id_column: str | None = _input(
        None, "Field or column with the id of a document; by default documents are numbered from 0 in input order."
    )
    carry: tuple[str, ...] = _input(
        (),
        "Column of numbers, one for each token id, that travels with the ids of documents that are already tokenised: "
        "NAME or NAME:TYPE, such as labels, loss_mask or weights:float32. By default labels are int32, masks uint8, "
        "others int64.",
    )
    keep: tuple[str, ...] = _input(
        (),
        "Column with one value for each document, such as source or score:float64, that the rows repeat for each "
        "segment: NAME or NAME:TYPE with string (the default), int64 or float64.",
    )
    group_column: str | None = _input(
        None,
        "Field or column of documents that stay together, NAME or NAME:TYPE as in keep: those that follow each other "
        "with the same value share a row. It is kept too. A group longer than a row is an error, unless the option "
        "long says what becomes of it.",
    )
    on_bad: str = _input(
        OnBad.STOP.value,
        "Action on a record that cannot be read: stop, or continue without it. pack writes such records with the "
        "reason to quarantine.jsonl; compare and tokenizer train warn of their number.",
        choices=OnBad,
    )
    max_document_bytes: int = _input(
        1 << 30,
        "Largest size of a document: of its line, JSON value, paragraph, file, row of CSV or text in a table, "
        "decompressed. A longer one is a bad record. Limits memory use: a document takes several times its size.",
        low=1,
        high=1 << 40,
        unit="bytes",
    )
    special_tokens_in_text: bool = _tokens(
        False, "Parse special tokens in the text, such as <|endoftext|>; by default they are plain text."
    )
    bos: str | None = _tokens(
        AUTO,
        "Token to put before each document, by its name in the vocabulary. auto: the begin token that the tokenizer "
        "itself puts there, if any. none: no token.",
    )
    eos: str | None = _tokens(
        AUTO,
        "Token to put after each document, by its name in the vocabulary. auto: the tokenizer's end token, as named by "
        "tokenizer_config.json or its post-processor, or a well-known name such as <|endoftext|>. none: no token.",
    )
    pad: str | None = _output(
        None, "Token to pad rows with, by its name in the vocabulary; by default rows that are not full are shorter."
    )
    labels: bool = _output(False, "Add a column labels: the ids as int32, with -100 for repeated tokens and padding.")
    window_tokens: int = _planning(
        1 << 24,
        "Tokens planned per window; limits memory use. Leftovers are carried into the next window.",
        low=1,
        high=1 << 30,
        unit="tokens",
    )
    partition_bytes: int = _run(
        1 << 28,
        "Bytes of input that are packed by themselves, by any process. A run can be resumed after each such partition. "
        "What fills no row of a partition is packed in the end.",
        low=1 << 16,
        high=1 << 40,
        unit="bytes",
    )
    output_format: str = _output(
        OutputFormat.ARROW.value,
        "Format of the shards: docs/formats.md says what reads each. All can be inspected, verified and unpacked.",
        choices=OutputFormat,
    )
    shard_tokens: int = _output(
        1 << 26, "Size of a shard, rounded down to whole rows.", low=1, high=1 << 40, unit="tokens"
    )

    def __post_init__(self) -> None:
        """Write the variables of the template in one way, then check the fields."""
        object.__setattr__(self, "template_variables", normal_variables(self.template_variables))
        PlanConfig.__post_init__(self)

    def check_rules(self) -> None:
        """Check the rules between fields."""
        PlanConfig.check_rules(self)
        if self.window_tokens < self.seq_len:
            raise ConfigError(f"window_tokens: expected at least seq_len, {self.seq_len:,}; got {self.window_tokens:,}")
        if self.id_column in (self.text_column, self.input_ids_column):
            raise ConfigError(f"id_column: expected a field other than the content's; got {self.id_column!r} for both")
        carried, kept = self.carried, self.kept
        content = {self.text_column, self.input_ids_column, self.id_column, *self.chat_columns.values()}
        if twice := [*(content & {*carried, *kept}), *(carried.keys() & kept), *({LABELS} & kept.keys())]:
            raise ConfigError(f"carry, keep: expected columns that no other option names; got {twice[0]!r}")
        check_chats(self)
        if self.group_column is not None:
            self._check_groups()

    def _check_groups(self) -> None:
        """Raise ConfigError for an option of planning that parts the documents of a group."""
        for name, expected, is_right in (
            ("strategy", "another than concat", self.strategy != Strategy.CONCAT),
            ("leftover", "auto or pad", self.leftover_rule == Leftover.PAD),
            ("max_segments", "none", self.max_segments is None),
            ("rest", "drop, with rows_multiple_of,", self.rows_multiple_of == 1 or self.rest == Rest.DROP),
        ):
            if not is_right:
                got = getattr(self, name)
                raise ConfigError(f"{name}: expected {expected} with group_column, to keep groups whole; got {got}")

    @property
    def long_rule(self) -> Long:
        """What becomes of documents longer than a row, where ``long`` is ``auto`` too."""
        return Long.ERROR if self.long == Long.AUTO and self.reads_chats else super(PackConfig, self).long_rule

    @property
    def leftover_rule(self) -> Leftover:
        """What becomes of bins that are not full: with groups, each is a row by default, so that no group is cut."""
        if self.group_column is not None and self.leftover == Leftover.AUTO:
            return Leftover.PAD
        return super(PackConfig, self).leftover_rule

    @property
    def most_tokens_of_group(self) -> int:
        """Most tokens of a group of several documents: those of a row, unless ``long`` names what becomes of it."""
        is_named = self.long != Long.AUTO and self.long != Long.ERROR
        return self.window_tokens if is_named else self.seq_len

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
        return kept_types({"keep": self.keep, "group_column": self.group_column})

    @property
    def group_name(self) -> str | None:
        """Name of the column of groups, without its type; None without groups."""
        return next(iter(kept_types({"group_column": self.group_column})), None)

    @property
    def kept_options(self) -> dict[str, str]:
        """The option that names each kept column, by name."""
        groups = {} if self.group_name is None else {self.group_name: "--group-column"}
        return {**dict.fromkeys(self.kept, "--keep"), **groups}

    @property
    def shard_rows(self) -> int:
        """Rows of a shard."""
        return max(1, self.shard_tokens // self.seq_len)
