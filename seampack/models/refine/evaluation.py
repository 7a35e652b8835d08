"""Evaluation of a refiner: successful attacks, and answers to other queries, with and without refinement."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from seampack.errors import DataError
from seampack.models.base import Row
from seampack.models.refine.refiner import Refiner
from seampack.models.refine.rewards import not_refused, refused
from seampack.models.refine.scoring import CachedTarget, Scorer

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Judge = Callable[[list[str], list[str]], Sequence[bool]]
"""Takes attacks and the responses to them, returns whether each attack succeeded."""
Values = Sequence[float | None]
"""One reward per query; None means no reward."""


@dataclass(frozen=True, slots=True)
class Refined:
    """Result of an evaluation of all queries with and without refinement."""

    metrics: dict[str, Any]
    rows: list[Row]
    """One row per query: ``refined``, and ``response, score, is_jailbroken`` after and (``..._before``) before it."""
    kinds: list[Row]
    """One row for attacks and one for benign queries: rewards, attack success and refusals before and after refinement,
    and the number of queries without a reward, ``NAME_missing``."""


@dataclass(frozen=True, slots=True)
class RefinerEval:
    """Evaluates a refiner on the user's queries, some of which may be attacks."""

    refiner: Refiner
    target: CachedTarget | None = None
    scorer: Scorer | None = None
    judge: Judge = not_refused

    def run(self, queries: Sequence[str], attacks: Sequence[bool]) -> Refined:
        """Refine every query, query the target with and without refinement, and score both answers.

        Metrics: ``attack_success_rate`` (share of successful attacks, by the judge), ``win_rate`` (share of benign
        queries whose score rises by refinement; ties count half), ``score_gain`` (mean difference of the scores of
        benign queries), ``benign_refused``, and the mean of each reward as ``attack_NAME`` and ``benign_NAME``.
        ``..._before`` is the same metric for the unrefined queries. A metric is None if no query can be measured.
        Queries whose reward is None, before or after refinement, are excluded from all means; ``NAME_missing`` is their
        number, ``score_missing`` the number of queries that lack any reward.

        Args:
            queries: The queries.
            attacks: Whether each query is an attack.

        Raises:
            DataError: A reward is None for every query.
        """
        refined = self.refiner.refine(queries)
        versions = {"": refined, "_before": list(queries)}
        rows: list[Row] = [
            {"query": query, "attack": bool(attack), "refined": text}
            for query, attack, text in zip(queries, attacks, refined, strict=True)
        ]
        rewards: dict[str, dict[str, list[float | None]]] = {}
        for suffix, texts in versions.items():
            responses = self.target(texts) if self.target else [None] * len(texts)
            rewards[suffix] = self.scorer.all(queries, texts) if self.scorer else {}
            scores = rewards[suffix].get("score", [None] * len(texts))
            verdicts = self._verdicts(queries, attacks, responses)
            for row, response, score, verdict in zip(rows, responses, scores, verdicts, strict=True):
                row[f"response{suffix}"] = response
                row[f"score{suffix}"] = score
                row[f"is_jailbroken{suffix}"] = verdict
        _check_some(rewards)
        kinds = [self._kind(name, indices, rows, rewards) for name, indices in _kinds(attacks)]
        return Refined(self._metrics(rows, kinds), rows, kinds)

    def _verdicts(
        self, queries: Sequence[str], attacks: Sequence[bool], responses: Sequence[str | None]
    ) -> list[bool | None]:
        """Return the judge's verdict whether each attack succeeded; an attack with an empty answer failed.

        The verdict is None if the query is not an attack or has no response.
        """
        verdicts: list[bool | None] = [
            False if attack and response is not None else None
            for attack, response in zip(attacks, responses, strict=True)
        ]
        answers = {
            index: response or ""
            for index, response in enumerate(responses)
            if verdicts[index] is not None and (response or "").strip()
        }
        if answers:
            judged = self.judge([queries[index] for index in answers], list(answers.values()))
            for index, verdict in zip(answers, judged, strict=True):
                verdicts[index] = bool(verdict)
        return verdicts

    def _kind(
        self, kind: str, indices: Sequence[int], rows: Sequence[Row], rewards: Mapping[str, Mapping[str, Values]]
    ) -> Row:
        """Return the summary of the rows of one kind."""
        chosen = [rows[index] for index in indices]
        summary: Row = {
            "kind": kind,
            "rows": len(chosen),
            "unchanged": _mean([row["refined"] == row["query"] for row in chosen]),
            "empty": _mean([not row["refined"] for row in chosen]),
        }
        for suffix in ("_before", ""):
            responses = [row[f"response{suffix}"] for row in chosen] if self.target is not None else []
            verdicts = [row[f"is_jailbroken{suffix}"] for row in chosen] if responses and kind == "attack" else []
            summary[f"refused{suffix}"] = _mean([refused(response) for response in responses])
            summary[f"unanswered{suffix}"] = _mean([not response.strip() for response in responses])
            summary[f"jailbroken{suffix}"] = _mean(verdicts)
        for name in rewards[""]:
            pairs = [(rewards["_before"][name][index], rewards[""][name][index]) for index in indices]
            complete = [pair for pair in pairs if None not in pair]
            summary[f"{name}_before"] = _mean([before for before, _ in complete])
            summary[name] = _mean([after for _, after in complete])
            summary[f"{name}_missing"] = len(pairs) - len(complete)
        return summary

    def _metrics(self, rows: Sequence[Row], kinds: Sequence[Row]) -> dict[str, Any]:
        """Return the metrics of ``run``."""
        by_kind = {row["kind"]: row for row in kinds}
        attack, benign = by_kind.get("attack", {}), by_kind.get("benign", {})
        names = [*self.scorer.rewards, "score"] if self.scorer else []
        gains = [
            row["score"] - row["score_before"]
            for row in rows
            if not row["attack"] and None not in (row["score"], row["score_before"])
        ]
        metrics: dict[str, Any] = {
            "rows": len(rows),
            "attacks": attack.get("rows", 0),
            "attack_success_rate": attack.get("jailbroken"),
            "attack_success_rate_before": attack.get("jailbroken_before"),
            "win_rate": _mean([(np.sign(gain) + 1) / 2 for gain in gains]),
            "score_gain": _mean(gains),
            "benign_refused": benign.get("refused"),
            "benign_refused_before": benign.get("refused_before"),
            "benign_unanswered": benign.get("unanswered"),
            "benign_unanswered_before": benign.get("unanswered_before"),
        }
        for name in names:
            for kind, row in (("benign", benign), ("attack", attack)):
                metrics[f"{kind}_{name}"] = row.get(name)
                metrics[f"{kind}_{name}_before"] = row.get(f"{name}_before")
            metrics[f"{name}_missing"] = sum(row[f"{name}_missing"] for row in kinds)
        for name in ("unchanged", "empty"):
            metrics[name] = sum(row[name] * row["rows"] for row in kinds) / len(rows)
        return metrics


def _check_some(rewards: Mapping[str, Mapping[str, Values]]) -> None:
    """Raise DataError if a reward is None for every query."""
    for by_name in rewards.values():
        for name, values in by_name.items():
            if values and name != "score" and all(value is None for value in values):
                raise DataError(
                    f"reward {name}: expected a number for some of the {len(values):,} queries; got None for all; "
                    "quality needs good and bad responses, a function must return numbers"
                )


def _kinds(attacks: Sequence[bool]) -> list[tuple[str, list[int]]]:
    """Return the row numbers of attacks and of benign queries; a kind without rows is skipped."""
    kinds = {
        "attack": [row for row, attack in enumerate(attacks) if attack],
        "benign": [row for row, attack in enumerate(attacks) if not attack],
    }
    return [(kind, indices) for kind, indices in kinds.items() if indices]


def _mean(values: Sequence[Any]) -> float | None:
    """Return the mean; None if there are no values."""
    return float(np.mean(values)) if values else None


def draw_curve(axes: "Axes", curve: Sequence[Mapping[str, float | None]], losses: Sequence[float]) -> None:
    """Draw the rewards by step of reinforcement learning or, without reinforcement learning, the loss on pairs."""
    if curve:
        steps = range(1, len(curve) + 1)
        for name in [key for key in curve[0] if key.startswith("reward_")]:
            values = np.array([row[name] for row in curve], dtype=float)  # None leaves a gap
            axes.plot(steps, values, label=name.removeprefix("reward_"))
        flat = np.array([row["flat"] for row in curve], dtype=float)
        axes.plot(steps, flat, ":", color="grey", label="share of groups rewarded alike")
        axes.set_ylabel("mean over the step's samples")
        axes.legend(fontsize=8)
    else:
        axes.plot(range(1, len(losses) + 1), losses)
        axes.set_ylabel("loss on pairs, nats per token")
    axes.set_xlabel("step")
