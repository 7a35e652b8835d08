"""The settings: which model, which documents, which arms, how many seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.continual import arms
from benchmarks.continual.arms import Arm
from benchmarks.continual.training import Shape


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One comparison. Sizes of document sets are in characters, about four a token of English."""

    domains: Mapping[str, tuple[str, ...]]
    """The sources of each domain; sources that are not on this machine are skipped, and so are domains without any."""
    cells: tuple[tuple[int, str | None, tuple[Arm, ...]], ...]
    """Row length, the only domain (all if None), and the arms."""
    shape: Shape | None
    """The model that is trained from scratch; SmolLM2-135M if None."""
    seeds: int
    train: int
    choosing: int
    held_out: int
    tokens_per_step: int
    rows_at_once: int = 1 << 16
    """Rows in memory at once; the step is the same."""
    learning_rates: tuple[float, ...] = field(default=(1e-4, 3e-4))

    def describe(self) -> dict[str, Any]:
        """Return what a training depends on, apart from its arm and seed: saved trainings must agree in it."""
        model = "SmolLM2-135M" if self.shape is None else vars(self.shape)
        names = ("train", "choosing", "held_out", "tokens_per_step", "learning_rates")
        values = {name: getattr(self, name) for name in names}
        return {"model": model, **values, "learning_rates": list(self.learning_rates)}


THREE = {"news": ("news",), "medicine": ("medicine",), "finance": ("finance",)}
ALL, MAIN = tuple(arms.ALL), tuple(arms.MAIN)

SETTINGS = {
    # Ten CPU minutes, with the corpus that ships.
    "short": Setting(
        domains={"public domain": ("public",)},
        cells=((256, None, ALL),),
        shape=Shape(vocab_size=2048, hidden=128, layers=2, heads=2),
        seeds=2,
        train=240_000,
        choosing=60_000,
        held_out=160_000,
        tokens_per_step=512,
        learning_rates=(3e-4, 1e-3, 3e-3),
    ),
    # An hour of a CPU: SmolLM2-135M goes on with each domain; with all arms on news, whose documents are about a row.
    "cpu": Setting(
        domains=THREE,
        cells=((512, "news", ALL), (512, "medicine", MAIN), (512, "finance", MAIN)),
        shape=None,
        seeds=1,
        train=60_000,
        choosing=20_000,
        held_out=60_000,
        tokens_per_step=1024,
        rows_at_once=2,
    ),
    # Ten minutes of a GPU, with --minutes 9.
    "gpu": Setting(
        domains=THREE,
        cells=((1024, None, ALL), (2048, "finance", MAIN), (4096, "finance", MAIN)),
        shape=None,
        seeds=2,
        train=1_200_000,
        choosing=160_000,
        held_out=400_000,
        tokens_per_step=8192,
        rows_at_once=8,
    ),
    # CPU hours: 5 million parameters, learning from nothing.
    "scratch": Setting(
        domains={"public domain and handbook": ("public", "handbook"), "debian": ("debian",)},
        cells=((512, None, ALL),),
        shape=Shape(vocab_size=8192, hidden=256, layers=4, heads=4),
        seeds=3,
        train=1_000_000,
        choosing=80_000,
        held_out=200_000,
        tokens_per_step=1024,
        learning_rates=(3e-4, 1e-3, 3e-3),
    ),
}
