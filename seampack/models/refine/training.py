"""The first stage: supervised training of a refiner on pairs of queries and rewordings, with noise."""

import math
import random
import re
from collections.abc import Sequence
from typing import Any

from datasets import Dataset
from torch import Tensor
from transformers import set_seed

from seampack.errors import DataError
from seampack.models.refine.config import RefineConfig
from seampack.models.refine.generation import padded, without_control
from seampack.models.refine.refiner import Refiner, warn_of_cut
from seampack.models.training import import_extra, quiet, train_model, warmup_steps

IGNORED = -100
"""Label of the tokens that the loss skips."""


class RefinerSFT:
    """Supervised training on pairs (``prompt, optimized_prompt``); the loss covers the rewording or the whole text.

    As in the authors' code for arXiv 2407.01461 (with ``whole_text``): AdamW, cosine schedule with warm-up. In the
    second half of training, a share of the rewording's words, which rises from 0 to ``word_dropout``, is dropped.
    Without this noise, the trained model always writes the same rewording of a query, and reinforcement learning learns
    nothing from equal samples.
    """

    def __init__(self, config: RefineConfig, refiner: Refiner) -> None:
        self.config = config
        self.refiner = refiner

    def fit(self, prompts: Sequence[str], optimized: Sequence[str]) -> tuple[Refiner, list[float]]:
        """Train the refiner's model in place; return the refiner and one loss per step.

        Raises DataError if there are no pairs, or if a query leaves no room for its rewording and the loss covers only
        the rewording. Warns if pairs are cut.
        """
        if not prompts:
            raise DataError("there are no pairs of a prompt and an optimized prompt to train on")
        config = self.config
        set_seed(config.seed)
        rng = random.Random(config.seed)  # noqa: S311  # noise, not secrets
        questions = {prompt: self.refiner.prompt_ids(prompt) for prompt in prompts}
        self._check_room([len(questions[prompt]) for prompt in prompts])
        warn_of_cut(self.cut_pairs(prompts, optimized), len(prompts), "pairs", "max_query_tokens or max_tokens")
        model = with_lora(self.refiner.model, config.lora_rank) if config.lora_rank else self.refiner.model
        steps = max(config.pair_epochs * math.ceil(len(prompts) / config.batch_rows), 1)
        done = 0

        def batch(rows: list[dict[str, Any]]) -> dict[str, Tensor]:
            nonlocal done
            share = config.word_dropout * min(max(2 * done / steps - 1, 0), 1)
            done += 1
            return self._batch(
                [(questions[row["prompt"]], self._answer(drop_words(row["optimized"], share, rng))) for row in rows]
            )

        losses = train_model(
            model,
            Dataset.from_dict({"prompt": list(prompts), "optimized": list(optimized)}),
            batch,
            seed=config.seed,
            causal=True,
            num_train_epochs=config.pair_epochs,
            per_device_train_batch_size=config.batch_rows,
            learning_rate=config.pair_learning_rate,
            lr_scheduler_type="cosine",
            warmup_steps=warmup_steps(0.1, steps),
            max_grad_norm=1.0,
        )
        return self.refiner.with_model(merged(model)), losses

    def cut_pairs(self, prompts: Sequence[str], optimized: Sequence[str]) -> int:
        """Return the number of pairs that are cut.

        A pair is cut if its query is longer than the refiner's ``max_query_tokens``, or if the pair, with the
        instruction and the end token, is longer than ``max_tokens``.
        """
        return sum(
            self.refiner.cuts(prompt)
            or len(self.refiner.prompt_ids(prompt)) + len(self._answer(text)) > self.config.max_tokens
            for prompt, text in zip(prompts, optimized, strict=True)
        )

    def _check_room(self, lengths: Sequence[int]) -> None:
        """Raise DataError if the prompt of a pair leaves no token for the loss; ``lengths``: lengths of the prompts."""
        for row, length in enumerate(lengths, 1):
            # the first token of the whole text has no loss, nor have the tokens of a query without whole_text
            if (1 if self.config.whole_text else length) >= self.config.max_tokens:
                raise DataError(
                    f"pair {row}: the query with the instruction has {length} tokens, which leaves no room for the "
                    f"rewording within {self.config.max_tokens}; raise max_tokens, or drop the pair"
                )

    def _answer(self, text: str) -> list[int]:
        """Return the tokens of a rewording, and the end token."""
        tokenizer = self.refiner.tokenizer
        text = without_control(tokenizer, text)
        return [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]

    def _batch(self, pairs: Sequence[tuple[list[int], list[int]]]) -> dict[str, Tensor]:
        """Return question and answer as one sequence, cut at ``max_tokens``; ``labels`` are the ids or IGNORED."""
        batch = padded(
            [(question + answer)[: self.config.max_tokens] for question, answer in pairs],
            self.refiner.tokenizer.pad_token_id,
        )
        labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, IGNORED)
        if not self.config.whole_text:
            for row, (question, _) in enumerate(pairs):
                labels[row, : len(question)] = IGNORED
        return batch | {"labels": labels}


def drop_words(text: str, share: float, rng: random.Random) -> str:
    """Drop a share of the words of a text at random; keep at least one word."""
    words = re.findall(r"\s*\S+", text)
    kept = [word for word in words if rng.random() >= share]
    return "".join(kept or words[:1]).strip()


def lora_config(rank: int) -> Any:
    """Return the config of low-rank updates of all linear layers. Raise MissingExtraError if peft is missing."""
    peft = import_extra("peft", "lora_rank")
    return peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")


def with_lora(model: Any, rank: int) -> Any:
    """Return the model with low-rank updates; training changes only the updates."""
    config = lora_config(rank)
    with quiet():
        return import_extra("peft", "lora_rank").get_peft_model(model, config)


def merged(model: Any) -> Any:
    """Return the plain model, with low-rank updates, if any, merged into the weights."""
    return (model.merge_and_unload() if hasattr(model, "merge_and_unload") else model).eval()
