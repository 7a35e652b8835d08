"""Bezier curves that map the depth of a layer to its factor."""

from collections.abc import Sequence
from math import comb

import numpy as np
import numpy.typing as npt


def bezier(control_points: Sequence[float], layers: int) -> npt.NDArray[np.float64]:
    """Return the values of a Bezier curve at the depths ``l / (layers - 1)``, shape (layers,).

    Four control points give the cubic of the paper, two a straight line, one a constant. The curve starts at the first
    control point and ends at the last; a single layer gets the first.
    """
    points = np.asarray(control_points, np.float64)
    degree = len(points) - 1
    depth = np.linspace(0, 1, layers)[:, None] if layers > 1 else np.zeros((1, 1))
    k = np.arange(degree + 1)
    weights = np.array([comb(degree, int(i)) for i in k]) * depth**k * (1 - depth) ** (degree - k)
    curve: npt.NDArray[np.float64] = weights @ points
    return curve
