"""Evaluation: accuracy, avg@n and pass@k of models on the same questions, also by difficulty for the base model."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash
from datasets import Dataset

from seampack.models.base import Row
from seampack.models.curriculum.config import CurriculumConfig
from seampack.models.curriculum.difficulty import BINS, bins_of, pass_at_k
from seampack.models.curriculum.prompts import PromptFormat
from seampack.models.curriculum.sampling import TransformersSampler, sample_all

Verdicts = npt.NDArray[np.bool_]
"""Whether each response is right, shape (questions, responses)."""


def verdicts(
    dataset: Dataset, model: Any, tokenizer: Any, config: CurriculumConfig, name: str
) -> tuple[Verdicts, Verdicts]:
    """Sample responses of a model to the questions and check them.

    Args:
        dataset: Rows with ``question, final``.
        model: The model.
        tokenizer: Its tokenizer.
        config: The options of sampling and checking.
        name: Title of the progress bar.

    Returns:
        The verdicts on ``n_samples`` responses to each question, and on the greedy response.
    """
    prompt = PromptFormat(config, tokenizer)
    prompts = [prompt(question) for question in dataset["question"]]
    digest = xxhash.xxh3_128_hexdigest(json.dumps(prompts).encode())  # each test set has its own files
    sampler = TransformersSampler(config, model, tokenizer)
    results = []
    for sample, n in ((sampler, config.n_samples), (replace(sampler, greedy=True), 1)):
        responses = sample_all(
            sample,
            prompts,
            n,
            batch_rows=config.batch_prompts,
            checkpoint=config.checkpoint_file(f"evaluate-{sampler.label[:12]}-{n}-{digest[:12]}"),
            title=name,
        )
        checked = [
            [config.correct(text, final) for text in texts]
            for texts, final in zip(responses, dataset["final"], strict=True)
        ]
        results.append(np.asarray(checked, np.bool_))
    return results[0], results[1]


def measures(
    sampled: Mapping[str, Verdicts], greedy: Mapping[str, Verdicts], config: CurriculumConfig
) -> dict[str, Any]:
    """Return accuracy (greedy), avg@n and pass@k of each model."""
    metrics: dict[str, Any] = {"questions": len(sampled["base"])}
    for name, right in sampled.items():
        metrics[f"{name}_accuracy"] = float(greedy[name].mean())
        metrics[f"{name}_avg@{config.n_samples}"] = float(right.mean())
        metrics |= _pass_at_ks(name, right, config)
    return metrics


def by_difficulty(sampled: Mapping[str, Verdicts], config: CurriculumConfig) -> list[Row]:
    """Return one row per bin of the base model's pass rates: avg and pass@k of each model.

    The first half of the base model's responses determines the difficulty; only the second half is compared with the
    other models, so that chance does not make a question appear harder than it is.
    """
    half = config.n_samples // 2
    bins = bins_of(sampled["base"][:, :half].mean(1))
    compared = {name: right[:, half:] if name == "base" else right for name, right in sampled.items()}
    table = []
    for index in np.unique(bins):
        rows = bins == index
        row: Row = {"pass_rate": BINS[index], "questions": int(rows.sum())}
        row |= {f"{name}_avg": float(right[rows].mean()) for name, right in compared.items()}
        for name, right in compared.items():
            row |= _pass_at_ks(name, right[rows], config)
        table.append(row)
    return table


def _pass_at_ks(name: str, right: Verdicts, config: CurriculumConfig) -> Row:
    """Return a model's pass@k for each k of ``pass_ks`` up to the number of responses."""
    count = right.shape[1]
    return {f"{name}_pass@{k}": float(pass_at_k(count, right.sum(1), k).mean()) for k in config.pass_ks if k <= count}
