"""Raw text as chunks of unit ids, for the language model."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from seampack.segmenter import _unit_kernels as unit_kernels
from seampack.segmenter.units import KIND_SCRIPT, Alphabet, Units

CLOSING = np.array(sorted(map(ord, "，。！？；：、,.!?;:")), np.uint64)
"""Marks behind which a chunk ends."""
UNKNOWN, FIRST_UNIT = 2, 3
"""Ids: 0 and 1 are the model's own, 2 stands for units too rare to have an id."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Keys of the units that have an id, sorted; unit ``k`` has id ``FIRST_UNIT + k``."""

    keys: npt.NDArray[np.uint64]

    @classmethod
    def of(cls, units: Units, least: int) -> "Vocabulary":
        """The keys that occur at least ``least`` times."""
        keys, counts = np.unique(units.key, return_counts=True)
        return cls(keys[counts >= least])

    @property
    def size(self) -> int:
        """Number of ids, the reserved ones included."""
        return FIRST_UNIT + self.keys.size

    def ids(self, keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        """Ids of units by their keys."""
        if not self.keys.size:
            return np.full(keys.size, UNKNOWN, np.int64)
        at = np.minimum(np.searchsorted(self.keys, keys), self.keys.size - 1)
        return np.where(self.keys[at] == keys, FIRST_UNIT + at, UNKNOWN)


def chunk_offsets(units: Units, most: int) -> npt.NDArray[np.int64]:
    """First unit of each chunk, and the number of units."""
    closes = np.isin(units.key, CLOSING).astype(np.uint8)
    found: npt.NDArray[np.int64] = unit_kernels.find_chunks(units.spaced, units.kind, closes, units.offsets, most)
    return found


def open_places(single: npt.NDArray[np.bool_], offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Units behind which a word may end or go on: those followed by another of a word's units in their chunk.

    ``single``: which units are words by themselves, (units,); ``offsets``: first unit of each chunk, (chunks + 1,).
    """
    inside = ~single
    inside[:-1] &= ~single[1:]
    inside[offsets[1:] - 1] = False
    return inside


@dataclass(frozen=True, slots=True)
class ChunkCorpus:
    """Chunks of unit ids, one behind the other; ``single`` flags units that are words by themselves."""

    ids: npt.NDArray[np.int64]  # shape (units,)
    single: npt.NDArray[np.bool_]  # shape (units,)
    offsets: npt.NDArray[np.int64]  # shape (chunks + 1,)
    vocab_size: int

    @classmethod
    def of(cls, units: Units, vocabulary: Vocabulary, most: int) -> "ChunkCorpus":
        """The chunks of some texts."""
        ids = vocabulary.ids(units.key)
        return cls(ids, units.kind != KIND_SCRIPT, chunk_offsets(units, most), vocabulary.size)

    @property
    def chunks(self) -> int:
        """Number of chunks."""
        return self.offsets.size - 1

    @property
    def fingerprint(self) -> str:
        """Tells one corpus from another."""
        digest = hashlib.sha256(self.ids.tobytes())
        digest.update(self.single.tobytes())
        digest.update(self.offsets.tobytes())
        return digest.hexdigest()

    @property
    def open_places(self) -> npt.NDArray[np.bool_]:
        """Units behind which a word may end or go on, see ``open_places``."""
        return open_places(self.single, self.offsets)

    def reversed(self) -> "ChunkCorpus":
        """The same chunks, each back to front."""
        where = np.repeat(self.offsets[1:] + self.offsets[:-1] - 1, np.diff(self.offsets)) - np.arange(self.ids.size)
        return ChunkCorpus(self.ids[where], self.single[where], self.offsets, self.vocab_size)

    def batch(self, which: npt.NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor, npt.NDArray[np.int64]]:
        """Some chunks, padded: ids and flags of shape (chunks, most), lengths (chunks,), and their unit offsets."""
        starts = self.offsets[which]
        lengths = self.offsets[which + 1] - starts
        most = int(lengths.max())
        columns = np.arange(most)
        at = np.minimum(starts[:, None] + columns, self.ids.size - 1)
        inside = columns < lengths[:, None]
        ids = np.where(inside, self.ids[at], 0)
        single = self.single[at] & inside
        offsets = np.zeros(which.size + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        return torch.from_numpy(ids), torch.from_numpy(lengths), torch.from_numpy(single), offsets


def text_units(texts: Iterable[list[str]], alphabet: Alphabet) -> Iterator[Units]:
    """Units of batches of texts."""
    for batch in texts:
        yield alphabet.units(batch)[0]
