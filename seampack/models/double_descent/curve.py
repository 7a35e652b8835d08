"""The results of a sweep by width: summary, peak and picture."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from seampack.errors import DataError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from seampack.models.base import Draw

Row = dict[str, Any]
MEASURED = ("train_loss", "train_accuracy", "test_loss", "test_accuracy", "memorised", "P")


def summarise(rows: Sequence[Row]) -> list[Row]:
    """Summarise runs by width: means over the seeds and sample standard deviations ``NAME_std`` (None for one seed)."""
    result = []
    for width in sorted({row["width"] for row in rows}):
        runs = [row for row in rows if row["width"] == width]
        row: Row = {"width": width, "params": runs[0]["params"]}
        for name in MEASURED:
            values = [run[name] for run in runs if run[name] is not None]
            row[name] = statistics.fmean(values) if values else None
            row[f"{name}_std"] = statistics.stdev(values) if len(values) > 1 else None
        result.append(row)
    return result


@dataclass(frozen=True, slots=True)
class DoubleDescent:
    """A curve's most prominent peak of test loss, and its deepest dip of test accuracy."""

    found: bool
    """Whether ``ratio`` is at least the required one and ``depth`` is more than twice ``spread``."""
    early_width: int
    """Width of the early optimum: the least test loss among widths below the peak."""
    early_loss: float
    peak_width: int
    peak_loss: float
    late_width: int
    """Width of the late optimum: the least test loss among widths above the peak."""
    late_loss: float
    ratio: float
    """Peak loss divided by the greater of the early and the late loss; below 1 there is no peak."""
    depth: float
    """Peak loss minus the greater of the early and the late loss."""
    spread: float | None
    """Standard deviation of ``depth`` between networks of one seed; None if the rows have no deviations."""
    dip_width: int
    dip_accuracy: float
    dip_depth: float
    """Minimum of the best accuracies on both sides, minus the accuracy of the dip; negative without a dip."""


def find_double_descent(rows: Sequence[Row], peak_ratio: float) -> DoubleDescent:
    """Find the peak between two descents in rows with ``width``, ``test_loss`` and ``test_accuracy``, one per width.

    The peak is the inner width whose loss is the largest multiple of the least loss on either side. If the rows have
    ``test_loss_std``, the peak must also exceed the variation between seeds. Raise DataError if there are fewer than
    three widths or a width appears twice.
    """
    ordered = sorted(rows, key=lambda row: int(row["width"]))
    widths = [int(row["width"]) for row in ordered]
    if len(widths) < 3 or len(set(widths)) < len(widths):
        raise DataError(f"expected at least three widths, one row each (see summarise); got {widths}")
    loss = np.array([row["test_loss"] for row in ordered], float)
    sides = _least_on_both_sides(loss)
    peak = 1 + int(np.argmax(loss[1:-1] / np.maximum(sides, np.finfo(float).tiny)))
    early, late = int(np.argmin(loss[:peak])), peak + 1 + int(np.argmin(loss[peak + 1 :]))
    error = 1 - np.array([row["test_accuracy"] for row in ordered], float)
    depths = error[1:-1] - _least_on_both_sides(error)
    dip = 1 + int(np.argmax(depths))
    ratio = float(loss[peak] / max(sides[peak - 1], np.finfo(float).tiny))
    depth = float(loss[peak] - sides[peak - 1])
    higher = early if loss[early] >= loss[late] else late
    deviations = [ordered[index].get("test_loss_std") for index in (peak, higher)]
    measured = [float(deviation) for deviation in deviations if deviation is not None]
    spread = math.hypot(*measured) if len(measured) == 2 else None
    return DoubleDescent(
        found=ratio >= peak_ratio and depth > 2 * (spread or 0),
        early_width=widths[early],
        early_loss=float(loss[early]),
        peak_width=widths[peak],
        peak_loss=float(loss[peak]),
        late_width=widths[late],
        late_loss=float(loss[late]),
        ratio=ratio,
        depth=depth,
        spread=spread,
        dip_width=widths[dip],
        dip_accuracy=float(ordered[dip]["test_accuracy"]),
        dip_depth=float(depths[dip - 1]),
    )


def _least_on_both_sides(values: "np.ndarray[Any, np.dtype[np.float64]]") -> "np.ndarray[Any, np.dtype[np.float64]]":
    """Return, for each inner value, the greater of the minimum before and the minimum after it."""
    before = np.minimum.accumulate(values)[:-2]
    after = np.minimum.accumulate(values[::-1])[::-1][2:]
    return np.maximum(before, after)


def draw_curve(rows: Sequence[Row]) -> "Draw":
    """Return a picture of the rows of ``summarise``: losses on the left axis, shares of rows on the right axis."""

    def draw(axes: "Axes") -> None:
        shares = axes.twinx()
        widths = [row["width"] for row in rows]
        lines = (
            (axes, "test_loss", "test loss", "C3", "o-"),
            (axes, "train_loss", "training loss", "C1", ".-"),
            (shares, "test_accuracy", "test accuracy", "C0", "s--"),
            (shares, "P", "P", "C2", "^--"),
            (shares, "memorised", "memorised", "C7", ".:"),
        )
        handles = []
        for side, name, label, colour, style in lines:
            if any(row[name] is None for row in rows):
                continue
            spread = [row[f"{name}_std"] or 0.0 for row in rows]
            handles.append(
                side.errorbar(
                    widths,
                    [row[name] for row in rows],
                    yerr=spread if any(spread) else None,
                    fmt=style,
                    color=colour,
                    label=label,
                    markersize=4,
                    linewidth=1.2,
                    capsize=2,
                )
            )
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_xlabel("width (hidden units)")
        axes.set_ylabel("loss")
        axes.set_ylim(bottom=0)
        shares.set_ylabel("share of rows")
        shares.set_ylim(0, 1.02)
        # Above the axes: inside, the legend would hide a curve.
        axes.legend(handles=handles, fontsize="x-small", loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=5)

    return draw
