"""Tokenised prompts and greedy generation, shared by refiners and local targets."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig

from seampack.models.progress import progress
from seampack.models.training import end_tokens, quiet

Prompt = str | list[dict[str, str]]
"""A text, or a chat, which is a list of messages with ``role`` and ``content``."""


def chat(tokenizer: Any, query: str) -> Prompt:
    """Return a user's query as the prompt of a local target: a chat if the tokenizer has a chat template."""
    text = without_control(tokenizer, query)
    return [{"role": "user", "content": text}] if tokenizer.chat_template else text


def without_control(tokenizer: Any, text: str) -> str:
    """Return a text without the tokenizer's control tokens, which could end the user's turn."""
    for token in tokenizer.added_tokens_decoder.values():
        if token.special:
            text = text.replace(token.content, " ")
    return text


def shortened(tokenizer: Any, text: str, max_tokens: int) -> str:
    """Return the first ``max_tokens`` tokens of a text, as text."""
    if len(text) <= max_tokens:
        return text
    offsets = tokenizer(
        text, add_special_tokens=False, truncation=True, max_length=max_tokens, return_offsets_mapping=True
    )["offset_mapping"]
    return text[: offsets[-1][1]] if len(offsets) == max_tokens else text


def ids_of(tokenizer: Any, prompt: Prompt) -> list[int]:
    """Return the tokens of a text, or of a chat up to the beginning of the answer."""
    if isinstance(prompt, str):
        encoding = tokenizer(prompt)
    else:
        encoding = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, tokenize=True, return_dict=True)
    return list(encoding["input_ids"])


def generate(
    model: Any, tokenizer: Any, prompts: Sequence[list[int]], max_new_tokens: int, batch_rows: int
) -> list[str]:
    """Return greedy continuations of the prompts, without control tokens and surrounding white space.

    Args:
        model: A causal language model.
        tokenizer: Its tokenizer.
        prompts: Tokens of each prompt.
        max_new_tokens: Length limit of a continuation.
        batch_rows: Prompts per batch; a batch has prompts of similar length.
    """
    make: Any = GenerationConfig
    options = make(
        do_sample=False,
        max_new_tokens=max_new_tokens,
        eos_token_id=end_tokens(model, tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
    )
    order = sorted(range(len(prompts)), key=lambda row: len(prompts[row]))
    texts = [""] * len(prompts)
    model.eval()
    with progress("generation", len(order), "text") as advance:
        for start in range(0, len(order), batch_rows):
            rows = order[start : start + batch_rows]
            batch = padded([prompts[row] for row in rows], tokenizer.pad_token_id, left=True)
            batch = {name: value.to(model.device) for name, value in batch.items()}
            with torch.inference_mode(), quiet():
                new = model.generate(**batch, generation_config=options)[:, batch["input_ids"].shape[1] :]
            for row, text in zip(rows, tokenizer.batch_decode(new, skip_special_tokens=True), strict=True):
                texts[row] = text.strip()
            advance(len(rows))
    return texts


def padded(rows: Sequence[list[int]], pad: int, *, left: bool = False) -> dict[str, Tensor]:
    """Return ``input_ids`` and ``attention_mask``, shape (rows, longest), int64."""
    longest = max(map(len, rows))
    ids = torch.full((len(rows), longest), pad)
    mask = torch.zeros_like(ids)
    for index, row in enumerate(rows):
        span = slice(longest - len(row), None) if left else slice(0, len(row))
        ids[index, span] = torch.tensor(row)
        mask[index, span] = 1
    return {"input_ids": ids, "attention_mask": mask}
