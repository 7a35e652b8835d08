"""Data and configs that the tests of double descent share."""

import itertools
import math
from pathlib import Path
from typing import Any, ClassVar
import datasets
import numpy as np
import pyarrow as pa
import pytest
import torch
from datasets import ClassLabel, Dataset
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_digits
from torch import nn
from seampack.errors import ConfigError, DataError
from seampack.models.artifact import Artifact
from seampack.models.base import Evaluation
from seampack.models.data import load
from seampack.models.double_descent import (
    DoubleDescentConfig,
    FeatureKNN,
    NoisySet,
    Perceptron,
    WidthSweep,
    find_double_descent,
    flip_labels,
    inject_label_noise,
    measure,
    summarise,
)
from seampack.models.double_descent.adapter import ADAPTER
from seampack.models.double_descent.inputs import with_vectors
from seampack.models.double_descent.neighbours import hidden_and_logits
from tests.models.contract import AdapterContract


DATA = Path(__file__).parent.parent / "data"


KINDS = ("uniform", "symmetric", "pairwise")


def digits(train_rows: int) -> Dataset:
    features, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    part = ["train"] * train_rows + ["test"] * (len(labels) - train_rows)
    columns = {"features": features[order].tolist(), "label": labels[order].tolist(), "part": part}
    return Dataset.from_dict(columns)
