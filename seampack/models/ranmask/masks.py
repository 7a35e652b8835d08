"""Random masks: which words of a text can be seen."""

from collections.abc import Callable, Sequence
from itertools import chain, combinations
from math import comb
from typing import Any

import numpy as np
import numpy.typing as npt

from seampack.config import check_integer, check_number
from seampack.errors import ConfigError, DataError

Masks = npt.NDArray[np.bool_]
"""One row a mask, shape (masks, words); True where the word can be seen."""


class RandomMask:
    """Replaces all but a few words of each text by a mask token, other ones at every call.

    ``rate`` is the share to mask, ``min_keep`` the least number of words that stay. Raises ConfigError for values that
    cannot work.
    """

    def __init__(self, rate: float = 0.7, mask_token: str = "[MASK]", min_keep: int = 2, seed: int = 0) -> None:  # noqa: S107
        check_number("rate", rate, 0, 1)
        check_integer("min_keep", min_keep, 1, 10**9)
        if not isinstance(mask_token, str) or len(mask_token.split()) != 1:
            raise ConfigError(f"mask_token: expected one word; got {mask_token!r}")
        self.rate = rate
        self.mask_token = mask_token
        self.min_keep = min_keep
        self._rng = np.random.default_rng(seed)

    def kept(self, length: int) -> int:
        """How many of ``length`` words stay, in masking and in the certificate alike."""
        return min(length, max(self.min_keep, length - round(self.rate * length)))

    def __call__(self, texts: Sequence[str] | Sequence[list[str]]) -> list[list[str]]:
        """Each text's words, masked anew; the ``change`` of ``seampack.models.text.fit``."""
        return [self._once(words) for words in lists_of_words(texts)]

    def on(self, column: str) -> Callable[[dict[str, list[Any]]], dict[str, list[Any]]]:
        """A transform for ``Dataset.set_transform``, so that each epoch sees new masks; text stays text."""

        def transform(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
            texts = batch[column]
            joined = bool(texts) and isinstance(texts[0], str)
            return {**batch, column: [" ".join(words) if joined else words for words in self(texts)]}

        return transform

    def apply(self, words: Sequence[str], masks: Masks) -> list[list[str]]:
        """One masked copy of the words for each row of ``masks``."""
        seen = np.empty(len(words), object)
        seen[:] = words
        copies: list[list[str]] = np.where(masks, seen, self.mask_token).tolist()
        return copies

    def _once(self, words: list[str]) -> list[str]:
        return self.apply(words, draw(1, len(words), self.kept(len(words)), self._rng))[0]


def words_of(text: str | Sequence[str]) -> list[str]:
    """The words of a text: what stands between white space, or the list itself. Raises DataError for a text of none."""
    words = text.split() if isinstance(text, str) else list(text)
    if not words:
        raise DataError(f"a text without words: {text!r}; expected at least one; drop such rows")
    return words


def lists_of_words(texts: Sequence[str] | Sequence[list[str]]) -> list[list[str]]:
    """The words of each text. Raises DataError for one text that stands in no list, and as ``words_of`` does."""
    if isinstance(texts, str):
        raise DataError(f"texts: expected a list of texts; got the text {texts[:40]!r}; put it into a list")
    return [words_of(text) for text in texts]


def draw(n: int, length: int, kept: int, rng: np.random.Generator) -> Masks:
    """``n`` masks, each any set of ``kept`` words with the same chance: Floyd's sampling, all masks at once."""
    few = min(kept, length - kept)
    chosen = np.zeros((n, length), np.bool_)
    rows = np.arange(n)
    for last in range(length - few, length):
        at = rng.integers(0, last + 1, n)
        chosen[rows, np.where(chosen[rows, at], last, at)] = True
    return chosen if few == kept else ~chosen


def every(length: int, kept: int) -> Masks:
    """All C(length, kept) masks."""
    total = comb(length, kept)
    masks = np.zeros((total, length), np.bool_)
    at = np.fromiter(chain.from_iterable(combinations(range(length), kept)), np.int64, total * kept)
    masks[np.repeat(np.arange(total), kept), at] = True
    return masks


def distinct(masks: Masks) -> tuple[Masks, npt.NDArray[np.int64]]:
    """The different rows, and for each row of ``masks`` which of them it is, shape (masks,)."""
    packed = np.packbits(masks, axis=1)
    keys = np.ascontiguousarray(packed).view(np.dtype((np.void, packed.shape[1]))).ravel()
    _, first, which = np.unique(keys, return_index=True, return_inverse=True)
    return masks[first], which
