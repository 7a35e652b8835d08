"""Differences between arms and naive concatenation, with intervals by a paired bootstrap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.continual.arms import BASELINE

REPLICATES = 2000
SEED = 0
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Difference:
    """A difference in thousandths of a nat a token, with the limits of its 95 % interval; negative is better."""

    mean: float
    low: float
    high: float

    @property
    def sign(self) -> int:
        """-1 or 1 if the interval excludes zero, else 0."""
        return -1 if self.high < 0 else int(self.low > 0)

    def __str__(self) -> str:
        return f"{self.mean:+.1f} [{self.low:+.1f}, {self.high:+.1f}]"


def bootstrap(cells: Sequence[tuple[Floats, Floats]], replicates: int = REPLICATES) -> Difference:
    """Return the mean over cells (domains) of the difference a token, and its interval.

    Args:
        cells: For each domain, the differences of the summed losses, shape (seeds, documents), and the tokens of each
            document, shape (documents,).
        replicates: How often documents and seeds are drawn with replacement, in each domain separately.

    Arms are paired: a difference is between trainings of one seed on one document.
    """
    chance = np.random.default_rng(SEED)
    estimates, drawn = [], np.zeros(replicates)
    for differences, tokens in cells:
        seeds, documents = differences.shape
        estimates.append(differences.sum(1).mean() / tokens.sum())
        weights = chance.multinomial(documents, np.full(documents, 1 / documents), size=replicates)
        by_seed = (weights @ differences.T) / np.maximum(weights @ tokens, 1)[:, None]
        picked = chance.integers(seeds, size=(replicates, seeds))
        drawn += np.take_along_axis(by_seed, picked, axis=1).mean(1) / len(cells)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Difference(*(1000 * float(value) for value in (np.mean(estimates), low, high)))


class Analysis:
    """The saved results of a setting."""

    def __init__(self, results: dict[str, Any]) -> None:
        self.results = results
        self.found = {
            (each["domain"], each["seq_len"], each["arm"], each["seed"]): each for each in results["trainings"]
        }

    @property
    def seq_lens(self) -> list[int]:
        """Row lengths, shortest first."""
        return sorted({seq_len for _, seq_len, _, _ in self.found})

    def domains(self, seq_len: int) -> list[str]:
        """Return the domains that were compared at a row length."""
        return list(dict.fromkeys(domain for domain, length, _, _ in self.found if length == seq_len))

    def label(self, seq_len: int, arm: str) -> str:
        """Return the name of an arm, with its domains if others were compared too."""
        domains = self.domains(seq_len)
        own = [domain for domain in domains if self.trainings(domain, seq_len, arm)]
        return f"{arm} ({', '.join(own)})" if 0 < len(own) < len(domains) else arm

    def trainings(self, domain: str, seq_len: int, arm: str) -> dict[int, dict[str, Any]]:
        """Return the trainings of an arm by seed."""
        return {key[3]: each for key, each in self.found.items() if key[:3] == (domain, seq_len, arm)}

    def tokens(self, domain: str, seq_len: int, group: str) -> Floats:
        """Return the scored tokens of each held-out document that has tokens in the group."""
        return np.array(self.results["domains"][domain]["counts"][str(seq_len)][group], np.float64)

    def loss(self, domain: str, seq_len: int, arm: str, group: str = "all") -> float:
        """Return the mean loss of an arm over its seeds, in nats a token."""
        sums = [sum(each["sums"][group]) for each in self.trainings(domain, seq_len, arm).values()]
        return float(np.mean(sums) / self.tokens(domain, seq_len, group).sum())

    def difference(
        self, seq_len: int, arm: str, *, group: str = "all", baseline: str = BASELINE, domains: Sequence[str] = ()
    ) -> Difference | None:
        """Return the difference of an arm to a baseline, over domains and seeds that both have; None without any."""
        cells = []
        for domain in domains or self.domains(seq_len):
            tokens = self.tokens(domain, seq_len, group)
            ours, theirs = self.trainings(domain, seq_len, arm), self.trainings(domain, seq_len, baseline)
            seeds = sorted(ours.keys() & theirs.keys())
            if not seeds or not tokens.sum():
                continue
            pairs = [np.subtract(ours[seed]["sums"][group], theirs[seed]["sums"][group]) for seed in seeds]
            cells.append((np.array(pairs), tokens))
        return bootstrap(cells) if cells else None
