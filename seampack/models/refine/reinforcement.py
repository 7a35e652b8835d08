"""The second stage: trl's GRPOTrainer rewards the refiner for the target's answers to its rewordings."""

import math
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import AutoModelForCausalLM

from seampack.errors import ConfigError, DataError
from seampack.models.notes import flat_rewards
from seampack.models.refine.config import RefineConfig
from seampack.models.refine.refiner import Refiner, warn_of_cut
from seampack.models.refine.scoring import Scorer
from seampack.models.refine.training import lora_config, merged
from seampack.models.training import import_extra, load_causal, load_part, quiet, run_trainer, trainer_arguments

EARLY_STEPS = 5
FLAT_REMEDY = "raise word_dropout, rl_temperature or rl_samples, or use finer rewards"
"""Steps after which the spread of the rewards is checked. Later, equal rewards can mean that training is complete."""


@dataclass(frozen=True, slots=True)
class Reinforced:
    """Result of reinforcement learning."""

    refiner: Refiner
    curve: list[dict[str, float | None]]
    """One entry per step: ``reward`` and each ``reward_NAME``, means over the samples that have the reward, None if no
    sample has it; ``kl``; ``flat``, the share of groups whose samples all have the same rewards."""


class RefinerRL:
    """Group-relative policy optimisation of a refiner, with one named and weighted reward per objective.

    Rewards are computed from the original query and the target's answer to the refined query (arXiv 2407.01461). Within
    a group (the samples of one query), each reward is normalised to mean 0 and variance 1; then the rewards are summed
    by weight. A KL penalty keeps the refiner near its initial weights.
    """

    def __init__(
        self, config: RefineConfig, refiner: Refiner, scorer: Scorer, *, arguments: Mapping[str, Any] | None = None
    ) -> None:
        """Prepare the training.

        Args:
            config: The options; ``rl_steps`` must be at least 1.
            refiner: The initial refiner. The length limits of its config apply.
            scorer: Rewards, weights and target.
            arguments: Further arguments of trl's GRPOConfig.

        Raises:
            ConfigError: ``rl_steps`` is 0.
        """
        if not config.rl_steps:
            raise ConfigError("rl_steps: expected at least 1; got 0")
        self.config = config
        self.refiner = refiner
        self.scorer = scorer
        self.arguments = dict(arguments or {})

    def fit(self, queries: Sequence[str]) -> Reinforced:
        """Train on attacks and benign queries.

        Raises DataError if there are no queries, MissingExtraError if trl is not installed. Warns if queries are cut,
        or if in most groups all samples have the same rewards.
        """
        if not queries:
            raise DataError("there are no queries to train on")
        trl = import_extra("trl", "reinforcement learning")
        spread = _Spread(list(self.scorer.rewards), self.config.rl_samples)
        prompts = [self.refiner.prompt(query) for query in queries]
        warn_of_cut(sum(map(self.refiner.cuts, queries)), len(queries), "queries", "max_query_tokens")
        with tempfile.TemporaryDirectory() as folder, quiet():
            # trl loads the reference model of the penalty from the path of the trained model
            start, end = Path(folder) / "start", Path(folder) / "end"
            self.refiner.model.save_pretrained(start)
            self.refiner.tokenizer.save_pretrained(start)
            trainer = trl.GRPOTrainer(
                load_causal(start)[0],
                [self._function(name, spread) for name in self.scorer.rewards],
                trl.GRPOConfig(**(self._arguments(folder) | self.arguments)),
                train_dataset=Dataset.from_dict({"prompt": prompts, "query": list(queries)}),
                processing_class=self.refiner.tokenizer,
                peft_config=lora_config(self.config.lora_rank) if self.config.lora_rank else None,
            )
            logged = run_trainer(trainer)
            # save and load the model again, because trl replaces its head
            merged(trainer.model).save_pretrained(end)
            model = load_part(AutoModelForCausalLM)(end)
        model.config._name_or_path = ""
        curve = [self._step(entry, flat) for entry, flat in zip(logged, spread.shares, strict=False)]
        return Reinforced(self.refiner.with_model(model), curve)

    def _arguments(self, folder: str) -> dict[str, Any]:
        """Return the arguments of trl's GRPOConfig."""
        return trainer_arguments(folder, seed=self.config.seed, causal=True) | {
            "max_steps": self.config.rl_steps,
            "per_device_train_batch_size": self.config.rl_queries * self.config.rl_samples,
            "num_generations": self.config.rl_samples,
            "max_completion_length": self.refiner.config.max_new_tokens,
            "learning_rate": self.config.reward_learning_rate,
            "lr_scheduler_type": "constant",
            "beta": self.config.kl,
            "temperature": self.config.rl_temperature,
            "reward_weights": [self.scorer.weights[name] for name in self.scorer.rewards],
            "multi_objective_aggregation": "normalize_then_sum",
        }

    def _function(self, name: str, spread: "_Spread") -> Callable[..., list[float | None]]:
        """Return a reward as a function with trl's signature; trl's means skip None."""

        def function(completions: Sequence[Any], query: list[str], **_: Any) -> list[float | None]:
            texts = [item if isinstance(item, str) else item[-1]["content"] for item in completions]
            values = self.scorer.reward(name, query, [text.strip() for text in texts])
            spread.add(name, values)
            return values

        function.__name__ = name
        return function

    def _step(self, entry: Mapping[str, float | None], flat: float) -> dict[str, float | None]:
        """Convert a row logged by trl to an entry of the curve."""
        logged = {"reward": "reward"} | {f"reward_{name}": f"rewards/{name}/mean" for name in self.scorer.rewards}
        logged |= {"kl": "kl"} if "kl" in entry else {}
        return {name: _mean(entry[key]) for name, key in logged.items()} | {"flat": flat}


def _mean(logged: float | None) -> float | None:
    """Return a mean logged by trl; if there are no values, some versions of trl log None, others NaN."""
    return None if logged is None or math.isnan(logged) else float(logged)


class _Spread:
    """Records whether the samples of a query differ in their rewards."""

    def __init__(self, names: Sequence[str], samples: int) -> None:
        self.names = names
        self.samples = samples
        self.batch: dict[str, list[float]] = {}
        self.shares: list[float] = []

    def add(self, name: str, values: list[float | None]) -> None:
        """Add one reward's values of a batch; the samples of a query are consecutive."""
        # if a query has no reward, all its samples have None, so they are equal
        self.batch[name] = [0.0 if value is None else value for value in values]
        if len(self.batch) < len(self.names):
            return
        groups = np.array([self.batch[name] for name in self.names]).reshape(len(self.names), -1, self.samples)
        self.shares.append(float((np.ptp(groups, axis=2).max(axis=0) < 1e-8).mean()))
        self.batch = {}
        if len(self.shares) == EARLY_STEPS:
            for note in flat_rewards(f"the first {EARLY_STEPS} steps", self.shares, FLAT_REMEDY):
                warnings.warn(note, stacklevel=2)
