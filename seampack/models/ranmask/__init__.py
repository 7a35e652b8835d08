"""RanMASK: classifiers of text that provably stand the change of some words (Zeng and others, arXiv 2105.03743).

    words -> RandomMask -> masked copies -> predict_fn -> votes -> smooth: the class
                                                               -> certify: how many words may change at will

``masks`` draws the copies, ``smoothing`` lets them vote with any classifier, ``certificate`` holds the mathematics,
``attacks`` looks for texts that break it, ``adapter`` trains a classifier that is good at masked text.
"""

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
    "lower_bound",
    "neighbours",
    "scorer",
    "smooth",
    "smooth_and_certify",
    "strong_words",
]
