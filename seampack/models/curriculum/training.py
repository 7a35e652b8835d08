"""Training along a curriculum with trl: supervised on the targets, or by reinforcement (GRPO) on right answers."""

import logging
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from datasets import Dataset, disable_progress_bars, enable_progress_bars
from datasets.utils.logging import is_progress_bar_enabled
from transformers import set_seed
from transformers.trainer_callback import PrinterCallback

from seampack.errors import ConfigError, MissingExtraError
from seampack.models.base import Row
from seampack.models.curriculum.answers import Checker
from seampack.models.curriculum.config import Algorithm, CurriculumConfig, Order
from seampack.models.curriculum.stages import Rows, plan
from seampack.models.data import require
from seampack.models.text import quiet

LOGGED = ("loss", "reward", "frac_reward_zero_std", "kl", "completions/mean_length")


class CurriculumTrainer:
    """Trains in the order of the stages; rows are shuffled only within a stage.

    ``correct``, the reward of GRPO, defaults to the config's checker. Raises ConfigError for the algorithm none.
    """

    def __init__(self, config: CurriculumConfig, *, correct: Checker | None = None) -> None:
        if config.algorithm == Algorithm.NONE:
            raise ConfigError("algorithm: expected sft or grpo, to train; got 'none'")
        self.config = config
        self.correct = correct or config.correct

    def train(self, model: Any, tokenizer: Any, dataset: Dataset) -> list[Row]:
        """Train the model in place on ``prompt, target, final, stage``; return one row for each logged step.

        A row has ``stage`` (0 if one run has all stages), ``step`` within the run, and ``loss``; with GRPO also
        ``reward``, ``kl`` and ``frac_reward_zero_std`` (share of prompts whose responses are all right or all wrong).
        Raises DataError for missing columns, MissingExtraError without trl.
        """
        require(dataset, ["prompt", "target", "final", "stage"], "build and guide it first")
        set_seed(self.config.seed)
        runs = plan(dataset["stage"][:], self.config)
        names = sorted(set(dataset["stage"])) if self.config.order == Order.STAGES else [0]
        history: list[Row] = []
        with tempfile.TemporaryDirectory() as folder, _silent():
            origin = model.config._name_or_path
            if self.config.algorithm == Algorithm.GRPO and self.config.beta:
                # trl loads the reference from the path that the model was loaded from; all stages share the first model
                model.save_pretrained(folder)
                model.config._name_or_path = folder
            try:
                for name, rows in zip(names, runs, strict=True):
                    history += [{"stage": name} | row for row in self._run(model, tokenizer, dataset, rows)]
            finally:
                model.config._name_or_path = origin
        model.eval()
        return history

    def _run(self, model: Any, tokenizer: Any, dataset: Dataset, rows: Rows) -> Iterator[Row]:
        with tempfile.TemporaryDirectory() as folder:
            trainer = (self._sft if self.config.algorithm == Algorithm.SFT else self._grpo)(
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
        is_sft = self.config.algorithm == Algorithm.SFT
        questions = self.config.batch_rows if is_sft else self.config.batch_rows // self.config.generations
        return {
            "output_dir": folder,
            "num_train_epochs": 1,
            "learning_rate": self.config.learning_rate,
            "lr_scheduler_type": "constant_with_warmup",
            # the first step of a warm-up has a learning rate of 0, which would waste a run of one step
            "warmup_steps": 0.05 if rows >= 20 * questions else 0,
            "shuffle_dataset": False,
            "seed": self.config.seed,
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
        # without this the sampler shuffles, even if shuffle_dataset is false
        arguments = trl.SFTConfig(
            per_device_train_batch_size=self.config.batch_rows,
            train_sampling_strategy="sequential",
            completion_only_loss=True,
            max_length=None,
            **common,
        )
        return trl.SFTTrainer(model, arguments, train_dataset=Dataset.from_dict(columns), processing_class=tokenizer)

    def _grpo(self, model: Any, tokenizer: Any, dataset: Dataset, rows: Rows, common: dict[str, Any]) -> Any:
        trl = _trl()
        # trl drops an incomplete batch, so the run's first rows fill it
        questions = min(self.config.batch_rows // self.config.generations, rows.size)
        full = np.resize(rows, -(-rows.size // questions) * questions)
        chosen = dataset.select(full)
        columns = {"prompt": chosen["prompt"][:], "final": chosen["final"][:]}
        arguments = trl.GRPOConfig(
            per_device_train_batch_size=questions * self.config.generations,
            num_generations=self.config.generations,
            max_completion_length=self.config.max_new_tokens,
            temperature=self.config.temperature,
            beta=self.config.beta,
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
    """Silence trl's notices and the progress bars of datasets."""
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
