"""A refiner that rewords queries to protect a model from attacks, trained on the model's answers to its rewordings.

    query -> Refiner -> refined query -> target -> response -> rewards for the original query

``RefinerSFT`` trains on pairs, ``RefinerRL`` with rewards (trl's GRPO), ``RefinerEval`` measures. Source: "Enhancing
the Capability and Robustness of Large Language Models through Reinforcement Learning-Driven Query Refinement" (arXiv
2407.01461).
"""

from typing import TYPE_CHECKING

from seampack.models.lazy import lazy_names

if TYPE_CHECKING:
    from seampack.models.refine.config import RefineConfig, Stage
    from seampack.models.refine.evaluation import Refined, RefinerEval
    from seampack.models.refine.refiner import Refiner, new_refiner
    from seampack.models.refine.reinforcement import RefinerRL, Reinforced
    from seampack.models.refine.rewards import REFUSALS, LogProbQuality, Refusal, not_refused, refused
    from seampack.models.refine.safety import SafetyClassifier
    from seampack.models.refine.scoring import CachedTarget, OnRefined, Scorer
    from seampack.models.refine.targets import HttpTarget, ModelTarget
    from seampack.models.refine.training import RefinerSFT, drop_words

__all__ = [
    "REFUSALS",
    "CachedTarget",
    "HttpTarget",
    "LogProbQuality",
    "ModelTarget",
    "OnRefined",
    "RefineConfig",
    "Refined",
    "Refiner",
    "RefinerEval",
    "RefinerRL",
    "RefinerSFT",
    "Refusal",
    "Reinforced",
    "SafetyClassifier",
    "Scorer",
    "Stage",
    "drop_words",
    "new_refiner",
    "not_refused",
    "refused",
]

__getattr__ = lazy_names(__name__)
