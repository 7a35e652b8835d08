"""The lexicon of a segmenter: words with their counts, which decide together with the student or the language models.

The score of a word is its log-probability among the counted words. A word that the lexicon lacks has the score of its
best cut into known words, so the lexicon itself neither joins nor cuts it, plus the logarithm of the share of unknown
words relative to ``_USUAL_UNKNOWN``: the smaller the lexicon, the less it decides.
"""

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from seampack.segmenter import _kernels, decoders
from seampack.segmenter import _lexicon_kernels as kernels
from seampack.segmenter.config import LONGEST
from seampack.segmenter.units import Alphabet, Units

_STUDENT_WEIGHT = 0.5
"""Weight of the student's log-probabilities. All these values were chosen on UD GSDSimp dev."""
_MODEL_WEIGHTS = 0.5, 0.3
"""Weights of the log-probabilities of a language model, and of the lexicon next to it."""
_USUAL_UNKNOWN = 0.1
"""Share of unknown words among all running words at which unknown words have no penalty."""


@dataclass(frozen=True, slots=True)
class Lexicon:
    """Words as a hash table over their units. ``slots`` holds a code of each word, ``values`` its log-probability."""

    slots: npt.NDArray[np.uint64]  # shape (a power of two,)
    values: npt.NDArray[np.float32]  # shape as ``slots``
    longest: int
    """Length of the longest word that the decoder considers, in units."""
    unknown_unit: float
    """Score of a unit that is not in the lexicon."""
    joining: float
    """Penalty of an unknown word of several units."""

    @classmethod
    def of(
        cls, alphabet: Alphabet, words: Sequence[str], counts: npt.NDArray[Any], longest: int, unknown: float
    ) -> Self:
        """Return the lexicon of distinct words.

        Args:
            alphabet: The characters of the segmenter.
            words: The words; none may be empty.
            counts: How often each of them was found, shape (words,).
            longest: Length of the longest word that the decoder considers, in units.
            unknown: Share of words that the lexicon lacks among all words of a text, above 0.
        """
        units, _ = alphabet.units(list(words))
        total = float(counts.sum())
        slots = np.zeros(1 << (2 * len(words)).bit_length(), np.uint64)
        values = np.zeros(slots.size, np.float32)
        kernels.fill_table(units.key, units.offsets, np.log(counts / total), slots, values)
        return cls(slots, values, longest, math.log(0.5 / total), math.log(_USUAL_UNKNOWN / unknown))

    @classmethod
    def of_arrays(cls, arrays: dict[str, npt.NDArray[Any]], alphabet: Alphabet) -> Self:
        """Return the lexicon in the arrays of a safetensors file. Raises KeyError or ValueError if they are invalid."""
        words = words_of(arrays)
        counts, longest, unknown = (arrays[name] for name in ("counts", "longest", "unknown"))
        if len(set(words)) < len(words) or "" in words:
            raise ValueError("words: expected distinct words; got an empty or a repeated one")
        if counts.dtype.kind != "i" or counts.shape != (len(words),) or counts.min() < 1:
            raise ValueError(
                f"counts: expected {len(words)} integers above 0; got {counts.dtype} of shape {counts.shape}"
            )
        if longest.dtype.kind != "i" or longest.shape != (1,) or not 1 <= longest[0] <= LONGEST:
            raise ValueError(f"longest: expected an integer from 1 to {LONGEST}; got {longest.tolist()}")
        if unknown.dtype.kind != "f" or unknown.shape != (1,) or not 0 < unknown[0] <= 1:
            raise ValueError(f"unknown: expected a share above 0; got {unknown.tolist()}")
        return cls.of(alphabet, words, counts, int(longest[0]), float(unknown[0]))

    def with_student(self, units: Units, log_odds: npt.NDArray[np.float32]) -> decoders.Lattices:
        """Return the scores of all segments between two certain ends of words.

        ``log_odds``: the student's log-odds that a word ends after each unit, infinite where that is certain, shape
        (units,).
        """
        offsets = np.concatenate([[0], np.flatnonzero(np.isposinf(log_odds)) + 1])
        scores = self._word_scores(units, offsets, self.longest, self.longest)
        kernels.add_student(log_odds, offsets, _STUDENT_WEIGHT, scores)
        _kernels.forbid_bonds(scores, offsets, units.bonds, decoders.IMPOSSIBLE)
        return decoders.Lattices(scores, scores, offsets, weight=1)

    def with_models(self, units: Units, lattices: decoders.Lattices) -> decoders.Lattices:
        """Return the lattices of the language models with the scores of the lexicon added, and with its longer words.

        ``units``: the units of the lattices.
        """
        widest = lattices.forward.shape[1]
        words = self._word_scores(units, lattices.offsets, max(self.longest, widest), widest)
        both = []
        for model in (lattices.forward, lattices.backward):
            scores = words.copy()
            kernels.add_model(model, units.single, lattices.offsets, _MODEL_WEIGHTS, decoders.IMPOSSIBLE, scores)
            _kernels.forbid_bonds(scores, lattices.offsets, units.bonds, decoders.IMPOSSIBLE)
            both.append(scores)
        return decoders.Lattices(both[0], both[1], lattices.offsets, lattices.weight)

    def _word_scores(self, units: Units, offsets: decoders.Offsets, longest: int, most: int) -> decoders.Scores:
        """Return the lexicon's scores of all segments, shape (units, longest).

        Words of more than ``most`` units that the lexicon lacks have the score IMPOSSIBLE.
        """
        scores = np.full((units.key.size, longest), decoders.IMPOSSIBLE, np.float32)
        table = self.slots, self.values
        kernels.word_scores(units.key, offsets, table, self.unknown_unit, self.joining, most, scores)
        return scores


def words_of(arrays: dict[str, npt.NDArray[Any]]) -> list[str]:
    """Return the words in the arrays of a safetensors file. Raises KeyError or ValueError if they are invalid."""
    try:
        return zlib.decompress(arrays["words"].tobytes()).decode().split("\n")
    except zlib.error as error:
        raise ValueError(f"words: {error}") from error


def to_arrays(words: Sequence[str], counts: npt.NDArray[Any], longest: int, unknown: float) -> dict[str, Any]:
    """Return the arguments of ``Lexicon.of`` as arrays for a safetensors file; the words are compressed."""
    return {
        "words": np.frombuffer(zlib.compress("\n".join(words).encode(), 9), np.uint8),
        "counts": counts.astype(np.int64 if counts.max() >= 1 << 31 else np.int32),
        "longest": np.array([longest]),
        "unknown": np.array([unknown]),
    }
