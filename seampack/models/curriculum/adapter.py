"""The adapter: builds a curriculum from questions with worked solutions, and trains a model along it."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from datasets import Dataset, Value
from transformers import AutoModelForCausalLM, AutoTokenizer

from seampack.errors import ConfigError
from seampack.models import data
from seampack.models.artifact import Artifact
from seampack.models.base import Adapter, Evaluation, Fitted, Row, with_results
from seampack.models.curriculum.config import Algorithm, CurriculumConfig, Order
from seampack.models.curriculum.difficulty import DifficultyEstimator, draw_difficulty
from seampack.models.curriculum.evaluation import Verdicts, by_difficulty, measures, verdicts
from seampack.models.curriculum.guiding import GuidedPrompter, unguided
from seampack.models.curriculum.inputs import curriculum_rows
from seampack.models.curriculum.prompts import PromptFormat
from seampack.models.curriculum.sampling import TransformersSampler
from seampack.models.curriculum.small import model_and_tokenizer
from seampack.models.curriculum.stages import CurriculumBuilder, composition, draw_stages
from seampack.models.curriculum.training import CurriculumTrainer
from seampack.models.notes import flat_rewards
from seampack.models.options import SMALL
from seampack.models.training import load_causal, load_part

ROWS = "rows.parquet"
_CHECK = "check template, answers, checker and max_new_tokens"
WARM_LEARNING_RATE = 2e-3
"""Learning rate of the warm-up of the model small."""


class CurriculumAdapter(Adapter[CurriculumConfig]):
    """Estimates difficulty, sorts into stages, gives hints, trains; the artifact includes the curriculum (Parquet)."""

    name: ClassVar[str] = "curriculum"
    config: type[CurriculumConfig] = CurriculumConfig

    def prepare(self, dataset: Dataset, config: CurriculumConfig) -> Dataset:
        """Return the dataset with the columns ``question, steps, final``; all other columns are kept.

        If this or a later step writes a column of the same name, the user's column becomes ``NAME_given``, except
        ``responses`` and ``pass_rate``, which steps also read. Rows that have an estimate are not changed. Raises
        DataError for unusable rows, such as a final answer that is not a number when numbers are compared.
        """
        return curriculum_rows(dataset, config)

    def fit(self, dataset: Dataset, config: CurriculumConfig) -> Fitted:
        """Build the curriculum from the model's own responses, and train the model along it."""
        model, tokenizer = _first_model(dataset, config)
        parts = {"tokenizer": tokenizer}
        if config.model == SMALL:
            parts["base"] = copy.deepcopy(model)
        curriculum = _curriculum(dataset, model, tokenizer, config)
        parts["curriculum"] = _Curriculum(curriculum)
        history: list[Row] = []
        if config.algorithm != Algorithm.NONE:
            history = CurriculumTrainer(config).train(model, tokenizer, curriculum)
            parts["model"] = model
        facts = {"stages": composition(curriculum), "hints": _hints(curriculum), "history": history}
        return Fitted(facts=facts, parts=parts, notes=_training_notes(curriculum, history, config))

    def measure(self, dataset: Dataset, artifact: Artifact, config: CurriculumConfig) -> Evaluation:
        """Measure accuracy (greedy), avg@n and pass@k of the base model and of the trained model, by difficulty.

        The base model is ``config.model``. Raises ConfigError if that is small but training started from another model.
        """
        models = {"base": _base(artifact, config)}
        if "model" in artifact.parts:
            models["trained"] = _parts(artifact, "model")
        sampled: dict[str, Verdicts] = {}
        greedy: dict[str, Verdicts] = {}
        for name, (model, tokenizer) in models.items():
            sampled[name], greedy[name] = verdicts(dataset, model, tokenizer, config, name)
        rates = {f"{name}_pass_rate": (right.mean(1).tolist(), Value("float64")) for name, right in sampled.items()}
        stages = artifact.facts["stages"]
        return Evaluation(
            measures(sampled, greedy, config),
            with_results(dataset, rates),
            {"by_difficulty": by_difficulty(sampled, config), "stages": stages, "hints": artifact.facts["hints"]},
            {"difficulty": draw_difficulty(sampled["base"].mean(1)), "stages": draw_stages(stages)},
            _notes(sampled),
        )


class _Curriculum:
    """The curriculum as part of an artifact: a folder with one Parquet file."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def save_pretrained(self, folder: Path) -> None:
        """Write the rows as Parquet."""
        folder.mkdir()
        self.dataset.to_parquet(str(folder / ROWS))


def curriculum_of(artifact: Artifact) -> Dataset:
    """Return the rows of an artifact's curriculum, easiest first."""
    part = artifact.parts["curriculum"]
    if isinstance(part, Path):
        return data.load(str(part / ROWS))
    rows: Dataset = part.dataset
    return rows


def _first_model(dataset: Dataset, config: CurriculumConfig) -> tuple[Any, Any]:
    """Return the initial model and its tokenizer; ``small`` is first trained on whole solutions."""
    solutions = ["".join(steps) for steps in dataset["steps"]]
    prompt = PromptFormat(config.replace(chat=False))
    prompts = [prompt(question) for question in dataset["question"]]
    texts = [question + solution for question, solution in zip(prompts, solutions, strict=True)]
    model, tokenizer = model_and_tokenizer(config.model, texts, seed=config.seed)
    if config.model == SMALL and config.warm_epochs:
        lessons = {"prompt": prompts, "target": solutions, "final": dataset["final"][:], "stage": [1] * len(dataset)}
        warm = config.replace(
            algorithm=Algorithm.SFT,
            order=Order.UNIFORM,
            epochs=config.warm_epochs,
            learning_rate=WARM_LEARNING_RATE,
        )
        CurriculumTrainer(warm).train(model, tokenizer, Dataset.from_dict(lessons))
    return model, tokenizer


def _base(artifact: Artifact, config: CurriculumConfig) -> tuple[Any, Any]:
    """Return the model before training, and its tokenizer."""
    if config.model != SMALL:
        return load_causal(config.model)
    if "base" not in artifact.parts:
        raise ConfigError(
            f"model: expected {artifact.config['model']!r}, from which the artifact was trained; got 'small'"
        )
    return _parts(artifact, "base")


def _parts(artifact: Artifact, name: str) -> tuple[Any, Any]:
    """Return a model of the artifact, and its tokenizer."""
    return artifact.part(name, load_part(AutoModelForCausalLM)), artifact.part("tokenizer", load_part(AutoTokenizer))


def _curriculum(dataset: Dataset, model: Any, tokenizer: Any, config: CurriculumConfig) -> Dataset:
    """Return the dataset with pass rates, stages and hints, based on the model's own responses."""
    prompt, sample = PromptFormat(config, tokenizer), TransformersSampler(config, model, tokenizer)
    staged = CurriculumBuilder(config).build(DifficultyEstimator(config, sample, prompt=prompt).estimate(dataset))
    return GuidedPrompter(config, sample, prompt=prompt).guide(staged) if config.guide else unguided(staged, prompt)


def _training_notes(curriculum: Dataset, history: Sequence[Row], config: CurriculumConfig) -> list[str]:
    """Return the notes: the pass rates do not order the questions, rewards have no spread."""
    notes = []
    rates = set(curriculum["pass_rate"])
    if len(rates) == 1 and len(curriculum) > 1:
        notes.append(
            f"all {len(curriculum):,} pass rates are {rates.pop():g}, so the stages are random; use a "
            f"{'weaker' if max(curriculum['pass_rate']) else 'stronger'} model or other questions, and {_CHECK}"
        )
    flat = [row["frac_reward_zero_std"] for row in history if "frac_reward_zero_std" in row]
    return notes + flat_rewards(
        f"{len(flat):,} steps",
        flat,
        f"use questions with pass rates between 0 and 1, or raise generations ({config.generations})",
    )


def _notes(sampled: Mapping[str, Verdicts]) -> list[str]:
    """Return a note if no model gives a right response."""
    if any(right.any() for right in sampled.values()):
        return []
    return [f"no response of any model is right, so they cannot be compared; use a stronger model, and {_CHECK}"]


def _hints(curriculum: Dataset) -> list[Row]:
    """Return one row per size of hint: its number of questions, and their pass rates without and with the hint."""
    ratios, before, after = (
        np.asarray(curriculum[name][:]) for name in ("hint_ratio", "pass_rate", "pass_rate_hinted")
    )
    return [
        {
            "hint_ratio": float(ratio),
            "questions": int((ratios == ratio).sum()),
            "pass_rate": float(before[ratios == ratio].mean()),
            "pass_rate_hinted": float(after[ratios == ratio].mean()),
        }
        for ratio in np.unique(ratios)
    ]


ADAPTER = CurriculumAdapter()
