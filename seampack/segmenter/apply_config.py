"""Options of applying a segmenter. No heavy imports: the command line is made from these."""

from dataclasses import dataclass
from enum import StrEnum

from seampack.config import Config, option


class FileFormat(StrEnum):
    """How files are read or written."""

    AUTO = "auto"
    """Reading: from the first bytes, then the name. Writing: from the name of the output, then like the input."""
    LINES = "lines"
    """Plain text, a text per line."""
    JSONL = "jsonl"
    """One JSON object per line."""
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
    """The text with spaces between its words; ``seampack segment restore`` removes them again."""
    WORDS = "words"
    """The list of words."""
    OFFSETS = "offsets"
    """Begin and end of each word, in characters of the text."""
    BYTES = "bytes"
    """Begin and end of each word, in bytes of the text as UTF-8."""
    POSTERIORS = "posteriors"
    """For each character the probability that a word ends after it."""
    N_BEST = "n-best"
    """The best segmentations with their scores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyConfig(Config):
    """Options of reading texts and writing their words. Raises ConfigError naming the field, expected and given."""

    output: str = option(
        Output.AUTO.value,
        "What to write for each text: spaced text, a list of words, offsets in characters or bytes, probabilities of "
        "word ends, or the n best segmentations. auto: spaced text for lines, words for records.",
        choices=Output,
    )
    n_best: int = option(5, "n-best: number of segmentations.", low=1, high=1000)
    text_column: str = option("text", "Field or column with the text.", empty=False)
    output_column: str = option("", "Field or column to add; by default named after the output.")
    input_format: str = option(
        FileFormat.AUTO.value,
        "Format of the inputs; auto detects it from their first bytes and name.",
        choices=FileFormat,
    )
    output_format: str = option(
        FileFormat.AUTO.value,
        "Format of the output; auto goes by the name of the output, then by the input.",
        choices=FileFormat,
    )
    on_bad: str = option(
        OnBad.STOP.value,
        "Action on bytes that are not UTF-8, in tables too: stop, or replace each by U+FFFD.",
        choices=OnBad,
    )
