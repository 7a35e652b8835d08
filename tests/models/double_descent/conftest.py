"""Settings of all tests of double descent."""

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


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Any:
    """Small networks lose time on several threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
