"""Prediction of a dialogue's emotion from its context and knowledge, and of the weights of the knowledge."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from seampack.models.empathy.selection import KnowledgeSelector


@dataclass(frozen=True, slots=True)
class Reading:
    """Emotions and knowledge weights of a batch of dialogues."""

    logits: Tensor
    """Emotion logits, shape (rows, emotions)."""
    weights: Tensor
    """Weights of the pieces of knowledge, shape (rows, pieces)."""
    loss: Tensor | None
    """Scalar; None without true emotions."""


class EmotionReader(nn.Module):
    """One linear classifier for the context, for each piece of knowledge, and for both combined.

    The weighted pieces are added to the context's vector through a gate. Without a selector, knowledge is ignored.
    """

    def __init__(self, hidden: int, emotions: int, selector: KnowledgeSelector | None, dropout: float = 0.1) -> None:
        super().__init__()
        self.selector = selector
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(hidden, emotions)
        self.gate = nn.Linear(2 * hidden, hidden)

    def forward(self, context: Tensor, pieces: Tensor, present: Tensor, label: Tensor | None = None) -> Reading:
        """Return logits, weights and, with labels, the loss.

        The loss is the mean of three cross-entropies: of the context, of the context with knowledge, and of the pieces
        of knowledge, averaged by their weights, so that pieces of weight 0 have no effect.

        Args:
            context: Vectors of the contexts, (rows, hidden).
            pieces: Vectors of the pieces of knowledge, (rows, pieces, hidden).
            present: Which pieces exist, bool, (rows, pieces).
            label: True emotions, (rows,).
        """
        context, pieces = self.dropout(context), self.dropout(pieces)
        context_logits = self.classifier(context)
        if self.selector is None:
            loss = None if label is None else cross_entropy(context_logits, label)
            return Reading(context_logits, torch.zeros_like(present, dtype=context_logits.dtype), loss)
        piece_logits = self.classifier(pieces)
        weights = self.selector(piece_logits, context_logits, pieces, present, label)
        chosen = (weights.unsqueeze(-1) * pieces).sum(1)
        logits = self.classifier(self.take_in(context, chosen))
        if label is None:
            return Reading(logits, weights, None)
        piece_losses = cross_entropy(
            piece_logits.flatten(0, 1), label.repeat_interleave(pieces.shape[1]), reduction="none"
        )
        weighted = (weights.detach() * piece_losses.view_as(weights)).sum(1).mean()
        # The mean, not the sum: next to the response loss, the loss has the same scale as without knowledge.
        loss = (cross_entropy(logits, label) + cross_entropy(context_logits, label) + weighted) / 3
        return Reading(logits, weights, loss)

    def take_in(self, context: Tensor, chosen: Tensor) -> Tensor:
        """Add the chosen knowledge to the context through the gate; all tensors are (rows, hidden)."""
        opened: Tensor = self.gate(torch.cat([context, chosen], -1)).sigmoid()
        return context + opened * chosen
