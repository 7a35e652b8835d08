"""Attacks that replace words one by one: to see what a defence is worth, and to try to break certificates.

An attack needs a ``score`` function of lists of words (``scorer`` makes one of a smoothed classifier) and candidates
for each word. The number of words stays as it is, which is what the certificates speak of.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from seampack.errors import ConfigError, DataError
from seampack.models.ranmask.logits import checked

Candidates = Callable[[str, int], list[str]]
"""A word and the class to lead away from -> what to put in its place."""
Score = Callable[[list[list[str]]], npt.NDArray[Any]]
"""Lists of words -> scores of each, shape (texts, classes); the largest is the class."""

_ALIKE = str.maketrans("aegiloszAEGILOSZ", "@39!105246915052")
_SMALLEST = 1e-12


@dataclass(frozen=True, slots=True)
class Attacked:
    """What an attack made of a text."""

    given: list[str]
    """The text as it was."""
    words: list[str]
    """The text as it is now."""
    changed: tuple[int, ...]
    """Places of the words that were replaced, in that order."""
    first_flip: int | None
    """Replacements after which the scores first said another class; 0 where they did from the start, None for never."""
    queries: int
    """Texts that were scored."""

    @property
    def flipped(self) -> bool:
        """Whether the scores came to say another class."""
        return self.first_flip is not None

    def after(self, replacements: int) -> list[str]:
        """The text after the first so many replacements, or all where they are fewer."""
        done = set(self.changed[:replacements])
        return [(self.words if at in done else self.given)[at] for at in range(len(self.words))]


def attack(
    words: Sequence[str], label: int, score: Score, candidates: Candidates, budget: int, *, beyond: int = 0
) -> Attacked:
    """Replace at most ``budget`` words, until the scores say another class than ``label``.

    Greedy: each place is tried alone with all its candidates, and then, the most harmful place first, each gets the
    candidate that harms most beside the words replaced so far, if it harms. ``beyond``: go on to so many replacements
    where the scores say another class already; those of few masks do so before the classifier does. Raises ConfigError
    for a label that has no score.
    """
    now = given = list(words)
    start = score([now])
    if not 0 <= label < start.shape[1]:
        raise ConfigError(f"label: expected 0 to {start.shape[1] - 1}, as there are scores; got {label}")
    margin, queries = float(_margins(start, label)[0]), 1
    offers = {at: found for at, word in enumerate(now) if (found := [c for c in candidates(word, label) if c != word])}
    first_flip = 0 if margin < 0 else None
    if budget < 1 or not offers or (margin < 0 and beyond < 1):
        return Attacked(given, now, (), first_flip, queries)
    trials = [(at, offer) for at, found in offers.items() for offer in found]
    margins = _margins(score([_with(now, at, offer) for at, offer in trials]), label)
    queries += len(trials)
    best: dict[int, float] = {}
    for (at, _), value in zip(trials, margins, strict=True):
        best[at] = min(best.get(at, np.inf), float(value))
    changed: list[int] = []
    for at in sorted(best, key=lambda place: best[place]):
        texts = [_with(now, at, offer) for offer in offers[at]]
        margins = _margins(score(texts), label)
        queries += len(texts)
        worst = int(margins.argmin())
        if margins[worst] < margin:
            now, margin = texts[worst], float(margins[worst])
            changed.append(at)
            if margin < 0 and first_flip is None:
                first_flip = len(changed)
        if len(changed) == budget or (margin < 0 and len(changed) >= beyond):
            break
    return Attacked(given, now, tuple(changed), first_flip, queries)


def character_bugs(word: str, label: int) -> list[str]:
    """The word with a typing mistake in its middle: swapped, dropped, doubled, or look-alike characters.

    As in TextBugger (Li and others 2018, arXiv 1812.05271), without its spaces, which would add a word.
    """
    at = len(word) // 2
    bugs = [word[:at] + word[at] + word[at:]]
    if len(word) > 2:
        bugs += [word[: at - 1] + word[at] + word[at - 1] + word[at + 1 :], word[:at] + word[at + 1 :]]
    places = sorted(range(len(word)), key=lambda place: abs(place - at))
    alike = [word[:place] + word[place].translate(_ALIKE) + word[place + 1 :] for place in places]
    bugs += [other for other in alike if other != word][:1]
    return [bug for bug in dict.fromkeys(bugs) if bug != word]


def neighbours(vocabulary: Sequence[str], vectors: npt.ArrayLike, top: int = 8) -> Candidates:
    """Candidates: the ``top`` words of a vocabulary that are nearest by cosine; none for a word that is not in it.

    ``vectors``: one a word, shape (words, width). Raises DataError where their numbers differ.
    """
    matrix = np.array(vectors, np.float32)
    if matrix.ndim != 2 or len(matrix) != len(vocabulary):
        raise DataError(f"vectors: expected shape ({len(vocabulary)}, width), one a word; got {matrix.shape}")
    matrix /= np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), _SMALLEST)
    place = {word: at for at, word in enumerate(vocabulary)}
    known: dict[str, list[str]] = {}

    def candidates(word: str, label: int) -> list[str]:
        word = word.lower()
        if word not in place:
            return []
        if word not in known:
            order = np.argsort(-(matrix @ matrix[place[word]]), kind="stable")
            known[word] = [vocabulary[at] for at in order[: top + 1] if at != place[word]][:top]
        return known[word]

    return candidates


def strong_words(predict_fn: Score, vocabulary: Sequence[str], top: int = 8) -> Candidates:
    """Candidates: the ``top`` words that, as a text of one word, speak most against a class.

    Whatever the word to replace: an attacker who need not keep the meaning, as the certificates allow. Raises DataError
    without a vocabulary, and for logits as ``smooth`` does.
    """
    if not vocabulary:
        raise DataError("vocabulary: expected at least one word; got none")
    logits = checked(predict_fn([[word] for word in vocabulary]), len(vocabulary))
    best: dict[int, list[str]] = {}

    def candidates(word: str, label: int) -> list[str]:
        if label not in best:
            order = np.argsort(_margins(logits, label), kind="stable")[:top]
            best[label] = [vocabulary[at] for at in order]
        return best[label]

    return candidates


def _with(words: list[str], at: int, word: str) -> list[str]:
    return [*words[:at], word, *words[at + 1 :]]


def _margins(scores: npt.NDArray[Any], label: int) -> npt.NDArray[Any]:
    """By how much ``label`` is ahead of the best other class; a tie counts for ``label`` where it comes first."""
    others = np.delete(scores, label, axis=1)
    margins: npt.NDArray[Any] = scores[:, label] - others.max(1)
    lost = (margins == 0) & (scores.argmax(1) != label)
    return np.where(lost, -_SMALLEST, margins)
