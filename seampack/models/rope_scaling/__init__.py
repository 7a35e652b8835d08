"""One scaling factor of rotary positions per layer, found by a genetic search over Bezier curves, without training.

key-value rows -> KVRetrieval -> prompts -> BezierSearch (fitness: score under LayerwiseRope) -> LayerFactors

Source: "Layer-specific scaling of positional encodings for superior long-context modeling" (arXiv 2503.04355).
"""

from typing import TYPE_CHECKING

from seampack.models.lazy import lazy_names

if TYPE_CHECKING:
    from seampack.models.rope_scaling.config import Base, Fitness, Gold, RopeScalingConfig
    from seampack.models.rope_scaling.curves import bezier
    from seampack.models.rope_scaling.retrieval import KVRetrieval
    from seampack.models.rope_scaling.rope import LayerFactors, LayerwiseRope
    from seampack.models.rope_scaling.scoring import Scores, perplexity, score
    from seampack.models.rope_scaling.search import BezierSearch, Found

__all__ = [
    "Base",
    "BezierSearch",
    "Fitness",
    "Found",
    "Gold",
    "KVRetrieval",
    "LayerFactors",
    "LayerwiseRope",
    "RopeScalingConfig",
    "Scores",
    "bezier",
    "perplexity",
    "score",
]

__getattr__ = lazy_names(__name__)
