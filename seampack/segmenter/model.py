"""Segmenter: words of texts that are written without spaces."""

import os
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from seampack.config import check_number
from seampack.errors import ConfigError, DataError, MissingExtraError, ShardError
from seampack.segmenter import _kernels as kernels
from seampack.segmenter import _unit_kernels as unit_kernels
from seampack.segmenter import artifact, decoders
from seampack.segmenter.dictionary import Dictionary
from seampack.segmenter.student import Student
from seampack.segmenter.units import Alphabet, Units

if TYPE_CHECKING:
    from seampack.segmenter.teacher import Teacher

_NEVER = -5e5
"""A score from here down is that of a segment which must not be: ``language_model.IMPOSSIBLE``."""


@dataclass(frozen=True, slots=True)
class Spans:
    """Words of some texts, one text behind the other: text ``t`` has words ``offsets[t]:offsets[t + 1]``.

    Word ``w`` is the characters ``begin[w]:end[w]`` of its text; white space is in none, all else in exactly one.
    """

    begin: npt.NDArray[np.int64]
    end: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]


class Segmenter:
    """Cuts text into words, by the fast student where the model has one, or ``exact`` by both language models."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = artifact.find(folder)
        self.description = artifact.load_description(self.folder)
        try:
            self._alphabet = Alphabet(self.description["script"])
        except ConfigError as error:
            raise ShardError(f"{self.folder / artifact.DESCRIPTION}: {error}; {artifact.REMEDY}") from error

    @classmethod
    def load(cls, name: str | os.PathLike[str]) -> Self:
        """A trained model by its folder, or a bundled one (``zh``, ``th``).

        Raises ShardError where there is none, or it is damaged.
        """
        return cls(name)

    @property
    def has_student(self) -> bool:
        """Whether there is a fast student."""
        return "student" in self.description["parts"]

    @cached_property
    def _student(self) -> Student:
        arrays = artifact.load_part(self.folder, "student", self.description)
        try:
            return Student.of_arrays(arrays)
        except (KeyError, ValueError) as error:
            raise self._damaged("student", "a student", error) from error

    @cached_property
    def _teacher(self) -> "Teacher":
        arrays = artifact.load_part(self.folder, "teacher", self.description)
        try:
            from seampack.segmenter.corpus import Vocabulary
            from seampack.segmenter.teacher import Teacher
        except ModuleNotFoundError as error:
            raise MissingExtraError(str(error.name), "segmenter", "exact segmentation") from error
        config = self.description["config"]
        try:
            longest = arrays.pop("longest", np.array([config["longest"]]))  # the bundled models have none
            if longest.shape != (1,) or longest[0] != config["longest"]:
                raise ValueError(f"longest: expected {config['longest']} as in the description; got {longest.tolist()}")
            return Teacher(Vocabulary(_keys(arrays.pop("vocabulary"))), config, arrays)
        except (KeyError, ValueError, TypeError, RuntimeError) as error:
            raise self._damaged("teacher", "a language model", error) from error

    def _damaged(self, part: str, what: str, error: Exception) -> ShardError:
        found = f"no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
        path = self.folder / f"{part}.safetensors"
        return ShardError(f"{path}: does not hold {what} as {artifact.DESCRIPTION} says: {found}; {artifact.REMEDY}")

    def segment(self, texts: list[str], **options: Any) -> list[list[str]]:
        """The words of each text, white space left out. ``options`` and what is raised: as in ``spans``."""
        return _lists(texts, self.spans(texts, **options))

    def spans(
        self,
        texts: list[str],
        *,
        exact: bool = False,
        decoder: str | None = None,
        threshold: float | None = None,
        dictionary: Dictionary | None = None,
    ) -> Spans:
        """Where the words are.

        ``exact`` uses the language models (extra ``segmenter``), with ``decoder`` (see ``decoders``; default
        posterior). ``threshold``: probability from which a word ends; below 0.5 gives finer words, above coarser ones;
        with ``exact`` the decoder is then ``boundary``. ``dictionary``: words of the user's that hold whatever the
        model says.

        Raises ConfigError for options that contradict each other, DataError for what is no text, ShardError for a
        model without the part that is asked for.
        """
        units, starts = self._units(texts)
        exact = exact or decoder is not None or not self.has_student
        if threshold is not None:
            check_number("threshold", threshold, 0, 1)
            if decoder not in (None, decoders.boundary.__name__):
                raise ConfigError(f"threshold: it moves the decoder boundary; got {decoder!r}: give one of the two")
        if threshold is not None or not exact:
            ends = (self._end_probabilities(units, exact) >= (0.5 if threshold is None else threshold)).astype(np.uint8)
        else:
            ends = decoders.decoder(decoder or decoders.DEFAULT)(self._teacher.lattices(units))
            ends[units.beside_single] = 1
        if dictionary is not None:
            dictionary.apply(texts, units, starts, ends)
        return self._words(ends, units, starts)

    def pieces(self, texts: list[str]) -> tuple[list[str], npt.NDArray[np.int64]]:
        """All words of all texts, each with the white space before it, and the first of each text, (texts + 1,).

        Put together, the pieces of a text are the text: for tokenizers that must not cross words.
        """
        found = self.spans(texts)
        ends = found.end.tolist()
        pieces: list[str] = []
        firsts = np.zeros(len(texts) + 1, np.int64)
        for t, (text, (first, last)) in enumerate(zip(texts, pairwise(found.offsets.tolist()), strict=True)):
            cuts = [0, *ends[first : last - 1], len(text)] if last > first else [0, len(text)]
            pieces += [text[a:b] for a, b in pairwise(cuts)]
            firsts[t + 1] = len(pieces)
        return pieces, firsts

    def end_probabilities(
        self, texts: list[str], *, exact: bool = False, dictionary: Dictionary | None = None
    ) -> list[npt.NDArray[np.float32]]:
        """For each text, the probability that a word ends behind each character: shape (characters,).

        Between characters of one unit it is 0; behind white space, beside a unit that is a word by itself, and where
        an entry of the ``dictionary`` begins or ends, 1.

        Raises DataError for what is no text, ShardError for a model without the part that is asked for.
        """
        units, starts = self._units(texts)
        found = np.zeros(int(starts[-1]), np.float32)
        ends = self._end_probabilities(units, exact or not self.has_student)
        if dictionary is not None:
            dictionary.apply(texts, units, starts, ends)
        found[units.end - 1] = ends
        edges = np.zeros(int(starts[-1]) + 1, np.int32)
        np.add.at(edges, units.begin, 1)
        np.add.at(edges, units.end, -1)
        inside = np.cumsum(edges[:-1]) > 0
        found[~inside] = 1
        return [found[a:b] for a, b in pairwise(starts)]

    def n_best(self, texts: list[str], count: int) -> list[list[tuple[float, list[str]]]]:
        """For each text its ``count`` best segmentations by both language models' product, with their log-scores.

        They are best within each chunk; those of a text join the first of all chunks, the second, and so on.

        Raises ConfigError for a ``count`` below 1, DataError for what is no text, ShardError for a model without its
        language models.
        """
        if count < 1:
            raise ConfigError(f"n_best: expected at least 1; got {count}")
        units, starts = self._units(texts)
        lattices = self._teacher.lattices(units)
        ends = np.empty((count, units.key.size), np.uint8)
        totals = np.empty((count, lattices.offsets.size - 1))
        product = lattices.product()
        # a unit that is a word by itself stands in no longer one, however far down
        product[product <= _NEVER] = -np.inf
        kernels.n_best(product, lattices.offsets, count, ends, totals)
        for rank in range(1, count):  # a chunk that has fewer keeps its last
            missing = np.isneginf(totals[rank])
            totals[rank, missing] = totals[rank - 1, missing]
            where = np.repeat(missing, np.diff(lattices.offsets))
            ends[rank, where] = ends[rank - 1, where]
        result: list[list[tuple[float, list[str]]]] = [[] for _ in texts]
        chunk_text = np.searchsorted(units.offsets, lattices.offsets[:-1], side="right") - 1
        for rank in range(count):
            spans = self._words(ends[rank], units, starts)
            scores = np.bincount(chunk_text, totals[rank], len(texts)) if chunk_text.size else np.zeros(len(texts))
            for text, score, words in zip(range(len(texts)), scores, _lists(texts, spans), strict=True):
                if not result[text] or result[text][-1][1] != words:
                    result[text].append((float(score), words))
        return result

    def map_batch(
        self, batch: dict[str, list[Any]], column: str = "text", words: str = "words"
    ) -> dict[str, list[Any]]:
        """For ``datasets.Dataset.map(batched=True)``: adds a column of the words of another; null stays null.

        Raises DataError for what is no text, nor null.
        """
        texts = batch[column]
        found = self.segment(["" if text is None else text for text in texts])
        return {**batch, words: [None if text is None else one for text, one in zip(texts, found, strict=True)]}

    def _words(self, ends: npt.NDArray[np.uint8], units: Units, starts: npt.NDArray[np.int64]) -> Spans:
        return Spans(*unit_kernels.find_words(ends, units.begin, units.end, units.spaced, units.offsets, starts))

    def _units(self, texts: list[str]) -> tuple[Units, npt.NDArray[np.int64]]:
        if isinstance(texts, str):
            raise DataError("expected a list of texts; got one string: segment([text])")
        try:
            return self._alphabet.units(texts)
        except TypeError:
            wrong = next((at for at, text in enumerate(texts) if not isinstance(text, str)), None)
            if wrong is None:
                raise
            raise DataError(
                f"texts[{wrong}]: expected text; got {type(texts[wrong]).__name__}; leave it out, or give an empty text"
            ) from None

    def _end_probabilities(self, units: Units, exact: bool) -> npt.NDArray[np.float32]:
        if not exact:
            return self._student.end_probabilities(units)
        lattices = self._teacher.lattices(units)
        found: npt.NDArray[np.float64] = kernels.end_posteriors(lattices.posteriors(), lattices.offsets)
        found[units.beside_single] = 1
        return found.astype(np.float32)


def _keys(vocabulary: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    """Keys of units from a file, or ValueError."""
    if vocabulary.dtype not in (np.int64, np.uint64) or vocabulary.ndim != 1:
        raise ValueError(f"vocabulary: expected int64; got {vocabulary.dtype} of the shape {vocabulary.shape}")
    keys = vocabulary.view(np.uint64)
    if (keys[1:] <= keys[:-1]).any():
        raise ValueError("vocabulary: expected different keys in ascending order; got others")
    return keys


def _lists(texts: list[str], spans: Spans) -> list[list[str]]:
    """The words themselves, text by text."""
    begin, end = spans.begin.tolist(), spans.end.tolist()
    return [
        [text[b:e] for b, e in zip(begin[first:last], end[first:last], strict=True)]
        for text, (first, last) in zip(texts, pairwise(spans.offsets.tolist()), strict=True)
    ]
