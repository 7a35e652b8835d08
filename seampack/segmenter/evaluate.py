"""Scores of words against gold: words, boundaries, types, words by length, and the most frequent errors.

gold       研究 生命 的 起源      words right: 的 起源                    precision 2/3, recall 2/4
predicted  研究生命 的 起源       boundaries right: 2 of 2, 2 of 3       error: 研究 生命 -> 研究生命
"""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate, zip_longest
from typing import Any

from seampack.errors import DataError

SPACE_MARK = "␣"
"""Mark of a space in Thai gold files; counts as white space."""


@dataclass(slots=True)
class Agreement:
    """Counts of items in gold, in the prediction, and in both."""

    gold: int = 0
    predicted: int = 0
    right: int = 0

    @property
    def precision(self) -> float:
        """Share of the predicted items that are right; 1 if neither gold nor prediction has items."""
        return self.right / self.predicted if self.predicted else float(not self.gold)

    @property
    def recall(self) -> float:
        """Share of the gold items that were predicted; 1 if neither gold nor prediction has items."""
        return self.right / self.gold if self.gold else float(not self.predicted)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        total = self.gold + self.predicted
        return 2 * self.right / total if total else 1.0

    def add(self, gold: "set[Any] | frozenset[Any]", predicted: "set[Any] | frozenset[Any]") -> None:
        """Add the sizes of two sets and of their intersection to the counts."""
        self.gold += len(gold)
        self.predicted += len(predicted)
        self.right += len(gold & predicted)

    def to_dict(self) -> dict[str, float | None]:
        """Return the scores and counts, for JSON; a share of no items is None."""
        return {
            "precision": self.precision if self.predicted else None,
            "recall": self.recall if self.gold else None,
            "f1": self.f1 if self.gold or self.predicted else None,
            "gold": self.gold,
            "predicted": self.predicted,
            "right": self.right,
        }


@dataclass(slots=True)
class Scores:
    """Scores of a prediction against gold, over all lines."""

    words: Agreement = field(default_factory=Agreement)
    """Words by their spans, including punctuation."""
    words_without_punctuation: Agreement = field(default_factory=Agreement)
    """Words with a letter or a number."""
    boundaries: Agreement = field(default_factory=Agreement)
    """Boundaries inside lines; the begin and the end of a line are not counted."""
    types: Agreement = field(default_factory=Agreement)
    """Distinct words."""
    unknown: Agreement | None = None
    """Words outside the known words; only the recall is meaningful. None if no known words were given."""
    by_length: dict[int, Agreement] = field(default_factory=dict)
    """Words by length, in characters."""
    errors: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Counts of errors: the gold and the predicted words between two neighbouring common boundaries."""
    lines: int = 0
    characters: int = 0

    def to_dict(self, errors: int = 20) -> dict[str, Any]:
        """Return the scores, with the most frequent errors, for JSON."""
        return {
            "lines": self.lines,
            "characters": self.characters,
            "words": self.words.to_dict(),
            "words_without_punctuation": self.words_without_punctuation.to_dict(),
            "boundaries": self.boundaries.to_dict(),
            "types": self.types.to_dict(),
            **({} if self.unknown is None else {"unknown_words": self.unknown.to_dict()}),
            "by_length": {str(length): part.to_dict() for length, part in sorted(self.by_length.items())},
            "errors": [{"gold": g, "predicted": p, "count": n} for (g, p), n in self.most_frequent_errors(errors)],
        }

    def most_frequent_errors(self, count: int) -> list[tuple[tuple[str, str], int]]:
        """Return the most frequent errors and their counts; errors with equal counts are sorted by text."""
        return sorted(self.errors.items(), key=lambda item: (-item[1], item[0]))[:count]


def split_line(line: str) -> list[str]:
    """Return the words of a line of spaced text."""
    return line.replace(SPACE_MARK, " ").split()


def raw_text(gold_line: str) -> str:
    """Return the raw text of a gold line: remove its spaces, then replace each space mark with a space."""
    return "".join(gold_line.split()).replace(SPACE_MARK, " ")


def score(gold_lines: Iterable[str], predicted_lines: Iterable[str], known: Iterable[str] | None = None) -> Scores:
    """Score lines of words separated by white space.

    ``known``: the known words; the recall of the other words is the out-of-vocabulary recall of SIGHAN.

    Raises DataError, with the line number, if the characters differ or one side has more lines.
    """
    return score_words(map(split_line, gold_lines), map(split_line, predicted_lines), known)


def score_words(
    gold_lines: Iterable[Sequence[str]],
    predicted_lines: Iterable[Sequence[str]],
    known: Iterable[str] | None = None,
) -> Scores:
    """Score lines that are already split into words; see ``score``."""
    scores = Scores(unknown=None if known is None else Agreement())
    known_words = frozenset(known or ())
    gold_types: set[str] = set()
    predicted_types: set[str] = set()
    for number, (gold, predicted) in enumerate(zip_longest(gold_lines, predicted_lines), 1):
        if gold is None or predicted is None:
            longer, shorter = ("prediction", "gold") if gold is None else ("gold", "prediction")
            raise DataError(f"line {number}: {longer} has more lines than {shorter}, which has {number - 1}")
        _check_same(number, "".join(gold), "".join(predicted))
        gold_types.update(gold)
        predicted_types.update(predicted)
        _score_line(scores, gold, predicted, known_words)
    scores.types.add(gold_types, predicted_types)
    return scores


def _check_same(number: int, gold: str, predicted: str) -> None:
    if gold != predicted:
        position = next((i for i, (a, b) in enumerate(zip(gold, predicted, strict=False)) if a != b), None)
        position = min(len(gold), len(predicted)) if position is None else position
        context = slice(max(0, position - 5), position + 6)
        raise DataError(
            f"line {number}: the text differs from gold at character {position + 1}, not counting spaces: expected "
            f"{gold[context]!r}, got {predicted[context]!r}; both must be segmentations of the same text"
        )


def _score_line(scores: Scores, gold: Sequence[str], predicted: Sequence[str], known: frozenset[str]) -> None:
    spans = [_spans(words) for words in (gold, predicted)]
    scores.lines += 1
    scores.characters += sum(map(len, gold))
    gold_spans, predicted_spans = set(spans[0]), set(spans[1])
    right = gold_spans & predicted_spans
    scores.words.add(gold_spans, predicted_spans)
    for words, where, is_gold in ((gold, spans[0], True), (predicted, spans[1], False)):
        for word, span in zip(words, where, strict=True):
            parts = [scores.by_length.setdefault(len(word), Agreement())]
            if not is_punctuation(word):
                parts.append(scores.words_without_punctuation)
            if scores.unknown is not None and word not in known:
                parts.append(scores.unknown)
            for part in parts:
                part.gold += is_gold
                part.predicted += not is_gold
                part.right += is_gold and span in right
    gold_ends, predicted_ends = ({end for _, end in where[:-1]} for where in spans)
    scores.boundaries.add(gold_ends, predicted_ends)
    if gold_spans != predicted_spans:
        _add_errors(scores.errors, gold, predicted, gold_ends & predicted_ends)


def _spans(words: Sequence[str]) -> list[tuple[int, int]]:
    ends = list(accumulate(map(len, words)))
    return list(zip([0, *ends], ends, strict=False))


def _add_errors(
    errors: Counter[tuple[str, str]], gold: Sequence[str], predicted: Sequence[str], common: set[int]
) -> None:
    for one, other in zip(_blocks(gold, common), _blocks(predicted, common), strict=True):
        if one != other:
            errors[one, other] += 1


def _blocks(words: Sequence[str], common: set[int]) -> list[str]:
    """Return the words between common boundaries, joined by spaces."""
    blocks: list[list[str]] = [[]]
    for word, (_, end) in zip(words, _spans(words), strict=True):
        blocks[-1].append(word)
        if end in common:
            blocks.append([])
    return [" ".join(block) for block in blocks]


@lru_cache(maxsize=1 << 16)
def is_punctuation(word: str) -> bool:
    """Return whether a word has neither a letter nor a number."""
    return not any(unicodedata.category(character)[0] in "LN" for character in word)
