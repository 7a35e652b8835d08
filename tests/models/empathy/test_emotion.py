"""The emotion reader: what it learns, and the scale of its loss."""

import math

import pytest
import torch
from torch import nn

from seampack.models.empathy import EmotionReader, EmpathyConfig, KnowledgeSelector


def test_reader_learns_which_piece_reveals_the_emotion() -> None:
    """The context is noisy, the right piece is not, and the other pieces suggest other emotions."""
    torch.manual_seed(0)
    means, rows = 2 * torch.eye(4, 16), 400
    label, wrong, right = (torch.randint(size, (rows,)) for size in (4, 4, 3))
    pieces = means[torch.randint(4, (rows, 3))]
    pieces[torch.arange(rows), right] = means[label]
    context = 0.6 * means[label] + 0.3 * means[wrong] + 0.3 * torch.randn(rows, 16)
    reader = EmotionReader(16, 4, KnowledgeSelector(EmpathyConfig(temperature=0.5)), dropout=0)
    optimizer = torch.optim.Adam(reader.parameters(), 0.05)
    present = torch.ones(rows, 3, dtype=torch.bool)
    for _ in range(60):
        loss = reader(context, pieces, present, label).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        reading = reader(context, pieces, present)
    revealing = (pieces == means[label][:, None]).all(-1)
    assert (reading.logits.argmax(1) == label).float().mean() > 0.95
    assert (reading.weights * revealing).sum(1).mean() > 0.8
    assert reading.loss is None


@pytest.mark.parametrize("selection", [None, "soft", "uniform"])
def test_the_loss_has_the_same_scale_with_and_without_knowledge(selection: str | None) -> None:
    selector = None if selection is None else KnowledgeSelector(EmpathyConfig(selection=selection))
    reader = EmotionReader(8, 4, selector, dropout=0)
    nn.init.zeros_(reader.classifier.weight)
    nn.init.zeros_(reader.classifier.bias)
    present = torch.tensor([[True, True, False]] * 5)
    loss = reader(torch.randn(5, 8), torch.randn(5, 3, 8), present, torch.zeros(5, dtype=torch.long)).loss
    torch.testing.assert_close(loss, torch.tensor(math.log(4)))
