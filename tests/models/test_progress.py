"""Progress in log files."""

import re

import pytest
import torch
from datasets import Dataset
from torch import nn

from seampack.models import progress, training


class Clock:
    """Seconds that pass with each look at the clock."""

    def __init__(self, step: float) -> None:
        self.step, self.now = step, 0.0

    def monotonic(self) -> float:
        self.now += self.step
        return self.now


def test_a_line_every_30_seconds(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "time", Clock(10))
    with progress.progress("counting", 2_000, "sheep") as advance:
        for _ in range(10):
            advance(200)
    assert capfd.readouterr().err.splitlines() == [
        "seampack: counting: 600 of 2,000 sheeps, 30 s",
        "seampack: counting: 1,200 of 2,000 sheeps, 60 s",
        "seampack: counting: 1,800 of 2,000 sheeps, 90 s",
    ]


def test_short_loops_say_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with progress.progress("counting", 2, "sheep") as advance:
        advance(2)
    assert capfd.readouterr().err == ""


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss": (self.weight * x).square().mean()}


def test_training_shows_its_steps(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SECONDS", 0.0)
    rows = Dataset.from_dict({"x": [1.0, 2.0, 3.0]})
    training.train_model(
        Model(),
        rows,
        lambda batch: {"x": torch.tensor([row["x"] for row in batch])},
        seed=0,
        num_train_epochs=2,
        per_device_train_batch_size=1,
    )
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("seampack: training")]
    assert [re.sub(", [0-9,]+ s$", "", line) for line in lines] == [
        f"seampack: training: {step} of 6 steps" for step in range(1, 7)
    ]
