"""Query refinement as an adapter: pairs and queries in, a refiner or a safety classifier out."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from datasets import Dataset
from sklearn.metrics import accuracy_score, roc_auc_score

from seampack.errors import ConfigError, DataError
from seampack.models.artifact import Artifact, fingerprint
from seampack.models.base import Adapter, Evaluation, Row, with_results
from seampack.models.functions import function_of
from seampack.models.refine.config import RefineConfig
from seampack.models.refine.evaluation import Judge, RefinerEval, draw_curve
from seampack.models.refine.inputs import (
    FEATURES,
    SAFETY_FEATURES,
    refiner_rows,
    safety_facts,
    safety_rows,
    untrained_rows,
    where,
)
from seampack.models.refine.refiner import Refiner, new_refiner
from seampack.models.refine.reinforcement import RefinerRL
from seampack.models.refine.rewards import LogProbQuality, Refusal, not_refused
from seampack.models.refine.safety import SafetyClassifier
from seampack.models.refine.scoring import CachedTarget, OnRefined, Reward, Scorer
from seampack.models.refine.targets import HttpTarget, ModelTarget, is_function
from seampack.models.refine.training import RefinerSFT
from seampack.models.text import SMALL

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class RefineAdapter(Adapter[RefineConfig]):
    """Supervised training on pairs, then reinforcement learning on queries, where the options ask for it."""

    name: ClassVar[str] = "refine"
    config: type[RefineConfig] = RefineConfig
    columns: ClassVar[Mapping[str, str]] = {
        "prompt": "A query, of a pair.",
        "optimized_prompt": "How it should be reworded.",
        "query": "Optional: a query to be rewarded or evaluated on; prompt without it.",
        "attack": "Optional: whether the query is an attack, true or false.",
        "good_res": "Optional: a good response to the query, for the reward quality.",
        "bad_res": "Optional: a bad one.",
        "response": "Stage safety: a response.",
        "jailbroken": "Stage safety: whether it is what an attack was after.",
        "behavior": "Optional, stage safety: what was asked for; its rows stay together.",
    }

    def prepare(self, dataset: Dataset, config: RefineConfig) -> Dataset:
        """Columns ``prompt, optimized_prompt, query, good, bad, attack``, or those of the stage safety, which are
        ``response, jailbroken, group, held_out``."""
        if len(dataset) and dataset.features == (SAFETY_FEATURES if config.stage == "safety" else FEATURES):
            return dataset
        return safety_rows(dataset, config) if config.stage == "safety" else refiner_rows(dataset, config)

    def train(self, dataset: Dataset, config: RefineConfig) -> Artifact:
        """A refiner, or a safety classifier.

        Raises DataError where the rows have nothing for what the options ask, ConfigError where those contradict.
        """
        written = json.loads(json.dumps(config.to_dict()))
        facts: dict[str, Any] = {"stage": config.stage}
        if config.stage == "safety":
            taught = where(dataset, "held_out", False)
            arrays = SafetyClassifier.fit(taught["response"][:], taught["jailbroken"][:]).to_arrays()
            data, trained = safety_facts(dataset)
            return Artifact(self.name, written, arrays | trained, facts | {"data": data, "trained_rows": len(taught)})
        refiner, found = _train_refiner(dataset, config)
        facts |= {"data": {"fingerprint": fingerprint(dataset), "rows": len(dataset)}}
        facts |= {"instruction": refiner.instruction} | found
        return Artifact(self.name, written, {}, facts, {"model": refiner.model, "tokenizer": refiner.tokenizer})

    def evaluate(self, dataset: Dataset, artifact: Artifact, config: RefineConfig) -> Evaluation:
        """Ask the target with and without refinement; without a target, only refine.

        Of the stage safety: measure the classifier, and the refusal keywords beside it, on the groups that were held
        out of the training file, or on all rows of another file that were not trained on.

        Raises ConfigError for an artifact of the other stage, and for the training file with other groups held out;
        DataError where nothing can be measured.
        """
        if artifact.facts.get("stage") != config.stage:
            raise ConfigError(f"stage: the artifact is of {artifact.facts.get('stage')}; got {config.stage}")
        if config.stage == "safety":
            tested = untrained_rows(dataset, artifact, config)
            return _evaluate_safety(tested, SafetyClassifier.of_arrays(artifact.tensors), len(dataset) - len(tested))
        lengths = {name: getattr(config, name) for name in ("max_query_tokens", "max_new_tokens")}
        refiner = replace(Refiner.of_artifact(artifact), **lengths)
        asked = where(dataset, "query")
        if not len(asked):
            raise DataError("no row has a query to evaluate on; name their column with query_column")
        target, scorer = _scorer(asked, config)
        evaluation = RefinerEval(refiner, target, scorer, _judge(config), config.batch_rows)
        queries = asked["query"][:]
        found = evaluation.run(queries, asked["attack"][:])
        losses, curve = artifact.facts["losses"], artifact.facts["curve"]
        return Evaluation(
            found.metrics | {"cut_queries": sum(map(refiner.cuts, queries))},
            Dataset.from_list(found.rows),
            {"kinds": found.kinds},
            {"curve": lambda axes: draw_curve(axes, curve, losses)},
        )


def _train_refiner(dataset: Dataset, config: RefineConfig) -> tuple[Refiner, dict[str, Any]]:
    """The refiner; the losses and the curve of its training, and how many pairs and queries were cut in it."""
    pairs, asked = where(dataset, "optimized_prompt"), where(dataset, "query")
    small = config.model == SMALL
    if not len(pairs) and (small or not config.rl_steps):
        raise DataError("no row has a prompt and an optimized_prompt; give some, or a model and rl_steps to go on from")
    # before training, so that a target or reward that cannot be had is told of at once
    target, scorer = _scorer(asked, config) if config.rl_steps else (None, None)
    texts = [text for column in ("prompt", "optimized_prompt", "query") for text in dataset[column] if text]
    refiner = new_refiner(
        config.model,
        texts,
        seed=config.seed,
        instruction=config.instruction,
        max_query_tokens=config.max_query_tokens,
        max_new_tokens=config.max_new_tokens,
    )
    facts: dict[str, Any] = {"losses": [], "curve": [], "cut_pairs": 0, "cut_queries": 0}
    if len(pairs):
        first = RefinerSFT(
            refiner,
            epochs=config.epochs or (12 if small else 3),
            batch_rows=config.batch_rows,
            learning_rate=config.learning_rate or (3e-3 if small else 2e-5),
            max_tokens=config.max_tokens,
            word_dropout=config.word_dropout,
            whole_text=config.whole_text,
            lora_rank=config.lora_rank,
            seed=config.seed,
        )
        prompts, optimized = pairs["prompt"][:], pairs["optimized_prompt"][:]
        refiner, losses = first.fit(prompts, optimized)
        facts |= {"losses": losses, "cut_pairs": first.cut_pairs(prompts, optimized)}
    if scorer:
        second = RefinerRL(
            refiner,
            target,
            scorer.rewards,
            scorer.weights,
            steps=config.rl_steps,
            queries_per_step=config.rl_queries,
            samples=config.rl_samples,
            learning_rate=config.rl_learning_rate or (2e-4 if small else 1e-5),
            kl=config.kl,
            temperature=config.rl_temperature,
            lora_rank=config.lora_rank,
            seed=config.seed,
        )
        queries = asked["query"][:]
        reinforced = second.fit(queries)
        refiner = reinforced.refiner
        facts |= {"curve": reinforced.curve, "cut_queries": sum(map(refiner.cuts, queries))}
    refiner.model.config._name_or_path = ""  # a folder of this machine
    return refiner, facts


def _scorer(dataset: Dataset, config: RefineConfig) -> tuple[CachedTarget | None, Scorer | None]:
    """The target and the rewards that the options name; neither without a target."""
    if not config.target:
        return None, None
    asked = _target(config)
    rewards: dict[str, Reward | OnRefined] = {}
    weights: dict[str, float] = {}
    for entry, weight in config.weights().items():
        name = entry.rpartition(":")[2]
        if name in rewards:
            raise ConfigError(f"rewards: two are named {name}")
        weights[name] = weight
        if entry == "refusal":
            rewards[name] = Refusal([row["query"] for row in dataset if row["attack"]])
        elif entry == "safety":
            rewards[name] = SafetyClassifier.load(config.safety_model)
        elif entry == "quality":
            if not isinstance(asked, ModelTarget):
                raise ConfigError("rewards: quality needs a target's log-probabilities: a model's folder or hub name")
            references = {row["query"]: (row["good"], row["bad"]) for row in dataset if row["good"] and row["bad"]}
            rewards[name] = LogProbQuality(
                asked.model, asked.tokenizer, references, max_response_tokens=config.target_tokens
            )
        else:
            rewards[name] = function_of(entry)
    target = CachedTarget(asked)
    return target, Scorer(rewards, weights, target)


def _target(config: RefineConfig) -> Any:
    if config.target.startswith(("http://", "https://")):
        return HttpTarget(
            config.target,
            config.target_model,
            key_variable=config.target_key,
            max_new_tokens=config.target_tokens,
            timeout_seconds=config.target_timeout,
            retries=config.target_retries,
        )
    if is_function(config.target):
        return function_of(config.target)
    return ModelTarget.load(config.target, max_new_tokens=config.target_tokens)


def _judge(config: RefineConfig) -> Judge:
    if config.judge == "refusal":
        return not_refused
    return SafetyClassifier.load(config.safety_model).judge if config.judge == "safety" else function_of(config.judge)


def _evaluate_safety(tested: Dataset, classifier: SafetyClassifier, left_out: int) -> Evaluation:
    """AUC and accuracy: the classifier, and the refusal keywords. ``left_out`` more rows were trained on."""
    labels = np.array(tested["jailbroken"][:], dtype=bool)
    if len(set(labels.tolist())) < 2:
        raise DataError(
            f"the {len(labels):,} rows to measure on, without {left_out:,} that were trained on, are of one kind; "
            "expected jailbroken ones and others; give more rows, or train anew with another held_out or seed"
        )
    responses = tested["response"][:]
    unsafe = 1 - classifier.safe(responses)
    spoken = np.array(not_refused(responses, responses))
    table: list[Row] = [
        {"by": name, "auc": float(roc_auc_score(labels, scores)), "accuracy": float(accuracy_score(labels, said))}
        for name, scores, said in (("classifier", unsafe, unsafe > 0.5), ("refusal keywords", spoken, spoken))
    ]
    metrics = {"rows": len(labels), "rows_trained_on": left_out, "jailbroken": float(labels.mean())}
    metrics |= {name: table[0][name] for name in ("auc", "accuracy")}
    metrics |= {f"refusal_{name}": table[1][name] for name in ("auc", "accuracy")}
    rows = with_results(tested, {"unsafe": unsafe.tolist()})

    def draw(axes: "Axes") -> None:
        for mark, name in ((True, "jailbroken"), (False, "not")):
            axes.hist(unsafe[labels == mark], bins=np.linspace(0, 1, 21).tolist(), alpha=0.6, label=name)
        axes.set_xlabel("1 - P(safe), rows not trained on")
        axes.set_ylabel("responses")
        axes.legend()

    return Evaluation(metrics, rows, {"detection": table}, {"scores": draw})


ADAPTER = RefineAdapter()
