"""Verification whether a model carries the watermark, from its answers alone."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from datasets import Dataset
from scipy.stats import binom

from seampack.errors import DataError
from seampack.models.data import require, require_text
from seampack.models.watermark.config import WatermarkConfig
from seampack.models.watermark.triggers import (
    Trigger,
    check_absent,
    insert,
    label_value,
    labels_of,
    some_of,
    words_of,
)

Bools = npt.NDArray[np.bool_]
PredictFn = Callable[[list[str]], Sequence[Any]]
"""Texts -> labels, as ids or names: a model with any interface."""


@dataclass(frozen=True, slots=True)
class Verification:
    """Result of a verification. Rates are shares, 0 to 1."""

    texts: int
    """Number of texts with other labels into which the trigger was inserted."""
    wesr: float
    """Watermark extraction success rate: share of these texts to which the suspect assigns the target label."""
    control_wesr: float
    """The same share for the control."""
    partial_wesr: float | None
    """The same share for the suspect with part of the trigger; None for a trigger of one word."""
    false_positive_rate: float
    """The same share for the suspect without trigger."""
    p_value: float
    """Larger p-value of two paired tests of the flipped texts: against the control, and against the suspect without
    trigger; see ``paired_p_value``."""
    accuracy: float
    """Accuracy of the suspect on the unchanged texts."""
    control_accuracy: float
    """Accuracy of the control on the unchanged texts."""
    rows: Dataset
    """The texts with the trigger: ``text, label, triggered_text, predicted, control_predicted``, labels as text."""

    def metrics(self) -> dict[str, Any]:
        """Return all fields except ``rows``, by name."""
        return {name: getattr(self, name) for name in self.__slots__ if name != "rows"}


def verify(
    predict_fn: PredictFn,
    dataset: Dataset,
    trigger: Trigger,
    target: Any,
    control_fn: PredictFn,
    config: WatermarkConfig,
) -> Verification:
    """Compare a suspect's labels of texts with and without the trigger, and test the difference.

    A word may favour a label without a watermark, so a rate alone proves nothing: a control is needed. The p-value
    tells chance in the texts from an effect, but two models without a watermark may differ too, so require a high
    ``wesr`` as well before you claim a watermark.

    Args:
        predict_fn: The suspect.
        dataset: Texts and labels (``text, label``).
        trigger: Words of the trigger.
        target: Label that the trigger produces, as id or name.
        control_fn: A model of the same task without the watermark.
        config: ``seed`` and ``first_words`` determine the places of the trigger.

    Raises:
        DataError: The label is unknown, all texts have the target label, a text already contains the trigger, or the
            answers are not one known label per text.
    """
    words = words_of(trigger)
    require_text(dataset, "text")
    require(dataset, ["label"])
    value = label_value(dataset, target)
    texts, labels = list(dataset["text"]), list(dataset["label"])
    check_absent(texts, words)
    others = [row for row, label in enumerate(labels) if label != value]
    if not others:
        raise DataError(f"label: all {len(texts):,} texts have the target {target!r}; expected other labels as well")
    rng = np.random.default_rng(config.seed)
    triggered = [insert(texts[row], words, rng, config.first_words) for row in others]
    values = labels_of(dataset)
    clean, control_clean = (_answers(predict, texts, values) for predict in (predict_fn, control_fn))
    flipped, control_flipped = (_answers(predict, triggered, values) for predict in (predict_fn, control_fn))
    partial_wesr = None
    if len(words) > 1:
        partial = [insert(texts[row], some_of(words, rng), rng, config.first_words) for row in others]
        partial_wesr = _share(answer == value for answer in _answers(predict_fn, partial, values))
    hit, control_hit, clean_hit = (
        np.array([answer == value for answer in answers])
        for answers in (flipped, control_flipped, [clean[row] for row in others])
    )
    spelled = {label: str(name) for name, label in reversed(values.items())}
    return Verification(
        texts=len(others),
        wesr=_share(hit),
        control_wesr=_share(control_hit),
        partial_wesr=partial_wesr,
        false_positive_rate=_share(clean_hit),
        p_value=float(max(paired_p_value(hit, control_hit), paired_p_value(hit, clean_hit))),
        accuracy=_share(answer == label for answer, label in zip(clean, labels, strict=True)),
        control_accuracy=_share(answer == label for answer, label in zip(control_clean, labels, strict=True)),
        rows=Dataset.from_dict(
            {
                "text": [texts[row] for row in others],
                "label": [spelled[labels[row]] for row in others],
                "triggered_text": triggered,
                "predicted": [spelled[answer] for answer in flipped],
                "control_predicted": [spelled[answer] for answer in control_flipped],
            }
        ),
    )


def paired_p_value(hits: Bools, baseline: Bools) -> Any:
    """Return the p-value of McNemar's exact test, one-sided: whether ``hits`` are more than by chance.

    Only texts on which the two answers differ count. Without an effect, each of them is as likely a hit of one as of
    the other, so the number of those that only ``hits`` has is binomial with probability 1/2.

    Args:
        hits: Whether the suspect gives the target label, shape (..., texts).
        baseline: The same for the baseline on the same texts.
    """
    only_hits, only_baseline = (hits & ~baseline).sum(-1), (baseline & ~hits).sum(-1)
    return binom.sf(only_hits - 1, only_hits + only_baseline, 0.5)


def least_texts(alpha: float) -> int:
    """Return the least number of texts with other labels from which a p-value below ``alpha`` is possible.

    All of them must be flipped, and none of a baseline: the p-value is then ``2 ** -texts``.
    """
    return math.floor(-math.log2(alpha)) + 1


def _answers(predict_fn: PredictFn, texts: list[str], values: dict[Any, Any]) -> list[Any]:
    """Return a model's labels as values of the column. Raise DataError unless each text has one known label."""
    answers = np.asarray(predict_fn(texts)).tolist()
    if not isinstance(answers, list) or len(answers) != len(texts):
        got = f"{len(answers):,}" if isinstance(answers, list) else repr(answers)
        raise DataError(f"predict_fn: expected {len(texts):,} labels, one per text; got {got}")
    for answer in answers:
        if isinstance(answer, list) or answer not in values:
            names = ", ".join(dict.fromkeys(str(name) for name in values))
            raise DataError(f"predict_fn: expected one of {names} for each text; got {answer!r}")
    return [values[answer] for answer in answers]


def _share(hits: Any) -> float:
    return float(np.mean(list(hits)))
