"""Curriculum learning by a model's own pass rates, with hints for unsolved questions (arXiv 2506.04065).

    question, steps, final -> estimate -> pass_rate -> build -> stage -> guide -> prompt, target -> train

Each step can be used alone: it returns a plain Arrow dataset, for trl, axolotl, verl or a filter.
"""

from typing import TYPE_CHECKING

from seampack.models.lazy import lazy_names

if TYPE_CHECKING:
    from seampack.models.curriculum.answers import (
        CHECKERS,
        Solution,
        checker,
        gsm8k_matches,
        math_matches,
        number_matches,
        split_gsm8k,
        split_math,
        text_matches,
    )
    from seampack.models.curriculum.config import Algorithm, CurriculumConfig, Order, Placement
    from seampack.models.curriculum.difficulty import DifficultyEstimator, draw_difficulty, grade, pass_at_k
    from seampack.models.curriculum.export import for_axolotl, for_trl, for_verl
    from seampack.models.curriculum.guiding import GuidedPrompter, hint_steps, unguided
    from seampack.models.curriculum.prompts import PromptFormat
    from seampack.models.curriculum.sampling import TransformersSampler, sample_all
    from seampack.models.curriculum.stages import CurriculumBuilder, composition, draw_stages, in_order
    from seampack.models.curriculum.training import CurriculumTrainer

__all__ = [
    "CHECKERS",
    "Algorithm",
    "CurriculumBuilder",
    "CurriculumConfig",
    "CurriculumTrainer",
    "DifficultyEstimator",
    "GuidedPrompter",
    "Order",
    "Placement",
    "PromptFormat",
    "Solution",
    "TransformersSampler",
    "checker",
    "composition",
    "draw_difficulty",
    "draw_stages",
    "for_axolotl",
    "for_trl",
    "for_verl",
    "grade",
    "gsm8k_matches",
    "hint_steps",
    "in_order",
    "math_matches",
    "number_matches",
    "pass_at_k",
    "sample_all",
    "split_gsm8k",
    "split_math",
    "text_matches",
    "unguided",
]

__getattr__ = lazy_names(__name__)
