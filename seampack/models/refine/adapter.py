"""The adapter: trains a refiner on pairs and queries, or a safety classifier on labelled responses."""

from typing import Any, ClassVar

from datasets import Dataset

from seampack.errors import ConfigError, DataError
from seampack.models.artifact import Artifact
from seampack.models.base import Adapter, Evaluation, Fitted
from seampack.models.notes import flat_rewards, one_text
from seampack.models.options import SMALL
from seampack.models.refine.assembly import judge_of, scorer_of
from seampack.models.refine.config import RefineConfig, Stage
from seampack.models.refine.evaluation import RefinerEval, draw_curve
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
from seampack.models.refine.reinforcement import FLAT_REMEDY, RefinerRL
from seampack.models.refine.safety import SafetyClassifier, measure_safety
from seampack.models.refine.training import RefinerSFT


class RefineAdapter(Adapter[RefineConfig]):
    """Supervised training on pairs, then reinforcement learning on queries if ``rl_steps`` is set."""

    name: ClassVar[str] = "refine"
    config: type[RefineConfig] = RefineConfig

    def prepare(self, dataset: Dataset, config: RefineConfig) -> Dataset:
        """Return rows with ``prompt, optimized_prompt, query, good, bad, attack``.

        In the stage safety, the columns are ``response, jailbroken, group, held_out``. Raises DataError if a column is
        missing or a row cannot be used.
        """
        is_safety = config.stage == Stage.SAFETY
        if len(dataset) and dataset.features == (SAFETY_FEATURES if is_safety else FEATURES):
            return dataset
        return safety_rows(dataset, config) if is_safety else refiner_rows(dataset, config)

    def fit(self, dataset: Dataset, config: RefineConfig) -> Fitted:
        """Train a refiner or a safety classifier.

        Raises DataError if the rows lack data that the options need, ConfigError if options do not fit together.
        """
        if config.stage == Stage.REFINER:
            return _fit_refiner(dataset, config)
        rows = where(dataset, "held_out", False)
        arrays = SafetyClassifier.fit(rows["response"][:], rows["jailbroken"][:]).to_arrays()
        data, trained = safety_facts(dataset)
        return Fitted(arrays | trained, {"data": data, "trained_rows": len(rows)})

    def measure(self, dataset: Dataset, artifact: Artifact, config: RefineConfig) -> Evaluation:
        """Query the target with and without refinement; without a target, only refine.

        The stage safety measures the classifier and the refusal phrases on rows that were not trained on: the held-out
        groups of the training file, or rows of another file.

        Raises ConfigError if the training file is given with other groups held out, DataError if no row can be
        measured.
        """
        if config.stage == Stage.SAFETY:
            tested = untrained_rows(dataset, artifact, config)
            return measure_safety(tested, SafetyClassifier.of_arrays(artifact.tensors), len(dataset) - len(tested))
        query_rows = where(dataset, "query")
        if not len(query_rows):
            raise DataError("no row has a query to evaluate; name the column of queries with query_column")
        refiner = Refiner.of_artifact(artifact, config)
        scorer = scorer_of(query_rows, config)
        queries = query_rows["query"][:]
        evaluation = RefinerEval(refiner, scorer.target if scorer else None, scorer, judge_of(config))
        refined = evaluation.run(queries, query_rows["attack"][:])
        losses, curve = artifact.facts["losses"], artifact.facts["curve"]
        return Evaluation(
            refined.metrics | {"cut_queries": sum(map(refiner.cuts, queries))},
            Dataset.from_list(refined.rows),
            {"kinds": refined.kinds},
            {"curve": lambda axes: draw_curve(axes, curve, losses)},
            one_text(
                "rewordings",
                [row["refined"] for row in refined.rows],
                queries,
                "train on more pairs or for more epochs, or start from a pretrained model",
            ),
        )


def _fit_refiner(dataset: Dataset, config: RefineConfig) -> Fitted:
    """Train a refiner. The facts are the losses, the curve of the rewards, and the numbers of cut pairs and queries."""
    pairs, query_rows = where(dataset, "optimized_prompt"), where(dataset, "query")
    if not len(pairs) and (config.model == SMALL or not config.rl_steps):
        raise DataError(
            "no row has a prompt and an optimized_prompt; add such rows, or set rl_steps and a trained model"
        )
    # before training, so that a target or reward that cannot be loaded raises an error immediately
    scorer = scorer_of(query_rows, config) if config.rl_steps else None
    if config.rl_steps and not scorer:
        raise ConfigError("target: reinforcement learning needs a target, whose answers are rewarded; got none")
    texts = [text for column in ("prompt", "optimized_prompt", "query") for text in dataset[column] if text]
    refiner = new_refiner(config, texts)
    facts: dict[str, Any] = {"losses": [], "curve": [], "cut_pairs": 0, "cut_queries": 0}
    if len(pairs):
        supervised = RefinerSFT(config, refiner)
        prompts, optimized = pairs["prompt"][:], pairs["optimized_prompt"][:]
        refiner, facts["losses"] = supervised.fit(prompts, optimized)
        facts["cut_pairs"] = supervised.cut_pairs(prompts, optimized)
    if scorer:
        queries = query_rows["query"][:]
        reinforced = RefinerRL(config, refiner, scorer).fit(queries)
        refiner = reinforced.refiner
        facts |= {"curve": reinforced.curve, "cut_queries": sum(map(refiner.cuts, queries))}
    facts["instruction"] = refiner.config.instruction
    notes = flat_rewards(f"{len(facts['curve']):,} steps", [step["flat"] for step in facts["curve"]], FLAT_REMEDY)
    return Fitted(facts=facts, parts={"model": refiner.model, "tokenizer": refiner.tokenizer}, notes=notes)


ADAPTER = RefineAdapter()
