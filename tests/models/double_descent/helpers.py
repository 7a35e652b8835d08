"""Data and configs that the tests of double descent share."""

from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from sklearn.datasets import load_digits

from seampack.models.double_descent import (
    DoubleDescentConfig,
)

DATA = Path(__file__).parents[2] / "data"


KINDS = ("uniform", "symmetric", "pairwise")


def digits(train_rows: int) -> Dataset:
    features, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    part = ["train"] * train_rows + ["test"] * (len(labels) - train_rows)
    columns = {"features": features[order].tolist(), "label": labels[order].tolist(), "part": part}
    return Dataset.from_dict(columns)


def sweep_config(**changes: Any) -> DoubleDescentConfig:
    """A config of one seed."""
    return DoubleDescentConfig(seeds=(0,)).replace(**changes)
