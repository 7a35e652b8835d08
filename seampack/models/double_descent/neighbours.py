"""Noisy rows in a trained network: the share that it memorises, and the class of their neighbours in its features."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 -- torch's own name for it

from seampack.errors import ConfigError, DataError
from seampack.models.double_descent.config import DoubleDescentConfig
from seampack.models.double_descent.inputs import NoisySet

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class FeatureKNN:
    """Vote of the nearest rows in a network's features, by ``config.neighbours`` and ``config.metric``."""

    config: DoubleDescentConfig

    def predict(self, features: Floats, labels: Ints, queries: Floats) -> Ints:
        """Return the class of each query, shape (queries,), by the vote of its nearest rows.

        ``features``: shape (rows, hidden); ``labels``: (rows,). Raise DataError if there are fewer rows than
        ``neighbours``.
        """
        k = self.config.neighbours
        if len(features) < k:
            raise DataError(
                f"neighbours: expected at most {len(features)}, the number of clean training rows; got {k}; lower it"
            )
        classifier = KNeighborsClassifier(n_neighbors=k, metric=self.config.metric, algorithm="brute")
        classes: Ints = classifier.fit(features, labels).predict(queries)
        return classes

    def noisy(self, features: Floats, labels: Ints, clean: Ints) -> Ints:
        """Return the vote of the clean training rows for each noisy training row, shape (noisy rows,)."""
        flipped = labels != clean
        if not flipped.any():
            return np.empty(0, np.int64)
        return self.predict(features[~flipped], clean[~flipped], features[flipped])

    def recovered(self, features: Floats, labels: Ints, clean: Ints) -> float | None:
        """Return P: share of noisy training rows whose neighbours vote for the true class; None without noisy rows."""
        votes = self.noisy(features, labels, clean)
        return float((votes == clean[labels != clean]).mean()) if votes.size else None


def hidden_and_logits(model: nn.Module, features: Tensor, batch_rows: int = 1000) -> tuple[Tensor, Tensor]:
    """Return the inputs of a model's last linear layer, shape (rows, hidden), and its logits, shape (rows, classes).

    Raise ConfigError if the model has no linear layer.
    """
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise ConfigError(f"{type(model).__name__}: has no nn.Linear; expected one as its last layer")
    hidden: list[Tensor] = []
    hook = layers[-1].register_forward_pre_hook(lambda _, inputs: hidden.append(inputs[0].flatten(1)))
    model.eval()
    try:
        with torch.inference_mode():
            logits = torch.cat([model(batch) for batch in torch.split(features, batch_rows)])
    finally:
        hook.remove()
    return torch.cat(hidden), logits


def measure(model: nn.Module, data: NoisySet, config: DoubleDescentConfig) -> dict[str, Any]:
    """Measure a network's size, losses, accuracies, memorised share of noisy rows, and P.

    Training metrics use the labels as given, test metrics the true labels. ``memorised`` is the share of noisy training
    rows whose wrong label the network predicts. ``memorised`` and ``P`` are None if no training row is noisy. Raise
    DataError if there are no training rows or no held-out rows.
    """
    if bool(data.train.all()) or not bool(data.train.any()):
        raise DataError(
            f"train: expected rows of both training and test; got {int(data.train.sum()):,} of {len(data.train):,} "
            "rows for training; hold some out"
        )
    hidden, logits = hidden_and_logits(model, data.features)
    train, test = data.train, ~data.train
    labels, clean = data.labels[train], data.clean[train]
    predicted = logits.argmax(1)
    flipped = labels != clean
    arrays = (hidden[train].cpu().numpy(), labels.cpu().numpy(), clean.cpu().numpy())
    return {
        "params": sum(weights.numel() for weights in model.parameters()),
        "train_loss": F.cross_entropy(logits[train], labels).item(),
        "train_accuracy": _share(predicted[train] == labels),
        "test_loss": F.cross_entropy(logits[test], data.clean[test]).item(),
        "test_accuracy": _share(predicted[test] == data.clean[test]),
        "memorised": _share((predicted[train] == labels)[flipped]) if bool(flipped.any()) else None,
        "P": FeatureKNN(config).recovered(*arrays),
    }


def _share(hits: Tensor) -> float:
    return float(hits.double().mean())
