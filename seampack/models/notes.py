"""Notes on results that mean nothing although they look like results, each one line that says what to do.

Each function returns a list of at most one note. A method collects them in ``Fitted.notes`` and ``Evaluation.notes``.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from scipy.stats import binom

Notes = list[str]
_CHANCE = 0.05
_FLAT = 0.9


def at_chance(who: str, accuracy: float, labels: Sequence[Any], remedy: str) -> Notes:
    """Return a note if a classifier is not measurably better than the most frequent label.

    Args:
        who: The classifier, as the subject of a sentence.
        accuracy: Share of its right labels.
        labels: The true labels.
        remedy: What the note advises.
    """
    share = max(Counter(labels).values()) / len(labels)
    right = round(accuracy * len(labels))
    if binom.sf(right - 1, len(labels), share) < _CHANCE:
        return []
    note = (
        f"{who} is right on {accuracy:.1%} of {len(labels):,} rows, which is chance (the most frequent label alone: "
        f"{share:.1%}), so the other results mean nothing; {remedy}"
    )
    return [note]


def one_text(what: str, texts: Sequence[str], sources: Sequence[Any], remedy: str) -> Notes:
    """Return a note if all texts (``what``, a plural) are the same although their sources differ."""
    if len(set(map(str, sources))) < 2 or len(set(texts)) > 1:
        return []
    shown = texts[0] if len(texts[0]) <= 60 else f"{texts[0][:60]}..."
    return [f"all {len(texts):,} {what} are the same text, {shown!r}, so they do not depend on the input; {remedy}"]


def flat_rewards(when: str, shares: Sequence[float], remedy: str) -> Notes:
    """Return a note if rewards have no spread.

    Args:
        when: The steps, as the end of ``in ...``.
        shares: For each step, the share of groups whose samples all have the same rewards.
        remedy: What the note advises.
    """
    if not shares or (mean := sum(shares) / len(shares)) <= _FLAT:
        return []
    note = (
        f"in {when}, {mean:.0%} of the groups had the same rewards for all samples, so the model learns almost nothing"
    )
    return [f"{note}; {remedy}"]
