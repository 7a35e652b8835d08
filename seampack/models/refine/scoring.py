"""What a refined query is worth: the rewards of the target's answer to it, for the query as the user wrote it."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from seampack.errors import ConfigError, DataError

Target = Callable[[list[str]], Sequence[str]]
"""The model that is defended: answers to queries, one for each."""
Reward = Callable[[list[str], list[str]], Sequence[float | None]]
"""Rewards of responses, given the original queries and the responses to the refined ones; None where it has none."""
CLIP = 10.0
"""Rewards beyond this, either way, count as this."""


class OnRefined(ABC):
    """A reward that is given the refined queries in place of the responses to them."""

    @abstractmethod
    def __call__(self, originals: list[str], refined: list[str]) -> Sequence[float | None]:
        """One reward for each pair, None where it has none."""


class CachedTarget:
    """A target that is asked once a batch, and nothing twice. An empty query has an empty answer, unasked."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.answers: dict[str, str] = {"": ""}
        self.calls = 0

    def __call__(self, queries: Sequence[str]) -> list[str]:
        """The answers. Raises DataError when the target does not give one text for each query."""
        new = [query for query in dict.fromkeys(queries) if query not in self.answers]
        if new:
            self.calls += 1
            found = list(self.target(new))
            if len(found) != len(new) or not all(isinstance(answer, str) for answer in found):
                kinds = ", ".join(sorted({type(answer).__name__ for answer in found}))
                raise DataError(
                    f"the target gave {len(found)} answers ({kinds}) to {len(new)} queries; expected a text each"
                )
            self.answers |= zip(new, found, strict=True)
        return [self.answers[query] for query in queries]


@dataclass(frozen=True, slots=True)
class Scorer:
    """Rewards by name, each with a weight; the target is asked only where a reward looks at responses."""

    rewards: Mapping[str, Reward | OnRefined]
    weights: Mapping[str, float]
    target: CachedTarget | None = None

    def __post_init__(self) -> None:
        if not self.rewards:
            raise ConfigError("rewards: expected at least one")
        if missing := sorted(set(self.weights) ^ set(self.rewards)):
            raise ConfigError(
                f"weights: expected one for each of {', '.join(self.rewards)}; wrong or missing: {missing[0]}"
            )
        needy = [name for name, reward in self.rewards.items() if not isinstance(reward, OnRefined)]
        if self.target is None and needy:
            raise ConfigError(f"reward {needy[0]}: looks at responses; name a target that gives them")

    def reward(self, name: str, originals: Sequence[str], refined: Sequence[str]) -> list[float | None]:
        """One reward's values, within -10 .. 10, or None.

        Raises DataError for a wrong number of values, or one that is not finite.
        """
        function = self.rewards[name]
        seen = list(refined) if isinstance(function, OnRefined) or self.target is None else self.target(refined)
        values = [None if value is None else float(value) for value in function(list(originals), seen)]
        if len(values) != len(originals):
            raise DataError(f"reward {name}: gave {len(values)} values for {len(originals)} responses")
        for value, original in zip(values, originals, strict=True):
            if value is not None and not math.isfinite(value):
                raise DataError(f"reward {name}: gave {value} for the query {original[:60]!r}; expected a number")
        return [None if value is None else min(max(value, -CLIP), CLIP) for value in values]

    def all(self, originals: Sequence[str], refined: Sequence[str]) -> dict[str, list[float | None]]:
        """Every reward's values by name, and their weighted sum as ``score``, None where a reward has none."""
        found = {name: self.reward(name, originals, refined) for name in self.rewards}
        weights = [self.weights[name] for name in found]
        return found | {"score": [_weighted(values, weights) for values in zip(*found.values(), strict=True)]}


def _weighted(values: Sequence[float | None], weights: Sequence[float]) -> float | None:
    """The weighted sum; None where it lacks a part, for it cannot be compared with whole ones."""
    parts = [weight * value for weight, value in zip(weights, values, strict=True) if value is not None]
    return sum(parts) if len(parts) == len(values) else None
