"""Every option has its effect: one run in which all options have other values than their defaults."""

import dataclasses
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pygad
import pytest
from datasets import Dataset

from seampack.models.rope_scaling import KVRetrieval, LayerwiseRope, RopeScalingConfig, Scores, adapter, bezier
from seampack.models.rope_scaling import search as search_module
from tests.models.rope_scaling.helpers import LAYERS, tiny

TEXT = "The quick brown fox jumps over the lazy dog. " * 8
LOG_PROB, CORRECT = (-1.0, -2.0), (True, False)
"""Scores of the prompts of one row, at its two positions."""


def contexts(run: Any) -> list[list[str]]:
    """For each row, the records that its prompts show."""
    by_row = defaultdict(list)
    for row in run.prepared:
        by_row[row["example"]].append(row["prompt"].split("\n\nKey")[0])
    return list(by_row.values())


def weights_of(run: Any) -> tuple[float, ...]:
    """The weights that give the fitness, which is the share of the first position."""
    share = run.artifact.facts["fitness"]
    return (share * 4, (1 - share) * 4)


def fitness_of(run: Any) -> str:
    """The score whose weighted mean is the fitness."""
    weights = OPTIONS["position_weights"][0]
    means = {"log_prob": np.average(LOG_PROB, weights=weights), "accuracy": np.average(CORRECT, weights=weights)}
    return next(name for name, mean in means.items() if mean == pytest.approx(run.artifact.facts["fitness"]))


def step_of(run: Any) -> float:
    """The distance between neighbours of the grid; the uniform curves reach both ends of the grid."""
    factors = [curve[0] for curve in run.curves]
    return float((max(factors) - min(factors)) / (len(run.search["gene_space"]) - 1))


def sigma_of(run: Any) -> float:
    """The standard deviation of the control points that a mutation moves, half of all, by steps of the grid."""
    size = len(run.search["gene_space"])
    genes = np.full((20_000, 1), size // 2)
    moved = run.search["mutation_type"](genes, None) - genes
    return float(np.sqrt(2 * np.mean(moved**2.0)) / (size - 1))


def seed_of(run: Any) -> int:
    assert run.gain_seeds == [run.search["random_seed"]]
    return run.gain_seeds[0]


OPTIONS: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "model": ("some/model", lambda run: "some/model" if run.sources == ["some/model"] * 2 else run.sources),
    "base": ("ntk", lambda run: "ntk" if run.bases == {"ntk"} else run.bases),
    "pairs": (4, lambda run: contexts(run)[0][0].count('": "')),
    "positions": ((0.0, 1.0), lambda run: tuple(run.prepared.unique("gold_position"))),
    "position_weights": ((3.0, 1.0), weights_of),
    "gold": ("asked", lambda run: "asked" if all(len(set(shown)) == 1 for shown in contexts(run)) else "moved"),
    "first_row": (1, lambda run: min(run.prepared["example"])),
    "rows": (2, lambda run: len(run.prepared.unique("example"))),
    "low": (0.6, lambda run: round(float(np.min(run.curves)), 6)),
    "high": (1.8, lambda run: round(float(np.max(run.curves)), 6)),
    "step": (0.01, step_of),
    "control_points": (3, lambda run: run.search["initial_population"].shape[1]),
    "fitness": ("accuracy", fitness_of),
    "population": (6, lambda run: run.search["initial_population"].shape[0]),
    "generations": (2, lambda run: len(run.artifact.facts["convergence"]) - 1),
    "elite": (3, lambda run: run.search["keep_elitism"]),
    "mutation_sigma": (0.1, sigma_of),
    "long_text": ("long.txt", lambda run: "long.txt" if {text for text, _ in run.read} == {TEXT} else None),
    "long_tokens": (16, lambda run: run.read[0][1]),
    "seed": (5, seed_of),
}
"""Of each option: a value that is not its default, and a probe of the value that the run had."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Any:
    """A run of a model with given scores."""
    sources, bases, curves, read, gain_seeds = [], set(), [], [], []
    search: dict[str, Any] = {}  # arguments of the genetic algorithm
    model = tiny()
    gain = adapter.gain

    def load(source: str, **_: Any) -> tuple[Any, Any]:
        sources.append(source)
        return model, tokenizer

    def scale(model: Any, base: str, factors: Any) -> LayerwiseRope:
        bases.add(base)
        curves.append(np.array(factors))
        return LayerwiseRope(model, base, factors)

    def scores(_model: Any, _tokenizer: Any, dataset: Dataset) -> Scores:
        first = np.array(dataset["gold_position"][:]) == 0
        return Scores(np.where(first, *LOG_PROB), np.where(first, *CORRECT), [""] * len(first))

    def perplexity(_model: Any, _tokenizer: Any, text: str, *, window_tokens: int) -> float:
        read.append((text, window_tokens))
        return 1.0

    def gain_and_note(dataset: Dataset, plain: Scores, scaled: Scores, seed: int) -> Any:
        gain_seeds.append(seed)
        return gain(dataset, plain, dataclasses.replace(scaled, log_prob=scaled.log_prob + np.arange(4)), seed)

    def start(**arguments: Any) -> Any:
        search.update(arguments)
        return pygad.GA(**arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("text"))
        Path("long.txt").write_text(TEXT, "utf-8")
        patch.setattr(adapter, "load_causal", load)
        patch.setattr(adapter, "LayerwiseRope", scale)
        patch.setattr(adapter, "score_rows", scores)
        patch.setattr(adapter, "perplexity", perplexity)
        patch.setattr(adapter, "gain", gain_and_note)
        patch.setattr(search_module, "pygad", SimpleNamespace(GA=start))
        config = RopeScalingConfig(**{name: value for name, (value, _) in OPTIONS.items()})
        prepared = adapter.ADAPTER.prepare(KVRetrieval.generate(5, 6), config)
        artifact = adapter.ADAPTER.train(prepared, config)
        adapter.ADAPTER.evaluate(prepared, artifact, config)
    return SimpleNamespace(
        sources=sources,
        bases=bases,
        curves=curves,
        read=read,
        gain_seeds=gain_seeds,
        search=search,
        prepared=prepared,
        artifact=artifact,
    )


def test_a_run_measures_uniform_curves(run: Any) -> None:
    np.testing.assert_array_equal(run.curves[0], bezier([1.0], LAYERS))


@pytest.mark.parametrize("option", [field.name for field in dataclasses.fields(RopeScalingConfig)])
def test_every_option_reaches_what_it_governs(option: str, run: Any) -> None:
    assert set(OPTIONS) == {field.name for field in dataclasses.fields(RopeScalingConfig)}
    value, probe = OPTIONS[option]
    assert value != getattr(RopeScalingConfig(), option)
    assert probe(run) == (pytest.approx(value, rel=0.03) if isinstance(value, float) else value)
