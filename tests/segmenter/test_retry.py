"""A run that learns no words is tried again with other options, and the best of the runs is kept."""

import json
import warnings
from pathlib import Path

import pytest

from seampack.errors import ConfigError
from seampack.segmenter.config import TrainConfig
from tests.conftest import Run

pytest.importorskip("torch")

from seampack.segmenter import training
from seampack.segmenter.direction_trainer import Report
from seampack.segmenter.model import Segmenter
from seampack.segmenter.training import train
from tests.segmenter.language import TINY, sentences, word_f1
from tests.segmenter.runs import StoppedError, assert_same_arrays

TEXTS, GOLD = sentences(200)
FAILING = TINY.replace(word_cost=0)  # every unit becomes a word

pytestmark = pytest.mark.xdist_group("retry")


@pytest.fixture(scope="module")
def retried(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "retried"
    with pytest.warns(UserWarning, match="seed 0, both directions agree too little .* seed 1 and a word cost of 0.25"):
        train([TEXTS], FAILING, folder, threads=1, retry=3)
    return folder


def test_the_retry_finds_words(retried: Path) -> None:
    segmenter = Segmenter.load(retried)
    failed, kept = segmenter.description["runs"]
    assert (failed["seed"], failed["word_cost"]) == (0, 0)
    assert (failed["agreement"] or 0) < 0.7 <= kept["agreement"] == segmenter.description["agreement"]
    config = TrainConfig.of_description(segmenter.description["config"])
    assert config == FAILING.replace(seed=1, word_cost=0.25)
    assert word_f1(segmenter.segment(TEXTS, exact=True), GOLD) > 0.9


@pytest.mark.filterwarnings("ignore:.*training again")
@pytest.mark.parametrize(("seed", "direction"), [(0, "backward"), (1, "forward")])
def test_a_stopped_retry_resumes(seed: int, direction: str, retried: Path, tmp_path: Path) -> None:
    def stop(report: Report) -> None:
        if (report.seed, report.direction, report.step) == (seed, direction, 40):
            raise StoppedError

    with pytest.raises(StoppedError):
        train([TEXTS], FAILING, tmp_path / "m", threads=1, retry=3, on_report=stop)
    reports: list[Report] = []
    train([TEXTS], FAILING, tmp_path / "m", threads=1, retry=3, resume=True, on_report=reports.append)
    assert (reports[0].seed, reports[0].direction, reports[0].step) == (seed, direction, 40)
    assert_same_arrays(tmp_path / "m", retried)


@pytest.mark.filterwarnings("ignore:.*training again")
def test_the_best_of_failed_runs_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "LOW_AGREEMENT", 1.1)  # no run is good enough
    description = train([TEXTS], TINY.replace(epochs=2), tmp_path / "m", threads=1, retry=2)
    runs = description["runs"]
    assert [(run["seed"], run["word_cost"]) for run in runs] == [(0, 0.5), (1, 0.5), (2, 0.5)]
    best = max(runs, key=lambda run: -1 if run["agreement"] is None else run["agreement"])
    assert description["config"]["seed"] == best["seed"]
    assert description["agreement"] == best["agreement"]


def test_a_run_with_words_is_not_repeated(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        description = train([TEXTS], TINY, tmp_path / "m", threads=1, retry=2)
    assert len(description["runs"]) == 1


@pytest.mark.parametrize("retry", [-1, 5, "1"])
def test_wrong_numbers(retry: object, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="retry: expected an integer from 0 to 4; got"):
        train([TEXTS], TINY, tmp_path / "m", retry=retry)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("default:.*training again")
def test_the_command_reports_its_runs(call: Run, tmp_path: Path) -> None:
    (tmp_path / "raw.txt").write_text("\n".join(TEXTS) + "\n", "utf-8")
    options = [
        f"--{name.replace('_', '-')}={getattr(FAILING, name)}"
        for name in ("hidden", "epochs", "batch_units", "learning_rate", "validate_every")
    ]
    done = call("segment", "train", "raw.txt", "-o", "m", "--retry=1", "--threads=1", *options)
    assert done.returncode == 0, done.stderr
    runs = json.loads((tmp_path / "m" / "segmenter.json").read_text())["runs"]
    assert len(runs) == 2
    assert "2 runs; kept the one with seed 1 and word cost 0.25" in done.stdout.decode()
    errors = done.stderr.decode()
    assert "at the first validation, less than 1.39: so far, most units are words; --retry decides" in errors
    assert "warning: m: with seed 0, both directions agree too little on words" in errors
