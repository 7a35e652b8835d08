"""The loss of every token of whole documents: windows with stride, no token twice, grouped by position."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.continual.training import Device

FIRST = 64
"""Tokens at the beginning of a document, or after a multiple of the row length, that are reported separately."""

GROUPS = {
    "all": "all tokens",
    "first": f"first {FIRST} tokens of a document",
    "middle": f"from token {FIRST} to the end of one row",
    "beyond": "beyond one row",
    "after a cut": f"first {FIRST} tokens after a multiple of the row length",
    "eos": "end of a document",
}

Window = tuple[int, int, int]
Floats = npt.NDArray[np.float64]


def windows(length: int, seq_len: int, stride: int) -> list[Window]:
    """Return (begin, end, first scored token) of the windows that score the tokens 1 to ``length - 1`` once each.

    The first token of a document has nothing before it and is not scored. Every later window begins so early that it
    is full: its scored tokens have at least ``seq_len - stride`` tokens before them.

    >>> windows(10, 6, 3)
    [(0, 6, 1), (3, 9, 6), (4, 10, 9)]
    """
    end = min(seq_len, length)
    found = [(0, end, 1)]
    while end < length:
        scored, end = end, min(end + stride, length)
        found.append((end - seq_len, end, scored))
    return found


def groups(length: int, seq_len: int) -> dict[str, npt.NDArray[np.bool_]]:
    """Return a mask of the tokens 1 to ``length - 1`` for each group."""
    position = np.arange(1, length)
    beyond = position >= seq_len
    return {
        "all": np.ones_like(beyond),
        "first": position < FIRST,
        "middle": (position >= FIRST) & ~beyond,
        "beyond": beyond,
        "after a cut": beyond & (position % seq_len < FIRST),
        "eos": position == length - 1,
    }


@torch.no_grad()
def losses(model: Any, documents: Sequence[npt.NDArray[np.int64]], seq_len: int, device: Device) -> list[Floats]:
    """Return the loss in nats of the tokens 1, 2, ... of each document."""
    found = [np.full(max(len(document) - 1, 0), np.nan) for document in documents]
    work = [
        (index, *window)
        for index, document in enumerate(documents)
        if len(document) > 1
        for window in windows(len(document), seq_len, seq_len // 2)
    ]
    work.sort(key=lambda each: each[2] - each[1])
    rows = max(1, device.scored_tokens // seq_len)
    model.eval()
    for first in range(0, len(work), rows):
        part = work[first : first + rows]
        width = max(end - begin for _, begin, end, _ in part)
        ids = torch.zeros(len(part), width, dtype=torch.long)
        for row, (index, begin, end, _) in enumerate(part):
            ids[row, : end - begin] = torch.from_numpy(documents[index][begin:end])
        ids = ids.to(device.name)
        with device.autocast():
            logits = model(input_ids=ids, use_cache=False).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten(), reduction="none")
        values = loss.view(len(part), width - 1).double().cpu().numpy()
        for row, (index, begin, end, scored) in enumerate(part):
            found[index][scored - 1 : end - 1] = values[row, scored - 1 - begin : end - 1 - begin]
    return found


def sums(token_losses: Sequence[Floats], seq_len: int) -> dict[str, list[float]]:
    """Return the sums of the losses, by group: one for each document that has tokens in the group."""
    masks = [groups(len(loss) + 1, seq_len) for loss in token_losses]
    return {
        group: [
            round(float(loss[mask[group]].sum()), 2)
            for loss, mask in zip(token_losses, masks, strict=True)
            if mask[group].any()
        ]
        for group in GROUPS
    }


def counts(documents: Sequence[npt.NDArray[np.int64]], seq_len: int) -> dict[str, list[int]]:
    """Return the numbers of scored tokens, by group: one for each document that has tokens in the group."""
    masks = [groups(len(document), seq_len) for document in documents]
    return {group: [int(mask[group].sum()) for mask in masks if mask[group].any()] for group in GROUPS}


def frequency_loss(train: Sequence[npt.NDArray[np.int64]], scored: Sequence[npt.NDArray[np.int64]]) -> float:
    """Return the loss a token of a model that knows only how often each token occurs in training (0.5 is added)."""
    targets = np.concatenate([document[1:] for document in scored])
    seen = np.concatenate(train)
    frequencies = np.bincount(seen, minlength=int(targets.max()) + 1) + 0.5
    return float(-np.log(frequencies / frequencies.sum())[targets].mean())
