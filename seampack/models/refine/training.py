"""The first stage: a refiner learns pairs of queries and their rewordings, with noise."""

import math
import random
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from transformers import Trainer, TrainingArguments, set_seed
from transformers.trainer_callback import PrinterCallback

from seampack.errors import DataError, MissingExtraError
from seampack.models.refine.refiner import Refiner, padded, warn_of_cut, without_control
from seampack.models.text import quiet

IGNORED = -100
"""The label of what the loss leaves out."""


class RefinerSFT:
    """Supervised training on pairs (``prompt, optimized_prompt``), the loss over the rewording or the whole text.

    After the authors' code for arXiv 2407.01461: AdamW, cosine schedule with warm-up, the loss with ``whole_text``.
    In the second half, a share of the rewording's words is left out, which rises from 0 to ``word_dropout``. A model
    trained without it writes one and the same rewording whenever it is asked, and from equal samples reinforcement
    learning learns nothing.
    """

    def __init__(
        self,
        refiner: Refiner,
        *,
        epochs: float = 3,
        batch_rows: int = 16,
        learning_rate: float = 2e-5,
        max_tokens: int = 512,
        word_dropout: float = 0.15,
        whole_text: bool = False,
        lora_rank: int = 0,
        seed: int = 0,
    ) -> None:
        self.refiner = refiner
        self.epochs = epochs
        self.batch_rows = batch_rows
        self.learning_rate = learning_rate
        self.max_tokens = max_tokens
        self.word_dropout = word_dropout
        self.whole_text = whole_text
        self.lora_rank = lora_rank
        self.seed = seed

    def fit(self, prompts: Sequence[str], optimized: Sequence[str]) -> tuple[Refiner, list[float]]:
        """The refiner, its model trained in place, and the losses, one a step.

        Raises DataError for no pairs, or one whose query leaves no place for its rewording, unless the loss is over
        the query too. Warns of pairs that are cut.
        """
        if not prompts:
            raise DataError("there are no pairs of a prompt and an optimized prompt to learn from")
        set_seed(self.seed)
        rng = random.Random(self.seed)  # noqa: S311  # noise, not secrets
        model = self.refiner.model if not self.lora_rank else with_lora(self.refiner.model, self.lora_rank)
        questions = {prompt: self.refiner.prompt_ids(prompt) for prompt in prompts}
        for row, prompt in enumerate(prompts):
            asked = len(questions[prompt])
            # the loss is over what follows a first token: of the query, or of the rewording
            if (1 if self.whole_text else asked) >= self.max_tokens:
                raise DataError(
                    f"pair {row}: its query has {asked} tokens with the instruction, which leaves none of "
                    f"{self.max_tokens} to the rewording; raise max_tokens, or leave the pair out"
                )
        warn_of_cut(self.cut_pairs(prompts, optimized), len(prompts), "pairs", "max_query_tokens or max_tokens")
        steps = max(self.epochs * math.ceil(len(prompts) / self.batch_rows), 1)
        done = 0

        def batch(rows: list[dict[str, Any]]) -> dict[str, Tensor]:
            nonlocal done
            share = self.word_dropout * min(max(2 * done / steps - 1, 0), 1)
            done += 1
            return self._batch(
                [(questions[row["prompt"]], self._answer(drop_words(row["optimized"], share, rng))) for row in rows]
            )

        with tempfile.TemporaryDirectory() as folder:
            arguments = TrainingArguments(
                output_dir=folder,
                num_train_epochs=self.epochs,
                per_device_train_batch_size=self.batch_rows,
                learning_rate=self.learning_rate,
                lr_scheduler_type="cosine",
                # the first step of a warm-up has a rate of 0: too much of a short run, and all of a run of one step
                warmup_steps=0.1 if steps >= 10 else 0,
                max_grad_norm=1.0,
                seed=self.seed,
                remove_unused_columns=False,
                report_to="none",
                save_strategy="no",
                logging_steps=1,
                disable_tqdm=not sys.stderr.isatty(),
                use_cpu=not torch.cuda.is_available(),
                dataloader_pin_memory=False,
            )
            dataset = Dataset.from_dict({"prompt": list(prompts), "optimized": list(optimized)})
            trainer = Trainer(model=model, args=arguments, train_dataset=dataset, data_collator=batch)
            trainer.remove_callback(PrinterCallback)
            with quiet():
                trainer.train()
        losses = [float(entry["loss"]) for entry in trainer.state.log_history if "loss" in entry]
        return self.refiner.with_model(merged(model)), losses

    def cut_pairs(self, prompts: Sequence[str], optimized: Sequence[str]) -> int:
        """How many pairs are not learnt whole: their query is longer than the refiner's ``max_query_tokens``, or both
        together, with the instruction and the end token, longer than ``max_tokens``."""
        return sum(
            self.refiner.cuts(prompt)
            or len(self.refiner.prompt_ids(prompt)) + len(self._answer(text)) > self.max_tokens
            for prompt, text in zip(prompts, optimized, strict=True)
        )

    def _answer(self, text: str) -> list[int]:
        tokenizer = self.refiner.tokenizer
        text = without_control(tokenizer, text)
        return [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]

    def _batch(self, pairs: Sequence[tuple[list[int], list[int]]]) -> dict[str, Tensor]:
        """Question and answer as one text, cut at ``max_tokens``; ``labels`` as the ids, or IGNORED."""
        found = padded(
            [(ask + answer)[: self.max_tokens] for ask, answer in pairs], self.refiner.tokenizer.pad_token_id
        )
        labels = found["input_ids"].masked_fill(found["attention_mask"] == 0, IGNORED)
        if not self.whole_text:
            for row, (ask, _) in enumerate(pairs):
                labels[row, : len(ask)] = IGNORED
        return found | {"labels": labels}


def drop_words(text: str, share: float, rng: random.Random) -> str:
    """A text without a share of its words, chosen at random; at least one is kept."""
    words = re.findall(r"\s*\S+", text)
    kept = [word for word in words if rng.random() >= share]
    return "".join(kept or words[:1]).strip()


def lora_config(rank: int) -> Any:
    """Low-rank updates of all linear layers. Raises MissingExtraError without peft."""
    try:
        from peft import LoraConfig
    except ModuleNotFoundError as error:
        raise MissingExtraError("peft", "models", "lora_rank") from error
    return LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")


def with_lora(model: Any, rank: int) -> Any:
    """The model with low-rank updates, which alone are trained."""
    config = lora_config(rank)
    from peft import get_peft_model

    with old_names():
        return get_peft_model(model, config)


@contextmanager
def old_names() -> Iterator[None]:
    """Silence that trl and peft ask transformers by a name that it has replaced."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        yield


def merged(model: Any) -> Any:
    """The plain model, its low-rank updates added to its weights where it has any."""
    return (model.merge_and_unload() if hasattr(model, "merge_and_unload") else model).eval()
