"""Double descent under label noise, and the position of noisy rows among a network's features (arXiv 2310.13572).

    labels -> inject_label_noise -> WidthSweep.fit -> measure -> summarise -> find_double_descent
                                                  `-> FeatureKNN: the share P of noisy rows near their true class

``config`` has the options, ``noise`` injects wrong labels, ``inputs`` turns vectors, images or text into features,
``sweep`` trains networks of increasing width, ``neighbours`` computes P, ``curve`` summarises and draws the results by
width, ``adapter`` combines these modules.
"""

from typing import TYPE_CHECKING

from seampack.models.lazy import lazy_names

if TYPE_CHECKING:
    from seampack.models.double_descent.config import DoubleDescentConfig, Noise, Scaling
    from seampack.models.double_descent.curve import DoubleDescent, draw_curve, find_double_descent, summarise
    from seampack.models.double_descent.inputs import NoisySet
    from seampack.models.double_descent.neighbours import FeatureKNN, measure
    from seampack.models.double_descent.noise import flip_labels, inject_label_noise
    from seampack.models.double_descent.sweep import Perceptron, Trained, WidthSweep

__all__ = [
    "DoubleDescent",
    "DoubleDescentConfig",
    "FeatureKNN",
    "Noise",
    "NoisySet",
    "Perceptron",
    "Scaling",
    "Trained",
    "WidthSweep",
    "draw_curve",
    "find_double_descent",
    "flip_labels",
    "inject_label_noise",
    "measure",
    "summarise",
]

__getattr__ = lazy_names(__name__)
