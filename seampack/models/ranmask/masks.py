"""Random masks: the words of a text that a masked copy shows."""

from collections.abc import Callable, Sequence
from itertools import chain, combinations
from math import comb
from typing import Any

import numpy as np
import numpy.typing as npt

from seampack.errors import ConfigError, DataError
from seampack.models.ranmask.config import RanmaskConfig

Masks = npt.NDArray[np.bool_]
"""One row per mask, shape (masks, words); True if the copy shows the word."""
MASK_TOKEN = "[MASK]"  # noqa: S105  # not a password
"""The default word that replaces a masked word."""


class RandomMask:
    """Replaces random words of each text with a mask token, different words at every call.

    Uses ``rate``, ``min_keep`` and ``seed`` of the config. Raises ConfigError if the mask token is not one word.
    """

    def __init__(self, config: RanmaskConfig, mask_token: str = MASK_TOKEN) -> None:
        if not isinstance(mask_token, str) or len(mask_token.split()) != 1:
            raise ConfigError(f"mask_token: expected one word; got {mask_token!r}")
        self.config = config
        self.mask_token = mask_token
        self._rng = np.random.default_rng(config.seed)

    def kept(self, length: int) -> int:
        """Return the number of unmasked words in a text of ``length`` words, for masks and certificates."""
        return min(length, max(self.config.min_keep, length - round(self.config.rate * length)))

    def __call__(self, texts: Sequence[str] | Sequence[list[str]]) -> list[list[str]]:
        """Return each text's words under a new mask. Fits the argument ``change`` of ``fit``."""
        return [self._once(words) for words in lists_of_words(texts)]

    def on(self, column: str) -> Callable[[dict[str, list[Any]]], dict[str, list[Any]]]:
        """Return a transform for ``Dataset.set_transform``: each epoch has new masks. The column keeps its type."""

        def transform(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
            texts = batch[column]
            joined = bool(texts) and isinstance(texts[0], str)
            return {**batch, column: [" ".join(words) if joined else words for words in self(texts)]}

        return transform

    def apply(self, words: Sequence[str], masks: Masks) -> list[list[str]]:
        """Return one masked copy of the words for each row of ``masks``."""
        row = np.empty(len(words), object)
        row[:] = words
        copies: list[list[str]] = np.where(masks, row, self.mask_token).tolist()
        return copies

    def _once(self, words: list[str]) -> list[str]:
        return self.apply(words, draw(1, len(words), self.kept(len(words)), self._rng))[0]


def words_of(text: str | Sequence[str]) -> list[str]:
    """Split a text at white space; copy a list of words. Raise DataError if the text has no words."""
    words = text.split() if isinstance(text, str) else list(text)
    if not words:
        raise DataError(f"expected text with at least one word; got {text!r}; drop such rows first")
    return words


def lists_of_words(texts: Sequence[str] | Sequence[list[str]]) -> list[list[str]]:
    """Return the words of each text. Raise DataError for a single text instead of a list, or a text without words."""
    if isinstance(texts, str):
        raise DataError(f"texts: expected a list of texts; got the text {texts[:40]!r}; put it into a list")
    return [words_of(text) for text in texts]


def draw(n: int, length: int, kept: int, rng: np.random.Generator) -> Masks:
    """Draw ``n`` masks, each a uniformly random set of ``kept`` words, by Floyd's sampling, vectorised over masks."""
    few = min(kept, length - kept)
    chosen = np.zeros((n, length), np.bool_)
    rows = np.arange(n)
    for last in range(length - few, length):
        word = rng.integers(0, last + 1, n)
        chosen[rows, np.where(chosen[rows, word], last, word)] = True
    return chosen if few == kept else ~chosen


def every(length: int, kept: int) -> Masks:
    """Build all C(length, kept) masks."""
    total = comb(length, kept)
    masks = np.zeros((total, length), np.bool_)
    words = np.fromiter(chain.from_iterable(combinations(range(length), kept)), np.int64, total * kept)
    masks[np.repeat(np.arange(total), kept), words] = True
    return masks


def distinct(masks: Masks) -> tuple[Masks, npt.NDArray[np.int64]]:
    """Return the distinct rows of ``masks``, and the index of each row among them, shape (masks,)."""
    packed = np.packbits(masks, axis=1)
    keys = np.ascontiguousarray(packed).view(np.dtype((np.void, packed.shape[1]))).ravel()
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    return masks[first], inverse
