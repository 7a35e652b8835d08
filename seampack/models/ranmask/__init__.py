"""RanMASK: text classifiers with certified robustness to word substitutions (Zeng and others, arXiv 2105.03743).

    words -> RandomMask -> masked copies -> predict_fn -> votes -> smooth: the class
                                                               -> certify: the number of words that may change

``masks`` draws the copies, ``smoothing`` lets any classifier vote on them, ``certificate`` computes radii, ``attacks``
searches for texts that break a certificate, ``robustness`` counts them. ``adapter`` trains a classifier on masked text,
``classifier`` loads it.
"""

from typing import TYPE_CHECKING

from seampack.models.lazy import lazy_names

if TYPE_CHECKING:
    from seampack.models.ranmask.attacks import Attacked, attack, character_bugs, neighbours, strong_words
    from seampack.models.ranmask.certificate import certified_radius, delta, lower_bound
    from seampack.models.ranmask.config import Attacks, Beta, Ensemble, RanmaskConfig
    from seampack.models.ranmask.masks import RandomMask
    from seampack.models.ranmask.smoothing import (
        Certified,
        PredictFn,
        Smoothed,
        certified_accuracy,
        certify,
        judge,
        scorer,
        smooth,
        smooth_and_certify,
    )

__all__ = [
    "Attacked",
    "Attacks",
    "Beta",
    "Certified",
    "Ensemble",
    "PredictFn",
    "RandomMask",
    "RanmaskConfig",
    "Smoothed",
    "attack",
    "certified_accuracy",
    "certified_radius",
    "certify",
    "character_bugs",
    "delta",
    "judge",
    "lower_bound",
    "neighbours",
    "scorer",
    "smooth",
    "smooth_and_certify",
    "strong_words",
]

__getattr__ = lazy_names(__name__)
