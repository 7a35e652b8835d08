"""What applying a segmenter reads and writes. No heavy imports: the command line reads its defaults from here."""

from dataclasses import dataclass
from enum import StrEnum

from seampack._fields import Config, check_choice, check_integer, option


class FileFormat(StrEnum):
    """How files are read or written."""

    AUTO = "auto"
    """Reading: from the first bytes, then the name. Writing: from the name of the output, then like the input."""
    LINES = "lines"
    """Plain text, a text a line."""
    JSONL = "jsonl"
    """One JSON object a line."""
    PARQUET = "parquet"
    """Apache Parquet."""
    ARROW = "arrow"
    """Arrow IPC: file or stream format is read, stream format written."""


class OnBad(StrEnum):
    """What happens at bytes that are not UTF-8."""

    STOP = "stop"
    """The run ends with their file and line, or row."""
    REPLACE = "replace"
    """Each becomes U+FFFD; the original can then not be restored."""


class Output(StrEnum):
    """What is written of each text."""

    AUTO = "auto"
    """``text`` for lines, ``words`` for records and tables."""
    TEXT = "text"
    """The text with spaces between its words; ``seampack segment restore`` takes them away again."""
    WORDS = "words"
    """The list of words."""
    OFFSETS = "offsets"
    """Begin and end of each word, in characters of the text."""
    BYTES = "bytes"
    """Begin and end of each word, in bytes of the text as UTF-8."""
    POSTERIORS = "posteriors"
    """For each character the probability that a word ends behind it."""
    N_BEST = "n-best"
    """The best segmentations with their scores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyConfig(Config):
    """What is read and written. Raises ConfigError naming the field, what was expected and what was given."""

    output: str = option(
        Output.AUTO.value,
        "What is written of each text: spaced text, words as a list, offsets in characters or in bytes, probabilities "
        "of word ends, or the n best segmentations; auto: text for lines, words for records.",
    )
    n_best: int = option(5, "n-best: number of segmentations.")
    text_column: str = option("text", "Field or column that holds the text.")
    output_column: str = option("", "Field or column that is added; by default named after the output.")
    input_format: str = option(FileFormat.AUTO.value, "How inputs are read; auto looks at their first bytes and name.")
    output_format: str = option(
        FileFormat.AUTO.value, "How the output is written; auto goes by the name of the output, then by the input."
    )
    on_bad: str = option(
        OnBad.STOP.value, "At bytes that are not UTF-8, in a table too: stop, or replace each by U+FFFD."
    )

    def __post_init__(self) -> None:
        check_choice("output", self.output, Output)
        check_choice("input_format", self.input_format, FileFormat)
        check_choice("output_format", self.output_format, FileFormat)
        check_choice("on_bad", self.on_bad, OnBad)
        check_integer("n_best", self.n_best, 1, 1000)
