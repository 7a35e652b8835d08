"""Every option reaches the code that it governs."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from datasets import Dataset

from seampack.models import text
from seampack.models.artifact import Artifact
from seampack.models.base import Evaluation
from seampack.models.double_descent import DoubleDescentConfig, adapter, inputs
from seampack.models.double_descent.adapter import ADAPTER

pytestmark = pytest.mark.xdist_group("double_descent_options")

BASE = DoubleDescentConfig(noise=0.4, widths=(2, 3, 4), seeds=(0,), epochs=3, batch_rows=16)


@dataclasses.dataclass
class Run:
    """One run of the method, and texts prepared by the same config."""

    prepared: Dataset = None
    texts: Dataset = None
    artifact: Artifact = None  # type: ignore[assignment]
    evaluation: Evaluation = None  # type: ignore[assignment]
    encoders: list[str] = dataclasses.field(default_factory=list)
    max_tokens: set[int] = dataclasses.field(default_factory=set)

    @property
    def weights(self) -> bytes:
        """All weights of the widest network."""
        arrays = self.artifact.tensors
        return b"".join(arrays[name].tobytes() for name in sorted(arrays) if name.startswith("width-4/seed-0"))


def dataset() -> Dataset:
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 3
    centres = np.eye(3, 6)[labels] * 2
    return Dataset.from_dict(
        {
            "features": (centres + rng.normal(size=(120, 6))).tolist(),
            "pixels": rng.integers(0, 256, (120, 4)).tolist(),
            "text": [f"text {label} number {row}" for row, label in enumerate(labels)],
            "label": labels.tolist(),
            "kind": ["a", "b"] * 60,
        }
    )


def run(config: DoubleDescentConfig) -> Run:
    seen = Run()
    encoder_and_tokenizer, summarise = text.encoder_and_tokenizer, adapter.summarise

    def encoder(source: str, *arguments: Any, **options: Any) -> Any:
        seen.encoders.append(source)
        return encoder_and_tokenizer("small", *arguments, **options)

    def with_peak(runs: Any) -> Any:
        """A curve with a peak of twice the losses on both sides."""
        losses = dict(zip(config.widths, (1.0, 2.0, 1.0), strict=True))
        return [row | {"test_loss": losses[row["width"]]} for row in summarise(runs)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "check_max_tokens", lambda model, most: seen.max_tokens.add(most))
        patch.setattr(inputs, "encoder_and_tokenizer", encoder)
        patch.setattr(adapter, "summarise", with_peak)
        seen.prepared = ADAPTER.prepare(dataset(), config)
        seen.texts = ADAPTER.prepare(dataset(), config.replace(features_column="text"))
        seen.artifact = ADAPTER.train(seen.prepared, config)
        seen.evaluation = ADAPTER.evaluate(seen.prepared, seen.artifact, config)
    return seen


def column(name: str) -> Callable[[Run], Any]:
    return lambda run: run.prepared[name][:]


def weights(run: Run) -> bytes:
    return run.weights


def votes(run: Run) -> Any:
    return run.evaluation.rows["neighbours"][:]


PROBES: dict[str, tuple[Any, Callable[[Run], Any]]] = {
    "features_column": ("pixels", lambda run: run.prepared.features["features"].length),
    "label_column": ("kind", lambda run: run.prepared.features["label"].names),
    "noise": (0.6, lambda run: run.evaluation.metrics["noisy_rows"]),
    "noise_kind": ("pairwise", column("label")),
    "test_share": (0.3, lambda run: run.evaluation.metrics["test_rows"]),
    "scaling": ("none", column("features")),
    "encoder": ("folder", lambda run: run.encoders),
    "max_tokens": (3, lambda run: (run.max_tokens, run.texts["features"][0])),
    "seed": (1, lambda run: (run.prepared["part"][:], run.prepared["label"][:])),
    "widths": ((2, 4, 5), lambda run: run.artifact.facts["networks"]),
    "seeds": ((3,), lambda run: run.artifact.facts["networks"]),
    "epochs": (4, weights),
    "batch_rows": (17, weights),
    "learning_rate": (0.1, weights),
    "momentum": (0.5, weights),
    "decay_epochs": (1, weights),
    "neighbours": (9, votes),
    "metric": ("euclidean", votes),
    "peak_ratio": (2.5, lambda run: run.evaluation.metrics["found"]),
}
"""An option: a value that differs from the default and from BASE, and the effect to observe."""


@pytest.fixture(scope="module")
def base() -> Run:
    return run(BASE)


def test_every_option_has_a_probe() -> None:
    assert PROBES.keys() == {field.name for field in dataclasses.fields(DoubleDescentConfig)}


@pytest.mark.parametrize("option", PROBES)
def test_every_option_reaches_what_it_governs(base: Run, option: str) -> None:
    value, probe = PROBES[option]
    assert value not in (getattr(BASE, option), getattr(DoubleDescentConfig(), option))
    assert probe(run(BASE.replace(**{option: value}))) != probe(base)


def test_the_same_options_give_the_same_run(base: Run) -> None:
    again = run(BASE)
    assert [probe(again) for _, probe in PROBES.values()] == [probe(base) for _, probe in PROBES.values()]
