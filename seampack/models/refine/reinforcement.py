"""The second stage: the refiner is rewarded for what the target answers to its rewordings, by trl's GRPOTrainer."""

import logging
import math
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM
from transformers.trainer_callback import PrinterCallback

from seampack.errors import DataError, MissingExtraError
from seampack.models.refine.refiner import Refiner, warn_of_cut
from seampack.models.refine.scoring import CachedTarget, OnRefined, Reward, Scorer, Target
from seampack.models.refine.training import lora_config, merged, old_names
from seampack.models.text import quiet

EARLY_STEPS = 5
"""Steps after which the spread of the rewards is judged. Later on, equal rewards can mean that all is learnt."""


@dataclass(frozen=True, slots=True)
class Reinforced:
    """What reinforcement learning gave."""

    refiner: Refiner
    curve: list[dict[str, float | None]]
    """One entry a step: ``reward`` and each ``reward_NAME``, means over the samples that have one, None where none has;
    ``kl``; ``flat``, the share of groups whose samples all got the same rewards."""


class RefinerRL:
    """Group-relative policy optimisation of a refiner, one named and weighted reward function for each objective.

    Every reward is of the original query and the target's answer to the refined one (arXiv 2407.01461). Within a group,
    the samples of one query, each reward is brought to mean 0 and variance 1, then they are summed by weight. A penalty
    keeps the refiner near the one that training starts from.
    """

    def __init__(
        self,
        refiner: Refiner,
        target: Target | None,
        rewards: Mapping[str, Reward | OnRefined],
        weights: Mapping[str, float] | None = None,
        *,
        steps: int = 100,
        queries_per_step: int = 8,
        samples: int = 8,
        learning_rate: float = 1e-5,
        kl: float = 0.01,
        temperature: float = 1.0,
        lora_rank: int = 0,
        seed: int = 0,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        """``weights`` are 1 where none are given; ``arguments`` are more of trl's GRPOConfig.

        ``target`` may be None where every reward is an OnRefined. Raises ConfigError for rewards that cannot work.
        """
        self.refiner = refiner
        asked = target if target is None or isinstance(target, CachedTarget) else CachedTarget(target)
        self.scorer = Scorer(dict(rewards), dict(weights) if weights else dict.fromkeys(rewards, 1.0), asked)
        self.steps = steps
        self.queries_per_step = queries_per_step
        self.samples = samples
        self.learning_rate = learning_rate
        self.kl = kl
        self.temperature = temperature
        self.lora_rank = lora_rank
        self.seed = seed
        self.arguments = dict(arguments or {})

    def fit(self, queries: Sequence[str]) -> Reinforced:
        """Train on queries, attacks among them or not.

        Raises DataError where there are none; warns of queries that are cut, and when the samples of most groups are
        rewarded alike.
        """
        if not queries:
            raise DataError("there are no queries to learn from")
        try:
            import trl
        except ModuleNotFoundError as error:
            raise MissingExtraError(error.name or "trl", "models", "reinforcement learning") from error
        library: Any = trl  # its names are exported in a way that type checkers do not see
        spread = _Spread(list(self.scorer.rewards), self.samples)
        prompts = [self.refiner.prompt(query) for query in queries]
        warn_of_cut(sum(map(self.refiner.cuts, queries)), len(queries), "queries", "max_query_tokens")
        with tempfile.TemporaryDirectory() as folder, quiet(), old_names(), _rewards_may_be_none():
            # trl loads the model that the penalty compares with from where the trained one was loaded
            start = Path(folder) / "start"
            self.refiner.model.save_pretrained(start)
            self.refiner.tokenizer.save_pretrained(start)
            model = AutoModelForCausalLM.from_pretrained(start, dtype=torch.float32)
            config = library.GRPOConfig(**(self._arguments(folder) | self.arguments))
            trainer = library.GRPOTrainer(
                model=model,
                reward_funcs=[self._function(name, spread) for name in self.scorer.rewards],
                args=config,
                train_dataset=Dataset.from_dict({"prompt": prompts, "query": list(queries)}),
                processing_class=self.refiner.tokenizer,
                peft_config=lora_config(self.lora_rank) if self.lora_rank else None,
            )
            trainer.remove_callback(PrinterCallback)
            trainer.train()
            # saved and loaded once more, for trl has put a head of its own on the model
            merged(trainer.model).save_pretrained(Path(folder) / "end")
            trained: Any = AutoModelForCausalLM.from_pretrained(Path(folder) / "end", dtype=torch.float32)
        trained.config._name_or_path = ""
        logged = [entry for entry in trainer.state.log_history if "reward" in entry]
        curve = [self._step(entry, flat) for entry, flat in zip(logged, spread.shares, strict=False)]
        return Reinforced(self.refiner.with_model(trained), curve)

    def _arguments(self, folder: str) -> dict[str, Any]:
        return {
            "output_dir": folder,
            "max_steps": self.steps,
            "per_device_train_batch_size": self.queries_per_step * self.samples,
            "num_generations": self.samples,
            "max_completion_length": self.refiner.max_new_tokens,
            "learning_rate": self.learning_rate,
            "lr_scheduler_type": "constant",
            "beta": self.kl,
            "temperature": self.temperature,
            "reward_weights": [self.scorer.weights[name] for name in self.scorer.rewards],
            "multi_objective_aggregation": "normalize_then_sum",
            "activation_checkpointing": False,
            "bf16": False,
            "seed": self.seed,
            "report_to": "none",
            "save_strategy": "no",
            "logging_steps": 1,
            "disable_tqdm": not sys.stderr.isatty(),
            "use_cpu": not torch.cuda.is_available(),
            "dataloader_pin_memory": False,
        }

    def _function(self, name: str, spread: "_Spread") -> Callable[..., list[float | None]]:
        """A reward as trl calls it; what is None counts in none of trl's means."""

        def function(completions: Sequence[Any], query: list[str], **_: Any) -> list[float | None]:
            texts = [item if isinstance(item, str) else item[-1]["content"] for item in completions]
            values = self.scorer.reward(name, query, [text.strip() for text in texts])
            spread.add(name, values)
            return values

        function.__name__ = name
        return function

    def _step(self, entry: Mapping[str, float | None], flat: float) -> dict[str, float | None]:
        logged = {"reward": "reward"} | {f"reward_{name}": f"rewards/{name}/mean" for name in self.scorer.rewards}
        logged |= {"kl": "kl"} if "kl" in entry else {}
        return {name: _mean(entry[key]) for name, key in logged.items()} | {"flat": flat}


@contextmanager
def _rewards_may_be_none() -> Iterator[None]:
    """Silence that trl takes a query without any reward for a fault; it learns nothing from it, as is wanted."""

    def other(record: logging.LogRecord) -> bool:
        return "All reward functions returned None" not in record.getMessage()

    logger = logging.getLogger("trl.trainer.grpo_trainer")
    logger.addFilter(other)
    try:
        yield
    finally:
        logger.removeFilter(other)


def _mean(logged: float | None) -> float | None:
    """A mean as trl has logged it; of no values, some versions of it log None, others NaN."""
    return None if logged is None or math.isnan(logged) else float(logged)


class _Spread:
    """Watches whether the samples of a query differ in their rewards."""

    def __init__(self, names: Sequence[str], samples: int) -> None:
        self.names = names
        self.samples = samples
        self.batch: dict[str, list[float]] = {}
        self.shares: list[float] = []

    def add(self, name: str, values: list[float | None]) -> None:
        """One reward's values of a batch, the samples of each query beside each other."""
        # a query without a reward has None for all its samples: they are alike
        self.batch[name] = [0.0 if value is None else value for value in values]
        if len(self.batch) < len(self.names):
            return
        groups = np.array([self.batch[each] for each in self.names]).reshape(len(self.names), -1, self.samples)
        self.shares.append(float((np.ptp(groups, axis=2).max(axis=0) < 1e-8).mean()))
        self.batch = {}
        if len(self.shares) == EARLY_STEPS and (mean := float(np.mean(self.shares))) > 0.9:
            warnings.warn(
                f"in the first {EARLY_STEPS} steps, {mean:.0%} of the groups had the same rewards for all samples: "
                "next to nothing can be learnt; raise word_dropout, temperature or samples, or use finer rewards",
                stacklevel=2,
            )
