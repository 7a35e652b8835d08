"""Smoothing and certifying any classifier of lists of words."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from math import comb
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

from seampack.config import check_choice, check_integer, check_number
from seampack.errors import DataError
from seampack.models.ranmask.certificate import certified_radius, lower_bound
from seampack.models.ranmask.config import Beta, Ensemble
from seampack.models.ranmask.logits import Float, checked, of_length_one, softmax
from seampack.models.ranmask.masks import Masks, RandomMask, distinct, draw, every, lists_of_words

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

    @classmethod
    def of(cls, texts: Iterable[tuple[Any, ...]]) -> "Smoothed":
        """From the entries of each text."""
        return cls(*map(np.array, zip(*texts, strict=True)))


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

    @classmethod
    def of(cls, texts: Iterable[tuple[Any, ...]]) -> "Certified":
        """From the entries of each text."""
        kinds = (np.int64,) * 5 + (np.bool_, np.float64, np.int64, np.bool_)
        return cls(*(np.array(column, kind) for column, kind in zip(zip(*texts, strict=True), kinds, strict=True)))

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
    return Smoothed.of(run.smoothed(ensemble, alpha) for run in _runs(predict_fn, texts, mask, [n], seed))


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
    return smooth_and_certify(predict_fn, texts, mask, n0=n0, n=n, alpha=alpha, beta=beta, seed=seed)[1]


def smooth_and_certify(
    predict_fn: PredictFn,
    texts: Texts,
    mask: RandomMask,
    *,
    n0: int = 1000,
    n: int = 5000,
    ensemble: str = Ensemble.VOTES,
    alpha: float = 0.05,
    beta: str = Beta.ONE,
    seed: int = 0,
) -> tuple[Smoothed, Certified]:
    """``certify``, and what the ensemble says of the same ``n0`` copies: of votes, the class that is guessed."""
    check_choice("ensemble", ensemble, Ensemble)
    check_integer("n0", n0, 1, 10**9)
    check_integer("n", n, 1, 10**9)
    check_number("alpha", alpha, 0, 1)
    check_choice("beta", beta, Beta)
    smoothed, certified = [], []
    for run in _runs(predict_fn, texts, mask, [n0, n], seed):
        smoothed.append(run.smoothed(ensemble, alpha))
        certified.append(run.certified(alpha, beta))
    return Smoothed.of(smoothed), Certified.of(certified)


def scorer(
    predict_fn: PredictFn, mask: RandomMask, *, n: int = 100, ensemble: str = Ensemble.MEAN, seed: int = 0
) -> Callable[[list[list[str]]], Float]:
    """The smoothed classifier as a function of lists of words, for an attack; shape (texts, classes).

    Texts of one length meet the same masks, so that two of them differ by their words and not by chance.
    """
    check_choice("ensemble", ensemble, Ensemble)

    def score(texts: list[list[str]]) -> Float:
        runs = _runs(predict_fn, texts, mask, [n], seed, alike=True)
        return np.array([run.scores(ensemble) for run in runs])

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
        """The ensemble's mean over the copies of the first draw, shape (classes,)."""
        if ensemble == Ensemble.VOTES:
            values = self.votes[0].astype(np.float64)
        elif ensemble == Ensemble.MEAN:
            values = self.weights[0] @ softmax(self.logits)
        else:
            values = self.weights[0] @ of_length_one(self.logits)
        mean: Float = values / self.weights[0].sum()
        return mean

    def smoothed(self, ensemble: str, alpha: float) -> tuple[Any, ...]:
        """The text's entries of ``Smoothed``, by the first draw."""
        counts, scores = self.votes[0], self.scores(ensemble)
        pred = int(scores.argmax())
        return pred, counts[pred] / counts.sum(), counts, scores, self._tied(pred, alpha)

    def certified(self, alpha: float, beta: str) -> tuple[Any, ...]:
        """The text's entries of ``Certified``: the first draw guesses, the last certifies."""
        votes = self.votes
        guess = int(votes[0].argmax())
        count, total = int(votes[-1, guess]), int(votes[-1].sum())
        p_lower = count / total if self.exact else float(lower_bound(count, total, alpha))
        radius = _radius(self.length, self.kept, count, total, self.exact, p_lower, beta=beta)
        abstain = 2 * count <= total if self.exact else p_lower <= 0.5
        return self.length, self.kept, guess, count, total, self.exact, p_lower, radius, abstain

    def _tied(self, pred: int, alpha: float) -> bool:
        counts = self.votes[0]
        second, first = (int(count) for count in np.sort(counts)[-2:])
        if counts[pred] < first:
            return True
        return first == second if self.exact else bool(binomtest(first, first + second, 0.5).pvalue > alpha)


def _runs(
    predict_fn: PredictFn, texts: Texts, mask: RandomMask, draws: list[int], seed: int, *, alike: bool = False
) -> Iterator[_Run]:
    """Mask every text ``sum(draws)`` times, and predict the different copies, those of many texts at once.

    ``alike``: texts of one length are given the same masks.
    """
    every_text = lists_of_words(texts)
    if not every_text:
        raise DataError("there is no text to classify; expected at least one")
    copies: list[list[str]] = []
    waiting: list[tuple[int, int, bool, Integer]] = []
    drawn: tuple[int, tuple[int, ...]] | None = None
    for at, words in enumerate(every_text):
        kept = mask.kept(len(words))
        wanted = len(words), (seed,) if alike else (seed, at)
        if drawn != wanted:
            drawn = wanted
            exact, masks, weights = _masks(len(words), kept, draws, wanted[1])
        copies += mask.apply(words, masks)
        waiting.append((len(words), kept, exact, weights))
        if len(copies) >= _CALL_COPIES or at == len(every_text) - 1:
            logits = checked(predict_fn(copies), len(copies))
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


def _radius(length: int, kept: int, count: int, total: int, exact: bool, p_lower: float, *, beta: str) -> int:
    share = Fraction(int(count), int(total))
    bound = share if exact else Fraction(float(p_lower))
    return certified_radius(bound, int(length), int(kept), 1 if beta == Beta.ONE else share)
