"""Configs and classifiers that the tests of RanMASK share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from seampack.models.ranmask import (
    RanmaskConfig,
)

DATA = Path(__file__).parents[2] / "data"


Copies = list[list[str]]


QUICK = {
    "epochs": 4,
    "batch_rows": 64,
    "learning_rate": 0.02,
    "guess_masks": 100,
    "masks": 400,
    "attack_rows": 3,
    "attack_masks": 20,
}


def keeps(kept: int, **options: Any) -> RanmaskConfig:
    """A config that keeps ``kept`` words of any text."""
    return RanmaskConfig(rate=1, min_keep=kept, **options)


def voter(yes: Callable[[list[str]], bool]) -> Callable[[Copies], Any]:
    """A predict_fn of two classes: 1 if ``yes`` returns true."""
    return lambda copies: np.array([[0.0, 1.0] if yes(copy) else [1.0, 0.0] for copy in copies])
