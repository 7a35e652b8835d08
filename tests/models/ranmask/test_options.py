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
from seampack.models.ranmask import RanmaskConfig, adapter, bag, certify, judge, scorer, smooth
from seampack.models.ranmask.adapter import ADAPTER
from seampack.models.ranmask.masks import MASK_TOKEN

pytestmark = pytest.mark.xdist_group("ranmask_options")

BASE = RanmaskConfig(guess_masks=40, masks=60, attack_masks=20, attack_rows=3, attack_share=0.3)
WORDS = [f"word{number}" for number in range(12)]


@dataclasses.dataclass
class Run:
    """One run of the method, of which the gradient steps are skipped and a known classifier is evaluated."""

    config: RanmaskConfig
    prepared: Dataset = None
    artifact: Artifact = None  # type: ignore[assignment]
    evaluation: Evaluation = None  # type: ignore[assignment]
    encoders: list[str] = dataclasses.field(default_factory=list)
    max_tokens: set[int] = dataclasses.field(default_factory=set)
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)
    masked: list[list[int]] = dataclasses.field(default_factory=list)
    """Token ids of a training batch."""
    predicted: int = 0
    """Number of texts predicted so far."""
    evaluated: int = 0
    """Number of texts predicted in the evaluation."""

    def train_model(self, model: Any, dataset: Dataset, collate: Any, **arguments: Any) -> list[float]:
        self.arguments = arguments
        self.masked = collate(list(dataset))["input_ids"].tolist()
        return []

    def predict(self, copies: list[list[str]]) -> Any:
        """Predict 1 clearly if a copy shows a strong word; otherwise 0, narrowly, if at least 4 words are intact."""
        self.predicted += len(copies)
        intact = [sum(word in WORDS for word in copy) for copy in copies]
        strong = ["word1" in copy for copy in copies]
        return np.array([[count, 40 if sure else 3.5] for count, sure in zip(intact, strong, strict=True)]) / 10

    @property
    def attacks(self) -> list[dict[str, Any]]:
        return self.evaluation.tables["attacks"]


def dataset() -> Dataset:
    shown = [WORDS[number % 7 :] + WORDS[: number % 7] for number in range(8)]
    return Dataset.from_dict(
        {
            "text": [" ".join(words) for words in shown],
            "body": [" ".join(words[:5]) for words in shown],
            "label": ["a", "b"] * 4,
            "mark": ["c", "d", "d", "c"] * 2,
        }
    )


def run(config: RanmaskConfig) -> Run:
    seen = Run(config)
    encoder_and_tokenizer, load = text.encoder_and_tokenizer, adapter.load

    def encoder(source: str, *arguments: Any, **options: Any) -> Any:
        seen.encoders.append(source)
        return encoder_and_tokenizer("small", *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "train_model", seen.train_model)
        for module in (text, bag):
            patch.setattr(module, "check_max_tokens", lambda model, most: seen.max_tokens.add(most))
        patch.setattr(text, "encoder_and_tokenizer", encoder)
        patch.setattr(adapter, "load", lambda *given: dataclasses.replace(load(*given), predict_fn=seen.predict))
        seen.prepared = ADAPTER.prepare(dataset(), config)
        seen.artifact = ADAPTER.train(seen.prepared, config)
        seen.evaluation = ADAPTER.evaluate(seen.prepared, seen.artifact, config)
    seen.evaluated = seen.predicted
    return seen


def column(name: str) -> Callable[[Run], Any]:
    return lambda run: run.prepared[name][:]


def result(name: str) -> Callable[[Run], Any]:
    return lambda run: run.evaluation.rows[name][:]


def argument(name: str) -> Callable[[Run], Any]:
    return lambda run: run.arguments[name]


def heuristic_radius(run: Run) -> Any:
    """Certify a text for which 91 % of the copies vote for a class: 0 words with proof, 1 by the heuristic."""

    def predict_fn(copies: list[list[str]]) -> Any:
        shown = [[word in copy for word in WORDS[:4]] for copy in copies]
        return np.array([[row == [False, False, False, True], 0.5] for row in shown], float)

    return certify(predict_fn, [WORDS], run.config.replace(min_keep=5, rate=1.0, masks=1000)).radius.tolist()


PROBES: dict[str, tuple[Any, Callable[[Run], Any]]] = {
    "text_column": ("body", column("words")),
    "label_column": ("mark", column("label")),
    "rate": (0.5, lambda run: (result("kept")(run), [row.count(4) for row in run.masked])),
    "min_keep": (6, lambda run: (result("kept")(run), [row.count(4) for row in run.masked])),
    "max_words": (9, lambda run: [len(words) for words in run.prepared["words"]]),
    "encoder": ("folder", lambda run: run.encoders),
    "layers": (1, lambda run: run.artifact.parts["encoder"].config.num_hidden_layers),
    "max_tokens": (9, lambda run: (run.max_tokens, len(run.masked[0]))),
    "epochs": (7.0, argument("num_train_epochs")),
    "batch_rows": (5, argument("per_device_train_batch_size")),
    "learning_rate": (0.1, argument("learning_rate")),
    "weight_decay": (0.2, argument("weight_decay")),
    "seed": (1, lambda run: (run.arguments["seed"], run.masked, result("p_hat")(run))),
    "ensemble": ("mean", lambda run: (run.evaluation.rows["pred"][:], smooth(run.predict, [WORDS], run.config).scores)),
    "guess_masks": (50, lambda run: smooth(run.predict, [WORDS], run.config).counts.sum()),
    "masks": (70, result("masks")),
    "alpha": (0.01, result("p_lower")),
    "beta": ("paper", heuristic_radius),
    "attacks": (("bugs",), lambda run: [row["attack"] for row in run.attacks]),
    "attack_rows": (2, lambda run: [row["texts"] for row in run.attacks]),
    "attack_share": (0.0, result("attacked_bugs")),
    "attack_masks": (30, lambda run: run.evaluated),
}
"""An option: a value that differs from the default and from BASE, and the effect to observe."""


@pytest.fixture(scope="module")
def base() -> Run:
    return run(BASE)


def test_every_option_has_a_probe() -> None:
    assert PROBES.keys() == {field.name for field in dataclasses.fields(RanmaskConfig)}


@pytest.mark.parametrize("option", PROBES)
def test_every_option_reaches_what_it_governs(base: Run, option: str) -> None:
    value, probe = PROBES[option]
    assert value not in (getattr(BASE, option), getattr(RanmaskConfig(), option))
    np.testing.assert_equal(probe(base), probe(base))
    with pytest.raises(AssertionError):
        np.testing.assert_equal(probe(run(BASE.replace(**{option: value}))), probe(base))


def test_all_stages_obey(base: Run) -> None:
    seen = run(BASE.replace(max_tokens=9, seed=5))
    assert seen.max_tokens == {9}
    assert seen.arguments["seed"] == 5
    assert set(base.evaluation.rows["masks"]) == {BASE.masks}
    assert smooth(base.predict, [WORDS], BASE).counts.sum() == BASE.guess_masks
    mask_id = base.artifact.parts["tokenizer"].convert_tokens_to_ids(MASK_TOKEN)
    for config in (BASE, BASE.replace(rate=0.5), BASE.replace(min_keep=6)):
        changed = run(config)
        hidden = {row.count(mask_id) for row in changed.masked}
        assert {len(WORDS) - kept for kept in changed.evaluation.rows["kept"]} == hidden
        assert len(hidden) == 1


def test_every_entry_point_obeys() -> None:
    seen = Run(BASE)
    votes, mean = (scorer(seen.predict, BASE.replace(ensemble=name))([WORDS]) for name in ("votes", "mean"))
    assert votes.argmax() != mean.argmax()
    certain, uncertain = (smooth(seen.predict, [WORDS], BASE.replace(alpha=alpha)).abstain for alpha in (0.5, 1e-12))
    assert (certain.tolist(), uncertain.tolist()) == ([False], [True])
    for masks in (5, 30):
        seen.predicted = 0
        judge(seen.predict, WORDS, BASE.replace(masks=masks))
        assert masks / 2 < seen.predicted <= masks
