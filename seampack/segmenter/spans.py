"""Words of texts as begin and end positions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import numpy as np
import numpy.typing as npt

from seampack.segmenter import _unit_kernels as kernels
from seampack.segmenter.units import Units


@dataclass(frozen=True, slots=True)
class Spans:
    """Words of a list of texts: text ``t`` has the words ``offsets[t]:offsets[t + 1]``.

    Word ``w`` is the characters ``begin[w]:end[w]`` of its text. White space and zero-width
    spaces belong to no word, every other character to exactly one.
    """

    begin: npt.NDArray[np.int64]  # shape (words,)
    end: npt.NDArray[np.int64]  # shape (words,)
    offsets: npt.NDArray[np.int64]  # shape (texts + 1,)

    @classmethod
    def of_ends(cls, ends: npt.NDArray[np.uint8], units: Units, starts: npt.NDArray[np.int64]) -> Self:
        """Return the words of the texts of ``units``.

        ``ends``: flags of the units that end a word, shape (units,). ``starts``: first code point of each text in the
        concatenated texts, shape (texts + 1,). A word also ends before white space and at the end of its text.
        """
        return cls(*kernels.find_words(ends, units.begin, units.end, units.spaced, units.offsets, starts))

    def per_text(self) -> Iterator[tuple[list[int], list[int]]]:
        """Iterate over the texts; yield the begins and the ends of each text's words."""
        begin, end = self.begin.tolist(), self.end.tolist()
        for first, last in pairwise(self.offsets.tolist()):
            yield begin[first:last], end[first:last]

    def words(self, texts: Sequence[str]) -> list[list[str]]:
        """Return the words of each text as strings."""
        return [
            [text[b:e] for b, e in zip(begin, end, strict=True)]
            for text, (begin, end) in zip(texts, self.per_text(), strict=True)
        ]
