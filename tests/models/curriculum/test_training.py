"""Training: the initial model, the order of the rows, and learning."""

from pathlib import Path
from typing import Any

import pytest
import torch

from seampack.errors import ConfigError
from seampack.models.curriculum import CurriculumBuilder, CurriculumConfig, CurriculumTrainer, PromptFormat, unguided
from seampack.models.curriculum.small import model_and_tokenizer, piece_tokenizer, small_model
from seampack.models.curriculum.stages import plan
from seampack.models.training import end_tokens
from tests.models.curriculum.world import prepared


def test_a_model_is_trained_in_full_precision(tmp_path: Path) -> None:
    tokenizer = piece_tokenizer(["some words"])
    small_model(tokenizer, seed=0).to(torch.bfloat16).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model, _ = model_and_tokenizer(str(tmp_path), [])
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    model.generation_config.eos_token_id = [1, 3]
    assert end_tokens(model, tokenizer) == sorted({1, 3, tokenizer.eos_token_id})


@pytest.mark.parametrize("algorithm", ["sft", "grpo"])
def test_rows_are_seen_in_the_order_of_the_plan(tiny: tuple[Any, Any], algorithm: str) -> None:
    config = CurriculumConfig(stages=2, algorithm=algorithm, batch_rows=8, generations=4, max_new_tokens=2, replay=0.25)
    model = small_model(tiny[1], width=32, layers=1)
    rows = prepared(24).add_column("pass_rate", [i / 24 for i in range(24)])
    curriculum = unguided(CurriculumBuilder(config).build(rows), PromptFormat(config))
    seen: list[str] = []

    def watch(_: Any, inputs: tuple[Any, ...]) -> None:
        if torch.is_grad_enabled():
            seen.extend(tiny[1].decode(ids, skip_special_tokens=True).split("\n")[0] for ids in inputs[0])

    model.get_input_embeddings().register_forward_pre_hook(watch)
    trainer = CurriculumTrainer(config, correct=lambda text, answer: True)
    origin = model.config._name_or_path
    history = trainer.train(model, tiny[1], curriculum)
    assert model.config._name_or_path == origin
    wanted: list[str] = []
    for run in plan(curriculum["stage"][:], config):
        questions = [curriculum["question"][int(row)] for row in run]
        if algorithm == "sft":
            wanted += questions
        else:
            full = [questions[index % len(questions)] for index in range(-(-len(questions) // 2) * 2)]
            wanted += [question for question in full for _ in range(4)]
    # trl mixes the responses of one step
    steps = [[sorted(rows[index : index + 8]) for index in range(0, len(rows), 8)] for rows in (seen, wanted)]
    assert seen == wanted if algorithm == "sft" else steps[0] == steps[1]
    assert {row["stage"] for row in history} == {1, 2}
    if algorithm == "grpo":
        assert {row["reward"] for row in history} == {1.0}
        assert {row["frac_reward_zero_std"] for row in history} == {1.0}
        assert all("kl" in row for row in history)


def test_training_learns_the_targets(tiny: tuple[Any, Any]) -> None:
    config = CurriculumConfig(stages=1, order="ordered", epochs=25, batch_rows=8, learning_rate=1e-2, replay=0.0)
    model = small_model(tiny[1], width=64, layers=1)
    rows = prepared(8).add_column("pass_rate", [0.0] * 8)
    curriculum = unguided(CurriculumBuilder(config).build(rows), PromptFormat(config))
    history = CurriculumTrainer(config).train(model, tiny[1], curriculum)
    assert history[-1]["loss"] < 0.5 * history[0]["loss"]
    assert {row["stage"] for row in history} == {0}


def test_grpo_needs_whole_groups() -> None:
    with pytest.raises(ConfigError, match="multiple of generations"):
        CurriculumConfig(algorithm="grpo", batch_rows=7)


def test_the_algorithm_none_trains_nothing() -> None:
    with pytest.raises(ConfigError, match="algorithm: training needs sft or grpo"):
        CurriculumTrainer(CurriculumConfig(algorithm="none"))
