"""What a trained network does with the noisy rows: does it memorise them, and among which class do they lie?"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 -- torch's own name for it

from seampack.errors import ConfigError, DataError
from seampack.models.double_descent.inputs import NoisySet

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class FeatureKNN:
    """The vote of the ``k`` nearest rows in a network's features."""

    k: int = 5
    metric: str = "cosine"

    def predict(self, features: Floats, labels: Ints, queries: Floats) -> Ints:
        """The class of each query, shape (queries,), from rows of known class, shapes (rows, hidden) and (rows,).

        Raises DataError when there are fewer rows than ``k``.
        """
        if len(features) < self.k:
            raise DataError(f"{len(features)} clean training rows; expected at least neighbours = {self.k}; lower it")
        classifier = KNeighborsClassifier(n_neighbors=self.k, metric=self.metric, algorithm="brute")
        found: Ints = classifier.fit(features, labels).predict(queries)
        return found

    def noisy(self, features: Floats, labels: Ints, clean: Ints) -> Ints:
        """The class that the clean training rows give each noisy one (label is not clean), shape (noisy rows,)."""
        flipped = labels != clean
        if not flipped.any():
            return np.empty(0, np.int64)
        return self.predict(features[~flipped], clean[~flipped], features[flipped])

    def recovered(self, features: Floats, labels: Ints, clean: Ints) -> float | None:
        """P: share of the noisy training rows that lie among their true class; None where no row is noisy."""
        found = self.noisy(features, labels, clean)
        return float((found == clean[labels != clean]).mean()) if found.size else None


def hidden_and_logits(model: nn.Module, features: Tensor, batch_rows: int = 1000) -> tuple[Tensor, Tensor]:
    """What goes into a model's last linear layer, shape (rows, hidden), and its logits, shape (rows, classes).

    Raises ConfigError for a model without a linear layer.
    """
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise ConfigError(
            f"{type(model).__name__}: has no nn.Linear; expected one as its last layer, behind the features"
        )
    seen: list[Tensor] = []
    hook = layers[-1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].flatten(1)))
    model.eval()
    try:
        with torch.inference_mode():
            logits = torch.cat([model(batch) for batch in torch.split(features, batch_rows)])
    finally:
        hook.remove()
    return torch.cat(seen), logits


def measure(model: nn.Module, data: NoisySet, knn: FeatureKNN | None = None) -> dict[str, Any]:
    """A network's size, losses, accuracies, share of noisy rows memorised, and P.

    Training numbers are on the labels as given, test numbers on the true ones. ``memorised`` is the share of noisy
    training rows for which the network says the wrong label that they were given. ``memorised`` and ``P`` are None
    where no training row is noisy. Raises DataError where no row is for training, or none held out.
    """
    if bool(data.train.all()) or not bool(data.train.any()):
        raise DataError(
            f"train: expected rows of both training and test; got {int(data.train.sum()):,} of {len(data.train):,} "
            "rows for training; hold some out"
        )
    hidden, logits = hidden_and_logits(model, data.features)
    train, test = data.train, ~data.train
    labels, clean = data.labels[train], data.clean[train]
    said = logits.argmax(1)
    flipped = labels != clean
    arrays = (hidden[train].cpu().numpy(), labels.cpu().numpy(), clean.cpu().numpy())
    return {
        "params": sum(each.numel() for each in model.parameters()),
        "train_loss": F.cross_entropy(logits[train], labels).item(),
        "train_accuracy": _share(said[train] == labels),
        "test_loss": F.cross_entropy(logits[test], data.clean[test]).item(),
        "test_accuracy": _share(said[test] == data.clean[test]),
        "memorised": _share((said[train] == labels)[flipped]) if bool(flipped.any()) else None,
        "P": (knn or FeatureKNN()).recovered(*arrays),
    }


def _share(hits: Tensor) -> float:
    return float(hits.double().mean())
