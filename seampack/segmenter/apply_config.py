"""Options for applying a segmenter. No heavy imports: the command line is generated from this module."""

from dataclasses import dataclass
from enum import StrEnum

from seampack.config import Config, option
from seampack.errors import ConfigError
from seampack.io.formats import COLUMNAR, RECORDS, TABLES, Format

READ_FORMATS = (Format.AUTO, Format.LINES, *RECORDS, *TABLES)
WRITTEN_FORMATS = (Format.AUTO, Format.LINES, Format.JSONL, *COLUMNAR)


class OnBad(StrEnum):
    """Action on text that is not valid, and on records without a text."""

    STOP = "stop"
    """End the run with an error that names the file and the line or row."""
    REPLACE = "replace"
    """Replace each invalid byte and half surrogate pair with U+FFFD; the original text can then not be restored."""
    QUARANTINE = "quarantine"
    """Skip the line, record or row; write it with the reason to ``OUT.quarantine.jsonl``."""


class Output(StrEnum):
    """Output for each text."""

    AUTO = "auto"
    """``text`` for lines, ``words`` for records and tables."""
    TEXT = "text"
    """The text with spaces between its words; ``seampack segment restore`` removes them again."""
    WORDS = "words"
    """The list of words."""
    OFFSETS = "offsets"
    """Begin and end of each word, in characters of the text."""
    BYTES = "bytes"
    """Begin and end of each word, in bytes of the UTF-8 text."""
    POSTERIORS = "posteriors"
    """For each character, the probability that a word ends after it."""
    N_BEST = "n-best"
    """The best segmentations with their scores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyConfig(Config):
    """Options of reading texts and writing their words."""

    output: str = option(
        Output.AUTO.value,
        "What to write for each text: spaced text, a list of words, offsets in characters or bytes, probabilities of "
        "word ends, or the n best segmentations. auto: spaced text for lines, words for records.",
        choices=Output,
    )
    n_best: int = option(5, "n-best: number of segmentations.", low=1, high=1000)
    text_column: str = option(
        "text", "Field or column with the text; meta.text is the field text within meta.", empty=False
    )
    output_column: str = option("", "Field or column to add; by default named after the output.")
    input_format: str = option(
        Format.AUTO.value,
        "Format of the inputs; auto detects it from their first bytes and name.",
        choices=READ_FORMATS,
    )
    output_format: str = option(
        Format.AUTO.value,
        "Format of the output; auto uses the name of the output, then the input format (JSON lines for CSV and TSV).",
        choices=WRITTEN_FORMATS,
    )
    on_bad: str = option(
        OnBad.STOP.value,
        "Action on text that is not valid Unicode and on records without the text: stop; replace invalid characters "
        "with U+FFFD; or quarantine: write the record with the reason to OUT.quarantine.jsonl and continue.",
        choices=OnBad,
    )


class Decoder(StrEnum):
    """Methods that turn the scores of both directions into words; implemented in ``decoders``."""

    POSTERIOR = "posterior"
    """The segmentation with the most expected correct words, by the mean posteriors of both directions."""
    PRODUCT = "product"
    """The best segmentation by the sum of both directions' log-probabilities."""
    MEAN = "mean"
    """The best segmentation by the mean of both directions' segment probabilities."""
    LIKELIER = "likelier"
    """For each chunk, the direction whose best segmentation scores higher."""
    MERGE = "merge"
    """The ends on which both directions agree; between them, the block that scores higher."""
    BOUNDARY = "boundary"
    """A word ends where the mean probability of an end is at least one half, or the threshold."""
    FORWARD = "forward"
    """The best segmentation of the forward direction."""
    BACKWARD = "backward"
    """The best segmentation of the backward direction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeConfig(Config):
    """Options that decide where words end."""

    exact: bool = option(
        False,
        "Use the language models instead of the fast student: 100 times slower, and worse in the bundled Thai model. "
        "Always on for a segmenter without a student.",
    )
    decoder: str | None = option(
        None,
        "Method that combines both directions of the language model; implies --exact. By default the one that training "
        "chose, or posterior.",
        choices=Decoder,
    )
    threshold: float | None = option(
        None,
        "Lowest probability at which a word ends; below 0.5 gives shorter words, above 0.5 longer words. Default: 0.5 "
        "for the student; the language models use the decoder.",
        low=0,
        high=1,
    )
    lexicon: bool = option(
        True, "Let the lexicon decide together with the student or the language models, if the segmenter has a lexicon."
    )

    def check_rules(self) -> None:
        """Raise ConfigError if a threshold is combined with a decoder that does not use it."""
        if self.threshold is not None and self.decoder not in (None, Decoder.BOUNDARY):
            raise ConfigError(
                f"threshold: only the decoder boundary uses it; got decoder {self.decoder!r}; remove one of the two"
            )

    @property
    def uses_language_models(self) -> bool:
        """Whether the language models are used even if there is a student."""
        return self.exact or self.decoder is not None
