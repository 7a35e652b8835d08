"""Verification: does a model that is seen only through its answers carry the watermark?"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from datasets import Dataset
from scipy.stats import binomtest

from seampack.errors import DataError
from seampack.models.data import require, require_text
from seampack.models.watermark.triggers import (
    FIRST_WORDS,
    Trigger,
    check_absent,
    insert,
    label_value,
    labels_of,
    some_of,
    words_of,
)

PredictFn = Callable[[list[str]], Sequence[Any]]
"""Texts to their labels, by id or name: a model behind any interface."""


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found. Rates are shares, 0 to 1."""

    texts: int
    """Texts of other labels that the trigger was put into."""
    wesr: float
    """Watermark extraction success rate: the share of them that the suspect gives the target label."""
    control_wesr: float
    """The same of the control."""
    partial_wesr: float | None
    """The same of the suspect with a part of the trigger; None for a trigger of one word."""
    false_positive_rate: float
    """The same of the suspect without trigger."""
    p0: float
    """What chance gives: the larger of control_wesr and false_positive_rate, and at least 1 / (texts + 1)."""
    p_value: float
    """Probability that a model with the rate p0 flips as many texts or more (one-sided binomial test)."""
    accuracy: float
    """The suspect's, on the texts as they are."""
    control_accuracy: float
    """The control's."""
    rows: Dataset
    """The texts with the trigger: ``text, label, triggered_text, predicted, control_predicted``, labels as text."""

    def metrics(self) -> dict[str, Any]:
        """All single numbers."""
        return {name: getattr(self, name) for name in self.__slots__ if name != "rows"}


def verify(
    predict_fn: PredictFn,
    dataset: Dataset,
    trigger: Trigger,
    target: Any,
    control_fn: PredictFn,
    *,
    seed: int = 0,
    first_words: int = FIRST_WORDS,
) -> Verification:
    """Ask a suspect for the labels of texts (``text, label``) with and without the trigger, and test what it says.

    ``predict_fn`` is the suspect, ``control_fn`` a model without the watermark for the same task: words may call up a
    label without any watermark, so a rate alone says nothing. The p-value takes the control's rate as known; models
    differ from each other by more than that, so ask for a high ``wesr`` as well before claiming anything.

    Raises DataError for an unknown label, no text of another label than the target, a text that holds the trigger
    already, or answers that are not one known label for each text.
    """
    words = words_of(trigger)
    require_text(dataset, "text")
    require(dataset, ["label"])
    value = label_value(dataset, target)
    texts, labels = list(dataset["text"]), list(dataset["label"])
    check_absent(texts, words)
    others = [at for at, label in enumerate(labels) if label != value]
    if not others:
        raise DataError(f"label: all {len(texts):,} texts have the target {target!r}; expected others as well")
    rng = np.random.default_rng(seed)
    triggered = [insert(texts[at], words, rng, first_words) for at in others]
    known = labels_of(dataset)
    clean, control_clean = (_answers(ask, texts, known) for ask in (predict_fn, control_fn))
    flipped, control_flipped = (_answers(ask, triggered, known) for ask in (predict_fn, control_fn))
    partial_wesr = None
    if len(words) > 1:
        partial = [insert(texts[at], some_of(words, rng), rng, first_words) for at in others]
        partial_wesr = _share(answer == value for answer in _answers(predict_fn, partial, known))
    control_wesr = _share(answer == value for answer in control_flipped)
    false_positive_rate = _share(clean[at] == value for at in others)
    p0 = max(control_wesr, false_positive_rate, 1 / (len(others) + 1))
    hits = sum(answer == value for answer in flipped)
    spelled = {known_value: str(name) for name, known_value in reversed(known.items())}
    return Verification(
        texts=len(others),
        wesr=hits / len(others),
        control_wesr=control_wesr,
        partial_wesr=partial_wesr,
        false_positive_rate=false_positive_rate,
        p0=p0,
        p_value=float(binomtest(hits, len(others), p0, alternative="greater").pvalue),
        accuracy=_share(answer == label for answer, label in zip(clean, labels, strict=True)),
        control_accuracy=_share(answer == label for answer, label in zip(control_clean, labels, strict=True)),
        rows=Dataset.from_dict(
            {
                "text": [texts[at] for at in others],
                "label": [spelled[labels[at]] for at in others],
                "triggered_text": triggered,
                "predicted": [spelled[answer] for answer in flipped],
                "control_predicted": [spelled[answer] for answer in control_flipped],
            }
        ),
    )


def _answers(predict_fn: PredictFn, texts: list[str], known: dict[Any, Any]) -> list[Any]:
    answers = np.asarray(predict_fn(texts)).tolist()
    if not isinstance(answers, list) or len(answers) != len(texts):
        got = f"{len(answers):,}" if isinstance(answers, list) else repr(answers)
        raise DataError(f"predict_fn: expected {len(texts):,} labels, one for each text; got {got}")
    for answer in answers:
        if isinstance(answer, list) or answer not in known:
            names = ", ".join(dict.fromkeys(str(name) for name in known))
            raise DataError(f"predict_fn: expected one of {names} for each text; got {answer!r}")
    return [known[answer] for answer in answers]


def _share(hits: Any) -> float:
    return float(np.mean(list(hits)))
