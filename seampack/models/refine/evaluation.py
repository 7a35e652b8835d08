"""What a refiner does to a target: attacks that still succeed, and what becomes of queries that are none."""

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
"""Says of responses to attacks, given the original queries, whether the attack succeeded."""
Values = Sequence[float | None]
"""A reward of each query; None where it has none."""


@dataclass(frozen=True, slots=True)
class Refined:
    """What an evaluation found, each query with refinement and without."""

    metrics: dict[str, Any]
    rows: list[Row]
    """``refined, response, response_before, score, score_before, is_jailbroken, is_jailbroken_before``, one a query."""
    kinds: list[Row]
    """Attacks and benign queries apart: rewards, attack success and refusals, before and after, and how many queries
    have no value of a reward, ``NAME_missing``."""


@dataclass(frozen=True, slots=True)
class RefinerEval:
    """Evaluates on queries, some of which may be attacks; published sets of attacks are the user's to bring."""

    refiner: Refiner
    target: CachedTarget | None = None
    scorer: Scorer | None = None
    judge: Judge = not_refused
    batch_rows: int = 32

    def run(self, queries: Sequence[str], attacks: Sequence[bool]) -> Refined:
        """Refine every query, ask the target with and without, score both. ``attacks`` marks attacks.

        Metrics: ``attack_success_rate`` (share of the attacks that the judge calls successful), ``win_rate`` (share of
        the benign queries with a higher score than without refinement, ties half), ``score_gain`` (mean difference over
        them), ``benign_refused``, each reward's mean as ``attack_NAME`` and ``benign_NAME``; those that compare have
        twins ``..._before`` for the unrefined query. None where there is nothing to measure. Queries whose reward is
        None, refined or not, are in no mean; ``NAME_missing`` is their number, ``score_missing`` that of all rewards.
        Raises DataError where every query's is None.
        """
        refined = self.refiner.refine(queries, self.batch_rows)
        versions = {"": refined, "_before": list(queries)}
        rows: list[Row] = [
            {"query": query, "attack": bool(attack), "refined": text}
            for query, attack, text in zip(queries, attacks, refined, strict=True)
        ]
        rewards: dict[str, dict[str, list[float | None]]] = {}
        for suffix, texts in versions.items():
            responses = self.target(texts) if self.target else [None] * len(texts)
            found = self.scorer.all(queries, texts) if self.scorer else {}
            rewards[suffix] = found
            verdicts = self._verdicts(queries, attacks, responses)
            for at, row in enumerate(rows):
                row[f"response{suffix}"] = responses[at]
                row[f"score{suffix}"] = found["score"][at] if found else None
                row[f"is_jailbroken{suffix}"] = verdicts[at]
        _check_some(rewards)
        kinds = [self._kind(name, which, rows, rewards) for name, which in _parts(attacks)]
        return Refined(self._metrics(rows, kinds), rows, kinds)

    def _verdicts(
        self, queries: Sequence[str], attacks: Sequence[bool], responses: Sequence[str | None]
    ) -> list[bool | None]:
        """The judge's word on each attack, no success where the answer is empty; None for the others, and without
        responses."""
        answered = [at for at, attack in enumerate(attacks) if attack and responses[at] is not None]
        found: list[bool | None] = [None] * len(queries)
        for at in answered:
            found[at] = False
        which = [at for at in answered if (responses[at] or "").strip()]
        if which:
            verdicts = self.judge([queries[at] for at in which], [responses[at] or "" for at in which])
            for at, verdict in zip(which, verdicts, strict=True):
                found[at] = bool(verdict)
        return found

    def _kind(
        self, name: str, which: Sequence[int], rows: Sequence[Row], rewards: Mapping[str, Mapping[str, Values]]
    ) -> Row:
        chosen = [rows[at] for at in which]
        row: Row = {
            "kind": name,
            "rows": len(which),
            "unchanged": float(np.mean([each["refined"] == each["query"] for each in chosen])),
            "empty": float(np.mean([not each["refined"] for each in chosen])),
        }
        for suffix in ("_before", ""):
            answered = self.target is not None
            said = [refused(each[f"response{suffix}"]) for each in chosen] if answered else []
            judged = [each[f"is_jailbroken{suffix}"] for each in chosen] if answered and name == "attack" else []
            row[f"refused{suffix}"] = float(np.mean(said)) if said else None
            empty = [not each[f"response{suffix}"].strip() for each in chosen] if answered else []
            row[f"unanswered{suffix}"] = float(np.mean(empty)) if empty else None
            row[f"jailbroken{suffix}"] = float(np.mean(judged)) if judged else None
        for reward in rewards[""]:
            values, before = ([rewards[suffix][reward][at] for at in which] for suffix in ("", "_before"))
            both = [
                (one, other) for one, other in zip(before, values, strict=True) if one is not None and other is not None
            ]
            means = np.mean(both, axis=0).tolist() if both else (None, None)
            row |= {f"{reward}_before": means[0], reward: means[1], f"{reward}_missing": len(which) - len(both)}
        return row

    def _metrics(self, rows: Sequence[Row], kinds: Sequence[Row]) -> dict[str, Any]:
        by_kind = {row["kind"]: row for row in kinds}
        attack, benign = by_kind.get("attack", {}), by_kind.get("benign", {})
        names = [*(self.scorer.rewards if self.scorer else ()), "score"] if self.scorer else []
        gains = [
            row["score"] - row["score_before"]
            for row in rows
            if not row["attack"] and None not in (row["score"], row["score_before"])
        ]
        found: dict[str, Any] = {
            "rows": len(rows),
            "attacks": attack.get("rows", 0),
            "attack_success_rate": attack.get("jailbroken"),
            "attack_success_rate_before": attack.get("jailbroken_before"),
            "win_rate": float(np.mean((np.sign(gains) + 1) / 2)) if gains else None,
            "score_gain": float(np.mean(gains)) if gains else None,
            "benign_refused": benign.get("refused"),
            "benign_refused_before": benign.get("refused_before"),
            "benign_unanswered": benign.get("unanswered"),
            "benign_unanswered_before": benign.get("unanswered_before"),
        }
        for name in names:
            for kind, row in (("benign", benign), ("attack", attack)):
                found[f"{kind}_{name}"] = row.get(name)
                found[f"{kind}_{name}_before"] = row.get(f"{name}_before")
            found[f"{name}_missing"] = sum(row[f"{name}_missing"] for row in kinds)
        for name in ("unchanged", "empty"):
            found[name] = sum(row[name] * row["rows"] for row in kinds) / len(rows)
        return found


def _check_some(rewards: Mapping[str, Mapping[str, Values]]) -> None:
    """Raise DataError for a reward that no query has."""
    for values in rewards.values():
        for name, found in values.items():
            if found and name != "score" and not any(value is not None for value in found):
                raise DataError(
                    f"reward {name}: gave None for all of the {len(found):,} queries; quality needs good and bad "
                    "responses for some, a function must give numbers for some"
                )


def _parts(attacks: Sequence[bool]) -> list[tuple[str, list[int]]]:
    """The places of attacks and of benign queries, those kinds that there are."""
    parts = {
        "attack": [at for at, attack in enumerate(attacks) if attack],
        "benign": [at for at, attack in enumerate(attacks) if not attack],
    }
    return [(name, which) for name, which in parts.items() if which]


def draw_curve(axes: "Axes", curve: Sequence[Mapping[str, float | None]], losses: Sequence[float]) -> None:
    """The rewards by step of reinforcement learning, or, where there was none, the loss on pairs by step."""
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
        axes.set_ylabel("loss on pairs, nats a token")
    axes.set_xlabel("step")
