"""Every option has its effect: one run in which all options have other values than their defaults."""

import dataclasses
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import BartConfig, Trainer

from seampack.errors import DataError
from seampack.models.empathy import EmpathyConfig, EmpathyModel, KnowledgeSelector
from seampack.models.empathy.adapter import ADAPTER
from seampack.models.empathy.training import model_and_tokenizer
from tests.models.empathy.helpers import dialogues

pytestmark = pytest.mark.xdist_group("empathy")


def source_of(run: Any, prepared: str) -> str:
    """The user's column from which a prepared column was built."""
    values = run.prepared[prepared][:]
    return next(name for name in run.own.column_names if run.own[name][:] == values)


def selector_arguments() -> list[Any]:
    generator = torch.Generator().manual_seed(0)
    logits, context = torch.randn(4, 3, 5, generator=generator), torch.randn(4, 5, generator=generator)
    return [logits, context, torch.randn(4, 3, 6, generator=generator), torch.ones(4, 3).bool(), torch.arange(4)]


def selection_of(run: Any) -> str:
    """The selection that gives the weights of the model's selector."""
    weights = run.model.emotion.selector(*selector_arguments())
    alike = [
        name
        for name in ("soft", "label", "minimax", "uniform")
        if torch.allclose(KnowledgeSelector(run.config.replace(selection=name))(*selector_arguments()), weights)
    ]
    assert len(alike) == 1
    return alike[0]


def temperature_of(run: Any) -> float:
    """The temperature that the ratio of two weights implies."""
    arguments = selector_arguments()
    losses = -arguments[0].log_softmax(-1)[0, :, arguments[-1][0]]
    weights = run.model.emotion.selector(*arguments)[0]
    return float((losses[1] - losses[0]) / (weights[0] / weights[1]).log())


def emotion_weight_of(run: Any) -> float:
    """The change of the loss by the true emotions, in units of the emotion loss."""
    batch = dict(run.batch)
    emotion = batch.pop("emotion")
    labels = batch.pop("labels")
    with torch.no_grad():
        added = run.model(**batch, labels=labels, emotion=emotion).loss - run.model(**batch, labels=labels).loss
        return float(added / run.model.understand(**batch, emotion=emotion).reading.loss)


def base_model_of(run: Any) -> str:
    """The source that the pretrained model is loaded from."""
    sources: list[str] = []

    def missing(source: str, **_: Any) -> None:
        sources.append(source)
        raise OSError("not here")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("seampack.models.training.hub_folder", lambda name: name)
        patch.setattr(BartConfig, "from_pretrained", missing)
        with pytest.raises(DataError, match="the BART cannot be loaded"):
            model_and_tokenizer(["a text"], 2, run.config.replace(base_model=OPTIONS["base_model"][0]))
    return sources[0]


def seed_of(run: Any) -> int:
    """The seed that gives the model's initial weights, which training must share."""
    weights = run.model.model.shared.weight
    texts = [text for row in run.prepared for text in [*row["context"], row["target"]]]
    seeds = [
        seed
        for seed in (0, 3)
        if torch.equal(model_and_tokenizer(texts, 2, run.config.replace(seed=seed))[0].model.shared.weight, weights)
    ]
    assert seeds == [run.trainer.args.seed]
    return seeds[0]


def batch_rows_of(run: Any) -> int:
    assert run.trainer.args.per_device_train_batch_size == max(run.generated_rows)
    return max(run.generated_rows)


OPTIONS: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "context_column": ("said", lambda run: source_of(run, "context")),
    "emotion_column": ("mood", lambda run: "mood" if run.artifact.facts["classes"] == ["joyful", "sad"] else "emotion"),
    "target_column": ("answer", lambda run: source_of(run, "target")),
    "knowledge_column": ("facts", lambda run: "facts" if "decoy" not in str(run.prepared["knowledge"][:]) else None),
    "relations": (("xReact",), lambda run: tuple(run.prepared["knowledge"][0])),
    "selection": ("label", selection_of),
    "temperature": (0.5, temperature_of),
    "base_model": ("a/bart", base_model_of),
    "hidden_size": (32, lambda run: run.model.model.shared.weight.shape[1]),
    "layers": (1, lambda run: len(run.model.model.decoder.layers)),
    "vocabulary": (310, lambda run: run.model.model.shared.weight.shape[0]),
    "epochs": (2.0, lambda run: run.trainer.args.num_train_epochs),
    "batch_rows": (3, batch_rows_of),
    "learning_rate": (0.01, lambda run: run.trainer.args.learning_rate),
    "emotion_weight": (0.7, emotion_weight_of),
    "max_context_tokens": (12, lambda run: run.batch["input_ids"].shape[1]),
    "max_knowledge_tokens": (9, lambda run: run.batch["knowledge_ids"].shape[2]),
    "max_target_tokens": (7, lambda run: run.batch["labels"].shape[1]),
    "beams": (2, lambda run: run.generation["num_beams"]),
    "repetition_penalty": (2.0, lambda run: run.generation["repetition_penalty"]),
    "responses": (4, lambda run: sum(response is not None for response in run.evaluation.rows["response"])),
    "seed": (3, seed_of),
}
"""Of each option: a value that is not its default, and a probe of the value that the run had."""


@pytest.fixture(scope="module")
def run() -> Any:
    """A run without training steps, on a dataset whose columns of the default names are decoys."""
    rows = [
        {
            "said": row["context"],
            "mood": row["emotion"],
            "answer": row["target"],
            "facts": {"xReact": ["full of it, in every possible way"], "xWant": ["to eat"]},
            "context": ["decoy"],
            "emotion": f"decoy {number % 3}",
            "target": "decoy",
            "knowledge": {"xReact": ["decoy"], "xWant": ["decoy"]},
        }
        for number, row in enumerate(dialogues())
    ]
    config = EmpathyConfig(**{name: value for name, (value, _) in OPTIONS.items() if name != "base_model"})
    own = Dataset.from_list(rows)
    prepared = ADAPTER.prepare(own, config)
    trainers: list[Any] = []
    generations: list[dict[str, Any]] = []
    generate = EmpathyModel.generate

    def generate_and_note(model: Any, **arguments: Any) -> Any:
        generations.append(arguments)
        return generate(model, **arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "train", lambda trainer: trainers.append(trainer))
        patch.setattr(EmpathyModel, "generate", generate_and_note)
        artifact = ADAPTER.train(prepared, config)
        evaluation = ADAPTER.evaluate(prepared, artifact, config)
    return SimpleNamespace(
        config=config,
        own=own,
        prepared=prepared,
        trainer=trainers[0],
        batch={
            name: value.to(artifact.parts["model"].device)
            for name, value in trainers[0].data_collator(prepared.to_list()).items()
        },
        artifact=artifact,
        model=artifact.parts["model"],
        generation=generations[0],
        generated_rows=[len(arguments["attention_mask"]) for arguments in generations],
        evaluation=evaluation,
    )


@pytest.mark.parametrize("option", [field.name for field in dataclasses.fields(EmpathyConfig)])
def test_every_option_reaches_what_it_governs(option: str, run: Any) -> None:
    assert set(OPTIONS) == {field.name for field in dataclasses.fields(EmpathyConfig)}
    value, probe = OPTIONS[option]
    assert value != getattr(EmpathyConfig(), option)
    assert probe(run) == (pytest.approx(value, rel=1e-3) if isinstance(value, float) else value)
