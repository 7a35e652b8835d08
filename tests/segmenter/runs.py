"""Training runs that stop early, and comparisons of their folders. Needs torch."""

from pathlib import Path
from typing import Any

import pytest

from seampack.segmenter.direction_trainer import Report
from seampack.segmenter.training import train
from tests.segmenter.language import QUICK, sentences


class StoppedError(Exception):
    """Ends a run within a report."""


def train_until(direction: str, step: int, folder: Path, texts: list[str] | None = None, **options: Any) -> None:
    """Train with the options QUICK, one direction after the other, until the report of a step."""

    def stop(report: Report) -> None:
        if (report.direction, report.step) == (direction, step):
            raise StoppedError

    with pytest.raises(StoppedError):
        train([texts or sentences(100)[0]], QUICK, folder, threads=1, on_report=stop, **options)


def assert_same_arrays(one: Path, other: Path) -> None:
    for part in ("student", "teacher"):
        name = f"{part}.safetensors"
        assert (one / name).read_bytes() == (other / name).read_bytes()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
