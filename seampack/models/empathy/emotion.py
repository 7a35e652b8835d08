"""The emotion of a dialogue from its context and the knowledge about it, and the weights that the knowledge gets."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from seampack.models.empathy.selection import KnowledgeSelector


@dataclass(frozen=True, slots=True)
class Reading:
    """What is read from a batch of dialogues."""

    logits: Tensor
    """Of each emotion, shape (rows, emotions)."""
    weights: Tensor
    """Of each piece of knowledge, shape (rows, pieces)."""
    loss: Tensor | None
    """Where true emotions were given."""


class EmotionReader(nn.Module):
    """One linear classifier for the context, for each piece of knowledge, and for both together.

    The pieces, weighted, are let into the context's vector by a gate. Without a selector, knowledge is left out.
    """

    def __init__(self, hidden: int, emotions: int, selector: KnowledgeSelector | None, dropout: float = 0.1) -> None:
        super().__init__()
        self.selector = selector
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(hidden, emotions)
        self.gate = nn.Linear(2 * hidden, hidden)

    def forward(self, context: Tensor, pieces: Tensor, present: Tensor, label: Tensor | None = None) -> Reading:
        """``context``: (rows, hidden); ``pieces``: (rows, pieces, hidden); ``present``: bool, (rows, pieces).

        The loss is the mean of three cross-entropies to ``label``, (rows,): of the context, of the context with
        knowledge, and of the pieces by their weights, so that pieces that were not chosen teach nothing.
        """
        context, pieces = self.dropout(context), self.dropout(pieces)
        alone = self.classifier(context)
        if self.selector is None:
            loss = None if label is None else cross_entropy(alone, label)
            return Reading(alone, torch.zeros_like(present, dtype=alone.dtype), loss)
        of_pieces = self.classifier(pieces)
        weights = self.selector(of_pieces, alone, pieces, present, label)
        chosen = (weights.unsqueeze(-1) * pieces).sum(1)
        logits = self.classifier(self.take_in(context, chosen))
        if label is None:
            return Reading(logits, weights, None)
        each = cross_entropy(of_pieces.flatten(0, 1), label.repeat_interleave(pieces.shape[1]), reduction="none")
        by_weight = (weights.detach() * each.view_as(weights)).sum(1).mean()
        # the mean: a sum would weigh three times as much beside the response's loss as the loss without knowledge does
        loss = (cross_entropy(logits, label) + cross_entropy(alone, label) + by_weight) / 3
        return Reading(logits, weights, loss)

    def take_in(self, context: Tensor, chosen: Tensor) -> Tensor:
        """The context with the chosen knowledge, as far as the gate opens; all of shape (rows, hidden)."""
        opened: Tensor = self.gate(torch.cat([context, chosen], -1)).sigmoid()
        return context + opened * chosen
