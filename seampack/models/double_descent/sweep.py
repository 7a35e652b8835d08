"""Networks of growing width, trained to the end; those of two layers all at once."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 -- torch's own name for it
from tqdm import tqdm

from seampack.errors import ConfigError

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
        """Logits, shape (rows, classes), of features of any shape (rows, ...)."""
        logits: Tensor = self.output(F.relu(self.hidden(features.flatten(1))))
        return logits


@dataclass(frozen=True, slots=True)
class Trained:
    """One network of a sweep."""

    width: int
    seed: int
    model: nn.Module


@dataclass(frozen=True, slots=True)
class WidthSweep:
    """Trains ``model_fn(width)`` for each width and seed by stochastic gradient descent on cross-entropy.

    The rate is ``learning_rate / sqrt(1 + epoch // decay_epochs)``, the paper's. ``model_fn`` gives any module that
    takes features of shape (rows, ...) to logits of shape (rows, classes). A seed sets the initial weights and the
    order of the rows; all widths see the same order.
    """

    model_fn: ModelFn
    widths: Sequence[int]
    seeds: Sequence[int] = (0,)
    epochs: int = 200
    batch_rows: int = 128
    learning_rate: float = 0.05
    momentum: float = 0.9
    decay_epochs: int = 50
    together: bool = True
    """Train the widths at once where all are Perceptrons: the same networks but for rounding, in less time."""

    def fit(self, features: Tensor, labels: Tensor) -> list[Trained]:
        """The trained networks, by seed and width, on the device of ``features``; labels: int64, shape (rows,).

        Raises ConfigError where training ends in numbers that are not finite.
        """
        found = [
            Trained(width, seed, self._initial(width, seed).to(features.device))
            for seed in self.seeds
            for width in self.widths
        ]
        groups = [[each] for each in found]
        if self.together and all(isinstance(each.model, Perceptron) for each in found):
            groups = [[each for each in found if each.seed == seed] for seed in self.seeds]
        with tqdm(total=len(groups) * self.epochs, unit="epoch", disable=None, leave=False) as bar:
            for group in groups:
                if len(group) == 1:
                    self._train(group[0].model, group[0].seed, features, labels, bar)
                    continue
                bank = _Bank([each.model for each in group])
                self._train(bank, group[0].seed, features, labels, bar)
                bank.give_back()
        for each in found:
            if not all(bool(values.isfinite().all()) for values in each.model.state_dict().values()):
                raise ConfigError(
                    f"width {each.width}, seed {each.seed}: training diverged at learning_rate {self.learning_rate:g}; "
                    "expected finite weights; lower learning_rate or momentum, or scale the features"
                )
        return found

    def _initial(self, width: int, seed: int) -> nn.Module:
        """The network before training: its weights depend on its own width and seed alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed * 1_000_003 + width)
            return self.model_fn(width)

    # A loop of our own: a step takes a millisecond, less than a general trainer spends around it.
    def _train(self, model: nn.Module, seed: int, features: Tensor, labels: Tensor, bar: "tqdm[None]") -> None:
        optimiser = torch.optim.SGD(model.parameters(), lr=self.learning_rate, momentum=self.momentum)
        rate = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda epoch: 1 / math.sqrt(1 + epoch // self.decay_epochs))
        order = torch.Generator().manual_seed(seed)
        model.train()
        for _ in range(self.epochs):
            shuffled = torch.randperm(len(labels), generator=order).to(features.device)
            for rows in torch.split(shuffled, self.batch_rows):
                logits: Tensor = model(features[rows])
                networks = len(logits) if logits.ndim == 3 else 1
                # The mean over networks times their number: each gets the gradient of its own mean loss.
                loss = F.cross_entropy(logits.flatten(0, -2), labels[rows].repeat(networks)) * networks
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
            rate.step()
            bar.update()
        model.eval()


class _Bank(nn.Module):
    """Perceptrons side by side: all hidden layers are one matrix product, large enough to be fast."""

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
        """Logits of all networks, shape (networks, rows, classes)."""
        states = torch.split(F.relu(F.linear(features.flatten(1), self.hidden, self.hidden_bias)), self._widths, 1)
        outputs = torch.split(self.output, self._widths)
        products = [state @ output for state, output in zip(states, outputs, strict=True)]
        return torch.stack(products) + self.output_bias

    @torch.no_grad()
    def give_back(self) -> None:
        """Put the weights into the networks that they came from."""
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
