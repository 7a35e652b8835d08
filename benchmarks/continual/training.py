"""One training: rows to batches, plain or block-diagonal attention, AdamW with warm-up and cosine decay."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from benchmarks.continual.arms import Row
from benchmarks.pretrained import smollm2

IGNORED = -100
WARM_UP = 0.1
WEIGHT_DECAY = 0.1
BETAS = (0.9, 0.95)
CLIP = 1.0

Batch = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Device:
    """Where a model is trained: the name of the torch device, and whether bfloat16 is fast there."""

    name: str
    bfloat16: bool

    @classmethod
    def best(cls) -> Device:
        """Return the GPU if there is one, else the CPU."""
        if torch.cuda.is_available():
            return cls("cuda", True)
        return cls("cpu", bool(getattr(torch.cpu, "_is_avx512_bf16_supported", bool)()))

    @property
    def scored_tokens(self) -> int:
        """Tokens that are scored at once."""
        return 1 << 16 if self.name == "cuda" else 1 << 12

    def autocast(self) -> Any:
        """Return the context in which the model is called."""
        return torch.autocast(self.name, dtype=torch.bfloat16, enabled=self.bfloat16)

    def __str__(self) -> str:
        threads = torch.get_num_threads()
        cpu = f"the CPU, {threads} thread{'s' if threads > 1 else ''}"
        where = torch.cuda.get_device_name() if self.name == "cuda" else cpu
        return f"{where}, {'bfloat16' if self.bfloat16 else 'float32'}"


@dataclass(frozen=True)
class Shape:
    """A small Llama that is trained from scratch."""

    vocab_size: int
    hidden: int
    layers: int
    heads: int

    def model(self, seed: int) -> Any:
        """Return a model with random weights."""
        torch.manual_seed(seed)
        config = LlamaConfig(
            vocab_size=self.vocab_size,
            hidden_size=self.hidden,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.heads,
            intermediate_size=self.hidden * 8 // 3 // 16 * 16,
            tie_word_embeddings=True,
            max_position_embeddings=1 << 15,
            attn_implementation="sdpa",
        )
        return LlamaForCausalLM(config)


@cache
def _smollm2() -> Any:
    return AutoModelForCausalLM.from_pretrained(smollm2(), dtype=torch.float32, attn_implementation="sdpa")


def pretrained(_: int) -> Any:
    """Return a copy of SmolLM2-135M; all seeds begin with the same weights."""
    return copy.deepcopy(_smollm2())


def parameters(model: Any) -> int:
    """Return the number of parameters, counting tied ones once."""
    return sum(parameter.numel() for parameter in model.parameters())


def collate(rows: Sequence[Row], block_diagonal: bool) -> Batch:
    """Return a batch, padded to its longest row.

    With block-diagonal attention, positions begin anew in each segment, tokens attend to their segment alone, and the
    first token of a segment, which has nothing before it, is no target. Padding is a segment of zeros.
    """
    width = max(row.ids.size for row in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    labels = torch.full((len(rows), width), IGNORED)
    segment = torch.full((len(rows), width), -1)
    position = torch.arange(width).repeat(len(rows), 1)
    for number, row in enumerate(rows):
        ids[number, : row.ids.size] = torch.from_numpy(row.ids)
        labels[number, : row.ids.size] = torch.from_numpy(row.labels)
        if block_diagonal:
            starts = np.cumsum(row.seq_lengths) - row.seq_lengths
            labels[number, starts] = IGNORED
            segment[number, : row.ids.size] = torch.from_numpy(np.repeat(np.arange(starts.size), row.seq_lengths))
            position[number, : row.ids.size] -= torch.from_numpy(np.repeat(starts, row.seq_lengths))
    batch = {"input_ids": ids, "labels": labels}
    if block_diagonal:
        own = segment[:, None, :, None] == segment[:, None, None, :]
        batch |= {"position_ids": position, "attention_mask": own.tril()}
    return batch


def batches(rows: Sequence[Row], rows_per_step: int, steps: int, seed: int) -> Iterator[list[Row]]:
    """Yield the rows of each step: pass after pass, each in another order, until there are enough steps."""
    chance = np.random.default_rng(seed)
    left = steps
    while left > 0:
        order = chance.permutation(len(rows))
        for first in range(0, len(rows), rows_per_step)[:left]:
            yield [rows[index] for index in order[first : first + rows_per_step]]
            left -= 1


def steps_of_pass(rows: int, rows_per_step: int) -> int:
    """Return the number of steps of one pass."""
    return -(-rows // rows_per_step)


def rate(step: int, steps: int) -> float:
    """Return the share of the learning rate at a step: linear warm-up, then cosine decay to zero."""
    warm = max(1, round(WARM_UP * steps))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def train(
    model: Any,
    rows: Sequence[Row],
    *,
    block_diagonal: bool,
    rows_per_step: int,
    rows_at_once: int,
    steps: int,
    learning_rate: float,
    seed: int,
    device: Device,
) -> float:
    """Train a model in place. Return the mean loss of the last tenth of the steps.

    A step is averaged over all its targets, however many rows the device takes at once.
    """
    model.to(device.name).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, betas=BETAS, weight_decay=WEIGHT_DECAY)
    history = []
    for step, chosen in enumerate(batches(rows, rows_per_step, steps, seed)):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * rate(step, steps)
        parts = [collate(chosen[n : n + rows_at_once], block_diagonal) for n in range(0, len(chosen), rows_at_once)]
        targets = sum(int((part["labels"][:, 1:] != IGNORED).sum()) for part in parts)
        total = torch.zeros((), device=device.name)
        for part in parts:
            inputs = {name: tensor.to(device.name) for name, tensor in part.items()}
            labels = inputs.pop("labels")[:, 1:]
            with device.autocast():
                logits = model(**inputs, use_cache=False).logits[:, :-1]
            loss = torch.nn.functional.cross_entropy(
                logits.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORED, reduction="sum"
            ) / max(1, targets)
            loss.backward()
            total += loss.detach()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad()
        history.append(total)
    return float(torch.stack(history[-max(1, steps // 10) :]).mean())
