"""The sweep against plain steps of gradient descent."""

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
from tests.models.double_descent.helpers import DATA, KINDS, digits, sweep_config


def problem() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(50, 6, generator=generator), torch.randint(0, 3, (50,), generator=generator)


def test_one_network_against_plain_steps() -> None:
    """The weights after two epochs, by the formulas of momentum and of the rate."""
    x, y = problem()
    sweep = WidthSweep(
        lambda width: Perceptron(6, width, 3), [4], epochs=2, batch_rows=20, learning_rate=0.3, decay_epochs=1
    )
    weights = [each.detach().clone().requires_grad_() for each in sweep._initial(4, 0).parameters()]
    velocity = [torch.zeros_like(each) for each in weights]
    order = torch.Generator().manual_seed(0)
    for rate in (0.3, 0.3 / math.sqrt(2)):
        for rows in torch.split(torch.randperm(50, generator=order), 20):
            logits = torch.relu(x[rows] @ weights[0].T + weights[1]) @ weights[2].T + weights[3]
            loss = -logits.log_softmax(1)[range(len(rows)), y[rows]].mean()
            for each, speed, slope in zip(weights, velocity, torch.autograd.grad(loss, weights), strict=True):
                speed.mul_(0.9).add_(slope)
                each.data.sub_(rate * speed)
    for trained, each in zip(sweep.fit(x, y)[0].model.parameters(), weights, strict=True):
        assert torch.allclose(trained, each, atol=1e-6)


def test_together_is_one_after_another() -> None:
    x, y = problem()
    found = [
        WidthSweep(
            lambda width: Perceptron(6, width, 3), [1, 3, 8], (0, 1), epochs=20, batch_rows=16, together=together
        ).fit(x, y)
        for together in (True, False)
    ]
    assert [(each.seed, each.width) for each in found[0]] == list(itertools.product((0, 1), (1, 3, 8)))
    for ours, theirs in zip(*found, strict=True):
        for a, b in zip(ours.model.parameters(), theirs.model.parameters(), strict=True):
            assert torch.allclose(a, b, atol=1e-4)


def test_any_network_can_be_swept() -> None:
    """A convolution on images, as a model function of one's own."""
    x, y = torch.rand(40, 1, 6, 6), torch.arange(40) % 2
    x[y == 1, :, :3] += 1
    sweep = WidthSweep(
        lambda width: nn.Sequential(nn.Conv2d(1, width, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16 * width, 2)),
        [1, 2, 4],
        epochs=30,
    )
    data = NoisySet(features=x, labels=y, clean=y, train=torch.arange(40) < 30)
    rows = [{"width": each.width, **measure(each.model, data)} for each in sweep.fit(x[:30], y[:30])]
    assert rows[-1]["test_accuracy"] == 1
    assert rows[-1]["params"] == 4 * 10 + 64 * 2 + 2


def test_divergence_is_said() -> None:
    x, y = problem()
    with pytest.raises(ConfigError, match="width 2, seed 0: training diverged"):
        WidthSweep(lambda width: Perceptron(6, width, 3), [2], epochs=20, learning_rate=100).fit(x * 1e38, y)
