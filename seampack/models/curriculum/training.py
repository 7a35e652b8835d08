"""Training along a curriculum by trl: supervised on the targets, or by reinforcement (GRPO) on right answers."""

import logging
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import torch
from datasets import Dataset, disable_progress_bars, enable_progress_bars
from datasets.utils.logging import is_progress_bar_enabled
from transformers import set_seed
from transformers.trainer_callback import PrinterCallback

from seampack.config import check_choice, check_integer, check_number
from seampack.errors import ConfigError, MissingExtraError
from seampack.models.base import Row
from seampack.models.curriculum.answers import Checker
from seampack.models.curriculum.stages import Order, Rows, plan
from seampack.models.data import require
from seampack.models.text import quiet

LOGGED = ("loss", "reward", "frac_reward_zero_std", "kl", "completions/mean_length")


class Method(StrEnum):
    """How a model is trained on a curriculum."""

    SFT = "sft"
    """Supervised: the loss is on the target, what remains of the solution behind the prompt and its hint."""
    GRPO = "grpo"
    """Reinforcement: responses to the prompt are sampled, the right ones rewarded by 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CurriculumTrainer:
    """Trains in the order of the stages; rows are shuffled only within a stage."""

    correct: Checker
    method: str = Method.SFT
    order: str = Order.STAGES
    epochs: int = 1
    """Passes through each stage."""
    learning_rate: float = 1e-5
    batch_rows: int = 64
    """Rows (SFT) or responses (GRPO) of a step."""
    replay: float = 0.1
    """Rows of earlier stages that are trained on again, as a share of the stage."""
    generations: int = 8
    """Responses to each prompt (GRPO)."""
    beta: float = 0.04
    """Weight of the divergence (KL) from the model as it was before all stages (GRPO)."""
    temperature: float = 1.0
    max_new_tokens: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        check_choice("method", self.method, Method)
        check_choice("order", self.order, Order)
        check_integer("epochs", self.epochs, 1, 10_000)
        check_number("learning_rate", self.learning_rate, 0, 1)
        check_number("replay", self.replay, 0, 1)
        check_number("beta", self.beta, 0, 100)
        check_integer("generations", self.generations, 2, 10_000)
        check_integer("batch_rows", self.batch_rows, 1, 1_000_000)
        if self.method == Method.GRPO and self.batch_rows % self.generations:
            raise ConfigError(
                f"batch_rows: expected a multiple of generations ({self.generations}); got {self.batch_rows}"
            )

    def train(self, model: Any, tokenizer: Any, dataset: Dataset) -> list[Row]:
        """Train the model in place on ``prompt, target, final, stage``; returns one row a logged step.

        Each has ``stage`` (0 where one run has them all), ``step`` from the run's beginning, ``loss``, and of GRPO
        ``reward``, ``kl``, ``frac_reward_zero_std`` (share of prompts whose responses are all right or all wrong).
        Raises DataError for missing columns, MissingExtraError without trl.
        """
        require(dataset, ["prompt", "target", "final", "stage"], "build and guide it first")
        set_seed(self.seed)
        runs = plan(dataset["stage"][:], order=self.order, epochs=self.epochs, replay=self.replay, seed=self.seed)
        names = sorted(set(dataset["stage"])) if self.order == Order.STAGES else [0]
        history: list[Row] = []
        with tempfile.TemporaryDirectory() as folder, _silent():
            known = model.config._name_or_path
            if self.method == Method.GRPO and self.beta:
                # trl loads the reference from where the model came from; all stages share the one of the beginning
                model.save_pretrained(folder)
                model.config._name_or_path = folder
            try:
                for name, rows in zip(names, runs, strict=True):
                    history += [{"stage": name} | row for row in self._run(model, tokenizer, dataset, rows)]
            finally:
                model.config._name_or_path = known
        model.eval()
        return history

    def _run(self, model: Any, tokenizer: Any, dataset: Dataset, rows: Rows) -> Iterator[Row]:
        with tempfile.TemporaryDirectory() as folder:
            trainer = (self._sft if self.method == Method.SFT else self._grpo)(
                model, tokenizer, dataset, rows, self._common(folder, rows.size)
            )
            trainer.remove_callback(PrinterCallback)
            trainer.train()
        model.__dict__.pop("forward", None)  # accelerate's wrapper: in a copy of the model it would run this one
        for entry in trainer.state.log_history:
            if "loss" in entry:
                yield {"step": entry["step"]} | {
                    name.rpartition("/")[2]: float(entry[name]) for name in LOGGED if name in entry
                }

    def _common(self, folder: str, rows: int) -> dict[str, Any]:
        questions = self.batch_rows if self.method == Method.SFT else self.batch_rows // self.generations
        return {
            "output_dir": folder,
            "num_train_epochs": 1,
            "learning_rate": self.learning_rate,
            "lr_scheduler_type": "constant_with_warmup",
            # the first step of a warm-up has a rate of 0: too much of a short run, and all of a run of one step
            "warmup_steps": 0.05 if rows >= 20 * questions else 0,
            "shuffle_dataset": False,
            "seed": self.seed,
            "report_to": "none",
            "save_strategy": "no",
            "logging_steps": 1,
            "disable_tqdm": not sys.stderr.isatty(),
            "use_cpu": not torch.cuda.is_available(),
            "bf16": torch.cuda.is_available(),
            "gradient_checkpointing": torch.cuda.is_available(),
            "dataloader_pin_memory": False,
        }

    def _sft(self, model: Any, tokenizer: Any, dataset: Dataset, rows: Rows, common: dict[str, Any]) -> Any:
        trl = _trl()
        chosen = dataset.select(rows)
        columns = {"prompt": chosen["prompt"][:], "completion": chosen["target"][:]}
        # without this the sampler shuffles, whatever shuffle_dataset says
        arguments = trl.SFTConfig(
            per_device_train_batch_size=self.batch_rows,
            train_sampling_strategy="sequential",
            completion_only_loss=True,
            max_length=None,
            **common,
        )
        return trl.SFTTrainer(model, arguments, train_dataset=Dataset.from_dict(columns), processing_class=tokenizer)

    def _grpo(self, model: Any, tokenizer: Any, dataset: Dataset, rows: Rows, common: dict[str, Any]) -> Any:
        trl = _trl()
        # trl drops a batch that is not full: the run's first rows fill it up
        questions = min(self.batch_rows // self.generations, rows.size)
        full = np.resize(rows, -(-rows.size // questions) * questions)
        chosen = dataset.select(full)
        columns = {"prompt": chosen["prompt"][:], "final": chosen["final"][:]}
        arguments = trl.GRPOConfig(
            per_device_train_batch_size=questions * self.generations,
            num_generations=self.generations,
            max_completion_length=self.max_new_tokens,
            temperature=self.temperature,
            beta=self.beta,
            **common,
        )
        return trl.GRPOTrainer(
            model,
            reward_funcs=self._reward,
            args=arguments,
            train_dataset=Dataset.from_dict(columns),
            processing_class=tokenizer,
        )

    def _reward(self, completions: list[str], final: list[str], **_: Any) -> list[float]:
        return [float(self.correct(text, answer)) for text, answer in zip(completions, final, strict=True)]


def _trl() -> Any:
    try:
        import trl
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "trl", "models", "training along a curriculum") from error
    return trl


@contextmanager
def _silent() -> Iterator[None]:
    """Keep trl's notices and datasets' bars of a second each off the terminal."""
    bars, logger = is_progress_bar_enabled(), logging.getLogger("trl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    disable_progress_bars()
    try:
        with quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        logger.setLevel(level)
        if bars:
            enable_progress_bars()
