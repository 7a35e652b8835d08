"""Scores of refined queries: rewards of the target's answers with respect to the original queries."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from seampack.errors import ConfigError, DataError

Target = Callable[[list[str]], Sequence[str]]
"""The protected model: takes queries, returns one answer per query."""
Reward = Callable[[list[str], list[str]], Sequence[float | None]]
"""Takes original queries and the responses to the refined queries, returns one reward each; None means no reward."""
CLIP = 10.0
"""Rewards are clipped to -CLIP .. CLIP."""


class OnRefined(ABC):
    """A reward that takes the refined queries instead of the responses to them."""

    @abstractmethod
    def __call__(self, originals: list[str], refined: list[str]) -> Sequence[float | None]:
        """Return one reward per pair; None means no reward."""


class CachedTarget:
    """A target that is called once per batch, and once per distinct query; an empty query has an empty answer."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.answers: dict[str, str] = {"": ""}
        self.calls = 0

    def __call__(self, queries: Sequence[str]) -> list[str]:
        """Return the answers. Raise DataError unless the target returns one text per query."""
        new = [query for query in dict.fromkeys(queries) if query not in self.answers]
        if new:
            self.calls += 1
            answers = list(self.target(new))
            if len(answers) != len(new) or not all(isinstance(answer, str) for answer in answers):
                kinds = ", ".join(sorted({type(answer).__name__ for answer in answers}))
                raise DataError(
                    f"target: expected one text for each of {len(new)} queries; got {len(answers)} answers ({kinds})"
                )
            self.answers |= zip(new, answers, strict=True)
        return [self.answers[query] for query in queries]


@dataclass(frozen=True, slots=True)
class Scorer:
    """Rewards and their weights, by name; the target is called only for rewards that need responses."""

    rewards: Mapping[str, Reward | OnRefined]
    weights: Mapping[str, float]
    target: CachedTarget | None = None

    def __post_init__(self) -> None:
        if not self.rewards:
            raise ConfigError("rewards: expected at least one; got none")
        if wrong := sorted(set(self.weights) ^ set(self.rewards)):
            raise ConfigError(
                f"weights: expected one for each of {', '.join(self.rewards)}; wrong or missing: {wrong[0]}"
            )
        of_responses = [name for name, reward in self.rewards.items() if not isinstance(reward, OnRefined)]
        if self.target is None and of_responses:
            raise ConfigError(f"reward {of_responses[0]}: needs the responses of a target; got no target")

    def reward(self, name: str, originals: Sequence[str], refined: Sequence[str]) -> list[float | None]:
        """Return one reward's values, clipped to -CLIP .. CLIP, or None.

        Raises DataError if the number of values is wrong or a value is not finite.
        """
        function = self.rewards[name]
        texts = list(refined) if isinstance(function, OnRefined) or self.target is None else self.target(refined)
        values = [None if value is None else float(value) for value in function(list(originals), texts)]
        if len(values) != len(originals):
            raise DataError(f"reward {name}: expected {len(originals)} values, one per response; got {len(values)}")
        for value, original in zip(values, originals, strict=True):
            if value is not None and not math.isfinite(value):
                raise DataError(f"reward {name}: expected a number for the query {original[:60]!r}; got {value}")
        return [None if value is None else min(max(value, -CLIP), CLIP) for value in values]

    def all(self, originals: Sequence[str], refined: Sequence[str]) -> dict[str, list[float | None]]:
        """Return every reward's values by name, and their weighted sum as ``score``; None if a reward is None."""
        rewards = {name: self.reward(name, originals, refined) for name in self.rewards}
        weights = [self.weights[name] for name in rewards]
        return rewards | {"score": [_weighted(values, weights) for values in zip(*rewards.values(), strict=True)]}


def _weighted(values: Sequence[float | None], weights: Sequence[float]) -> float | None:
    """Return the weighted sum; None if a value is None, because the sum could not be compared with others."""
    parts = [weight * value for weight, value in zip(weights, values, strict=True) if value is not None]
    return sum(parts) if len(parts) == len(values) else None
