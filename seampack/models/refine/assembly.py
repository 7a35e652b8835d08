"""Construction of the target, the rewards and the judge that the options name."""

from datasets import Dataset

from seampack.errors import ConfigError
from seampack.models.functions import function_of
from seampack.models.refine.config import RefineConfig
from seampack.models.refine.evaluation import Judge
from seampack.models.refine.rewards import LogProbQuality, Refusal, not_refused
from seampack.models.refine.safety import SafetyClassifier
from seampack.models.refine.scoring import CachedTarget, OnRefined, Reward, Scorer, Target
from seampack.models.refine.targets import ModelTarget, target_of


def scorer_of(queries: Dataset, config: RefineConfig) -> Scorer | None:
    """Return the scorer with the rewards and the target; None if there is no target.

    Args:
        queries: Rows with ``query, attack, good, bad``.
        config: The options.

    Raises:
        ConfigError: Two rewards have the same name, or a function, target or model cannot be used.
        DataError: A model cannot be loaded, or no row has the responses that a reward needs.
    """
    if not config.target:
        return None
    target = target_of(config)
    rewards: dict[str, Reward | OnRefined] = {}
    weights: dict[str, float] = {}
    for entry, weight in config.weights().items():
        name = entry.rpartition(":")[2]
        if name in rewards:
            raise ConfigError(f"rewards: expected distinct names; got {name} twice")
        weights[name] = weight
        rewards[name] = _reward(entry, queries, target, config)
    return Scorer(rewards, weights, CachedTarget(target))


def _reward(name: str, queries: Dataset, target: Target, config: RefineConfig) -> Reward | OnRefined:
    """Return the reward of this name, or the function ``MODULE:FUNCTION``."""
    if name == "refusal":
        return Refusal([row["query"] for row in queries if row["attack"]])
    if name == "safety":
        return SafetyClassifier.load(config.safety_model)
    if name != "quality":
        return function_of(name)
    if not isinstance(target, ModelTarget):
        raise ConfigError(
            f"rewards: quality needs the log-probabilities of the target; expected the folder or hub name of a model "
            f"as target; got {config.target!r}"
        )
    references = {row["query"]: (row["good"], row["bad"]) for row in queries if row["good"] and row["bad"]}
    return LogProbQuality(config, target.model, target.tokenizer, references)


def judge_of(config: RefineConfig) -> Judge:
    """Return the judge that the option ``judge`` names."""
    if config.judge == "refusal":
        return not_refused
    return SafetyClassifier.load(config.safety_model).judge if config.judge == "safety" else function_of(config.judge)
