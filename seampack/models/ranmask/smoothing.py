"""Smoothing and certification of any classifier of lists of words."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from math import comb
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

from seampack.config import check_choice
from seampack.errors import DataError
from seampack.models.progress import progress
from seampack.models.ranmask.certificate import certified_radius, lower_bound
from seampack.models.ranmask.config import Beta, Ensemble, RanmaskConfig
from seampack.models.ranmask.logits import Float, checked, of_length_one, softmax
from seampack.models.ranmask.masks import MASK_TOKEN, Masks, RandomMask, distinct, draw, every, lists_of_words

Integer = npt.NDArray[np.int64]
PredictFn = Callable[[list[list[str]]], Any]
"""Lists of words -> logits, shape (texts, classes). The logits of a text must not depend on the other texts."""
Texts = Sequence[str] | Sequence[list[str]]

_CALL_COPIES = 10_000  # masked copies per call of predict_fn: enough to fill batches, few enough for memory
_CERTAINTY = 0.001  # level of the test in ``judge``


@dataclass(frozen=True, slots=True)
class Smoothed:
    """Predictions of the smoothed classifier."""

    pred: Integer
    """Class of each text, shape (texts,)."""
    p_hat: Float
    """Share of the votes for ``pred``, shape (texts,)."""
    counts: Integer
    """Votes of the masked copies, shape (texts, classes); all possible copies vote if there are few."""
    scores: Float
    """Scores, shape (texts, classes): shares of votes, mean probabilities or mean logits; ``pred`` has the maximum."""
    abstain: npt.NDArray[np.bool_]
    """True if the votes for ``pred`` and the next class do not differ significantly, shape (texts,)."""

    @classmethod
    def of(cls, texts: Iterable[tuple[Any, ...]]) -> "Smoothed":
        """Collect the entries of each text into arrays."""
        return cls(*map(np.array, zip(*texts, strict=True)))


@dataclass(frozen=True, slots=True)
class Certified:
    """Certificates; all arrays have shape (texts,)."""

    length: Integer
    """Number of words of the text."""
    kept: Integer
    """Number of words that each masked copy shows."""
    guess: Integer
    """Class to certify."""
    count: Integer
    """Votes for ``guess``."""
    masks: Integer
    """Total number of votes."""
    exact: npt.NDArray[np.bool_]
    """True if all possible copies voted, so that the certificate has no chance of error."""
    p_lower: Float
    """Lower bound of the probability of ``guess``, with confidence 1 - alpha."""
    radius: Integer
    """Number of words that may be replaced by any words without changing the class; 0 if ``abstain``."""
    abstain: npt.NDArray[np.bool_]
    """True if a probability above one half cannot be certified for ``guess``."""

    @classmethod
    def of(cls, texts: Iterable[tuple[Any, ...]]) -> "Certified":
        """Collect the entries of each text into arrays."""
        kinds = (np.int64,) * 5 + (np.bool_, np.float64, np.int64, np.bool_)
        return cls(*(np.array(column, kind) for column, kind in zip(zip(*texts, strict=True), kinds, strict=True)))

    def columns(self) -> dict[str, Any]:
        """Return the arrays by name, as columns of a dataset."""
        return asdict(self)

    def radii(self, beta: str) -> Integer:
        """Compute the radii with another ``beta`` from the same votes."""
        check_choice("beta", beta, Beta)
        texts = zip(self.length, self.kept, self.count, self.masks, self.exact, self.p_lower, strict=True)
        return np.array([_radius(*text, beta=beta) for text in texts], np.int64)


def smooth(predict_fn: PredictFn, texts: Texts, config: RanmaskConfig, mask_token: str = MASK_TOKEN) -> Smoothed:
    """Classify each text by ``guess_masks`` masked copies, combined by ``ensemble``. Equal seeds draw equal masks.

    Abstains if a two-sided binomial test between the two classes with the most votes does not reject a tie at level
    ``alpha`` (Cohen and others 2019, arXiv 1902.02918), or if another class than ``pred`` has more votes.

    Raises:
        DataError: There are no texts, a text has no words, or logits are not numbers of shape (texts, classes).
    """
    runs = _runs(predict_fn, texts, RandomMask(config, mask_token), [config.guess_masks], config.seed)
    return Smoothed.of(run.smoothed(config.ensemble, config.alpha) for run in runs)


def certify(predict_fn: PredictFn, texts: Texts, config: RanmaskConfig, mask_token: str = MASK_TOKEN) -> Certified:
    """Guess each text's class by ``guess_masks`` masked copies, and certify it by ``masks`` further copies.

    If a text has at most ``guess_masks + masks`` possible copies, each is predicted once and the certificate is exact.
    Raises the errors of ``smooth``.
    """
    return smooth_and_certify(predict_fn, texts, config, mask_token)[1]


def smooth_and_certify(
    predict_fn: PredictFn, texts: Texts, config: RanmaskConfig, mask_token: str = MASK_TOKEN
) -> tuple[Smoothed, Certified]:
    """Return both the ensemble's predictions and the certificates, from the same masked copies.

    With ``ensemble=votes``, the predicted class is the certified class.
    """
    smoothed, certified = [], []
    mask = RandomMask(config, mask_token)
    for run in _runs(predict_fn, texts, mask, [config.guess_masks, config.masks], config.seed):
        smoothed.append(run.smoothed(config.ensemble, config.alpha))
        certified.append(run.certified(config.alpha, config.beta))
    return Smoothed.of(smoothed), Certified.of(certified)


def scorer(
    predict_fn: PredictFn, config: RanmaskConfig, mask_token: str = MASK_TOKEN
) -> Callable[[list[list[str]]], Float]:
    """Return a function that scores lists of words by ``attack_masks`` masked copies, shape (texts, classes).

    For attacks: texts of the same length get the same masks, so that scores differ by the words and not by chance.
    ``certify`` uses other masks.
    """
    mask = RandomMask(config, mask_token)

    def score(texts: list[list[str]]) -> Float:
        runs = _runs(predict_fn, texts, mask, [config.attack_masks], config.seed + 1, alike=True)
        return np.array([run.scores(config.ensemble) for run in runs])

    return score


def judge(predict_fn: PredictFn, words: list[str], config: RanmaskConfig, mask_token: str = MASK_TOKEN) -> int | None:
    """Return the class of one text by the votes of ``masks`` new masked copies; None if it is not certain.

    The level is 0.001. ``certify`` and ``scorer`` use other masks, so the attack was not fitted to these masks.
    """
    mask = RandomMask(config, mask_token)
    verdict = Smoothed.of(
        run.smoothed(Ensemble.VOTES, _CERTAINTY)
        for run in _runs(predict_fn, [words], mask, [config.masks], config.seed + 2)
    )
    return None if verdict.abstain[0] else int(verdict.pred[0])


def certified_accuracy(certified: Certified, labels: npt.ArrayLike, radius: int) -> float:
    """Return the share of the texts whose label is certified against any change of ``radius`` words."""
    right = (certified.guess == np.asarray(labels)) & ~certified.abstain
    return float((right & (certified.radius >= radius)).mean())


@dataclass(frozen=True, slots=True)
class _Run:
    """The distinct masked copies of one text, and how often each was drawn."""

    length: int
    kept: int
    exact: bool
    weights: Integer  # shape (draws, copies)
    logits: Float  # shape (copies, classes)

    @property
    def votes(self) -> Integer:
        """Votes of each draw, shape (draws, classes)."""
        chosen = np.eye(self.logits.shape[1], dtype=np.int64)[self.logits.argmax(1)]
        votes: Integer = self.weights @ chosen
        return votes

    def scores(self, ensemble: str) -> Float:
        """Return the ensemble's mean over the copies of the first draw, shape (classes,)."""
        if ensemble == Ensemble.VOTES:
            values = self.votes[0].astype(np.float64)
        elif ensemble == Ensemble.MEAN:
            values = self.weights[0] @ softmax(self.logits)
        else:
            values = self.weights[0] @ of_length_one(self.logits)
        mean: Float = values / self.weights[0].sum()
        return mean

    def smoothed(self, ensemble: str, alpha: float) -> tuple[Any, ...]:
        """Return the text's entries of ``Smoothed``, from the first draw."""
        counts, scores = self.votes[0], self.scores(ensemble)
        pred = int(scores.argmax())
        return pred, counts[pred] / counts.sum(), counts, scores, self._tied(pred, alpha)

    def certified(self, alpha: float, beta: str) -> tuple[Any, ...]:
        """Return the text's entries of ``Certified``: the first draw guesses, the last certifies."""
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
    """Mask every text ``sum(draws)`` times and predict the distinct copies, several texts per call.

    ``alike`` gives texts of the same length the same masks.
    """
    every_text = lists_of_words(texts)
    if not every_text:
        raise DataError("there are no texts to classify; expected at least one")
    copies: list[list[str]] = []
    waiting: list[tuple[int, int, bool, Integer]] = []
    drawn: tuple[int, tuple[int, ...]] | None = None  # length and seed of the current masks
    with progress("certificates", len(every_text), "text") as advance:
        for index, words in enumerate(every_text):
            kept = mask.kept(len(words))
            draw_key = len(words), (seed,) if alike else (seed, index)
            if drawn != draw_key:
                drawn = draw_key
                exact, masks, weights = _masks(len(words), kept, draws, draw_key[1])
            copies += mask.apply(words, masks)
            waiting.append((len(words), kept, exact, weights))
            if len(copies) >= _CALL_COPIES or index == len(every_text) - 1:
                logits = checked(predict_fn(copies), len(copies))
                begin = 0
                for length, kept, exact, weights in waiting:
                    end = begin + weights.shape[1]
                    yield _Run(length, kept, exact, weights, logits[begin:end])
                    begin = end
                advance(len(waiting))
                copies, waiting = [], []


def _masks(length: int, kept: int, draws: list[int], seed: tuple[int, ...]) -> tuple[bool, Masks, Integer]:
    """Return whether all possible masks are used, the masks, and their counts in each draw, shape (draws, masks)."""
    if comb(length, kept) <= sum(draws):
        masks = every(length, kept)
        return True, masks, np.ones((1, len(masks)), np.int64)
    masks, index = distinct(draw(sum(draws), length, kept, np.random.default_rng(seed)))
    parts = np.split(index, np.cumsum(draws)[:-1])
    return False, masks, np.array([np.bincount(part, minlength=len(masks)) for part in parts])


def _radius(length: int, kept: int, count: int, total: int, exact: bool, p_lower: float, *, beta: str) -> int:
    share = Fraction(int(count), int(total))
    bound = share if exact else Fraction(float(p_lower))
    return certified_radius(bound, int(length), int(kept), 1 if beta == Beta.ONE else share)
