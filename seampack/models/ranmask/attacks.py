"""Attacks that replace words one by one, to measure a defence and to try to break certificates.

An attack needs a ``score`` function of lists of words (``scorer`` builds one from a smoothed classifier) and candidates
for each word. The number of words does not change: certificates cover replacements only.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from seampack.errors import ConfigError, DataError
from seampack.models.ranmask.logits import checked

Candidates = Callable[[str, int], list[str]]
"""A word and the class to leave -> replacements of the word."""
Score = Callable[[list[list[str]]], npt.NDArray[Any]]
"""Lists of words -> scores, shape (texts, classes); the class with the largest score is predicted."""

_ALIKE = str.maketrans("aegiloszAEGILOSZ", "@39!105246915052")
_SMALLEST = 1e-12


@dataclass(frozen=True, slots=True)
class Attacked:
    """Result of an attack on a text."""

    given: list[str]
    """The text before the attack."""
    words: list[str]
    """The text after the attack."""
    changed: tuple[int, ...]
    """Positions of the replaced words, in the order of replacement."""
    first_flip: int | None
    """Replacements until the scores first predicted another class; 0: from the start, None: never."""
    queries: int
    """Number of texts that were scored."""

    @property
    def flipped(self) -> bool:
        """Whether the scores predicted another class at any point."""
        return self.first_flip is not None

    def after(self, replacements: int) -> list[str]:
        """Return the text after the first ``replacements`` replacements, or after all replacements if fewer."""
        words = list(self.given)
        for position in self.changed[:replacements]:
            words[position] = self.words[position]
        return words


def attack(
    words: Sequence[str], label: int, score: Score, candidates: Candidates, budget: int, *, beyond: int = 0
) -> Attacked:
    """Replace at most ``budget`` words, until the scores predict another class than ``label``.

    Greedy: first, all candidates of each position are tried alone. Then the positions are visited from the most harmful
    to the least; each gets the candidate that lowers the margin most, given the words replaced so far, if any does.

    Args:
        words: Words of the text.
        label: Class that the attack tries to change.
        score: Scores of lists of words.
        candidates: Replacements of a word.
        budget: Largest number of replacements.
        beyond: Continue until this many replacements even if the scores predict another class earlier: scores by few
            masks change before the classifier does.

    Raises:
        ConfigError: The label has no score.
    """
    current = given = list(words)
    start = score([current])
    if not 0 <= label < start.shape[1]:
        raise ConfigError(f"label: expected 0 to {start.shape[1] - 1}, the classes with scores; got {label}")
    margin, queries = float(_margins(start, label)[0]), 1
    offers = {
        position: others
        for position, word in enumerate(current)
        if (others := [other for other in candidates(word, label) if other != word])
    }
    first_flip = 0 if margin < 0 else None
    if budget < 1 or not offers or (margin < 0 and beyond < 1):
        return Attacked(given, current, (), first_flip, queries)
    trials = [(position, other) for position, others in offers.items() for other in others]
    margins = _margins(score([_with(current, position, other) for position, other in trials]), label)
    queries += len(trials)
    least: dict[int, float] = {}  # margin of each position's most harmful candidate
    for (position, _), value in zip(trials, margins, strict=True):
        least[position] = min(least.get(position, np.inf), float(value))
    changed: list[int] = []
    for position in sorted(least, key=least.__getitem__):
        texts = [_with(current, position, other) for other in offers[position]]
        margins = _margins(score(texts), label)
        queries += len(texts)
        worst = int(margins.argmin())
        if margins[worst] < margin:
            current, margin = texts[worst], float(margins[worst])
            changed.append(position)
            if margin < 0 and first_flip is None:
                first_flip = len(changed)
        if len(changed) == budget or (margin < 0 and len(changed) >= beyond):
            break
    return Attacked(given, current, tuple(changed), first_flip, queries)


def character_bugs(word: str, label: int) -> list[str]:
    """Make typing mistakes in the middle of a word: swapped, dropped, doubled or look-alike characters.

    As in TextBugger (Li and others 2018, arXiv 1812.05271), but without inserted spaces, which would add a word.
    """
    middle = len(word) // 2
    bugs = [word[:middle] + word[middle] + word[middle:]]
    if len(word) > 2:
        bugs += [
            word[: middle - 1] + word[middle] + word[middle - 1] + word[middle + 1 :],
            word[:middle] + word[middle + 1 :],
        ]
    places = sorted(range(len(word)), key=lambda place: abs(place - middle))
    alike = [word[:place] + word[place].translate(_ALIKE) + word[place + 1 :] for place in places]
    bugs += [other for other in alike if other != word][:1]
    return [bug for bug in dict.fromkeys(bugs) if bug != word]


def neighbours(vocabulary: Sequence[str], vectors: npt.ArrayLike, top: int = 8) -> Candidates:
    """Return candidates: the ``top`` words of a vocabulary that are nearest by cosine; none for an unknown word.

    ``vectors``: one row per word, shape (words, width). Raise DataError for any other shape.
    """
    matrix = np.array(vectors, np.float32)
    if matrix.ndim != 2 or len(matrix) != len(vocabulary):
        raise DataError(f"vectors: expected shape ({len(vocabulary)}, width), one row per word; got {matrix.shape}")
    matrix /= np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), _SMALLEST)
    row = {word: index for index, word in enumerate(vocabulary)}
    cache: dict[str, list[str]] = {}

    def candidates(word: str, label: int) -> list[str]:
        word = word.lower()
        if word not in row:
            return []
        if word not in cache:
            order = np.argsort(-(matrix @ matrix[row[word]]), kind="stable")
            cache[word] = [vocabulary[index] for index in order[: top + 1] if index != row[word]][:top]
        return cache[word]

    return candidates


def strong_words(predict_fn: Score, vocabulary: Sequence[str], top: int = 8) -> Candidates:
    """Return candidates: the ``top`` words that, as a text of one word, are the strongest evidence against a class.

    All words have the same candidates: the attacker need not keep the meaning, and certificates cover any words. Raise
    DataError if the vocabulary is empty or the logits are invalid.
    """
    if not vocabulary:
        raise DataError("vocabulary: expected at least one word; got none")
    logits = checked(predict_fn([[word] for word in vocabulary]), len(vocabulary))
    best: dict[int, list[str]] = {}

    def candidates(word: str, label: int) -> list[str]:
        if label not in best:
            order = np.argsort(_margins(logits, label), kind="stable")[:top]
            best[label] = [vocabulary[index] for index in order]
        return best[label]

    return candidates


def _with(words: list[str], position: int, word: str) -> list[str]:
    return [*words[:position], word, *words[position + 1 :]]


def _margins(scores: npt.NDArray[Any], label: int) -> npt.NDArray[Any]:
    """Return the margin of ``label`` over the best other class; in a tie, the first class wins."""
    others = np.delete(scores, label, axis=1)
    margins: npt.NDArray[Any] = scores[:, label] - others.max(1)
    lost = (margins == 0) & (scores.argmax(1) != label)
    return np.where(lost, -_SMALLEST, margins)
