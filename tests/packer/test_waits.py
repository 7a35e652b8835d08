"""The stage that limits a run."""

from pathlib import Path

import pytest

from seampack.packer import waits
from seampack.packer.config import PackConfig
from seampack.packer.pipeline import Progress, token_batches
from seampack.packer.tokenizing import TextTokenizer
from seampack.packer.waits import Wait, Waits


class Clock:
    """A clock that is moved by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    moved = Clock()
    monkeypatch.setattr(waits, "perf_counter", moved)
    return moved


@pytest.mark.parametrize(
    ("read", "tokenise", "use", "expected"),
    [
        (0.1, 0.5, 0.3, None),
        (9.5, 0.4, 0.1, Wait.READ),
        (8.0, 1.5, 0.5, Wait.TOKENISE),
        (0.1, 5.0, 2.0, Wait.TOKENISE),
        (1.0, 1.0, 8.0, Wait.USE),
    ],
)
def test_the_longest_wait_limits(clock: Clock, read: float, tokenise: float, use: float, expected: Wait | None) -> None:
    counted = Waits()
    for wait, seconds in ((Wait.READ, read), (Wait.TOKENISE, tokenise), (Wait.USE, use)):
        clock.now += seconds
        counted.end(wait)
    assert counted.limit is expected


@pytest.mark.parametrize("slow", [Wait.READ, Wait.TOKENISE, Wait.USE])
def test_a_slow_stage_limits_a_run(clock: Clock, slow: Wait, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage takes seconds; all others take none."""
    for number in range(9):
        (tmp_path / f"{number}.txt").write_text("A text.\n")
    from seampack.packer import pipeline

    def slowly(items):  # type: ignore[no-untyped-def]
        for item in items:
            clock.now += 1
            yield item

    if slow is Wait.READ:
        read = pipeline.read_partitions
        monkeypatch.setattr(pipeline, "read_partitions", lambda *given, **named: slowly(read(*given, **named)))
    if slow is Wait.TOKENISE:
        mapped = pipeline.ordered_map
        monkeypatch.setattr(pipeline, "ordered_map", lambda *given: slowly(mapped(*given)))
    seen: list[Progress] = []
    paths = [str(path) for path in sorted(tmp_path.iterdir())]
    for _ in token_batches(paths, TextTokenizer("bundled", PackConfig()), PackConfig(), on_progress=seen.append):
        clock.now += slow is Wait.USE
    assert seen[-1].limit is slow
