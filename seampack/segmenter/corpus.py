"""Raw text as chunks of unit ids, for the language model."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from seampack.io.ragged import offsets_of
from seampack.segmenter import _unit_kernels as kernels
from seampack.segmenter.units import Units

CLOSING = np.array(sorted(map(ord, "，。！？；：、,.!?;:")), np.uint64)
"""Marks after which a chunk ends."""
UNKNOWN, FIRST_UNIT = 2, 3
"""Ids: 0 and 1 are reserved by the language model, 2 is shared by all rare units."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Sorted keys of the units that have their own id: the unit of ``keys[k]`` has the id ``FIRST_UNIT + k``."""

    keys: npt.NDArray[np.uint64]

    @classmethod
    def of(cls, units: Units, least: int) -> "Vocabulary":
        """Return the vocabulary of the units that occur at least ``least`` times."""
        keys, counts = np.unique(units.key, return_counts=True)
        return cls(keys[counts >= least])

    @classmethod
    def of_array(cls, vocabulary: npt.NDArray[Any]) -> "Vocabulary":
        """Return the vocabulary with the keys in an array. Raise ValueError unless they are sorted and distinct."""
        if vocabulary.dtype not in (np.int64, np.uint64) or vocabulary.ndim != 1:
            raise ValueError(
                f"vocabulary: expected one axis of int64; got {vocabulary.dtype} of shape {vocabulary.shape}"
            )
        keys = vocabulary.view(np.uint64)
        if (keys[1:] <= keys[:-1]).any():
            raise ValueError("vocabulary: expected distinct keys in ascending order; got repeated or unsorted keys")
        return cls(keys)

    def joined(self, other: "Vocabulary") -> "Vocabulary":
        """Return the vocabulary of the units of both."""
        return Vocabulary(np.union1d(self.keys, other.keys))

    @property
    def size(self) -> int:
        """Number of ids, including the reserved ones."""
        return FIRST_UNIT + self.keys.size

    def ids(self, keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        """Return the ids of the units with these keys."""
        if not self.keys.size:
            return np.full(keys.size, UNKNOWN, np.int64)
        ranks = np.minimum(np.searchsorted(self.keys, keys), self.keys.size - 1)
        return np.where(self.keys[ranks] == keys, FIRST_UNIT + ranks, UNKNOWN)


def chunk_offsets(units: Units, most: int) -> npt.NDArray[np.int64]:
    """Return the first unit of each chunk of at most ``most`` units, and the number of units; shape (chunks + 1,)."""
    closes = np.isin(units.key, CLOSING).astype(np.uint8)
    offsets: npt.NDArray[np.int64] = kernels.find_chunks(units.spaced, units.kind, closes, units.offsets, most)
    return offsets


def open_places(single: npt.NDArray[np.bool_], offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Return flags of the units after which a word may end or continue, shape (units,).

    The flagged units are units of the script that are followed by another in the same chunk. ``single``: flags of the
    units that are words by themselves, shape (units,); ``offsets``: first unit of each chunk, shape (chunks + 1,).
    """
    is_open = ~single
    is_open[:-1] &= ~single[1:]
    is_open[offsets[1:] - 1] = False
    return is_open


def possible_segments(
    single: npt.NDArray[np.bool_], lengths: npt.NDArray[np.int64], longest: int
) -> npt.NDArray[np.bool_]:
    """Return flags of the segments that a chunk can have, shape (units, longest); column ``l - 1``: of ``l`` units.

    A segment of several units has no unit that is a word by itself. ``single``: flags of these, shape (units,);
    ``lengths``: number of units of each chunk, shape (chunks,).
    """
    starts = np.arange(single.size)[:, None]
    ends = starts + np.arange(1, longest + 1)
    before = np.append(0, np.cumsum(single))  # such units before each place
    last = np.repeat(np.cumsum(lengths), lengths)[:, None]
    joins = before[np.minimum(ends, single.size)] == before[starts]
    joins[:, 0] = True
    possible: npt.NDArray[np.bool_] = joins & (ends <= last)
    return possible


@dataclass(frozen=True, slots=True)
class ChunkCorpus:
    """Chunks of unit ids, concatenated; ``single`` flags the units that are words by themselves."""

    ids: npt.NDArray[np.int64]  # shape (units,)
    single: npt.NDArray[np.bool_]  # shape (units,)
    offsets: npt.NDArray[np.int64]  # shape (chunks + 1,)
    vocab_size: int

    @classmethod
    def of(cls, units: Units, vocabulary: Vocabulary, most: int) -> "ChunkCorpus":
        """Return the chunks of the texts of ``units``, each of at most ``most`` units."""
        return cls(vocabulary.ids(units.key), units.single, chunk_offsets(units, most), vocabulary.size)

    def save(self, path: Path) -> None:
        """Write the corpus to an ``.npz`` file for ``load``."""
        np.savez(path, ids=self.ids, single=self.single, offsets=self.offsets, vocab_size=self.vocab_size)

    @classmethod
    def load(cls, path: Path) -> "ChunkCorpus":
        """Read a corpus written by ``save``."""
        with np.load(path) as arrays:
            return cls(arrays["ids"], arrays["single"], arrays["offsets"], int(arrays["vocab_size"]))

    @property
    def chunks(self) -> int:
        """Number of chunks."""
        return self.offsets.size - 1

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the chunks."""
        digest = hashlib.sha256(self.ids.tobytes())
        digest.update(self.single.tobytes())
        digest.update(self.offsets.tobytes())
        return digest.hexdigest()

    @property
    def open_places(self) -> npt.NDArray[np.bool_]:
        """Flags of the units after which a word may end or continue; see the function ``open_places``."""
        return open_places(self.single, self.offsets)

    def reversed(self) -> "ChunkCorpus":
        """Return the same chunks, each back to front."""
        source = np.repeat(self.offsets[1:] + self.offsets[:-1] - 1, np.diff(self.offsets)) - np.arange(self.ids.size)
        return ChunkCorpus(self.ids[source], self.single[source], self.offsets, self.vocab_size)

    def batch(self, which: npt.NDArray[np.int64], longest: int) -> tuple[Tensor, Tensor, Tensor, npt.NDArray[np.int64]]:
        """Return a batch of chunks, padded to the length of the longest.

        Args:
            which: Numbers of the chunks, shape (chunks,).
            longest: Length of the longest segment, in units.

        Returns:
            ids, shape (chunks, longest chunk); lengths, (chunks,); flags of the possible segments of the concatenated
            chunks, (units, longest); unit offsets, (chunks + 1,).
        """
        starts = self.offsets[which]
        lengths = self.offsets[which + 1] - starts
        most = int(lengths.max())
        columns = np.arange(most)
        source = np.minimum(starts[:, None] + columns, self.ids.size - 1)
        inside = columns < lengths[:, None]
        ids = np.where(inside, self.ids[source], 0)
        possible = possible_segments(self.single[source[inside]], lengths, longest)
        return torch.from_numpy(ids), torch.from_numpy(lengths), torch.from_numpy(possible), offsets_of(lengths)
