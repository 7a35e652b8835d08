"""Smoothing and certifying any classifier of lists of words."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from math import comb
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

from seampack._fields import check_choice, check_integer, check_number
from seampack.errors import DataError
from seampack.models.ranmask.certificate import certified_radius, lower_bound
from seampack.models.ranmask.config import Beta, Ensemble
from seampack.models.ranmask.masks import Masks, RandomMask, distinct, draw, every, words_of

Float = npt.NDArray[np.float64]
Integer = npt.NDArray[np.int64]
PredictFn = Callable[[list[list[str]]], Any]
"""Lists of words -> logits of each, shape (texts, classes). It must look at each text by itself."""
Texts = Sequence[str] | Sequence[list[str]]

_CALL_COPIES = 10_000  # masked copies a call of predict_fn: enough to fill its batches, few enough to hold


@dataclass(frozen=True, slots=True)
class Smoothed:
    """What the smoothed classifier says of each text."""

    pred: Integer
    """Its class, shape (texts,)."""
    p_hat: Float
    """Share of the votes for it, shape (texts,)."""
    counts: Integer
    """Votes of the masked copies, shape (texts, classes); of all possible copies where they are that few."""
    scores: Float
    """What ``pred`` is the largest of: shares of votes, mean probabilities or logits, shape (texts, classes)."""
    abstain: npt.NDArray[np.bool_]
    """True where the votes for ``pred`` and the next class may as well be a tie, shape (texts,)."""


@dataclass(frozen=True, slots=True)
class Certified:
    """One certificate a text; all arrays have shape (texts,)."""

    length: Integer
    """Words of the text."""
    kept: Integer
    """Words that each masked copy shows."""
    guess: Integer
    """The class that is certified, or would be."""
    count: Integer
    """Votes for it."""
    masks: Integer
    """Of how many."""
    exact: npt.NDArray[np.bool_]
    """True where the votes are those of all possible copies, so that there is no chance of error."""
    p_lower: Float
    """The class's probability is at least this, with confidence 1 - alpha."""
    radius: Integer
    """So many words may change at will and ``guess`` stays the class; 0 also where it abstains."""
    abstain: npt.NDArray[np.bool_]
    """True where the class cannot be told to have more than half of the probability."""

    def columns(self) -> dict[str, Any]:
        """The arrays by name, as columns of a dataset."""
        return asdict(self)

    def radii(self, beta: str) -> Integer:
        """The radii by another ``beta``, from the same votes."""
        check_choice("beta", beta, Beta)
        texts = zip(self.length, self.kept, self.count, self.masks, self.exact, self.p_lower, strict=True)
        return np.array([_radius(*text, beta=beta) for text in texts], np.int64)


def smooth(
    predict_fn: PredictFn,
    texts: Texts,
    mask: RandomMask,
    *,
    n: int = 5000,
    ensemble: str = Ensemble.VOTES,
    alpha: float = 0.05,
    seed: int = 0,
) -> Smoothed:
    """Classify each text by ``n`` masked copies; the same seed draws the same masks.

    Abstains where a two-sided binomial test between the two classes with the most votes does not reject a tie at level
    ``alpha`` (Cohen and others 2019, arXiv 1902.02918), or another class than ``pred`` has more votes. Raises DataError
    where there is no text, for a text without words, and for logits that are not numbers of shape (texts, classes).
    """
    check_choice("ensemble", ensemble, Ensemble)
    check_integer("n", n, 1, 10**9)
    check_number("alpha", alpha, 0, 1)
    words = _words(texts)
    found = list(_runs(predict_fn, words, mask, [n], [(seed, at) for at in range(len(words))]))
    counts = np.array([run.votes[0] for run in found])
    scores = np.array([run.scores(ensemble) for run in found])
    pred = scores.argmax(1)
    p_hat = counts[np.arange(len(pred)), pred] / counts.sum(1)
    abstain = [_tied(run, row, best, alpha) for run, row, best in zip(found, counts, pred, strict=True)]
    return Smoothed(pred, p_hat, counts, scores, np.array(abstain))


def certify(
    predict_fn: PredictFn,
    texts: Texts,
    mask: RandomMask,
    *,
    n0: int = 1000,
    n: int = 5000,
    alpha: float = 0.05,
    beta: str = Beta.ONE,
    seed: int = 0,
) -> Certified:
    """Guess each text's class by ``n0`` masked copies, and certify it by ``n`` others.

    Where a text has no more than ``n0 + n`` possible copies, they are all looked at, once each, and the certificate is
    exact. Raises DataError as ``smooth`` does.
    """
    check_integer("n0", n0, 1, 10**9)
    check_integer("n", n, 1, 10**9)
    check_number("alpha", alpha, 0, 1)
    check_choice("beta", beta, Beta)
    words = _words(texts)
    rows = []
    for run in _runs(predict_fn, words, mask, [n0, n], [(seed, at) for at in range(len(words))]):
        guess = int(run.votes[0].argmax())
        votes = run.votes[-1]
        count, total = int(votes[guess]), int(votes.sum())
        p_lower = count / total if run.exact else float(lower_bound(count, total, alpha))
        radius = _radius(run.length, run.kept, count, total, run.exact, p_lower, beta=beta)
        abstain = 2 * count <= total if run.exact else p_lower <= 0.5
        rows.append((run.length, run.kept, guess, count, total, run.exact, p_lower, radius, abstain))
    kinds = (np.int64,) * 5 + (np.bool_, np.float64, np.int64, np.bool_)
    return Certified(*(np.array(column, kind) for column, kind in zip(zip(*rows, strict=True), kinds, strict=True)))


def scorer(
    predict_fn: PredictFn, mask: RandomMask, *, n: int = 100, ensemble: str = Ensemble.MEAN, seed: int = 0
) -> Callable[[list[list[str]]], Float]:
    """The smoothed classifier as a function of lists of words, for an attack; shape (texts, classes).

    Texts of one length meet the same masks, so that two of them differ by their words and not by chance.
    """
    check_choice("ensemble", ensemble, Ensemble)

    def score(texts: list[list[str]]) -> Float:
        found = _runs(predict_fn, texts, mask, [n], [(seed,)] * len(texts))
        return np.array([run.scores(ensemble) for run in found])

    return score


def certified_accuracy(certified: Certified, labels: npt.ArrayLike, radius: int) -> float:
    """Share of the texts whose label is certified against any change of ``radius`` words."""
    right = (certified.guess == np.asarray(labels)) & ~certified.abstain
    return float((right & (certified.radius >= radius)).mean())


@dataclass(frozen=True, slots=True)
class _Run:
    """The masked copies of one text: each different one once, and how often it was drawn."""

    length: int
    kept: int
    exact: bool
    weights: Integer  # shape (draws, copies)
    logits: Float  # shape (copies, classes)

    @property
    def votes(self) -> Integer:
        """Shape (draws, classes)."""
        chosen = np.eye(self.logits.shape[1], dtype=np.int64)[self.logits.argmax(1)]
        votes: Integer = self.weights @ chosen
        return votes

    def scores(self, ensemble: str) -> Float:
        """The ensemble's mean over the copies of the last draw, shape (classes,)."""
        if ensemble == Ensemble.VOTES:
            values = self.votes[-1].astype(np.float64)
        elif ensemble == Ensemble.MEAN:
            values = self.weights[-1] @ _softmax(self.logits)
        else:
            lengths = np.linalg.norm(self.logits, axis=1, keepdims=True)
            values = self.weights[-1] @ (self.logits / np.maximum(lengths, 1e-12))
        mean: Float = values / self.weights[-1].sum()
        return mean


def _words(texts: Texts) -> list[list[str]]:
    if not len(texts):
        raise DataError("there is no text to classify; expected at least one")
    return [words_of(text) for text in texts]


def _runs(
    predict_fn: PredictFn, texts: list[list[str]], mask: RandomMask, draws: list[int], seeds: list[tuple[int, ...]]
) -> Iterator[_Run]:
    """Mask every text ``sum(draws)`` times, and predict the different copies, those of many texts at once."""
    copies: list[list[str]] = []
    waiting: list[tuple[int, int, bool, Integer]] = []
    drawn: tuple[int, tuple[int, ...]] | None = None
    for at, (words, seed) in enumerate(zip(texts, seeds, strict=True)):
        kept = mask.kept(len(words))
        if drawn != (len(words), seed):
            drawn = len(words), seed
            exact, masks, weights = _masks(len(words), kept, draws, seed)
        copies += mask.apply(words, masks)
        waiting.append((len(words), kept, exact, weights))
        if len(copies) >= _CALL_COPIES or at == len(texts) - 1:
            logits = _checked(predict_fn(copies), len(copies))
            begin = 0
            for length, kept, exact, weights in waiting:
                end = begin + weights.shape[1]
                yield _Run(length, kept, exact, weights, logits[begin:end])
                begin = end
            copies, waiting = [], []


def _masks(length: int, kept: int, draws: list[int], seed: tuple[int, ...]) -> tuple[bool, Masks, Integer]:
    """Different masks and how often each was drawn; all, once each, where there are no more than draws."""
    if comb(length, kept) <= sum(draws):
        masks = every(length, kept)
        return True, masks, np.ones((1, len(masks)), np.int64)
    masks, which = distinct(draw(sum(draws), length, kept, np.random.default_rng(seed)))
    parts = np.split(which, np.cumsum(draws)[:-1])
    return False, masks, np.array([np.bincount(part, minlength=len(masks)) for part in parts])


def _checked(logits: Any, copies: int) -> Float:
    array = np.asarray(logits)
    if array.ndim != 2 or array.shape[0] != copies or array.shape[1] < 2:
        raise DataError(f"predict_fn: expected logits of shape ({copies}, classes); got shape {array.shape}")
    if not np.issubdtype(array.dtype, np.number) or not np.isfinite(array).all():
        raise DataError("predict_fn: expected finite logits; got values that are not numbers")
    return array.astype(np.float64)


def _softmax(logits: Float) -> Float:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    shares: Float = powers / powers.sum(1, keepdims=True)
    return shares


def _tied(run: _Run, counts: Integer, pred: int, alpha: float) -> bool:
    second, first = (int(count) for count in np.sort(counts)[-2:])
    if counts[pred] < first:
        return True
    return first == second if run.exact else bool(binomtest(first, first + second, 0.5).pvalue > alpha)


def _radius(length: int, kept: int, count: int, total: int, exact: bool, p_lower: float, *, beta: str) -> int:
    share = Fraction(int(count), int(total))
    bound = share if exact else Fraction(float(p_lower))
    return certified_radius(bound, int(length), int(kept), 1 if beta == Beta.ONE else share)
