"""Log-probabilities of given answers under a causal language model, and the perplexity of a long text."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from datasets import Dataset
from torch import Tensor

from seampack.errors import DataError
from seampack.models.progress import progress
from seampack.models.rope_scaling.rope import moves_with_length

_WORTH_SHARING = 0.1  # smallest share of tokens saved that makes sharing a common prefix worthwhile


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of prompts, each of shape (prompts,)."""

    log_prob: npt.NDArray[np.float64]
    """Sum over the answer's tokens, in nats."""
    correct: npt.NDArray[np.bool_]
    """Whether greedy decoding produces the answer."""
    prediction: list[str]
    """Output of greedy decoding up to its first wrong token; the answer if none is wrong."""


def score_rows(model: Any, tokenizer: Any, dataset: Dataset) -> Scores:
    """Score prepared rows; the prompts of one example form a group."""
    return score(model, tokenizer, dataset["prompt"][:], dataset["answer"][:], groups=dataset["example"][:])


def score(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    answers: Sequence[str],
    *,
    groups: Sequence[int] | None = None,
    batch_tokens: int = 16_384,
) -> Scores:
    """Score answers by teacher forcing: one pass per prompt, with logits of the answer's tokens only.

    Greedy decoding produces an answer exactly if each of its tokens is the most probable token after its predecessors,
    so no text is generated. Adjacent prompts of one group form a batch, and their common prefix is computed once. If
    the model's frequencies depend on the length, each prompt is a batch.

    Args:
        model: Causal language model.
        tokenizer: Its tokenizer.
        prompts: Texts before the answers.
        answers: One answer per prompt.
        groups: Number of each prompt's group; None: each prompt is a batch.
        batch_tokens: Maximum number of tokens of a batch, including padding.

    Raises:
        DataError: A prompt or answer is empty.
    """
    questions = [tokenizer(prompt)["input_ids"] for prompt in prompts]
    targets = [tokenizer(answer, add_special_tokens=False)["input_ids"] for answer in answers]
    for row, (question, target) in enumerate(zip(questions, targets, strict=True), 1):
        if not question or not target:
            raise DataError(f"row {row}: the {'answer' if question else 'prompt'} has no tokens; drop such rows first")
    moving = moves_with_length(model)
    names = range(len(questions)) if moving or groups is None else groups
    lengths = [len(question) + len(target) for question, target in zip(questions, targets, strict=True)]
    log_prob, correct = np.zeros(len(questions)), np.zeros(len(questions), np.bool_)
    prediction = [""] * len(questions)
    device = next(model.parameters()).device
    with torch.inference_mode(), progress("scoring", len(questions), "prompt") as advance:
        for batch in _batches(names, lengths, batch_tokens):
            if moving:
                _reset_frequencies(model, device)
            logits_by_row = _answer_logits(
                model, [questions[row] for row in batch], [targets[row] for row in batch], device
            )
            for row, logits in zip(batch, logits_by_row, strict=True):
                gold = torch.tensor(targets[row], device=device)
                best = logits.argmax(-1)
                wrong = (best != gold).nonzero()
                until = len(gold) if not len(wrong) else int(wrong[0]) + 1
                log_prob[row] = float(logits.log_softmax(-1).gather(-1, gold[:, None]).sum())
                correct[row] = not len(wrong)
                prediction[row] = tokenizer.decode(best[:until].tolist())
            advance(len(batch))
    return Scores(log_prob, correct, prediction)


def _batches(names: Sequence[int], lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Yield batches of adjacent rows of the same group, as many rows as fit."""
    batch: list[int] = []
    for row, name in enumerate(names):
        longest = max([lengths[other] for other in batch] + [lengths[row]])
        if batch and (name != names[batch[0]] or longest * (len(batch) + 1) > batch_tokens):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _answer_logits(
    model: Any, questions: list[list[int]], answers: list[list[int]], device: torch.device
) -> Iterator[Tensor]:
    """Yield the logits that predict each answer's tokens, shape (answer tokens, vocabulary), float32."""
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
    # Padding on the right needs no mask: no token attends to later tokens.
    padded = [row[shared:] + [row[-1]] * (width - len(row) + shared) for row in rows]
    starts = [len(question) - 1 - shared for question in questions]
    keep = width - min(starts)
    logits = model(input_ids=torch.tensor(padded, device=device), logits_to_keep=keep, **cached).logits
    for row, start, answer in zip(logits, starts, answers, strict=True):
        begin = start - (width - keep)
        yield row[begin : begin + len(answer)].float()


def _reset_frequencies(model: Any, device: torch.device) -> None:
    """Run one token to reset dynamic frequencies, which depend on the longest sequence so far."""
    model(input_ids=torch.zeros((1, 1), dtype=torch.int64, device=device), use_cache=False)


def _common_prefix(questions: list[list[int]]) -> int:
    """Return the number of leading tokens common to all questions, leaving at least one token of each question."""
    shortest = min(map(len, questions)) - 1
    for index in range(shortest):
        if any(question[index] != questions[0][index] for question in questions):
            return index
    return shortest


def long_ids(tokenizer: Any, text: str, window_tokens: int) -> list[int]:
    """Return the tokens of a long text. Raise DataError if the text is shorter than a window."""
    ids: list[int] = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    if len(ids) < window_tokens:
        raise DataError(
            f"the long text has {len(ids):,} tokens; expected at least {window_tokens:,}, one window; "
            "use a longer text, or lower long_tokens"
        )
    return ids


def perplexity(model: Any, tokenizer: Any, text: str, *, window_tokens: int, windows: int | None = None) -> float:
    """Return the perplexity of a text, read in disjoint windows; an incomplete last window is skipped.

    Args:
        model: Causal language model.
        tokenizer: Its tokenizer.
        text: The text. Raises DataError if it is shorter than one window.
        window_tokens: Length of a window.
        windows: Number of windows to read; all by default.
    """
    ids = long_ids(tokenizer, text, window_tokens)
    count = len(ids) // window_tokens
    device = next(model.parameters()).device
    total, predicted = 0.0, 0
    with torch.inference_mode():
        _reset_frequencies(model, device)
        for number in range(min(count, windows or count)):
            window = torch.tensor(ids[number * window_tokens : (number + 1) * window_tokens], device=device)
            logits: Tensor = model(input_ids=window[None], use_cache=False).logits[0, :-1]
            for part, gold in zip(torch.split(logits, 256), torch.split(window[1:], 256), strict=True):
                total += float(torch.nn.functional.cross_entropy(part.float(), gold, reduction="sum"))
            predicted += window_tokens - 1
    return float(np.exp(total / predicted))
