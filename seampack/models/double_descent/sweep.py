"""Training of networks of increasing width; networks with one hidden layer are trained together."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 -- torch's own name for it

from seampack.errors import ConfigError
from seampack.models.double_descent.config import DoubleDescentConfig
from seampack.models.progress import progress

ModelFn = Callable[[int], nn.Module]


class Perceptron(nn.Module):
    """The paper's network for MNIST: one hidden layer of ReLU units, weights of standard deviation 0.1, biases 0."""

    def __init__(self, inputs: int, width: int, classes: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(inputs, width)
        self.output = nn.Linear(width, classes)
        for layer in (self.hidden, self.output):
            nn.init.normal_(layer.weight, std=0.1)
            nn.init.zeros_(layer.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Return the logits, shape (rows, classes), of features of any shape (rows, ...)."""
        logits: Tensor = self.output(F.relu(self.hidden(features.flatten(1))))
        return logits


@dataclass(frozen=True, slots=True)
class Trained:
    """One trained network of a sweep."""

    width: int
    seed: int
    model: nn.Module


@dataclass(frozen=True, slots=True)
class WidthSweep:
    """Trains ``model_fn(width)`` for each width and seed by stochastic gradient descent on cross-entropy.

    The learning rate is ``learning_rate / sqrt(1 + epoch // decay_epochs)``, as in the paper. ``model_fn`` returns any
    module that maps features of shape (rows, ...) to logits of shape (rows, classes). The seed determines the initial
    weights and the order of the rows, which is the same for all widths.
    """

    model_fn: ModelFn
    config: DoubleDescentConfig
    together: bool = True
    """Train all widths together if all networks are Perceptrons: equal results up to rounding, in less time."""

    def fit(self, features: Tensor, labels: Tensor) -> list[Trained]:
        """Train the networks, by seed and width, on the device of ``features``; labels: int64, shape (rows,).

        Raise ConfigError if the trained weights are not finite.
        """
        config = self.config
        networks = [
            Trained(width, seed, self._initial(width, seed).to(features.device))
            for seed in config.seeds
            for width in config.widths
        ]
        groups = [[network] for network in networks]
        if self.together and all(isinstance(network.model, Perceptron) for network in networks):
            groups = [[network for network in networks if network.seed == seed] for seed in config.seeds]
        with progress("training", len(groups) * config.epochs, "epoch") as advance:
            for group in groups:
                if len(group) == 1:
                    self._train(group[0].model, group[0].seed, features, labels, advance)
                    continue
                bank = _Bank([network.model for network in group])
                self._train(bank, group[0].seed, features, labels, advance)
                bank.copy_back()
        for network in networks:
            if not all(bool(values.isfinite().all()) for values in network.model.state_dict().values()):
                raise ConfigError(
                    f"width {network.width}, seed {network.seed}: training diverged at learning_rate "
                    f"{config.learning_rate:g}; expected finite weights; lower learning_rate or momentum, or scale "
                    "the features"
                )
        return networks

    def _initial(self, width: int, seed: int) -> nn.Module:
        """Return the network before training. Its weights depend only on width and seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed * 1_000_003 + width)
            return self.model_fn(width)

    # Not transformers' Trainer: a step takes a millisecond, less than the overhead of a general trainer.
    def _train(
        self, model: nn.Module, seed: int, features: Tensor, labels: Tensor, advance: Callable[[int], None]
    ) -> None:
        optimiser = torch.optim.SGD(model.parameters(), lr=self.config.learning_rate, momentum=self.config.momentum)
        rate = torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda epoch: 1 / math.sqrt(1 + epoch // self.config.decay_epochs)
        )
        order = torch.Generator().manual_seed(seed)
        model.train()
        for _ in range(self.config.epochs):
            shuffled = torch.randperm(len(labels), generator=order).to(features.device)
            for rows in torch.split(shuffled, self.config.batch_rows):
                logits: Tensor = model(features[rows])
                networks = len(logits) if logits.ndim == 3 else 1
                # The mean over networks times their number: each network gets the gradient of its mean loss.
                loss = F.cross_entropy(logits.flatten(0, -2), labels[rows].repeat(networks)) * networks
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
            rate.step()
            advance(1)
        model.eval()


class _Bank(nn.Module):
    """Several Perceptrons as one module: their hidden layers are one matrix product, large enough to be fast."""

    def __init__(self, models: Sequence[nn.Module]) -> None:
        super().__init__()
        self._models = [model for model in models if isinstance(model, Perceptron)]
        self._widths = [model.hidden.out_features for model in self._models]
        with torch.no_grad():
            # shapes: (sum of widths, inputs), (sum of widths,), (sum of widths, classes), (networks, 1, classes)
            self.hidden = nn.Parameter(torch.cat([model.hidden.weight for model in self._models]))
            self.hidden_bias = nn.Parameter(torch.cat([model.hidden.bias for model in self._models]))
            self.output = nn.Parameter(torch.cat([model.output.weight.T for model in self._models]))
            self.output_bias = nn.Parameter(torch.stack([model.output.bias[None] for model in self._models]))

    def forward(self, features: Tensor) -> Tensor:
        """Return the logits of all networks, shape (networks, rows, classes)."""
        states = torch.split(F.relu(F.linear(features.flatten(1), self.hidden, self.hidden_bias)), self._widths, 1)
        outputs = torch.split(self.output, self._widths)
        products = [state @ output for state, output in zip(states, outputs, strict=True)]
        return torch.stack(products) + self.output_bias

    @torch.no_grad()
    def copy_back(self) -> None:
        """Copy the weights back to the original networks."""
        parts = zip(
            self._models,
            torch.split(self.hidden, self._widths),
            torch.split(self.hidden_bias, self._widths),
            torch.split(self.output, self._widths),
            self.output_bias,
            strict=True,
        )
        for model, hidden, hidden_bias, output, output_bias in parts:
            model.hidden.weight.copy_(hidden)
            model.hidden.bias.copy_(hidden_bias)
            model.output.weight.copy_(output.T)
            model.output.bias.copy_(output_bias[0])
            model.eval()
