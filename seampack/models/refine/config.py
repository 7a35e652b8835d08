"""Options of query refinement."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from seampack.config import option, seed_option
from seampack.errors import ConfigError
from seampack.models.options import SMALL, MethodConfig

INSTRUCTION = (
    "Reword the query in the JSON below, sentence by sentence. Keep what its writer wants, leave nothing out, and make "
    "it safer. Answer with the reworded query alone."
)
READY_REWARDS = ("refusal", "safety", "quality")
READY_JUDGES = ("refusal", "safety")


class Stage(StrEnum):
    """Model to train."""

    REFINER = "refiner"
    """The model that rewords queries."""
    SAFETY = "safety"
    """A classifier that detects jailbroken responses, used as a reward and as a judge of refiners."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefineConfig(MethodConfig):
    """Options of training and evaluating a refiner or a safety classifier."""

    columns: ClassVar[Mapping[str, str]] = {
        "prompt": "The query of a pair.",
        "optimized_prompt": "The rewording of a pair.",
        "query": "Optional: a query to reward or evaluate; if the column is missing, prompt is used.",
        "attack": "Optional: whether the query is an attack, true or false.",
        "good_res": "Optional: a good response to the query, for the reward quality.",
        "bad_res": "Optional: a bad response.",
        "response": "Stage safety: a response.",
        "jailbroken": "Stage safety: whether the response is the success of an attack.",
        "behavior": "Optional, stage safety: the requested behaviour; its rows are held out together.",
    }
    fixed: ClassVar[tuple[str, ...]] = (
        *("stage", "model", "instruction", "epochs", "learning_rate", "max_tokens", "word_dropout", "whole_text"),
        *("lora_rank", "rl_steps", "rl_learning_rate", "rl_queries", "rl_samples", "rl_temperature", "kl"),
    )

    stage: str = option("refiner", "Model to train: refiner, or safety, a classifier of responses.", choices=Stage)
    model: str = option(
        SMALL,
        "The refiner to train: small, built from the texts alone; folder or hub name of a causal LM; or the artifact "
        "of a refiner.",
        empty=False,
    )
    instruction: str = option(
        INSTRUCTION,
        "Instruction of a pretrained refiner, before the query as JSON; empty: the query alone. The model small has no "
        "instruction; an artifact keeps its own.",
    )
    prompt_column: str = option("prompt", "Column of the queries of pairs.", empty=False)
    optimized_column: str = option("optimized_prompt", "Column of the rewordings of pairs.", empty=False)
    query_column: str = option(
        "", "Column of the queries to reward or evaluate; empty: the column query if it exists, else prompt."
    )
    attack_column: str = option(
        "", "Column that marks attacks; empty: the column attack if it exists, else no row is an attack."
    )
    good_column: str = option("", "Column of good responses; empty: the column good_res if it exists.")
    bad_column: str = option("", "Column of bad responses; empty: the column bad_res if it exists.")
    response_column: str = option("response", "Stage safety: column of the responses.", empty=False)
    jailbroken_column: str = option("jailbroken", "Stage safety: column that marks jailbroken responses.", empty=False)
    group_column: str = option(
        "",
        "Stage safety: column of groups, whose rows are held out together; empty: the column behavior if it exists, "
        "else each response is a group.",
    )
    held_out: float = option(
        0.25,
        "Stage safety: share of the training file's groups held out for evaluation.",
        low=0.01,
        high=0.99,
    )
    epochs: float = option(
        0.0, "Passes over the pairs; 0 means 12 for small, 3 for other models.", low=0, high=10_000, unit="passes"
    )
    batch_rows: int = option(
        32, "Pairs per training step, or queries per batch in inference.", low=1, high=1_000_000, unit="rows"
    )
    learning_rate: float = option(
        0.0, "Learning rate on pairs; 0 means 3e-3 for small, 2e-5 for other models.", low=0, high=10
    )
    max_tokens: int = option(
        512,
        "Length limit of a pair, including the instruction; longer pairs are cut and counted.",
        low=1,
        high=1_000_000,
        unit="tokens",
    )
    word_dropout: float = option(
        0.15,
        "Share of the rewordings' words dropped at the end of training on pairs, so that samples differ.",
        low=0,
        high=0.9,
    )
    whole_text: bool = option(False, "Compute the loss over query and rewording instead of the rewording alone.")
    lora_rank: int = option(0, "Rank of low-rank updates; 0 trains all weights.", low=0, high=4096)
    target: str = option(
        "", "The protected model: a folder or hub name, an http(s) address, or MODULE:FUNCTION; empty: no target."
    )
    target_model: str = option("", "Name of the model at an http(s) address.")
    target_key: str = option("OPENAI_API_KEY", "Environment variable with the key of an http(s) address.")
    target_timeout: float = option(60.0, "Time limit of an http(s) request.", low=0.001, high=86_400, unit="seconds")
    target_retries: int = option(3, "Repetitions of a failed http(s) request.", low=0, high=100, unit="retries")
    target_tokens: int = option(
        128,
        "Length limit of the target's answers, and of the responses that the reward quality compares.",
        low=1,
        high=1_000_000,
        unit="tokens",
    )
    rewards: tuple[str, ...] = option(
        ("refusal=1.0",),
        "Rewards as NAME=WEIGHT: refusal, safety, quality, or MODULE:FUNCTION of (originals, responses).",
        empty=False,
    )
    judge: str = option(
        "refusal", "Judge that decides whether an attack succeeded: refusal, safety, or MODULE:FUNCTION.", empty=False
    )
    safety_model: str = option("", "Artifact of stage safety, for the reward or the judge safety.")
    rl_steps: int = option(
        0, "Steps of reinforcement learning after the pairs; 0 skips it.", low=0, high=1_000_000_000, unit="steps"
    )
    rl_learning_rate: float = option(
        0.0, "Learning rate of reinforcement learning; 0 means 2e-4 for small, 1e-5 for other models.", low=0, high=10
    )
    rl_queries: int = option(8, "Queries per step of reinforcement learning.", low=1, high=100_000, unit="queries")
    rl_samples: int = option(
        8, "Rewordings sampled for each query, which are compared.", low=2, high=100_000, unit="samples"
    )
    rl_temperature: float = option(1.0, "Sampling temperature of rewordings.", low=0.01, high=10)
    kl: float = option(
        0.01, "Weight of the KL penalty, which keeps the refiner near its weights before the rewards.", low=0, high=100
    )
    max_query_tokens: int = option(
        256, "Length limit of a query; longer queries are cut and counted.", low=1, high=1_000_000, unit="tokens"
    )
    max_new_tokens: int = option(128, "Length limit of a rewording.", low=1, high=1_000_000, unit="tokens")
    seed: int = seed_option("Seed of weights, noise, order and samples; in stage safety, of the held-out groups.")

    def __post_init__(self) -> None:
        """Accept one reward as text, then check the fields."""
        if isinstance(self.rewards, str):
            object.__setattr__(self, "rewards", (self.rewards,))
        MethodConfig.__post_init__(self)

    def check_rules(self) -> None:
        """Check rewards and judge, and the rules between fields. Raise ConfigError."""
        weights = self.weights()
        if self.judge not in READY_JUDGES and ":" not in self.judge:
            raise ConfigError(f"judge: expected refusal, safety or MODULE:FUNCTION; got {self.judge!r}")
        if "safety" in (self.judge, *weights) and not self.safety_model:
            raise ConfigError(
                "safety_model: expected the folder of a trained safety classifier, for the reward or judge safety; "
                "got none"
            )
        if self.target.startswith(("http://", "https://")) and not self.target_model:
            raise ConfigError(f"target_model: expected the name of the model at {self.target}; got none")

    def weights(self) -> dict[str, float]:
        """Return the rewards' weights by name, in the order of ``rewards``. Raise ConfigError if one is malformed."""
        weights: dict[str, float] = {}
        for entry in self.rewards:
            name, equals, weight = entry.rpartition("=")
            try:
                weights[name] = float(weight)
            except ValueError:
                equals = ""
            if not math.isfinite(weights.get(name, 0)):
                raise ConfigError(f"rewards: expected a finite weight; got {entry!r}")
            if not equals or not (name in READY_REWARDS or ":" in name):
                raise ConfigError(
                    f"rewards: expected refusal, safety, quality or MODULE:FUNCTION, then = and a weight; got {entry!r}"
                )
        return weights

    @property
    def pair_epochs(self) -> float:
        """Passes over the pairs: ``epochs``, or the default of the model."""
        return self.epochs or (12.0 if self.model == SMALL else 3.0)

    @property
    def pair_learning_rate(self) -> float:
        """Learning rate on pairs: ``learning_rate``, or the default of the model."""
        return self.learning_rate or (3e-3 if self.model == SMALL else 2e-5)

    @property
    def reward_learning_rate(self) -> float:
        """Learning rate of reinforcement learning: ``rl_learning_rate``, or the default of the model."""
        return self.rl_learning_rate or (2e-4 if self.model == SMALL else 1e-5)
