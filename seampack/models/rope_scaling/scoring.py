"""What a causal language model says of given answers, and the perplexity of long text."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from seampack.errors import DataError
from seampack.models.rope_scaling.rope import moves_with_length

_WORTH_SHARING = 0.1  # share of the tokens that a common prefix must save


@dataclass(frozen=True, slots=True)
class Scores:
    """Of each prompt: shapes (prompts,)."""

    log_prob: npt.NDArray[np.float64]
    """Sum over the answer's tokens, in nats."""
    correct: npt.NDArray[np.bool_]
    """Whether greedy decoding writes the answer."""
    prediction: list[str]
    """What greedy decoding writes in place of the answer, up to its first wrong token."""


def score(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    answers: Sequence[str],
    *,
    groups: Sequence[int] | None = None,
    batch_tokens: int = 16_384,
) -> Scores:
    """Score the answers by teacher forcing: one pass a prompt, and logits of the answers' tokens alone.

    Greedy decoding writes an answer exactly when each of its tokens is the likeliest after those before it, so no text
    need be generated. Prompts of the same group that stand together run as one batch of at most ``batch_tokens``; what
    they begin with in common is computed once. Where the model's frequencies depend on the length, each runs alone.
    Raises DataError for an empty answer.
    """
    asked = [tokenizer(prompt)["input_ids"] for prompt in prompts]
    wanted = [tokenizer(answer, add_special_tokens=False)["input_ids"] for answer in answers]
    for at, (question, answer) in enumerate(zip(asked, wanted, strict=True)):
        if not question or not answer:
            raise DataError(f"row {at + 1}: the {'answer' if question else 'prompt'} has no tokens; drop such rows")
    moving = moves_with_length(model)
    alone = groups is None or moving
    names = range(len(asked)) if alone or groups is None else groups
    lengths = [len(question) + len(answer) for question, answer in zip(asked, wanted, strict=True)]
    log_prob, correct, prediction = np.zeros(len(asked)), np.zeros(len(asked), np.bool_), [""] * len(asked)
    device = next(model.parameters()).device
    with torch.inference_mode():
        for batch in _batches(names, lengths, batch_tokens):
            if moving:
                _forget(model, device)
            found = _answer_logits(model, [asked[at] for at in batch], [wanted[at] for at in batch], device)
            for at, logits in zip(batch, found, strict=True):
                gold = torch.tensor(wanted[at], device=device)
                best = logits.argmax(-1)
                wrong = (best != gold).nonzero()
                until = len(gold) if not len(wrong) else int(wrong[0]) + 1
                log_prob[at] = float(logits.log_softmax(-1).gather(-1, gold[:, None]).sum())
                correct[at] = not len(wrong)
                prediction[at] = tokenizer.decode(best[:until].tolist())
    return Scores(log_prob, correct, prediction)


def _batches(names: Sequence[int], lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Neighbours of one name, as long as they fit."""
    batch: list[int] = []
    for at, name in enumerate(names):
        longest = max([lengths[other] for other in batch] + [lengths[at]])
        if batch and (name != names[batch[0]] or longest * (len(batch) + 1) > batch_tokens):
            yield batch
            batch = []
        batch.append(at)
    if batch:
        yield batch


def _answer_logits(
    model: Any, questions: list[list[int]], answers: list[list[int]], device: torch.device
) -> Iterator[Tensor]:
    """Logits that predict each answer's tokens, shape (answer tokens, vocabulary), float32."""
    rows = [question + answer for question, answer in zip(questions, answers, strict=True)]
    shared = _common_prefix(questions)
    if shared * (len(rows) - 1) < _WORTH_SHARING * sum(map(len, rows)):
        shared = 0
    cached: dict[str, Any] = {"use_cache": False}
    if shared:
        head = model(input_ids=torch.tensor([rows[0][:shared]], device=device), use_cache=True, logits_to_keep=1)
        name = "cache" if "cache" in head else "past_key_values"  # the name differs between versions of transformers
        head[name].batch_repeat_interleave(len(rows))
        cached = {name: head[name], "use_cache": True}
    width = max(map(len, rows)) - shared
    # Padding on the right needs no mask: no token looks at what comes after it.
    padded = [row[shared:] + [row[-1]] * (width - len(row) + shared) for row in rows]
    starts = [len(question) - 1 - shared for question in questions]
    keep = width - min(starts)
    logits = model(input_ids=torch.tensor(padded, device=device), logits_to_keep=keep, **cached).logits
    for row, start, answer in zip(logits, starts, answers, strict=True):
        begin = start - (width - keep)
        yield row[begin : begin + len(answer)].float()


def _forget(model: Any, device: torch.device) -> None:
    """Run one token: dynamic frequencies, which the longest sequence so far has set, go back to where they began."""
    model(input_ids=torch.zeros((1, 1), dtype=torch.int64, device=device), use_cache=False)


def _common_prefix(questions: list[list[int]]) -> int:
    """Tokens that all begin with, at least one of each left out."""
    shortest = min(map(len, questions)) - 1
    for at in range(shortest):
        if any(question[at] != questions[0][at] for question in questions):
            return at
    return shortest


def long_ids(tokenizer: Any, text: str, window_tokens: int) -> list[int]:
    """Tokens of a long text. Raises DataError for one shorter than a window."""
    ids: list[int] = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    if len(ids) < window_tokens:
        raise DataError(
            f"the long text has {len(ids):,} tokens; expected at least {window_tokens:,}, one window; "
            "take a longer text, or lower long_tokens"
        )
    return ids


def perplexity(
    model: Any, tokenizer: Any, text: str, *, window_tokens: int = 2048, windows: int | None = None
) -> float:
    """Perplexity of a text, read in windows of ``window_tokens`` that do not overlap, the last incomplete one left out.

    ``windows`` stops after so many. Raises DataError for a text shorter than one window.
    """
    ids = long_ids(tokenizer, text, window_tokens)
    count = len(ids) // window_tokens
    device = next(model.parameters()).device
    total, seen = 0.0, 0
    with torch.inference_mode():
        _forget(model, device)
        for at in range(min(count, windows or count)):
            window = torch.tensor(ids[at * window_tokens : (at + 1) * window_tokens], device=device)
            logits: Tensor = model(input_ids=window[None], use_cache=False).logits[0, :-1]
            for part, gold in zip(torch.split(logits, 256), torch.split(window[1:], 256), strict=True):
                total += float(torch.nn.functional.cross_entropy(part.float(), gold, reduction="sum"))
            seen += window_tokens - 1
    return float(np.exp(total / seen))
