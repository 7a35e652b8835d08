"""rope_scaling as an adapter: search factors on retrieval prompts, measure them on others."""

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
import xxhash
from datasets import Dataset
from scipy.stats import bootstrap
from tqdm import tqdm
from transformers import AutoModelForCausalLM, AutoTokenizer

from seampack.errors import ConfigError, DataError
from seampack.models import text
from seampack.models.artifact import Artifact, fingerprint
from seampack.models.base import Adapter, Draw, Evaluation, Row, with_results
from seampack.models.rope_scaling.config import Fitness, RopeScalingConfig
from seampack.models.rope_scaling.retrieval import MADE_WITH, PREPARED, SOURCE, KVRetrieval, require_prepared
from seampack.models.rope_scaling.rope import LayerFactors, LayerwiseRope, rotary_of
from seampack.models.rope_scaling.scoring import Scores, long_ids, perplexity, score
from seampack.models.rope_scaling.search import BezierSearch

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = npt.NDArray[np.float64]


class RopeScalingAdapter(Adapter[RopeScalingConfig]):
    """Layer-specific factors of a model's rotary positions."""

    name: ClassVar[str] = "rope_scaling"
    config = RopeScalingConfig
    columns: ClassVar[dict[str, str]] = {
        "ordered_kv_records": "list of [key, value] in the order of the context, all text",
        "key": "the key that is asked for, one of those",
        "value": "its value",
    }

    def prepare(self, dataset: Dataset, config: RopeScalingConfig) -> Dataset:
        """Prompts: one row for each row and position, of ``rows`` rows from ``first_row`` on.

        Of prompts, those whose ``example`` is among these rows. Raises ConfigError where they were made with other
        options, or do not say with which.
        """
        if set(PREPARED) <= set(dataset.column_names):
            require_prepared(dataset)
            _check_made_with(dataset, config)
            return _chosen(dataset, config)
        if config.first_row and config.first_row >= len(dataset):
            raise DataError(f"the dataset has {len(dataset):,} rows: none from first_row {config.first_row:,} on")
        last = min(config.first_row + config.rows, len(dataset)) if config.rows else len(dataset)
        chosen = dataset.select(range(config.first_row, last))
        return KVRetrieval(config.pairs, config.positions, config.gold).prompts(chosen, config.first_row)

    def train(self, dataset: Dataset, config: RopeScalingConfig) -> Artifact:
        """Search for the control points on the dataset's prompts; the model's weights stay as they are."""
        require_prepared(dataset)
        weights = _weights(dataset, config)
        model, tokenizer = load_model(config.model)

        def fitness(factors: Floats) -> float:
            with LayerwiseRope(model, config.base, factors.tolist()):
                found = score_rows(model, tokenizer, dataset)
            values = found.log_prob if config.fitness == Fitness.LOG_PROB else found.correct
            return float(np.average(values, weights=weights))

        search = BezierSearch(
            fitness,
            (config.low, config.high),
            config.control_points,
            layers=len(rotary_of(model)[0]),
            step=config.step,
            population=config.population,
            generations=config.generations,
            elite=config.elite,
            mutation_sigma=config.mutation_sigma,
            seed=config.seed,
        )
        with tqdm(total=config.generations + 1, desc="generations", disable=None) as bar:

            def report(row: Row) -> None:
                bar.set_postfix(best=row["best"], refresh=False)
                bar.update()

            found = search.run(report)
        facts = {
            "data": {"fingerprint": fingerprint(dataset), "rows": len(dataset)},
            "control_points": list(found.control_points),
            "mean_factor": float(found.factors.mean()),
            "fitness": found.fitness,
            "fitness_unscaled": found.unscaled,
            "convergence": found.convergence,
        }
        searched = np.unique(np.concatenate([_hashes(dataset), _sources(dataset)]))
        tensors = {"factors": found.factors, "searched": searched}
        parts = {"scaling": LayerFactors(base=config.base, factors=tuple(found.factors.tolist()))}
        return Artifact(self.name, json.loads(json.dumps(config.to_dict())), tensors, facts, parts)

    def evaluate(self, dataset: Dataset, artifact: Artifact, config: RopeScalingConfig) -> Evaluation:
        """Log-probability and accuracy by position, with and without the factors; perplexity of ``long_text``."""
        require_prepared(dataset)
        scaling = artifact.part("scaling", LayerFactors.load)
        long_text = _read(config.long_text) if config.long_text else None
        model, tokenizer = load_model(config.model)
        if long_text is not None:
            long_ids(tokenizer, long_text, config.long_tokens)  # before the scoring, which takes long
        rope = LayerwiseRope(model, scaling.base, scaling.factors)
        plain = score_rows(model, tokenizer, dataset)
        with rope:
            scaled = score_rows(model, tokenizer, dataset)
        searched = artifact.tensors["searched"]
        # by the prompt too: prompts of one's own do not tell their row
        seen = np.isin(_hashes(dataset), searched)
        if SOURCE in dataset.column_names:
            seen |= np.isin(_sources(dataset), searched)
        metrics: dict[str, Any] = {"prompts": len(dataset), "prompts_seen_in_search": int(seen.sum())}
        by_position = _by_position(dataset, {"unscaled": plain, "scaled": scaled})
        for name, found in (("unscaled", plain), ("scaled", scaled)):
            metrics[f"log_prob_{name}"] = float(found.log_prob.mean())
            metrics[f"accuracy_{name}"] = float(found.correct.mean())
            for kind in ("log_prob", "accuracy"):
                values = [row[f"{kind}_{name}"] for row in by_position]
                metrics[f"{kind}_gap_{name}"] = max(values) - min(values)
        metrics |= gain(dataset, plain, scaled, config.seed)
        if long_text is not None:
            measure = partial(perplexity, model, tokenizer, long_text, window_tokens=config.long_tokens)
            metrics["perplexity_unscaled"] = measure()
            with rope:
                metrics["perplexity_scaled"] = measure()
        results: dict[str, Any] = {}
        for name, found in (("unscaled", plain), ("scaled", scaled)):
            results[f"log_prob_{name}"] = found.log_prob.tolist()
            results[f"correct_{name}"] = found.correct.tolist()
            results[f"prediction_{name}"] = found.prediction
        convergence = artifact.facts["convergence"]
        factors = [{"layer": layer, "factor": factor} for layer, factor in enumerate(scaling.factors)]
        pictures: dict[str, Draw] = {
            "accuracy_by_position": partial(draw_positions, by_position, "accuracy"),
            "log_prob_by_position": partial(draw_positions, by_position, "log_prob"),
            "convergence": partial(draw_convergence, {"": convergence}),
            "factors": partial(draw_factors, {"": list(scaling.factors)}),
        }
        tables = {"by_position": by_position, "convergence": convergence, "factors": factors}
        return Evaluation(metrics, with_results(dataset, results), tables, pictures)


def load_model(source: str) -> tuple[Any, Any]:
    """A causal language model and its tokenizer, ready to be measured.

    Raises ConfigError where none is named, DataError for what cannot be loaded.
    """
    if not source:
        raise ConfigError("model: expected a folder or a name of the hub; got none; give it with --set model=FOLDER")
    try:
        with text.quiet():
            tokenizer = AutoTokenizer.from_pretrained(source)
            model: Any = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"{source}: no causal language model can be loaded: {' '.join(str(error).split())}") from error
    return model.to("cuda" if torch.cuda.is_available() else "cpu").eval(), tokenizer


def score_rows(model: Any, tokenizer: Any, dataset: Dataset) -> Scores:
    """Score prepared rows."""
    return score(model, tokenizer, dataset["prompt"][:], dataset["answer"][:], groups=dataset["example"][:])


def gain(dataset: Dataset, plain: Scores, scaled: Scores, seed: int) -> dict[str, float | None]:
    """Mean gain in log-probability, in nats, with its 95 % interval: bootstrap over examples, not over prompts.

    The interval is None where there is one example only.
    """
    difference = scaled.log_prob - plain.log_prob
    examples = np.array(dataset["example"][:])
    means = np.array([difference[examples == example].mean() for example in np.unique(examples)])
    low = high = None
    if means.size > 1:
        found = bootstrap((means,), np.mean, method="percentile", rng=np.random.default_rng(seed)).confidence_interval
        low, high = float(found.low), float(found.high)
    return {"log_prob_gain": float(difference.mean()), "log_prob_gain_low": low, "log_prob_gain_high": high}


def _by_position(dataset: Dataset, scores: dict[str, Scores]) -> list[Row]:
    positions = np.array(dataset["gold_position"][:])
    rows: list[Row] = []
    for position in np.unique(positions):
        at = positions == position
        row: Row = {"position": float(position), "prompts": int(at.sum())}
        for name, found in scores.items():
            row[f"log_prob_{name}"] = float(found.log_prob[at].mean())
            row[f"accuracy_{name}"] = float(found.correct[at].mean())
        rows.append(row)
    return rows


def _weights(dataset: Dataset, config: RopeScalingConfig) -> Floats:
    """Weight of each prompt. Raises DataError for prompts at positions that have none."""
    positions = dataset["gold_position"][:]
    if not config.position_weights:
        return np.ones(len(positions))
    known = dict(zip(config.positions, config.position_weights, strict=True))
    if unknown := sorted(set(positions) - set(known)):
        raise DataError(f"gold_position {unknown[0]}: not among the positions {list(config.positions)}; prepare anew")
    return np.array([known[position] for position in positions])


def _check_made_with(dataset: Dataset, config: RopeScalingConfig) -> None:
    """Raise ConfigError unless prompts were made with the options ``pairs``, ``positions`` and ``gold``."""
    made: dict[str, list[Any]] = {"positions": sorted(dataset.unique("gold_position"))}
    if made["positions"] != sorted(map(float, config.positions)):
        raise ConfigError(
            f"positions: the data was prepared with {made['positions']}; got {list(config.positions)}; "
            "give the same, or prepare anew"
        )
    default = RopeScalingConfig()
    for name in MADE_WITH:
        wanted = getattr(config, name)
        if name not in dataset.column_names:
            if wanted != getattr(default, name):
                raise ConfigError(
                    f"{name}: the prepared data does not say what it was made with; expected the default, which "
                    f"claims nothing; got {wanted!r}; leave it out, or prepare anew"
                )
        elif (found := dataset.unique(name)) != [wanted]:
            raise ConfigError(
                f"{name}: the data was prepared with {', '.join(map(repr, found))}; got {wanted!r}; "
                "give the same, or prepare anew"
            )


def _chosen(dataset: Dataset, config: RopeScalingConfig) -> Dataset:
    """Prompts of ``rows`` rows from ``first_row`` on. Raises DataError where there are none."""
    if not config.first_row and not config.rows:
        return dataset
    examples = np.array(dataset["example"][:])
    kept = examples >= config.first_row
    if config.rows:
        kept &= examples < config.first_row + config.rows
    if not kept.any():
        last = f"{config.first_row + config.rows - 1:,}" if config.rows else "the last"
        raise DataError(
            f"first_row, rows: no prompt is of the rows {config.first_row:,} to {last}; the prepared data has rows "
            f"{examples.min():,} to {examples.max():,}; choose among them, or prepare anew"
        )
    return dataset if kept.all() else dataset.select(np.flatnonzero(kept))


def _sources(dataset: Dataset) -> npt.NDArray[np.uint64]:
    """Hashes of the rows that prompts were made from, none where they do not tell."""
    found = dataset[SOURCE][:] if SOURCE in dataset.column_names else []
    return np.array([int(source, 16) for source in found], np.uint64)


def _hashes(dataset: Dataset) -> npt.NDArray[np.uint64]:
    prompts = zip(dataset["prompt"][:], dataset["answer"][:], strict=True)
    return np.array([xxhash.xxh3_64_intdigest(f"{prompt}{answer}".encode()) for prompt, answer in prompts], np.uint64)


def _read(path: str) -> str:
    try:
        return Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"long_text: {path}: cannot be read as UTF-8 text: {error}") from error


def draw_positions(rows: list[Row], kind: str, axes: "Axes") -> None:
    """Accuracy or log-probability over the gold's position; a line for each column of its kind."""
    for column in rows[0]:
        if column.startswith(f"{kind}_"):
            name = column.removeprefix(f"{kind}_")
            axes.plot([row["position"] for row in rows], [row[column] for row in rows], "o-", label=name)
    axes.set(xlabel="position of the gold in the context")
    axes.set_ylabel("accuracy" if kind == "accuracy" else "log-probability of the gold, nats")
    axes.legend()


def draw_convergence(searches: dict[str, list[Row]], axes: "Axes") -> None:
    """Best and mean fitness over the generations, of each search by its name."""
    for at, (name, rows) in enumerate(searches.items()):
        generations = [row["generation"] for row in rows]
        axes.plot(generations, [row["best"] for row in rows], "o-", color=f"C{at}", label=f"{name} best".strip())
        axes.plot(generations, [row["mean"] for row in rows], "--", color=f"C{at}", label=f"{name} mean".strip())
    axes.set(xlabel="generation", ylabel="fitness")
    axes.legend()


def draw_factors(curves: dict[str, list[float]], axes: "Axes") -> None:
    """Factors over the layers, of each curve by its name."""
    for name, factors in curves.items():
        axes.plot(range(len(factors)), factors, "o-", markersize=3, label=name or "scaled")
    axes.axhline(1, color="grey", linewidth=1)
    axes.set(xlabel="layer", ylabel="factor")
    axes.legend()


ADAPTER = RopeScalingAdapter()
