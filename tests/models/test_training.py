"""Shared parts of training: the device, loading of models, trainers, and silence."""

import logging
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import pytest
import torch
from datasets import Dataset
from torch import Tensor, nn
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    LlamaConfig,
    LlamaForCausalLM,
    Trainer,
    TrainingArguments,
)
from transformers.utils import logging as transformers_logging

from seampack.errors import DataError, MissingExtraError
from seampack.models import training
from seampack.models.progress import no_bars_in_files
from seampack.models.text import word_tokenizer

LOGGERS = ("transformers", "trl", "trl.trainer.grpo_trainer")
TEXTS = ["one two three", "one two three"]


def tokenizer(**changes: Any) -> Any:
    tokens = word_tokenizer(TEXTS)
    for name, value in changes.items():
        setattr(tokens, name, value)
    return tokens


def saved_causal(folder: Path, tokens: Any) -> Path:
    """Save a tiny Llama in bfloat16, in which half of the models on the hub are stored."""
    shape = LlamaConfig(
        vocab_size=len(tokens),
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        bos_token_id=None,
        eos_token_id=tokens.eos_token_id,
    )
    LlamaForCausalLM(shape).to(torch.bfloat16).save_pretrained(folder)
    tokens.save_pretrained(folder)
    return folder


def saved_encoder(folder: Path) -> Path:
    shape = BertConfig(
        vocab_size=9, hidden_size=8, num_hidden_layers=2, num_attention_heads=1, intermediate_size=8, dtype="bfloat16"
    )
    BertModel(shape).to(torch.bfloat16).save_pretrained(folder)
    return folder


class Line(nn.Module):
    """A line through the origin; its loss is the squared error."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        return {"loss": ((self.slope * x - y) ** 2).mean()}


def collate(rows: list[dict[str, Any]]) -> dict[str, Tensor]:
    return {name: torch.tensor([row[name] for row in rows]) for name in ("x", "y")}


POINTS = Dataset.from_dict({"x": [1.0, 2.0, 3.0, 4.0], "y": [2.0, 4.0, 6.0, 8.0]})
RUN = {"per_device_train_batch_size": 2, "learning_rate": 0.1}


@pytest.mark.parametrize("has_gpu", [False, True])
def test_device_policy(has_gpu: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    assert training.device().type == ("cuda" if has_gpu else "cpu")
    encoder = training.trainer_arguments("folder", seed=3)
    causal = training.trainer_arguments("folder", seed=3, causal=True)
    for arguments in (encoder, causal):
        assert arguments["use_cpu"] is not has_gpu
    assert not encoder["bf16"]
    assert not encoder["activation_checkpointing"]
    assert causal["bf16"] is causal["activation_checkpointing"] is has_gpu


def test_placed_models_are_on_the_device_and_do_not_train() -> None:
    model = Line()
    assert training.place(model) is model
    assert model.slope.device.type == training.device().type
    assert not model.training


def test_transformers_takes_the_shared_arguments(tmp_path: Path) -> None:
    arguments = TrainingArguments(**training.trainer_arguments(tmp_path, seed=3))
    assert arguments.seed == 3
    assert arguments.report_to == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("terminal", [False, True])
def test_trainers_have_bars_on_a_terminal(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    assert training.trainer_arguments("folder", seed=0)["disable_tqdm"] is not terminal


@pytest.mark.parametrize(
    ("share", "steps", "expected"),
    [(0.05, 20, 0.05), (0.05, 19.9, 0), (0.1, 10, 0.1), (0.1, 9, 0), (0.1, 1, 0), (0, 1000, 0)],
)
def test_short_runs_have_no_warmup(share: float, steps: float, expected: float) -> None:
    assert training.warmup_share(share, steps) == expected


def test_a_run_of_one_step_learns() -> None:
    """With a warm-up, the only step would have a learning rate of 0."""
    slopes = []
    for warmup in (0.1, training.warmup_share(0.1, 1)):
        model = Line()
        training.train_model(model, POINTS, collate, seed=0, max_steps=1, warmup_steps=warmup, **RUN)
        slopes.append(model.slope.item())
    assert slopes[0] == 0
    assert slopes[1] > 0


def test_training_lowers_the_loss_and_repeats(capfd: pytest.CaptureFixture[str]) -> None:
    runs = []
    for _ in range(2):
        model = Line()
        losses = training.train_model(model, POINTS, collate, seed=1, num_train_epochs=20, **RUN)
        runs.append((losses, model.slope.item()))
    assert len(losses) == 40
    assert losses[-1] < 0.01 * losses[0]
    assert runs[0] == runs[1]
    assert not model.training
    assert capfd.readouterr() == ("", "")


def test_losses_are_logged_as_often_as_requested() -> None:
    losses = training.train_model(Line(), POINTS, collate, seed=1, num_train_epochs=20, logging_steps=20, **RUN)
    assert len(losses) == 2


def test_a_copy_of_a_trained_model_runs_itself(tmp_path: Path) -> None:
    model = Line()
    arguments = training.trainer_arguments(tmp_path, seed=0) | RUN | {"max_steps": 2, "remove_unused_columns": False}
    trainer = Trainer(model, TrainingArguments(**arguments), train_dataset=POINTS, data_collator=collate)
    wrapped = model.forward
    model.__dict__["_original_forward"] = model.__dict__["forward"] = lambda **batch: wrapped(**batch)
    with training.training_settings(model):
        rows = training.run_trainer(trainer)
    assert [row["step"] for row in rows] == [1, 2]
    assert not {"forward", "_original_forward"} & model.__dict__.keys()


@pytest.mark.parametrize("use_cache", [True, False])
def test_a_trained_model_has_the_settings_it_had(use_cache: bool, tmp_path: Path) -> None:
    model, tokens = training.load_causal(saved_causal(tmp_path, tokenizer(eos_token="[SEP]")))
    model.config.use_cache = use_cache
    seen = []

    def batch(rows: list[dict[str, Any]]) -> dict[str, Tensor]:
        seen.append((model.config.use_cache, model.is_activation_checkpointing))
        ids = tokens([row["text"] for row in rows], return_tensors="pt")["input_ids"]
        return {"input_ids": ids, "labels": ids}

    texts = Dataset.from_dict({"text": TEXTS})
    training.train_model(model, texts, batch, seed=0, max_steps=1, activation_checkpointing=True)
    assert seen[0] == (False, True)
    assert model.config.use_cache is use_cache
    assert not model.is_activation_checkpointing
    assert not model.training
    model.save_pretrained(tmp_path / "trained")
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "trained").config.use_cache is use_cache


@pytest.mark.parametrize("shown", [True, False])
def test_quiet_restores_levels_and_bars(shown: bool) -> None:
    levels = [logging.getLogger(name).level for name in LOGGERS]
    switches = [
        (datasets.is_progress_bar_enabled, datasets.enable_progress_bars, datasets.disable_progress_bars),
        (
            transformers_logging.is_progress_bar_enabled,
            transformers_logging.enable_progress_bar,
            transformers_logging.disable_progress_bar,
        ),
    ]
    try:
        for _, enable, disable in switches:
            (enable if shown else disable)()
        with suppress(ZeroDivisionError), training.quiet():
            assert not any(logging.getLogger(name).isEnabledFor(logging.WARNING) for name in LOGGERS)
            assert all(logging.getLogger(name).isEnabledFor(logging.ERROR) for name in LOGGERS)
            assert not any(is_enabled() for is_enabled, _, _ in switches)
            raise ZeroDivisionError
        assert [logging.getLogger(name).level for name in LOGGERS] == levels
        assert [is_enabled() for is_enabled, _, _ in switches] == [shown, shown]
    finally:
        for _, enable, _ in switches:
            enable()


def test_quiet_hides_the_deprecations_of_the_libraries_alone() -> None:
    def warn(module: str, kind: type[Warning] = FutureWarning) -> None:
        warnings.warn_explicit("old name", kind, "file.py", 1, module=module)

    with training.quiet():
        for module in ("transformers", "trl.models.utils", "peft.peft_model"):
            warn(module)
        with pytest.warns(FutureWarning):
            warn("trlike")
        with pytest.warns(UserWarning, match="old name"):
            warn("transformers", UserWarning)
    with pytest.warns(FutureWarning):
        warn("transformers")


@pytest.mark.parametrize("terminal", [False, True])
def test_bars_are_for_terminals(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    assert datasets.is_progress_bar_enabled()
    with no_bars_in_files():
        assert datasets.is_progress_bar_enabled() is terminal
    assert datasets.is_progress_bar_enabled()


def test_missing_extras_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert training.import_extra("json", "reading") is sys.modules["json"]
    with pytest.raises(MissingExtraError, match=r"^sorting needs no_such_package, .*seampack\[models\]"):
        training.import_extra("no_such_package", "sorting")
    (tmp_path / "needs_another.py").write_text("import another_package\n", "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(MissingExtraError, match=r"^sorting needs another_package"):
        training.import_extra("needs_another", "sorting")


def test_causal_models_are_loaded_in_float32(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    saved_causal(tmp_path, tokenizer(eos_token="[SEP]"))
    capfd.readouterr()
    model, tokens = training.load_causal(tmp_path)
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert model.device.type == training.device().type
    assert not model.training
    assert tokens.pad_token == "[PAD]"
    assert capfd.readouterr().err == ""


def test_the_end_token_pads_if_there_is_no_pad_token(tmp_path: Path) -> None:
    _, tokens = training.load_causal(saved_causal(tmp_path, tokenizer(eos_token="[SEP]", pad_token=None)))
    assert tokens.pad_token_id == tokens.eos_token_id is not None


def test_models_that_generate_need_an_end_token(tmp_path: Path) -> None:
    saved_causal(tmp_path, tokenizer(pad_token=None))
    with pytest.raises(DataError, match=r"no end token \(EOS\), which must end"):
        training.load_causal(tmp_path)
    _, tokens = training.load_causal(tmp_path, generates=False)
    assert tokens.pad_token is None


@pytest.mark.parametrize("load", [training.load_causal, training.load_encoder])
def test_models_that_cannot_be_loaded_are_named(load: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere: the (causal language model|encoder) cannot be loaded: "):
        load(tmp_path / "nowhere")
    saved_causal(tmp_path, tokenizer(eos_token="[SEP]"))
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(DataError, match=r"cannot be loaded: "):
        load(tmp_path)


def test_errors_of_the_caller_pass_through_loading(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^the caller's own message$"), training.loading(tmp_path, "BART"):
        raise DataError("the caller's own message")
    with pytest.raises(AssertionError), training.loading(tmp_path, "BART"):
        raise AssertionError


def test_encoders_are_loaded_without_pooling_layer(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    saved_encoder(tmp_path / "bert")
    shape = DistilBertConfig(vocab_size=9, dim=8, n_layers=1, n_heads=1, hidden_dim=8)
    DistilBertModel(shape).save_pretrained(tmp_path / "distilbert")
    capfd.readouterr()
    assert isinstance(training.load_encoder(tmp_path / "distilbert"), DistilBertModel)
    encoder = training.load_encoder(tmp_path / "bert", num_hidden_layers=1)
    assert encoder.pooler is None
    assert len(encoder.encoder.layer) == 1
    assert encoder.dtype == torch.float32
    assert not encoder.training
    assert capfd.readouterr().err == ""


def test_parts_of_artifacts_are_placed(tmp_path: Path) -> None:
    tokens = tokenizer(eos_token="[SEP]")
    saved_causal(tmp_path / "model", tokens)
    model = training.load_part(AutoModelForCausalLM)(tmp_path / "model")
    assert model.dtype == torch.float32
    assert not model.training
    encoder = training.load_part(AutoModel)(saved_encoder(tmp_path / "encoder"))
    assert encoder.device.type == training.device().type
    assert training.load_part(AutoTokenizer)(tmp_path / "model").get_vocab() == tokens.get_vocab()


@pytest.mark.parametrize(
    ("of_tokenizer", "of_model", "expected"),
    [(3, None, [3]), (3, 3, [3]), (3, [7, 3], [3, 7]), (None, 7, [7]), (None, None, [])],
)
def test_end_tokens_of_a_response(of_tokenizer: int | None, of_model: Any, expected: list[int]) -> None:
    model = SimpleNamespace(generation_config=SimpleNamespace(eos_token_id=of_model))
    assert training.end_tokens(model, SimpleNamespace(eos_token_id=of_tokenizer)) == expected


def test_rows_are_padded_at_either_end() -> None:
    assert training.padded([[5], [6, 7]], 0).tolist() == [[5, 0], [6, 7]]
    assert training.padded([[]], 3).tolist() == [[3]]
    batch = training.padded_batch([[5], [6, 7]], 9, left=True)
    assert {name: value.tolist() for name, value in batch.items()} == {
        "input_ids": [[9, 5], [6, 7]],
        "attention_mask": [[0, 1], [1, 1]],
    }
