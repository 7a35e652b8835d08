"""Choice of a segmenter's own decoder, without gold: the words of the best one predict held-out text best.

Where the language models are unsure, the decoders differ in the length of their words. The words of each decoder in one
half of the text make a unigram model, which scores those in the other half. It spells words that it lacks unit by
unit: words that are too long are often unknown, words that are too short are many.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from seampack.segmenter import decoders
from seampack.segmenter.apply_config import Decoder
from seampack.segmenter.decoders import Ends, Lattices, Offsets

CANDIDATES = (Decoder.POSTERIOR, Decoder.PRODUCT, Decoder.MEAN)
"""The decoders that use both directions for each word. The first one maximises the expected number of correct words."""

_CLEAR = 0.01
"""Share of the nats by which another decoder must be better than the first candidate, chosen on UD GSDSimp dev."""
_CODE = np.uint64(0x9E3779B97F4A7C15)
_UNSEEN = 0.5
"""Count of a unit that no word of the other half has."""


@dataclass(frozen=True, slots=True)
class DecoderChoice:
    """The chosen decoder, and the nats per unit of each candidate."""

    decoder: Decoder
    nats: dict[Decoder, float]

    @property
    def facts(self) -> dict[str, Any]:
        """The entries of a segmenter's description."""
        return {"decoder": self.decoder.value, "decoder_nats": {name.value: value for name, value in self.nats.items()}}


def choose_decoder(lattices: Lattices, keys: npt.NDArray[np.uint64], given: Decoder | None = None) -> DecoderChoice:
    """Return the decoder whose words predict held-out text best; the first candidate where the difference is small.

    ``keys``: the keys of the units of the lattices, shape (units,). ``given``: a decoder that is chosen already.
    """
    nats = {name: held_out_nats(decoders.DECODERS[name](lattices), keys, lattices.offsets) for name in CANDIDATES}
    usual, best = CANDIDATES[0], min(CANDIDATES, key=lambda name: nats[name])
    is_clear = nats[best] < (1 - _CLEAR) * nats[usual]
    return DecoderChoice(given or (best if is_clear else usual), nats)


def held_out_nats(ends: Ends, keys: npt.NDArray[np.uint64], offsets: Offsets) -> float:
    """Return the nats per unit of words under the unigram model of the other half's words; 0 for no units.

    The halves are the chunks of even and of odd number. A word that the other half has scores by its frequency there;
    any other word by the share of words that were seen once, times the frequencies of its units in different words.

    Args:
        ends: Flags of the units after which a word ends, shape (units,).
        keys: Keys of the units, shape (units,).
        offsets: First unit of each chunk, and the number of units; shape (chunks + 1,).
    """
    if not keys.size:
        return 0.0
    first = np.flatnonzero(np.append(True, ends[:-1] == 1))
    sizes = np.diff(np.append(first, keys.size))
    chunk = np.searchsorted(offsets, first, side="right") - 1
    words = _numbers(keys, first, sizes)
    _, units = np.unique(keys, return_inverse=True)
    total = 0.0
    for half in (0, 1):
        is_known = chunk % 2 != half
        total += _nats(words, first, sizes, units, is_known)
    return total / keys.size


def _numbers(
    keys: npt.NDArray[np.uint64], first: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Return a number for each word, equal for equal words, shape (words,)."""
    codes = np.zeros(first.size, np.uint64)
    for place in range(int(sizes.max())):
        longer = np.flatnonzero(sizes > place)
        codes[longer] = (codes[longer] + keys[first[longer] + place] + np.uint64(1)) * _CODE
        codes[longer] ^= codes[longer] >> np.uint64(29)
    numbers: npt.NDArray[np.int64] = np.unique(codes, return_inverse=True)[1]
    return numbers


def _nats(
    words: npt.NDArray[np.int64],
    first: npt.NDArray[np.int64],
    sizes: npt.NDArray[np.int64],
    units: npt.NDArray[np.int64],
    is_known: npt.NDArray[np.bool_],
) -> float:
    """Return the nats of all words that are not flagged under the model of the flagged ones.

    ``units``: a number of each unit, equal for equal units.
    """
    counts = np.bincount(words[is_known], minlength=words.max() + 1)
    known, scored = int(counts.sum()), np.flatnonzero(~is_known)
    unseen_share = (np.count_nonzero(counts == 1) + _UNSEEN) / (known + 2 * _UNSEEN)
    _, types = np.unique(words[is_known], return_index=True)
    types = np.flatnonzero(is_known)[types]
    unit_counts = np.zeros(units.max() + 2) + _UNSEEN  # the last one: the end of a word
    for place in range(int(sizes.max())):
        longer = types[sizes[types] > place]
        unit_counts += np.bincount(units[first[longer] + place], minlength=unit_counts.size)
    unit_counts[-1] += types.size
    spelling = np.log(unit_counts / unit_counts.sum())
    spelled = np.add.reduceat(spelling[units], first) + spelling[-1]
    frequency = counts[words[scored]]
    scores = np.where(
        frequency > 0,
        np.log(np.maximum(frequency, 1) * (1 - unseen_share) / max(known, 1)),
        np.log(unseen_share) + spelled[scored],
    )
    return -float(scores.sum())
