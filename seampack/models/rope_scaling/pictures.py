"""Pictures of scores, searches and factors, for ``Evaluation.pictures`` and the benchmarks."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from seampack.models.base import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_positions(rows: Sequence[Row], kind: str, axes: "Axes") -> None:
    """Draw accuracy or log-probability over the position of the gold, one line per column ``KIND_NAME``."""
    for column in rows[0]:
        if column.startswith(f"{kind}_"):
            name = column.removeprefix(f"{kind}_")
            axes.plot([row["position"] for row in rows], [row[column] for row in rows], "o-", label=name)
    axes.set(xlabel="position of the gold in the context")
    axes.set_ylabel("accuracy" if kind == "accuracy" else "log-probability of the gold, nats")
    axes.legend()


def draw_convergence(searches: Mapping[str, Sequence[Row]], axes: "Axes") -> None:
    """Draw best and mean fitness over the generations, for each named search."""
    for number, (name, rows) in enumerate(searches.items()):
        generations = [row["generation"] for row in rows]
        for kind, style in (("best", "o-"), ("mean", "--")):
            values = [row[kind] for row in rows]
            axes.plot(generations, values, style, color=f"C{number}", label=f"{name} {kind}".strip())
    axes.set(xlabel="generation", ylabel="fitness")
    axes.legend()


def draw_factors(curves: Mapping[str, Sequence[float]], axes: "Axes") -> None:
    """Draw factors over the layers, one line per named curve."""
    for name, factors in curves.items():
        axes.plot(range(len(factors)), factors, "o-", markersize=3, label=name or "scaled")
    axes.axhline(1, color="grey", linewidth=1)
    axes.set(xlabel="layer", ylabel="factor")
    axes.legend()
