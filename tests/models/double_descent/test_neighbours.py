"""Neighbours in features, and the numbers of one network."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from seampack.errors import ConfigError, DataError
from seampack.models.double_descent import (
    DoubleDescentConfig,
    FeatureKNN,
    NoisySet,
    Perceptron,
    flip_labels,
    measure,
)
from seampack.models.double_descent.neighbours import hidden_and_logits


def naive_votes(features: Any, labels: Any, queries: Any, k: int) -> list[int]:
    votes = []
    for query in queries:
        distance = [1 - np.dot(row, query) / np.linalg.norm(row) / np.linalg.norm(query) for row in features]
        near = [labels[i] for i in np.argsort(distance)[:k]]
        votes.append(int(np.bincount(near).argmax()))
    return votes


def test_neighbours_against_a_plain_loop() -> None:
    rng = np.random.default_rng(1)
    features = rng.normal(size=(60, 4)).astype(np.float32)
    clean = rng.integers(0, 3, 60)
    labels = flip_labels(clean, 3, 0.3, "symmetric", rng)
    flipped = labels != clean
    votes = naive_votes(features[~flipped], clean[~flipped], features[flipped], 5)
    knn = FeatureKNN(DoubleDescentConfig(neighbours=5))
    assert knn.noisy(features, labels, clean).tolist() == votes
    assert knn.recovered(features, labels, clean) == pytest.approx(np.mean(votes == clean[flipped]))


def test_neighbours_without_noise_or_with_too_few_clean_rows() -> None:
    features, labels = np.ones((3, 2), np.float32), np.array([0, 1, 0])
    knn = FeatureKNN(DoubleDescentConfig(neighbours=5))
    assert knn.recovered(features, labels, labels) is None
    with pytest.raises(DataError, match="neighbours: expected at most 2, the number of clean training rows; got 5"):
        knn.recovered(features, labels, np.array([1, 1, 0]))


def test_features_are_the_inputs_of_the_last_layer() -> None:
    model = Perceptron(6, 5, 3)
    x = torch.rand(7, 2, 3)
    hidden, logits = hidden_and_logits(model, x, batch_rows=2)
    assert torch.allclose(hidden, torch.relu(model.hidden(x.flatten(1))))
    assert torch.allclose(logits, model(x), atol=1e-6)
    with pytest.raises(ConfigError, match=r"Flatten: has no nn\.Linear"):
        hidden_and_logits(nn.Flatten(), x)


def test_measured_by_hand() -> None:
    """A network that predicts the wrong label of row 1, the right label of row 2, and errs on the first test row."""
    model = nn.Sequential(nn.Linear(2, 2, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(2))
    x = torch.tensor([[2.0, 0], [1, 0], [1, 0], [0, 3], [1, 0], [0, 1]])
    data = NoisySet(
        features=x,
        labels=torch.tensor([0, 0, 1, 1, 1, 1]),
        clean=torch.tensor([0, 1, 0, 1, 1, 1]),
        train=torch.tensor([True] * 4 + [False] * 2),
    )
    found = measure(model, data, DoubleDescentConfig(neighbours=1))
    assert found["params"] == 4
    assert found["train_accuracy"] == 3 / 4
    assert found["test_accuracy"] == found["memorised"] == 1 / 2
    assert found["P"] == 1 / 2
    near, far = math.log(1 + math.exp(-1)), math.log(1 + math.e)
    assert found["test_loss"] == pytest.approx((near + far) / 2)
    train = (math.log(1 + math.exp(-2)) + near + far + math.log(1 + math.exp(-3))) / 4
    assert found["train_loss"] == pytest.approx(train)


@pytest.mark.parametrize("train", [[True, True], [False, False]])
def test_rows_of_both_parts_are_measured(train: list[bool]) -> None:
    data = NoisySet(
        features=torch.eye(2), labels=torch.tensor([0, 1]), clean=torch.tensor([0, 1]), train=torch.tensor(train)
    )
    with pytest.raises(DataError, match=f"both training and test; got {sum(train)} of 2 rows for training"):
        measure(nn.Linear(2, 2), data, DoubleDescentConfig())
