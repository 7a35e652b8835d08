"""The segmenter, which splits texts written without spaces into words."""

import os
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from seampack.config import check_integer
from seampack.errors import ConfigError, DataError, MissingExtraError, ShardError
from seampack.io.ragged import lengths_of, offsets_of
from seampack.io.records import HALF_PAIR, no_field
from seampack.segmenter import artifact, decoders
from seampack.segmenter.apply_config import DecodeConfig
from seampack.segmenter.config import TrainConfig
from seampack.segmenter.dictionary import Dictionary, Words
from seampack.segmenter.lexicon import Lexicon
from seampack.segmenter.scripts import HanForm, ScriptCheck, points_in_form
from seampack.segmenter.spans import Spans
from seampack.segmenter.student import Student
from seampack.segmenter.units import Alphabet, Units, code_points

if TYPE_CHECKING:
    from seampack.segmenter.teacher import Teacher


class Segmenter:
    """A trained segmenter. It splits text with the fast student or, with ``exact``, with both language models.

    If it has a lexicon, this decides together with them.

    ``threads``: number of threads of the language models; with 2 or more, both run at the same time.
    """

    def __init__(self, folder: str | os.PathLike[str], *, threads: int = 2) -> None:
        self.threads = check_integer("threads", threads, 1)
        self.folder = artifact.find(folder)
        self.description = artifact.load_description(self.folder)
        try:
            self._alphabet = Alphabet(self.script)
        except ConfigError as error:
            raise ShardError(f"{self.folder / artifact.DESCRIPTION}: {error}; {artifact.REMEDY}") from error
        self.script_check = ScriptCheck(os.fspath(folder), self._alphabet, self.han_form)

    @classmethod
    def load(cls, name: str | os.PathLike[str], *, threads: int = 2) -> Self:
        """Return the segmenter in a folder, or a bundled one by its name (``zh``, ``th``, ``ja``).

        Raises ShardError if the segmenter is missing or damaged, ConfigError if ``threads`` is below 1.
        """
        return cls(name, threads=threads)

    @property
    def script(self) -> str:
        """The characters that words consist of: a preset or a list of characters."""
        return str(self.description["script"])

    @property
    def han_form(self) -> HanForm | None:
        """The form of Chinese characters in the training text; None if it had none, or both, or is not known."""
        form = self.description.get("han_form")
        return None if form is None else HanForm(form)

    @property
    def has_student(self) -> bool:
        """Whether the segmenter has a fast student."""
        return "student" in self.description["parts"]

    @property
    def has_teacher(self) -> bool:
        """Whether the segmenter has its language models."""
        return "teacher" in self.description["parts"]

    def check_teacher(self) -> None:
        """Raise ShardError unless the segmenter has its language models."""
        if not self.has_teacher:
            raise artifact.lacks(
                self.folder, "teacher", self.description, "choose a segmenter with language models, such as zh or th"
            )

    @property
    def has_lexicon(self) -> bool:
        """Whether the segmenter has a lexicon."""
        return "lexicon" in self.description["parts"]

    @property
    def decoder(self) -> str:
        """The decoder of the language models, if none is given: chosen in training, or ``decoders.DEFAULT``."""
        return str(self.description.get("decoder") or decoders.DEFAULT)

    @cached_property
    def student(self) -> Student:
        """The fast student. Raises ShardError if it is missing or damaged."""
        arrays = artifact.load_part(self.folder, "student", self.description)
        try:
            return Student.of_arrays(arrays)
        except (KeyError, ValueError) as error:
            raise self._damaged("student", "a student", error) from error

    @cached_property
    def lexicon(self) -> Lexicon:
        """The lexicon. Raises ShardError if it is missing or damaged."""
        arrays = artifact.load_part(self.folder, "lexicon", self.description)
        try:
            return Lexicon.of_arrays(arrays, self._alphabet)
        except (KeyError, ValueError) as error:
            raise self._damaged("lexicon", "a lexicon", error) from error

    @cached_property
    def teacher(self) -> "Teacher":
        """Both language models. Raises ShardError if missing or damaged, MissingExtraError if torch is missing."""
        arrays = artifact.load_part(self.folder, "teacher", self.description)
        try:
            from seampack.segmenter.corpus import Vocabulary
            from seampack.segmenter.teacher import Teacher
        except ModuleNotFoundError as error:
            raise MissingExtraError(str(error.name), "segmenter", "exact segmentation") from error
        config = TrainConfig.of_description(self.description["config"])
        try:
            longest = arrays.pop("longest", np.array([config.longest]))  # the bundled models have none
            if longest.shape != (1,) or longest[0] != config.longest:
                raise ValueError(f"longest: expected {config.longest} as in the description; got {longest.tolist()}")
            return Teacher(Vocabulary.of_array(arrays.pop("vocabulary")), config, arrays, self.threads)
        except (KeyError, ValueError, TypeError, RuntimeError) as error:
            raise self._damaged("teacher", "a language model", error) from error

    def _damaged(self, part: str, what: str, error: Exception) -> ShardError:
        reason = f"no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
        path = self.folder / f"{part}.safetensors"
        return ShardError(f"{path}: does not hold {what} as in {artifact.DESCRIPTION}: {reason}; {artifact.REMEDY}")

    def segment(self, texts: list[str], **options: Any) -> list[list[str]]:
        """Return the words of each text, without white space. Options and errors: see ``spans``."""
        return self.spans(texts, **options).words(texts)

    def spans(
        self,
        texts: list[str],
        *,
        exact: bool = False,
        decoder: str | None = None,
        threshold: float | None = None,
        dictionary: Words | None = None,
        lexicon: bool = True,
    ) -> Spans:
        """Return the positions of the words.

        Args:
            texts: The texts.
            exact: Use the language models (extra ``segmenter``) instead of the student.
            decoder: Name of the method that combines both directions, see ``decoders``; implies ``exact``.
            threshold: Lowest probability at which a word ends; with ``exact`` it implies the decoder ``boundary``.
            dictionary: Words that override the model, but not the spelling: some boundaries do not exist in Thai. The
                path of a file, a list of entries, or a ``Dictionary``, which is read once for many calls.
            lexicon: Let the lexicon decide too, if the segmenter has one.

        Raises:
            ConfigError: An option is invalid, or options contradict each other.
            DataError: An item is not a text, or the dictionary cannot be read.
            ShardError: The segmenter lacks a part that the options need.
        """
        config = DecodeConfig(exact=exact, decoder=decoder, threshold=threshold, lexicon=lexicon)
        return self.decode(texts, config, dictionary)

    def decode(self, texts: list[str], config: DecodeConfig, dictionary: Words | None = None) -> Spans:
        """Return the positions of the words, like ``spans``, with the options as a config."""
        words = Dictionary.given(dictionary)
        units, starts = self.units(texts)
        exact = config.uses_language_models or not self.has_student
        lattices = self._lattices(units, exact, config.lexicon, likely=config.threshold is None)
        if lattices is not None and config.threshold is None:
            own = self.decoder if exact else decoders.DEFAULT
            ends = decoders.DECODERS[config.decoder or own](lattices)
            ends[units.forced_ends] = 1
        else:
            threshold = 0.5 if config.threshold is None else config.threshold
            ends = (self._unit_probabilities(units, lattices) >= threshold).astype(np.uint8)
        if words is not None:
            words.apply(texts, units, starts, ends, self.han_form)
        ends[units.bonds == 1] = 0
        return Spans.of_ends(ends, units, starts)

    def pieces(self, texts: list[str]) -> tuple[list[str], npt.NDArray[np.int64]]:
        """Return all words of all texts, each with the white space before it, and the first word of each text.

        The first words have shape (texts + 1,). The pieces of a text concatenate to the text, for tokenisers that must
        not cross word boundaries.
        """
        spans = self.spans(texts)
        pieces: list[str] = []
        offsets = np.zeros(len(texts) + 1, np.int64)
        for number, (text, (_, ends)) in enumerate(zip(texts, spans.per_text(), strict=True)):
            cuts = [0, *ends[:-1], len(text)]
            pieces += [text[a:b] for a, b in pairwise(cuts)]
            offsets[number + 1] = len(pieces)
        return pieces, offsets

    def end_probabilities(
        self,
        texts: list[str],
        *,
        exact: bool = False,
        dictionary: Words | None = None,
        lexicon: bool = True,
    ) -> list[npt.NDArray[np.float32]]:
        """Return, for each text, the probability that a word ends after each character, shape (characters,).

        The probability is 0 between characters of one unit, and where the spelling allows no end (``Units.bonds``). It
        is 1 after white space, before and after a unit that is a word by itself, and where an entry of the
        ``dictionary`` begins or ends.

        Raises DataError if an item is not a text or the dictionary cannot be read, ShardError if the segmenter lacks
        the required part.
        """
        words = Dictionary.given(dictionary)
        units, starts = self.units(texts)
        lattices = self._lattices(units, exact or not self.has_student, lexicon)
        ends = self._unit_probabilities(units, lattices)
        if words is not None:
            words.apply(texts, units, starts, ends, self.han_form)
            ends[units.bonds == 1] = 0
        probabilities = np.zeros(int(starts[-1]), np.float32)
        probabilities[units.end - 1] = ends
        edges = np.zeros(int(starts[-1]) + 1, np.int32)
        np.add.at(edges, units.begin, 1)
        np.add.at(edges, units.end, -1)
        is_white_space = np.cumsum(edges[:-1]) == 0
        probabilities[is_white_space] = 1
        return [probabilities[a:b] for a, b in pairwise(starts)]

    def n_best(
        self, texts: list[str], count: int, *, exact: bool = False, lexicon: bool = True
    ) -> list[list[tuple[float, list[str]]]]:
        """Return, for each text, its ``count`` best segmentations by the decoder ``product``, with their log-scores.

        The scores are those of student and lexicon, or, with ``exact`` or without one of the two, of the language
        models. The first segmentation may differ from that of ``segment``, whose decoder is another one.

        Segmentations are ranked within each chunk: the best one of a text joins the best one of each of its chunks, and
        so on.

        Raises ConfigError if ``count`` is below 1, DataError if an item is not a text, ShardError if the segmenter has
        neither language models nor a lexicon that may be used.
        """
        count = check_integer("n_best", count, 1)
        units, starts = self.units(texts)
        by_words = self.has_student and self.has_lexicon and lexicon  # the student alone scores ends, not words
        if not (by_words or exact or self.has_teacher):
            raise ShardError(
                f"{self.folder}: the n best segmentations need a lexicon or language models; use the lexicon, or count "
                "one: seampack segment lexicon"
            )
        lattices = (
            self.lexicon.with_student(units, self.student.end_log_odds(units))
            if by_words and not exact
            else self.model_lattices(units, lexicon=lexicon)
        )
        ends, totals = lattices.n_best(count)
        ends[:, units.bonds == 1] = 0
        chunk_text = np.searchsorted(units.offsets, lattices.offsets[:-1], side="right") - 1
        result: list[list[tuple[float, list[str]]]] = [[] for _ in texts]
        for rank in range(count):
            segmented = Spans.of_ends(ends[rank], units, starts).words(texts)
            scores = np.bincount(chunk_text, totals[rank], len(texts)) if chunk_text.size else np.zeros(len(texts))
            for ranked, score, words in zip(result, scores, segmented, strict=True):
                if not ranked or ranked[-1][1] != words:
                    ranked.append((float(score), words))
        return result

    def map_batch(
        self, batch: Mapping[str, list[Any]], column: str = "text", words: str = "words", **options: Any
    ) -> dict[str, list[Any]]:
        """Add a column with the words of a text column, for ``datasets.Dataset.map(batched=True)``; null stays null.

        Options: see ``spans``. ``datasets`` passes them on, with ``column`` and ``words``, from ``fn_kwargs``.

        Raises DataError if the batch is a single record, lacks the text column or already has the other one, or if an
        item is neither a text nor null.
        """
        if column not in batch:
            raise DataError(no_field(column, list(batch), "column"))
        if words in batch:
            raise DataError(f"the batch already has a column {words!r}; choose another name with words")
        texts = batch[column]
        if texts is None or isinstance(texts, str):
            got = "null" if texts is None else "one text"
            raise DataError(f"column {column!r}: expected a list of texts; got {got}; use batched=True")
        split = self.segment(["" if text is None else text for text in texts], **options)
        return {**batch, words: [None if text is None else parts for text, parts in zip(texts, split, strict=True)]}

    def units(self, texts: list[str]) -> tuple[Units, npt.NDArray[np.int64]]:
        """Return the units of the texts, and the first code point of each text in the concatenation, (texts + 1,).

        Chinese characters of the form that the model has not learned get the keys of their counterparts.
        Warns once if the texts are not in the script, or the form of Chinese characters, that the model learned.
        Raises DataError if an item is not a text.
        """
        if isinstance(texts, str):
            raise DataError("expected a list of texts; got one string; put it in a list: segment([text])")
        if not isinstance(texts, Iterable):
            raise DataError(f"expected a list of texts; got {type(texts).__name__}")
        try:
            points, starts = code_points(texts)
        except TypeError:
            index = next((i for i, text in enumerate(texts) if not isinstance(text, str)), None)
            if index is None:
                raise
            raise DataError(
                f"texts[{index}]: expected text; got {type(texts[index]).__name__}; remove it, or pass an empty text"
            ) from None
        except UnicodeEncodeError as error:
            index = bisect_right(offsets_of(lengths_of(texts)).tolist(), error.start) - 1
            raise DataError(f"texts[{index}]: {HALF_PAIR}; remove it") from None
        self.script_check.add(points, is_mapped=True)
        return self._alphabet.units_of(points_in_form(points, self.han_form), starts), starts

    def model_lattices(self, units: Units, *, lexicon: bool = True, likely: bool = False) -> decoders.Lattices:
        """Return the lattices of the language models, with the scores of the lexicon if there is one.

        Args:
            units: From ``units``.
            lexicon: Let the lexicon decide too, if the segmenter has one.
            likely: Score only the segments that student and lexicon do not exclude; without a lexicon, all.

        Raises ShardError if the segmenter has no language models.
        """
        if not (lexicon and self.has_lexicon):
            return self.teacher.lattices(units)
        return self.lexicon.with_models(units, self.teacher.lattices(units, self._likely(units) if likely else None))

    def _likely(self, units: Units) -> npt.NDArray[np.bool_]:
        """Return flags of the segments that student and lexicon do not exclude, shape (units, K)."""
        log_odds = self.student.end_log_odds(units)
        log_odds[self.teacher.chunk_offsets(units)[1:] - 1] = np.inf  # no segment leaves its chunk
        return self.lexicon.likely_segments(units, log_odds, self.teacher.config.longest)

    def _lattices(self, units: Units, exact: bool, lexicon: bool, *, likely: bool = False) -> decoders.Lattices | None:
        """Return the lattices of the language models or the student, with the lexicon; None for the student alone."""
        if exact:
            return self.model_lattices(units, lexicon=lexicon, likely=likely)
        if lexicon and self.has_lexicon:
            return self.lexicon.with_student(units, self.student.end_log_odds(units))
        return None

    def _unit_probabilities(self, units: Units, lattices: decoders.Lattices | None) -> npt.NDArray[np.float32]:
        """Return the probability that a word ends after each unit, shape (units,); without lattices, the student's."""
        if lattices is None:
            return self.student.end_probabilities(units)
        probabilities = np.minimum(lattices.end_posteriors(), 1)  # sums of rounded numbers
        probabilities[units.forced_ends] = 1
        probabilities[units.bonds == 1] = 0
        return probabilities.astype(np.float32)
