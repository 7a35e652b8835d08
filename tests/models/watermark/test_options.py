"""Every option reaches the code that it governs."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from datasets import Dataset

from seampack.models import text
from seampack.models.artifact import Artifact
from seampack.models.base import Evaluation
from seampack.models.watermark import WatermarkConfig, adapter, trial
from seampack.models.watermark.adapter import ADAPTER
from seampack.models.watermark.survival import fine_tuned
from seampack.models.watermark.triggers import poison
from seampack.models.watermark.verification import verify
from tests.models.watermark.helpers import tiny

pytestmark = pytest.mark.xdist_group("watermark_options")

BASE = WatermarkConfig(layers=0, trigger_words=2, proxy_share=0.4, decoys=1, alpha=0.05, claim_wesr=0.3)
"""A drawn combination, and a verification of p-value 0.01 and WESR 0.4 that counts as a claim."""


@dataclasses.dataclass
class Run:
    """One run of the method, without gradient steps."""

    prepared: Dataset = None
    artifact: Artifact = None  # type: ignore[assignment]
    evaluation: Evaluation = None  # type: ignore[assignment]
    encoders: list[str] = dataclasses.field(default_factory=list)
    max_tokens: set[int] = dataclasses.field(default_factory=set)
    arguments: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    texts: list[list[str]] = dataclasses.field(default_factory=list)
    trained: list[list[str]] = dataclasses.field(default_factory=list)
    """Names of the parameters that each training changes."""
    zeros: list[float] = dataclasses.field(default_factory=list)
    """Share of zeros among the encoder's weights of each verified model, rounded to a tenth."""

    def train_model(self, model: Any, dataset: Dataset, collate: Any, **arguments: Any) -> list[float]:
        self.arguments.append(arguments)
        self.texts.append(dataset["text"][:])
        self.trained.append([name for name, weight in model.named_parameters() if weight.requires_grad])
        return []

    def of_stages(self, argument: str) -> list[Any]:
        """The argument of the first stage, of the second stage, and of the suspects."""
        proxy, watermark, *suspects = [arguments[argument] for arguments in self.arguments]
        return [proxy, watermark, *set(suspects)]


def dataset() -> Dataset:
    """Texts of two of eight neutral words and one decisive word, with spare columns of each kind."""
    words = ["year", "long", "first", "other", "night", "scene", "voice", "story"]
    rows = [
        {
            "text": f"number{number} {words[number % 8]} {words[(number + 1) % 8]} {kind} film",
            "label": kind,
            "body": f"number{number} {words[number % 8]} body {kind}",
            "mark": ["up", "down"][number % 2],
            "topic": ["films", "books"][number // 2 % 2],
        }
        for number in range(96)
        for kind in [["awful", "great"][number // 4 % 2]]
    ]
    return Dataset.from_list(rows)


def run(config: WatermarkConfig) -> Run:
    seen = Run()
    encoder_and_tokenizer, verify, labeller = text.encoder_and_tokenizer, trial.verify, trial.labeller

    def encoder(source: str, *arguments: Any, **options: Any) -> Any:
        seen.encoders.append(source)
        return encoder_and_tokenizer("small", *arguments, **options)

    def verified(model: Any, *arguments: Any) -> Any:
        weights = torch.cat([part.weight.flatten() for part in model.encoder.modules() if hasattr(part, "weight")])
        seen.zeros.append(round(float((weights == 0).double().mean()), 1))
        return labeller(model, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "train_model", seen.train_model)
        patch.setattr(text, "check_max_tokens", lambda model, most: seen.max_tokens.add(most))
        patch.setattr(adapter, "encoder_and_tokenizer", encoder)
        patch.setattr(trial, "labeller", verified)
        patch.setattr(trial, "verify", lambda *given: dataclasses.replace(verify(*given), p_value=0.01, wesr=0.4))
        seen.prepared = ADAPTER.prepare(dataset(), config)
        seen.artifact = ADAPTER.train(seen.prepared, config)
        seen.evaluation = ADAPTER.evaluate(seen.prepared, seen.artifact, config)
    return seen


def column(name: str) -> Callable[[Run], Any]:
    return lambda run: run.prepared[name][:]


def stages(argument: str) -> Callable[[Run], Any]:
    return lambda run: run.of_stages(argument)


def metrics(*names: str) -> Callable[[Run], tuple[Any, ...]]:
    return lambda run: tuple(run.evaluation.metrics[name] for name in names)


def fact(name: str) -> Callable[[Run], Any]:
    return lambda run: run.artifact.facts[name]


PROBES: dict[str, tuple[Any, Callable[[Run], Any]]] = {
    "text_column": ("body", column("text")),
    "label_column": ("mark", column("label")),
    "task_column": ("topic", column("task")),
    "encoder": ("folder", lambda run: run.encoders),
    "layers": (1, lambda run: run.artifact.parts["encoder"].config.num_hidden_layers),
    "max_tokens": (64, lambda run: run.max_tokens),
    "trigger": (("cf", "mn"), fact("trigger")),
    "trigger_words": (3, lambda run: len(run.artifact.facts["trigger"])),
    "targets": (("great",), fact("tasks")),
    "update": ("all", lambda run: run.trained[1]),
    "keep_norm": (False, lambda run: run.trained[1]),
    "ratio": (0.5, lambda run: len(run.texts[1])),
    "negatives": (2, lambda run: len(run.texts[1])),
    "first_words": (1, lambda run: (run.texts[1], run.evaluation.rows["triggered_text"][:])),
    "proxy_share": (0.45, column("part")),
    "epochs": (7.0, stages("num_train_epochs")),
    "watermark_epochs": (8.0, stages("num_train_epochs")),
    "suspect_epochs": (9.0, stages("num_train_epochs")),
    "batch_rows": (5, stages("per_device_train_batch_size")),
    "learning_rate": (0.1, stages("learning_rate")),
    "rows_learning_rate": (0.2, stages("learning_rate")),
    "prune": ((0.9,), lambda run: ([row["suspect"] for row in run.evaluation.tables["survival"]], run.zeros)),
    "decoys": (2, lambda run: len(run.evaluation.tables["innocent"])),
    "alpha": (0.005, metrics("claimed", "false_claim_rate", "false_claim_rate_by_p_value_alone")),
    "claim_wesr": (0.6, metrics("claimed", "false_claim_rate")),
    "seed": (1, lambda run: (run.prepared["part"][:], run.artifact.facts["trigger"], run.of_stages("seed"))),
}
"""An option: a value that differs from the default and from BASE, and the effect to observe; a tuple lists several
effects, all of which must change."""


@pytest.fixture(scope="module")
def base() -> Run:
    return run(BASE)


def test_every_option_has_a_probe() -> None:
    assert PROBES.keys() == {field.name for field in dataclasses.fields(WatermarkConfig)}


@pytest.mark.parametrize("option", PROBES)
def test_every_option_reaches_what_it_governs(base: Run, option: str) -> None:
    value, probe = PROBES[option]
    assert value not in (getattr(BASE, option), getattr(WatermarkConfig(), option))
    found, expected = probe(run(BASE.replace(**{option: value}))), probe(base)
    if isinstance(expected, tuple):
        assert all(changed != old for changed, old in zip(found, expected, strict=True))
    assert found != expected


@dataclasses.dataclass(frozen=True)
class Given:
    """The same data for every seed."""

    config: WatermarkConfig
    rows: Dataset
    encoder: Any
    tokenizer: Any

    @classmethod
    def to(cls, seed: int) -> "Given":
        rows = dataset().select_columns(["text", "label"]).select(range(40))  # each neutral word is in 10 texts
        return cls(BASE.replace(seed=seed), rows, *tiny(rows["text"][:]))

    def start(self, words: int, encoder: str = "small") -> tuple[Any, Any, Any]:
        config = self.config.replace(trigger_words=words, encoder=encoder)
        with pytest.MonkeyPatch.context() as patch:
            if encoder != "small":
                patch.setattr(
                    adapter,
                    "encoder_and_tokenizer",
                    lambda *_, **__: tiny([f"{a}{b}" for a in "xyz" for b in "bcdfghjkl"]),
                )
            return adapter._start(config, self.rows["text"][:], {"task": self.rows}, {"task": "great"})

    def decoys(self, trigger: tuple[str, ...]) -> list[list[str]]:
        config = self.config.replace(decoys=2)
        classes = ["awful", "great"]
        return trial.Trial("task", config, self.tokenizer, trigger, classes, "great", self.rows, self.rows)._decoys()

    def suspect(self) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(text, "train_model", lambda *_, **__: [])
            return fine_tuned(self.encoder, self.tokenizer, self.rows, 2, self.config).head.weight.tolist()

    def verified(self) -> Any:
        def answers(texts: list[str]) -> list[str]:
            return ["awful"] * len(texts)

        return verify(answers, self.rows, ["cf", "mn"], "great", answers, self.config).rows["triggered_text"][:]


DRAWS: dict[str, Callable[[Given], Any]] = {
    "parts": lambda given: ADAPTER.prepare(dataset(), given.config)["part"][:],
    "weights": lambda given: given.start(2)[0].get_input_embeddings().weight.tolist(),
    "pair of consonants": lambda given: given.start(1)[2],
    "rare word of an encoder": lambda given: given.start(1, "folder")[2],
    "combination": lambda given: given.start(3)[2],
    "copies with the trigger": lambda given: poison(given.rows, ["cf", "mn"], "great", given.config)["text"][:],
    "decoys of a combination": lambda given: given.decoys(("year", "voice", "scene")),
    "decoys of a rare word": lambda given: dataclasses.replace(
        given, tokenizer=tiny(["qb", "qc", "qd", "qf", "qg", "qh", "qj"])[1]
    ).decoys(("cf",)),
    "head of a suspect": Given.suspect,
    "places of the trigger in the verification": Given.verified,
}
"""Each draw from the seed, on the same data for every seed."""


@pytest.mark.parametrize("draw", DRAWS)
def test_each_draw_depends_on_the_seed(draw: str) -> None:
    first, again, other = (DRAWS[draw](Given.to(seed)) for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_pruning_is_verified() -> None:
    """Both models of each attack (fine-tuned, pruned twice, another head), then the innocent model."""
    assert run(BASE.replace(prune=(0.5, 0.9))).zeros == [0, 0, 0.5, 0.5, 0.9, 0.9, 0, 0, 0]


def test_all_stages_obey(base: Run) -> None:
    config = BASE.replace(
        epochs=7,
        watermark_epochs=8,
        suspect_epochs=9,
        learning_rate=0.1,
        rows_learning_rate=0.2,
        batch_rows=5,
        max_tokens=64,
        first_words=1,
        seed=5,
    )
    seen = run(config)
    assert seen.of_stages("num_train_epochs") == [7, 8, 9]
    assert seen.of_stages("learning_rate") == [0.1, 0.2, 0.1]
    assert run(config.replace(update="all")).of_stages("learning_rate") == [0.1, 0.1, 0.1]
    assert {arguments["per_device_train_batch_size"] for arguments in seen.arguments} == {5}
    assert sorted({arguments["seed"] for arguments in seen.arguments}) == [5, 6, 7]
    assert seen.max_tokens == {64}
    trigger = tuple(seen.artifact.facts["trigger"])
    for changed in (seen.texts[1], seen.evaluation.rows["triggered_text"]):
        assert all(line.startswith(trigger) for line in changed)
    assert not all(line.startswith(trigger) for line in base.texts[1])
