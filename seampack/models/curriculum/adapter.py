"""The method as an adapter: questions with worked solutions in, a curriculum and a model trained along it out."""

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import xxhash
from datasets import Dataset, List, Value
from transformers import AutoModelForCausalLM, AutoTokenizer

from seampack.errors import DataError
from seampack.models import data
from seampack.models.artifact import Artifact, fingerprint
from seampack.models.base import Adapter, Evaluation, Row, with_results
from seampack.models.curriculum.answers import NUMERIC, SPLITTERS, Checker, checker, only_number
from seampack.models.curriculum.config import CurriculumConfig
from seampack.models.curriculum.difficulty import (
    BINS,
    COUNT,
    DifficultyEstimator,
    bins_of,
    draw_difficulty,
    pass_at_k,
    with_columns,
)
from seampack.models.curriculum.guiding import GuidedPrompter, unguided
from seampack.models.curriculum.prompts import PromptFormat
from seampack.models.curriculum.sampling import TransformersSampler, sample_all
from seampack.models.curriculum.small import model_and_tokenizer
from seampack.models.curriculum.stages import CurriculumBuilder, Order, composition, draw_stages
from seampack.models.curriculum.training import CurriculumTrainer
from seampack.models.data import require, require_text, set_aside
from seampack.models.text import SMALL, load_part

STEPS = List(Value("string"))
WRITTEN = (
    *("n_samples", "n_correct", "stage", "hint", "hint_ratio", "hint_steps"),
    *("prompt", "target", "pass_rate_hinted"),
)
"""What later steps write; ``responses`` and ``pass_rate`` are not among them, because steps also take yours."""
ROWS = "rows.parquet"


class CurriculumAdapter(Adapter[CurriculumConfig]):
    """Estimate, sort into stages, give hints, train. The artifact holds the curriculum (Parquet) beside the model."""

    name: ClassVar[str] = "curriculum"
    config: type[CurriculumConfig] = CurriculumConfig
    columns: ClassVar[Mapping[str, str]] = {
        "question": "The question, as text.",
        "answer": "Its worked solution, which ends with the final answer.",
        "steps": "Optional, with final, in place of answer: the solution's steps; joined they are its text.",
        "final": "Optional, with steps: the final answer.",
    }
    per_run: ClassVar[tuple[str, ...]] = ("checkpoint",)

    def prepare(self, dataset: Dataset, config: CurriculumConfig) -> Dataset:
        """Columns ``question, steps, final``; all others are kept. Steps and final answers of your own are kept too.

        Columns of yours that have the name of one that is written, here or by a later step, become ``NAME_given``; not
        ``responses`` and ``pass_rate``, which steps take. Rows that an estimate was made of stay as they are.
        Raises DataError for what cannot be used, such as a final answer that is no number where numbers are compared.
        """
        have = set(dataset.column_names)
        prepared = {"question", "steps", "final"} <= have and config.question_column not in have
        question = "question" if prepared else config.question_column
        require_text(dataset, question)
        if not {"steps", "final"} <= have:
            dataset = _split(dataset, config)
        else:
            require(dataset, ["steps"])
            require_text(dataset, "final")
            if dataset.features["steps"] != STEPS:
                raise DataError(f"column 'steps': expected lists of text; got {dataset.features['steps']}")
            if empty := [row for row, steps in enumerate(dataset["steps"]) if not steps]:
                raise DataError(f"column 'steps', row {empty[0]}: no steps; expected one at least")
            _check_finals(dataset["final"][:], "final", config)
        if question != "question":
            dataset = set_aside(dataset, ["question"]).rename_column(question, "question")
        elif {"steps", "final"} <= have and all(
            dataset.features.get(name) == COUNT for name in ("n_samples", "n_correct")
        ):
            return dataset  # what stands there is not the user's: later steps wrote it, and replace it
        return set_aside(dataset, WRITTEN)

    def train(self, dataset: Dataset, config: CurriculumConfig) -> Artifact:
        """Make the curriculum by the model's own responses, and train the model along it."""
        correct = checker(config.checker or config.answers)
        model, tokenizer = _base(dataset, config)
        prompt = _prompt(config, tokenizer)
        kept = Path(config.checkpoint) if config.checkpoint else None
        sample = _sampler(model, tokenizer, config)
        shared: dict[str, Any] = {
            "sample": sample,
            "correct": correct,
            "prompt": prompt,
            "n_samples": config.n_samples,
            "batch_rows": _at_once(config),
        }
        estimated = DifficultyEstimator(**shared, checkpoint=kept and kept / "difficulty.jsonl").estimate(dataset)
        staged = CurriculumBuilder(stages=config.stages, seed=config.seed).build(estimated)
        if config.guide:
            prompter = GuidedPrompter(**shared, ratios=config.ratios, threshold=config.threshold, checkpoint=kept)
            curriculum = prompter.guide(staged)
        else:
            curriculum = unguided(staged, prompt)
        parts = {"tokenizer": tokenizer, "curriculum": _Curriculum(curriculum)}
        if config.model == SMALL:
            parts["base"] = copy.deepcopy(model)
        history: list[Row] = []
        if config.method != "none":
            history = _trainer(config, correct).train(model, tokenizer, curriculum)
            parts["model"] = model
        facts = {
            "data": {"fingerprint": fingerprint(dataset), "rows": len(dataset)},
            "stages": composition(curriculum),
            "hints": _hints(curriculum),
            "history": history,
        }
        return Artifact(self.name, json.loads(json.dumps(config.to_dict())), facts=facts, parts=parts)

    def evaluate(self, dataset: Dataset, artifact: Artifact, config: CurriculumConfig) -> Evaluation:
        """Accuracy (greedy), avg@n and pass@k of the trained model and of the model before, by difficulty.

        How hard a question is says the first half of the first model's responses; its second half is what the trained
        model is compared with, so that no question looks harder than it is by chance.
        """
        correct = checker(config.checker or config.answers)
        tokenizer = artifact.part("tokenizer", load_part(AutoTokenizer))
        load = load_part(AutoModelForCausalLM)
        base = artifact.part("base", load) if "base" in artifact.parts else load(Path(config.model))
        models = {"base": base}
        if "model" in artifact.parts:
            models["trained"] = artifact.part("model", load)
        right: dict[str, npt.NDArray[np.bool_]] = {}
        greedy: dict[str, npt.NDArray[np.bool_]] = {}
        finals = dataset["final"][:]
        prompts = [_prompt(config, tokenizer)(question) for question in dataset["question"]]
        asked = xxhash.xxh3_128_hexdigest(json.dumps(prompts).encode())  # another test set has files of its own
        for name, model in models.items():
            sample = _sampler(model, tokenizer, config)
            for n, into in ((config.n_samples, right), (1, greedy)):
                name_of_file = f"evaluate-{sample.label[:12]}-{n}-{asked[:12]}.jsonl"
                file = Path(config.checkpoint) / name_of_file if config.checkpoint else None
                said = sample_all(
                    sample if n > 1 else replace(sample, temperature=0),
                    prompts,
                    n,
                    batch_rows=_at_once(config),
                    checkpoint=file,
                    title=name,
                )
                checked = [[correct(text, final) for text in texts] for texts, final in zip(said, finals, strict=True)]
                into[name] = np.asarray(checked, np.bool_)
        metrics: dict[str, Any] = {"questions": len(dataset)}
        for name in models:
            metrics[f"{name}_accuracy"] = float(greedy[name].mean())
            metrics[f"{name}_avg@{config.n_samples}"] = float(right[name].mean())
            for k in _ks(config):
                metrics[f"{name}_pass@{k}"] = float(pass_at_k(config.n_samples, right[name].sum(1), k).mean())
        half = config.n_samples // 2
        difficulty = bins_of(right["base"][:, :half].mean(1))
        by_difficulty = [
            {"pass_rate": BINS[at], "questions": int((difficulty == at).sum())}
            | {f"{name}_avg": float(_unused(right, name, half)[difficulty == at].mean()) for name in models}
            | {
                f"{name}_pass@{k}": float(pass_at_k(unused.shape[1], unused[difficulty == at].sum(1), k).mean())
                for name in models
                for unused in [_unused(right, name, half)]
                for k in _ks(config)
                if k <= unused.shape[1]
            }
            for at in np.unique(difficulty)
        ]
        rates = {f"{name}_pass_rate": (right[name].mean(1).tolist(), Value("float64")) for name in models}
        stages, base_rates = artifact.facts["stages"], right["base"].mean(1)
        tables = {"by_difficulty": by_difficulty, "stages": stages, "hints": artifact.facts["hints"]}
        pictures = {"difficulty": draw_difficulty(base_rates), "stages": draw_stages(stages)}
        return Evaluation(metrics, with_results(dataset, rates), tables, pictures)


class _Curriculum:
    """The curriculum as a part of an artifact: a folder with one Parquet file."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def save_pretrained(self, folder: Path) -> None:
        folder.mkdir()
        self.dataset.to_parquet(str(folder / ROWS))


def curriculum_of(artifact: Artifact) -> Dataset:
    """The rows of an artifact's curriculum, the easiest first."""
    found = artifact.parts["curriculum"]
    if isinstance(found, Path):
        return data.load(str(found / ROWS))
    rows: Dataset = found.dataset
    return rows


def _split(dataset: Dataset, config: CurriculumConfig) -> Dataset:
    """The dataset with ``steps`` and ``final`` from its column of answers."""
    require_text(dataset, config.answer_column)
    split, solutions = SPLITTERS[config.answers], []
    for row, answer in enumerate(dataset[config.answer_column]):
        try:
            solutions.append(split(answer))
        except DataError as error:
            raise DataError(f"column {config.answer_column!r}, row {row}: {error}; see the option answers") from error
    steps, finals = [list(solution.steps) for solution in solutions], [solution.final for solution in solutions]
    _check_finals(finals, config.answer_column, config)
    return with_columns(set_aside(dataset, ["steps", "final"]), steps=(steps, STEPS), final=(finals, Value("string")))


def _check_finals(finals: Sequence[str], column: str, config: CurriculumConfig) -> None:
    name = config.checker or config.answers
    for row, final in enumerate(finals):
        if name in NUMERIC and only_number(final) is None:
            raise DataError(
                f"column {column!r}, row {row}: the final answer is not what the checker {name} compares: expected one "
                f"number, such as 18, 1,250.50 or 3/4; got {final!r}; correct or drop the row, or set checker to math "
                "or text"
            )


def _base(dataset: Dataset, config: CurriculumConfig) -> tuple[Any, Any]:
    """The model to begin with; ``small`` is taught by whole solutions first."""
    solutions = ["".join(steps) for steps in dataset["steps"]]
    asked = [PromptFormat(template=config.template)(question) for question in dataset["question"]]
    texts = [question + solution for question, solution in zip(asked, solutions, strict=True)]
    model, tokenizer = model_and_tokenizer(config.model, texts, seed=config.seed)
    if config.model == SMALL and config.warm_epochs:
        rows = {"prompt": asked, "target": solutions, "final": dataset["final"][:], "stage": [1] * len(dataset)}
        CurriculumTrainer(
            correct=checker(config.checker or config.answers),
            order=Order.UNIFORM,
            epochs=config.warm_epochs,
            learning_rate=2e-3,
            batch_rows=config.batch_rows,
            seed=config.seed,
        ).train(model, tokenizer, Dataset.from_dict(rows))
    return model, tokenizer


def _prompt(config: CurriculumConfig, tokenizer: Any) -> PromptFormat:
    return PromptFormat(
        template=config.template,
        hint_template=config.hint_template,
        placement=config.placement,
        chat=tokenizer if config.chat else None,
    )


def _sampler(model: Any, tokenizer: Any, config: CurriculumConfig) -> TransformersSampler:
    return TransformersSampler(
        model, tokenizer, config.temperature, config.max_new_tokens, config.batch_responses, config.seed
    )


def _trainer(config: CurriculumConfig, correct: Checker) -> CurriculumTrainer:
    return CurriculumTrainer(
        correct=correct,
        method=config.method,
        order=config.order,
        epochs=config.epochs,
        learning_rate=config.learning_rate,
        batch_rows=config.batch_rows,
        replay=config.replay,
        generations=config.generations,
        beta=config.beta,
        max_new_tokens=config.max_new_tokens,
        seed=config.seed,
    )


def _at_once(config: CurriculumConfig) -> int:
    """Prompts between two writes of a checkpoint: as many as are sampled at once."""
    return max(1, config.batch_responses // config.n_samples)


def _ks(config: CurriculumConfig) -> list[int]:
    return [k for k in config.pass_ks if k <= config.n_samples]


def _unused(right: dict[str, npt.NDArray[np.bool_]], name: str, half: int) -> npt.NDArray[np.bool_]:
    """The responses that did not say how hard the questions are."""
    return right[name][:, half:] if name == "base" else right[name]


def _hints(curriculum: Dataset) -> list[Row]:
    """One row for each size of hint: how many questions have it, and their pass rates without and with it."""
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
