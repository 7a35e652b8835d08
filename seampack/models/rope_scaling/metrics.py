"""Scores by position, and the gain of scaled over unscaled scores with a confidence interval."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from datasets import Dataset
from scipy.stats import bootstrap

from seampack.models.base import Row
from seampack.models.rope_scaling.scoring import Scores


def by_position(dataset: Dataset, scores: Mapping[str, Scores]) -> list[Row]:
    """Return one row per position: number of prompts, and mean log-probability and accuracy for each of ``scores``."""
    positions = np.array(dataset["gold_position"][:])
    rows: list[Row] = []
    for position in np.unique(positions):
        here = positions == position
        row: Row = {"position": float(position), "prompts": int(here.sum())}
        for name, part in scores.items():
            row[f"log_prob_{name}"] = float(part.log_prob[here].mean())
            row[f"accuracy_{name}"] = float(part.correct[here].mean())
        rows.append(row)
    return rows


def summary(scores: Mapping[str, Scores], positions: list[Row]) -> dict[str, Any]:
    """Return the means, and the gaps between best and worst position, for each of ``scores``."""
    metrics: dict[str, Any] = {}
    for name, part in scores.items():
        metrics[f"log_prob_{name}"] = float(part.log_prob.mean())
        metrics[f"accuracy_{name}"] = float(part.correct.mean())
        for kind in ("log_prob", "accuracy"):
            values = [row[f"{kind}_{name}"] for row in positions]
            metrics[f"{kind}_gap_{name}"] = max(values) - min(values)
    return metrics


def gain(dataset: Dataset, plain: Scores, scaled: Scores, seed: int) -> dict[str, float | None]:
    """Return the mean gain in log-probability, in nats, with its 95 % interval.

    The bootstrap draws examples, not prompts. The interval is None if there is only one example.
    """
    difference = scaled.log_prob - plain.log_prob
    examples = np.array(dataset["example"][:])
    means = np.array([difference[examples == example].mean() for example in np.unique(examples)])
    low = high = None
    if means.size > 1:
        rng = np.random.default_rng(seed)
        interval = bootstrap((means,), np.mean, method="percentile", rng=rng).confidence_interval
        low, high = float(interval.low), float(interval.high)
    return {"log_prob_gain": float(difference.mean()), "log_prob_gain_low": low, "log_prob_gain_high": high}
