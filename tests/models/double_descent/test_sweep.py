"""The sweep against plain steps of gradient descent."""

import itertools
import math

import pytest
import torch
from torch import nn

from seampack.errors import ConfigError
from seampack.models.double_descent import (
    NoisySet,
    Perceptron,
    WidthSweep,
    measure,
)
from tests.models.double_descent.helpers import sweep_config


def problem() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(50, 6, generator=generator), torch.randint(0, 3, (50,), generator=generator)


def test_one_network_against_plain_steps() -> None:
    """The weights after two epochs, by the formulas of momentum and of the rate."""
    x, y = problem()
    config = sweep_config(widths=(4, 5, 6), epochs=2, batch_rows=20, learning_rate=0.3, decay_epochs=1)
    sweep = WidthSweep(lambda width: Perceptron(6, width, 3), config, together=False)
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


def test_training_together_equals_one_after_another() -> None:
    x, y = problem()
    config = sweep_config(widths=(1, 3, 8), seeds=(0, 1), epochs=20, batch_rows=16)
    found = [
        WidthSweep(lambda width: Perceptron(6, width, 3), config, together=together).fit(x, y)
        for together in (True, False)
    ]
    assert [(each.seed, each.width) for each in found[0]] == list(itertools.product((0, 1), (1, 3, 8)))
    for ours, theirs in zip(*found, strict=True):
        for a, b in zip(ours.model.parameters(), theirs.model.parameters(), strict=True):
            assert torch.allclose(a, b, atol=1e-4)


def test_any_network_can_be_swept() -> None:
    """A convolution on images, as a function of the user."""
    config = sweep_config(widths=(1, 2, 4), epochs=30)
    x, y = torch.rand(40, 1, 6, 6), torch.arange(40) % 2
    x[y == 1, :, :3] += 1
    sweep = WidthSweep(
        lambda width: nn.Sequential(nn.Conv2d(1, width, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16 * width, 2)),
        config,
    )
    data = NoisySet(features=x, labels=y, clean=y, train=torch.arange(40) < 30)
    rows = [{"width": each.width, **measure(each.model, data, config)} for each in sweep.fit(x[:30], y[:30])]
    assert rows[-1]["test_accuracy"] == 1
    assert rows[-1]["params"] == 4 * 10 + 64 * 2 + 2


def test_divergence_is_an_error() -> None:
    x, y = problem()
    config = sweep_config(widths=(2, 3, 4), epochs=20, learning_rate=100)
    with pytest.raises(ConfigError, match="width 2, seed 0: training diverged at learning_rate 100"):
        WidthSweep(lambda width: Perceptron(6, width, 3), config).fit(x * 1e38, y)
