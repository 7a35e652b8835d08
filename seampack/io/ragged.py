"""Ragged arrays: lists of different lengths in one flat array; list ``i`` is ``values[offsets[i]:offsets[i + 1]]``."""

from typing import Any

import numpy as np
import numpy.typing as npt


def offsets_of(lengths: Any) -> npt.NDArray[np.int64]:
    """Return the offsets, shape (n + 1,), of lists with the given lengths, shape (n,)."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def lengths_of(items: Any) -> npt.NDArray[np.int64]:
    """Return the lengths of Python sequences, shape (n,)."""
    return np.fromiter(map(len, items), np.int64, len(items))


def positions_of(lengths: Any) -> npt.NDArray[np.int64]:
    """Return the position of each value in its list: ``0 1 2 0 1`` for lengths ``3 2``; shape (sum of lengths,)."""
    offsets = offsets_of(lengths)
    return np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
