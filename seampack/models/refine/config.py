"""Options of query refinement."""

import math
from dataclasses import dataclass
from enum import StrEnum

from seampack.config import Config, check_choice, check_integer, check_number, option
from seampack.errors import ConfigError
from seampack.models.refine.refiner import INSTRUCTION
from seampack.models.text import SMALL


class Stage(StrEnum):
    """What is trained."""

    REFINER = "refiner"
    """The model that rewords queries."""
    SAFETY = "safety"
    """A classifier of responses, jailbroken or not, to be a reward and a judge of refiners."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefineConfig(Config):
    """Options of training and evaluating a refiner, or a safety classifier."""

    stage: str = option("refiner", "What is trained: refiner, or safety, a classifier of responses.")
    model: str = option(
        SMALL,
        "The refiner: small, made from the texts alone; a causal LM's folder or hub name; or a refiner's artifact.",
    )
    instruction: str = option(INSTRUCTION, "What a pretrained refiner is told; the query follows as JSON.")
    prompt_column: str = option("prompt", "Column of the queries of pairs.")
    optimized_column: str = option("optimized_prompt", "Column of their rewordings.")
    query_column: str = option(
        "", "Column of the queries to be rewarded on; if empty, query where there is one, else prompt."
    )
    attack_column: str = option(
        "", "Column that marks attacks; if empty, attack where there is one, else no row is one."
    )
    good_column: str = option("", "Column of good responses; if empty, good_res where there is one.")
    bad_column: str = option("", "Column of bad responses; if empty, bad_res where there is one.")
    response_column: str = option("response", "Stage safety: column of the responses.")
    jailbroken_column: str = option("jailbroken", "Stage safety: column that marks jailbroken responses.")
    group_column: str = option(
        "",
        "Stage safety: rows of a group are held out together; if empty, behavior where there is one, else each alone.",
    )
    held_out: float = option(
        0.25, "Stage safety: share of the training file's groups that is evaluated on, not trained on."
    )
    epochs: float = option(0.0, "Passes over the pairs; 0 takes 12 for small, 3 for others.")
    batch_rows: int = option(32, "Pairs in a step; queries at once in use.")
    learning_rate: float = option(0.0, "Learning rate on pairs; 0 takes 3e-3 for small, 2e-5 for others.")
    max_tokens: int = option(512, "Tokens of a pair, with the instruction; longer ones are cut, and counted.")
    word_dropout: float = option(
        0.15,
        "Share of the rewordings' words that are left out by the end of training on pairs, so that samples differ.",
    )
    whole_text: bool = option(False, "Whether the loss is over the query too, not the rewording alone.")
    lora_rank: int = option(0, "Rank of low-rank updates; 0 trains all weights.")
    target: str = option("", "The defended model: a folder or hub name, an http(s) address, MODULE:FUNCTION, or none.")
    target_model: str = option("", "The model's name behind an http(s) address.")
    target_key: str = option("OPENAI_API_KEY", "The environment variable that holds the key of an http(s) address.")
    target_timeout: float = option(60.0, "Seconds to wait for an http(s) answer.")
    target_retries: int = option(3, "How often a failed http(s) request is tried again.")
    target_tokens: int = option(128, "Most tokens of a target's answer.")
    rewards: tuple[str, ...] = option(
        ("refusal=1.0",),
        "Rewards as NAME=WEIGHT: refusal, safety, quality, or MODULE:FUNCTION of (originals, responses).",
    )
    judge: str = option("refusal", "Who says that an attack succeeded: refusal, safety, or MODULE:FUNCTION.")
    safety_model: str = option("", "The artifact of stage safety, for the reward or judge safety.")
    rl_steps: int = option(0, "Steps of reinforcement learning after the pairs; 0 leaves it out.")
    rl_learning_rate: float = option(0.0, "Its learning rate; 0 takes 2e-4 for small, 1e-5 for others.")
    rl_queries: int = option(8, "Queries in a step.")
    rl_samples: int = option(8, "Rewordings drawn of each query.")
    rl_temperature: float = option(1.0, "Temperature they are drawn at.")
    kl: float = option(0.01, "Weight of the penalty for leaving the model that was trained on pairs.")
    max_query_tokens: int = option(256, "Tokens of a query; longer ones are cut, and counted.")
    max_new_tokens: int = option(128, "Most tokens of a rewording.")
    seed: int = option(0, "Seed of weights, noise, order and samples.")

    def check_rules(self) -> None:
        """Check the rules between fields."""
        if isinstance(self.rewards, str):
            object.__setattr__(self, "rewards", (self.rewards,))
        if not isinstance(self.rewards, list | tuple):
            raise ConfigError(f"rewards: expected NAME=WEIGHT, or a list of them; got {self.rewards!r}")
        object.__setattr__(self, "rewards", tuple(self.rewards))
        check_choice("stage", self.stage, Stage)
        check_number("held_out", self.held_out, 0.01, 0.99)
        check_number("epochs", self.epochs, 0, 10_000)
        check_number("learning_rate", self.learning_rate, 0, 10)
        check_number("rl_learning_rate", self.rl_learning_rate, 0, 10)
        check_number("word_dropout", self.word_dropout, 0, 0.9)
        check_number("target_timeout", self.target_timeout, 0.001, 86_400)
        check_number("rl_temperature", self.rl_temperature, 0.01, 10)
        check_number("kl", self.kl, 0, 100)
        check_integer("batch_rows", self.batch_rows, 1, 1 << 16)
        check_integer("lora_rank", self.lora_rank, 0, 4096)
        check_integer("target_retries", self.target_retries, 0, 100)
        check_integer("rl_steps", self.rl_steps, 0, 1 << 30)
        check_integer("rl_queries", self.rl_queries, 1, 1 << 16)
        check_integer("rl_samples", self.rl_samples, 2, 1 << 16)
        check_integer("seed", self.seed, 0, (1 << 32) - 1)
        for name in ("max_tokens", "max_query_tokens", "max_new_tokens", "target_tokens"):
            check_integer(name, getattr(self, name), 1, 1 << 20)
        self.weights()
        if "safety" in (self.judge, *self.weights()) and not self.safety_model:
            raise ConfigError("safety_model: expected a folder of a trained safety classifier, for safety is asked for")
        if self.judge not in ("refusal", "safety") and ":" not in self.judge:
            raise ConfigError(f"judge: expected refusal, safety or MODULE:FUNCTION; got {self.judge!r}")
        if self.target.startswith(("http://", "https://")) and not self.target_model:
            raise ConfigError(f"target_model: expected the name of the model at {self.target}")
        if self.rl_steps and not self.target:
            raise ConfigError("target: reinforcement learning needs one, to reward its answers")

    def weights(self) -> dict[str, float]:
        """The rewards' weights by name, as they stand in ``rewards``. Raises ConfigError for one that is wrong."""
        found: dict[str, float] = {}
        for entry in self.rewards:
            name, equals, weight = str(entry).rpartition("=")
            try:
                found[name] = float(weight)
            except ValueError:
                equals = ""
            if not math.isfinite(found.get(name, 0)):
                raise ConfigError(f"rewards: expected a finite weight; got {entry!r}")
            if not equals or not (name in ("refusal", "safety", "quality") or ":" in name):
                raise ConfigError(
                    f"rewards: expected refusal, safety, quality or MODULE:FUNCTION, then = and a weight; got {entry!r}"
                )
        if not found:
            raise ConfigError("rewards: expected at least one; got none")
        return found
