"""Training along a curriculum with trl: supervised on the targets, or by reinforcement (GRPO) of right answers."""

import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import set_seed

from seampack.errors import ConfigError
from seampack.models.base import Row
from seampack.models.curriculum.answers import Checker
from seampack.models.curriculum.config import Algorithm, CurriculumConfig, Order
from seampack.models.curriculum.stages import Rows, plan
from seampack.models.data import require
from seampack.models.training import (
    import_extra,
    quiet,
    run_trainer,
    trainer_arguments,
    training_settings,
    warmup_share,
)

LOGGED = ("loss", "reward", "frac_reward_zero_std", "kl", "completions/mean_length")


class CurriculumTrainer:
    """Trains in the order of the stages; rows are shuffled only within a stage.

    ``correct``, the reward of GRPO, defaults to the config's checker. Raises ConfigError if the algorithm is none.
    """

    def __init__(self, config: CurriculumConfig, *, correct: Checker | None = None) -> None:
        if config.algorithm == Algorithm.NONE:
            raise ConfigError("algorithm: training needs sft or grpo; got 'none'")
        self.config = config
        self.correct = correct or config.correct

    def train(self, model: Any, tokenizer: Any, dataset: Dataset) -> list[Row]:
        """Train the model in place on ``prompt, target, final, stage``; return one row per logged step.

        A row has ``stage`` (0 if one run covers all stages), ``step`` within the run, and ``loss``; with GRPO also
        ``reward``, ``kl`` and ``frac_reward_zero_std`` (share of prompts whose responses are all right or all wrong).
        Raises DataError if columns are missing, MissingExtraError if trl is not installed.
        """
        require(dataset, ["prompt", "target", "final", "stage"], "build and guide it first")
        set_seed(self.config.seed)
        runs = plan(dataset["stage"][:], self.config)
        names = sorted(set(dataset["stage"])) if self.config.order == Order.STAGES else [0]
        history: list[Row] = []
        origin = model.config._name_or_path
        with tempfile.TemporaryDirectory() as folder:
            if self.config.algorithm == Algorithm.GRPO and self.config.beta:
                # trl loads the reference from the model's own path; all stages share the initial model
                with quiet():
                    model.save_pretrained(folder)
                model.config._name_or_path = folder
            try:
                for name, rows in zip(names, runs, strict=True):
                    history += [{"stage": name} | row for row in self._run(model, tokenizer, dataset, rows)]
            finally:
                model.config._name_or_path = origin
        return history

    def _run(self, model: Any, tokenizer: Any, dataset: Dataset, rows: Rows) -> Iterator[Row]:
        """Train on the rows in the given order; yield one row per logged step."""
        make = self._sft if self.config.algorithm == Algorithm.SFT else self._grpo
        with tempfile.TemporaryDirectory() as folder, training_settings(model):
            entries = run_trainer(make(folder, model, tokenizer, dataset, rows))
        for entry in entries:
            values = {name.rpartition("/")[2]: float(entry[name]) for name in LOGGED if name in entry}
            yield {"step": entry["step"]} | values

    def _sft(self, folder: str, model: Any, tokenizer: Any, dataset: Dataset, rows: Rows) -> Any:
        """Return trl's supervised trainer on the targets."""
        trl = import_extra("trl", "training along a curriculum")
        chosen = dataset.select(rows)
        arguments = self._arguments(folder, rows.size / self.config.batch_rows) | {
            "per_device_train_batch_size": self.config.batch_rows,
            # without this option the sampler shuffles, even if shuffle_dataset is false
            "train_sampling_strategy": "sequential",
            "completion_only_loss": True,
            "max_length": None,
        }
        columns = {"prompt": chosen["prompt"][:], "completion": chosen["target"][:]}
        return trl.SFTTrainer(
            model,
            trl.SFTConfig(**arguments),
            train_dataset=Dataset.from_dict(columns),
            processing_class=tokenizer,
        )

    def _grpo(self, folder: str, model: Any, tokenizer: Any, dataset: Dataset, rows: Rows) -> Any:
        """Return trl's GRPO trainer on the rewards."""
        trl = import_extra("trl", "training along a curriculum")
        # trl drops an incomplete batch, so the first rows of the run are repeated to fill it
        questions = min(self.config.batch_rows // self.config.generations, rows.size)
        chosen = dataset.select(np.resize(rows, -(-rows.size // questions) * questions))
        arguments = self._arguments(folder, rows.size / questions) | {
            "per_device_train_batch_size": questions * self.config.generations,
            "num_generations": self.config.generations,
            "max_completion_length": self.config.max_new_tokens,
            "temperature": self.config.temperature,
            "beta": self.config.beta,
        }
        columns = {"prompt": chosen["prompt"][:], "final": chosen["final"][:]}
        return trl.GRPOTrainer(
            model,
            self._reward,
            trl.GRPOConfig(**arguments),
            train_dataset=Dataset.from_dict(columns),
            processing_class=tokenizer,
        )

    def _arguments(self, folder: str, steps: float) -> dict[str, Any]:
        """Return the arguments common to both trainers, for a run of ``steps`` steps."""
        return trainer_arguments(folder, seed=self.config.seed, causal=True) | {
            "num_train_epochs": 1,
            "learning_rate": self.config.learning_rate,
            "lr_scheduler_type": "constant_with_warmup",
            "warmup_steps": warmup_share(0.05, steps),
            "shuffle_dataset": False,
        }

    def _reward(self, completions: list[str], final: list[str], **_: Any) -> list[float]:
        """Return the rewards for trl: 1 for a right response, 0 for a wrong one."""
        return [float(self.correct(text, answer)) for text, answer in zip(completions, final, strict=True)]
