"""The lexicon of a segmenter: words with their counts, which decide together with the student or the language models.

The score of a word is its log-probability among the counted words. A word that the lexicon lacks is spelled: its score
is the log-probability of its units and its end, as the different words of the lexicon have them.
"""

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
_UNKNOWN = 2.0
"""Factor of the probability of a spelled word next to the student."""
_MODEL_UNKNOWN = 0.1
"""Factor of the probability of a spelled word next to a language model."""
_LIKELY = 0.001
"""Posterior of student and lexicon below which the language models do not score a segment."""
_UNSEEN = 0.5
"""Count of a unit that no word has."""


@dataclass(frozen=True, slots=True)
class Lexicon:
    """Words, and units within words, as a hash table.

    ``slots`` holds a code of each. ``values`` holds the log-probability of a word; and of a unit, this as a word and
    that within a spelled word.
    """

    slots: npt.NDArray[np.uint64]  # shape (a power of two,)
    values: npt.NDArray[np.float32]  # shape (slots, 2)
    longest: int
    """Length of the longest word that the decoder considers, in units."""
    unseen: npt.NDArray[np.float64]
    """Values of a unit that no word has, shape (2,)."""
    end: float
    """Log-probability of the end of a spelled word."""

    @classmethod
    def of(cls, alphabet: Alphabet, words: Sequence[str], counts: npt.NDArray[Any], longest: int) -> Self:
        """Return the lexicon of distinct words.

        Args:
            alphabet: The characters of the segmenter.
            words: The words; none may be empty.
            counts: How often each of them was found, shape (words,).
            longest: Length of the longest word that the decoder considers, in units.
        """
        units, _ = alphabet.units(list(words))
        single = units.key[units.offsets[:-1][np.diff(units.offsets) == 1]]
        seen, spelled = np.unique(units.key, return_counts=True)
        total, spelled_total = float(counts.sum()), units.key.size + len(words)
        unseen = np.log([_UNSEEN / total, _UNSEEN / spelled_total])
        parts = ~np.isin(seen, single)  # units that are in words, but no words
        keys = np.concatenate([units.key, seen[parts]])
        offsets = np.concatenate([units.offsets, units.key.size + np.arange(1, np.count_nonzero(parts) + 1)])
        scores = np.full((offsets.size - 1, 2), unseen)
        scores[: len(words), 0] = np.log(counts / total)
        is_unit = np.diff(offsets) == 1
        scores[is_unit, 1] = np.log(spelled / spelled_total)[np.searchsorted(seen, keys[offsets[:-1][is_unit]])]
        slots = np.zeros(1 << (2 * scores.shape[0]).bit_length(), np.uint64)
        values = np.zeros((slots.size, 2), np.float32)
        kernels.fill_table(keys, offsets, scores, slots, values)
        return cls(slots, values, longest, unseen, float(np.log(len(words) / spelled_total)))

    @classmethod
    def of_arrays(cls, arrays: dict[str, npt.NDArray[Any]], alphabet: Alphabet) -> Self:
        """Return the lexicon in the arrays of a safetensors file. Raises KeyError or ValueError if they are invalid."""
        words = words_of(arrays)
        counts, longest = arrays["counts"], arrays["longest"]
        if len(set(words)) < len(words) or "" in words:
            raise ValueError("words: expected distinct words; got an empty or a repeated one")
        if counts.dtype.kind != "i" or counts.shape != (len(words),) or counts.min() < 1:
            raise ValueError(
                f"counts: expected {len(words)} integers above 0; got {counts.dtype} of shape {counts.shape}"
            )
        if longest.dtype.kind != "i" or longest.shape != (1,) or not 1 <= longest[0] <= LONGEST:
            raise ValueError(f"longest: expected an integer from 1 to {LONGEST}; got {longest.tolist()}")
        return cls.of(alphabet, words, counts, int(longest[0]))

    def with_student(self, units: Units, log_odds: npt.NDArray[np.float32]) -> decoders.Lattices:
        """Return the scores of all segments between two certain ends of words.

        ``log_odds``: the student's log-odds that a word ends after each unit, infinite where that is certain, shape
        (units,).
        """
        offsets = np.concatenate([[0], np.flatnonzero(np.isposinf(log_odds)) + 1])
        scores = self._word_scores(units, offsets, self.longest, self.longest, _UNKNOWN)
        kernels.add_student(log_odds, offsets, _STUDENT_WEIGHT, scores)
        _kernels.forbid_bonds(scores, offsets, units.bonds, decoders.IMPOSSIBLE)
        return decoders.Lattices(scores, scores, offsets, weight=1)

    def likely_segments(self, units: Units, log_odds: npt.NDArray[np.float32], widest: int) -> npt.NDArray[np.bool_]:
        """Return flags of the segments that lexicon and student do not exclude, shape (units, widest).

        These are the segments with a posterior of at least _LIKELY, and those of the best segmentation. A longer one
        flags all segments within it. ``log_odds``: see ``with_student``.
        """
        lattices = self.with_student(units, log_odds)
        posteriors = lattices.posteriors()
        likely = np.zeros((units.key.size, max(self.longest, widest)), np.bool_)
        likely[:, : self.longest] = posteriors >= _LIKELY
        last = np.flatnonzero(lattices.ends(posteriors))
        sizes = np.diff(last, prepend=-1)
        likely[last - sizes + 1, sizes - 1] = True
        for size in range(widest + 1, self.longest + 1):
            starts = np.flatnonzero(likely[:, size - 1])
            for place in range(size):
                likely[starts + place, : min(widest, size - place)] = True
        return likely[:, :widest]

    def with_models(self, units: Units, lattices: decoders.Lattices) -> decoders.Lattices:
        """Return the lattices of the language models with the scores of the lexicon added, and with its longer words.

        ``units``: the units of the lattices.
        """
        widest = lattices.forward.shape[1]
        words = self._word_scores(units, lattices.offsets, max(self.longest, widest), widest, _MODEL_UNKNOWN)
        both = []
        for model in (lattices.forward, lattices.backward):
            scores = words.copy()
            kernels.add_model(model, units.single, lattices.offsets, _MODEL_WEIGHTS, decoders.IMPOSSIBLE, scores)
            _kernels.forbid_bonds(scores, lattices.offsets, units.bonds, decoders.IMPOSSIBLE)
            both.append(scores)
        return decoders.Lattices(both[0], both[1], lattices.offsets, lattices.weight)

    def _word_scores(
        self, units: Units, offsets: decoders.Offsets, longest: int, most: int, unknown: float
    ) -> decoders.Scores:
        """Return the lexicon's scores of all segments, shape (units, longest).

        Words of more than ``most`` units that the lexicon lacks have the score IMPOSSIBLE. ``unknown``: factor of the
        probability of shorter ones.
        """
        scores = np.full((units.key.size, longest), decoders.IMPOSSIBLE, np.float32)
        table = self.slots, self.values
        kernels.word_scores(units.key, offsets, table, self.unseen, float(np.log(unknown)) + self.end, most, scores)
        return scores


def words_of(arrays: dict[str, npt.NDArray[Any]]) -> list[str]:
    """Return the words in the arrays of a safetensors file. Raises KeyError or ValueError if they are invalid."""
    try:
        return zlib.decompress(arrays["words"].tobytes()).decode().split("\n")
    except zlib.error as error:
        raise ValueError(f"words: {error}") from error


def to_arrays(words: Sequence[str], counts: npt.NDArray[Any], longest: int) -> dict[str, Any]:
    """Return the arguments of ``Lexicon.of`` as arrays for a safetensors file; the words are compressed."""
    return {
        "words": np.frombuffer(zlib.compress("\n".join(words).encode(), 9), np.uint8),
        "counts": counts.astype(np.int64 if counts.max() >= 1 << 31 else np.int32),
        "longest": np.array([longest]),
    }
