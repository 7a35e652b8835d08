"""The adapter: searches factors on retrieval prompts and measures them on other prompts."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from datasets import Dataset

from seampack.errors import ConfigError, DataError
from seampack.models.artifact import Artifact
from seampack.models.base import Adapter, Draw, Evaluation, Fitted, with_results
from seampack.models.progress import progress
from seampack.models.rope_scaling.config import Fitness, RopeScalingConfig
from seampack.models.rope_scaling.metrics import by_position, gain, summary
from seampack.models.rope_scaling.pictures import draw_convergence, draw_factors, draw_positions
from seampack.models.rope_scaling.prepared import (
    check_made_with,
    prompt_hashes,
    prompt_weights,
    require_prepared,
    seen_in_search,
    select_rows,
    source_hashes,
)
from seampack.models.rope_scaling.retrieval import PREPARED, KVRetrieval
from seampack.models.rope_scaling.rope import LayerFactors, LayerwiseRope, rotary_of
from seampack.models.rope_scaling.scoring import long_ids, perplexity, score_rows
from seampack.models.rope_scaling.search import BezierSearch
from seampack.models.training import load_causal


class RopeScalingAdapter(Adapter[RopeScalingConfig]):
    """Layer-specific factors of a model's rotary positions."""

    name: ClassVar[str] = "rope_scaling"
    config = RopeScalingConfig

    def prepare(self, dataset: Dataset, config: RopeScalingConfig) -> Dataset:
        """Return one prompt per row and position, for ``config.rows`` rows from ``config.first_row`` on.

        From a prepared dataset, the prompts of these rows are selected. Raises ConfigError if it was prepared with
        other options, or lacks the columns to check the options.
        """
        if set(PREPARED) <= set(dataset.column_names):
            require_prepared(dataset)
            check_made_with(dataset, config)
            return select_rows(dataset, config)
        if config.first_row and config.first_row >= len(dataset):
            raise DataError(
                f"first_row: expected less than {len(dataset):,}, the number of rows; got {config.first_row:,}"
            )
        last = min(config.first_row + config.rows, len(dataset)) if config.rows else len(dataset)
        rows = dataset.select(range(config.first_row, last))
        return KVRetrieval(config).prompts(rows, config.first_row)

    def fit(self, dataset: Dataset, config: RopeScalingConfig) -> Fitted:
        """Search for control points on the dataset's prompts; the model's weights do not change."""
        require_prepared(dataset)
        weights = prompt_weights(dataset, config)
        model, tokenizer = load_model(config.model)

        def fitness(factors: npt.NDArray[np.float64]) -> float:
            with LayerwiseRope(model, config.base, factors.tolist()):
                scores = score_rows(model, tokenizer, dataset)
            values = scores.log_prob if config.fitness == Fitness.LOG_PROB else scores.correct
            return float(np.average(values, weights=weights))

        search = BezierSearch(fitness, config, layers=len(rotary_of(model)[0]))
        with progress("search", config.generations + 1, "generation") as advance:
            best = search.run(lambda _: advance(1))
        facts = {
            "control_points": list(best.control_points),
            "mean_factor": float(best.factors.mean()),
            "fitness": best.fitness,
            "fitness_unscaled": best.unscaled,
            "convergence": best.convergence,
        }
        searched = np.unique(np.concatenate([prompt_hashes(dataset), source_hashes(dataset)]))
        scaling = LayerFactors(base=config.base, factors=tuple(best.factors.tolist()))
        notes = []
        if best.fitness <= best.unscaled:
            notes.append(
                f"no curve had a better {config.fitness} than no scaling ({best.unscaled:.4g}), so the factors change "
                "nothing; raise generations and population, widen low and high, or use prompts that the model fails on"
            )
        return Fitted({"factors": best.factors, "searched": searched}, facts, {"scaling": scaling}, notes)

    def measure(self, dataset: Dataset, artifact: Artifact, config: RopeScalingConfig) -> Evaluation:
        """Measure log-probability and accuracy by position, and the perplexity of ``config.long_text``.

        All metrics are measured with and without the factors.
        """
        require_prepared(dataset)
        scaling = artifact.part("scaling", LayerFactors.load)
        long_text = _read(config.long_text) if config.long_text else None
        model, tokenizer = load_model(config.model)
        if long_text is not None:
            long_ids(tokenizer, long_text, config.long_tokens)  # raises errors before the scoring, which takes long
        rope = LayerwiseRope(model, scaling.base, scaling.factors)
        plain = score_rows(model, tokenizer, dataset)
        with rope:
            scaled = score_rows(model, tokenizer, dataset)
        scores = {"unscaled": plain, "scaled": scaled}
        positions = by_position(dataset, scores)
        seen = seen_in_search(dataset, artifact.tensors["searched"])
        metrics: dict[str, Any] = {"prompts": len(dataset), "prompts_seen_in_search": int(seen.sum())}
        metrics |= summary(scores, positions) | gain(dataset, plain, scaled, config.seed)
        if long_text is not None:
            text_perplexity = partial(perplexity, model, tokenizer, long_text, window_tokens=config.long_tokens)
            metrics["perplexity_unscaled"] = text_perplexity()
            with rope:
                metrics["perplexity_scaled"] = text_perplexity()
        results: dict[str, Any] = {}
        for name, part in scores.items():
            results[f"log_prob_{name}"] = part.log_prob.tolist()
            results[f"correct_{name}"] = part.correct.tolist()
            results[f"prediction_{name}"] = part.prediction
        convergence = artifact.facts["convergence"]
        factors = [{"layer": layer, "factor": factor} for layer, factor in enumerate(scaling.factors)]
        pictures: dict[str, Draw] = {
            "accuracy_by_position": partial(draw_positions, positions, "accuracy"),
            "log_prob_by_position": partial(draw_positions, positions, "log_prob"),
            "convergence": partial(draw_convergence, {"": convergence}),
            "factors": partial(draw_factors, {"": scaling.factors}),
        }
        tables = {"by_position": positions, "convergence": convergence, "factors": factors}
        return Evaluation(metrics, with_results(dataset, results), tables, pictures, _notes(metrics))


def load_model(source: str) -> tuple[Any, Any]:
    """Load a causal language model and its tokenizer. Raise ConfigError if ``source`` is empty."""
    if not source:
        raise ConfigError("model: expected a folder or hub name; got none; set it with --set model=FOLDER")
    return load_causal(source, generates=False)


def _notes(metrics: Mapping[str, Any]) -> list[str]:
    """Return the notes: the gain is within chance, accuracies say nothing."""
    notes = []
    low = metrics["log_prob_gain_low"]
    if low is not None and low <= 0:
        notes.append(
            f"the gain in log-probability is not measurably above 0 (95 % interval from {low:.3g} to "
            f"{metrics['log_prob_gain_high']:.3g} nats); evaluate more rows, or search longer"
        )
    if not metrics["accuracy_scaled"] and not metrics["accuracy_unscaled"]:
        notes.append("no prompt is answered rightly, so accuracies say nothing; use fewer pairs or a stronger model")
    return notes


def _read(path: str) -> str:
    """Return the long text. Raise DataError if the file is not UTF-8 text."""
    try:
        return Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"long_text: {path}: cannot be read as UTF-8 text: {error}") from error


ADAPTER = RopeScalingAdapter()
