"""A segmenter without a model: every ``size`` characters between white space are a word."""

from typing import Any

import numpy as np
import numpy.typing as npt

from seampack.segmenter.apply_config import DecodeConfig
from seampack.segmenter.model import Segmenter
from seampack.segmenter.spans import Spans


def spans_of(texts: list[str], sizes: list[int]) -> Spans:
    """Words of the sizes in turn, from the begin of each text; shorter before white space."""
    begin: list[int] = []
    end: list[int] = []
    offsets = [0]
    for text in texts:
        turn, at = 0, 0
        while at < len(text):
            if text[at].isspace():
                at += 1
                continue
            last = at + 1
            while last < len(text) and last - at < sizes[turn % len(sizes)] and not text[last].isspace():
                last += 1
            begin.append(at)
            end.append(last)
            at, turn = last, turn + 1
        offsets.append(len(begin))
    return Spans(*(np.array(column, np.int64) for column in (begin, end, offsets)))


class EachFew(Segmenter):
    def __init__(self, size: int = 2) -> None:
        self.size = size
        self.description = {"parts": ["student", "lexicon"]}
        self.batches: list[int] = []

    def decode(self, texts: list[str], config: DecodeConfig, dictionary: Any = None) -> Spans:
        self.batches.append(sum(map(len, texts)))
        return spans_of(texts, [self.size])

    def end_probabilities(
        self, texts: list[str], *, exact: bool = False, dictionary: Any = None, lexicon: bool = True
    ) -> list[npt.NDArray[np.float32]]:
        self.asked = {"exact": exact, "dictionary": dictionary}
        return [np.full(len(text), 0.1, np.float32) for text in texts]

    def n_best(
        self, texts: list[str], count: int, *, exact: bool = False, lexicon: bool = True
    ) -> list[list[tuple[float, list[str]]]]:
        return [[(-float(rank), [text]) for rank in range(count)] for text in texts]
