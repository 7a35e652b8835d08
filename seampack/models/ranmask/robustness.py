"""Robustness of a smoothed classifier: its accuracy under attack, and certificates that an attack breaks."""

import numpy as np
import numpy.typing as npt

from seampack.models.base import Row
from seampack.models.progress import progress
from seampack.models.ranmask.attacks import Attacked, Candidates, attack
from seampack.models.ranmask.classifier import Classifier
from seampack.models.ranmask.config import RanmaskConfig
from seampack.models.ranmask.smoothing import Certified, judge, scorer

ATTACK_NUMBERS = ("clean_accuracy", "robust_accuracy", "success", "certificates", "broken")
"""Accuracy before and after the attack, success rate of the attack, and numbers of certificates tried and broken."""


def under_attack(
    classifier: Classifier,
    texts: list[list[str]],
    labels: npt.NDArray[np.int64],
    certified: Certified,
    candidates: Candidates,
    config: RanmaskConfig,
) -> tuple[Row, list[str]]:
    """Run one attack on each text. Return ``ATTACK_NUMBERS`` and the attacked texts.

    Args:
        classifier: The classifier, attacked through the scores of ``config.attack_masks`` masked copies.
        texts: Lists of words.
        labels: True classes, shape (texts,).
        certified: Certificates of the texts. A text with a certificate is attacked up to its radius.
        candidates: Replacements of a word.
        config: Options of the masks and of the attack.
    """
    score = scorer(classifier.predict_fn, config, classifier.mask_token)
    clean = robust = certificates = broken = 0
    results = []
    with progress("attack", len(texts), "text") as advance:
        for row, (words, label) in enumerate(zip(texts, labels, strict=True)):
            allowed = max(1, int(config.attack_share * len(words))) if config.attack_share else 0
            radius = int(certified.radius[row]) if certified.guess[row] == label else 0
            attacked = attack(words, int(label), score, candidates, max(allowed, radius), beyond=radius)
            breaking = broken_by(classifier, attacked, int(label), radius, config)
            flip = attacked.first_flip
            fooled = flip is not None and flip <= allowed
            results.append(" ".join(breaking or attacked.after(flip if flip is not None and fooled else allowed)))
            clean += flip != 0
            robust += not fooled
            certificates += radius > 0
            broken += breaking is not None
            advance(1)
    values = clean / len(texts), robust / len(texts), 1 - robust / clean if clean else None, certificates, broken
    return dict(zip(ATTACK_NUMBERS, values, strict=True)), results


def broken_by(
    classifier: Classifier, attacked: Attacked, label: int, radius: int, config: RanmaskConfig
) -> list[str] | None:
    """Return an attacked text within the certified ``radius`` whose class certainly changed; None if there is none.

    New masks judge two texts: the text with all replacements, and the first text that flipped the attack's scores.
    """
    last = min(radius, len(attacked.changed))
    for replacements in sorted({last, min(attacked.first_flip or last, last)} - {0}, reverse=True):
        words = attacked.after(replacements)
        if judge(classifier.predict_fn, words, config, classifier.mask_token) not in (label, None):
            return words
    return None
