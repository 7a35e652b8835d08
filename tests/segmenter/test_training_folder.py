"""The folder of a run: stopped runs resume exactly, nothing is replaced silently, one run at a time."""

import fcntl
import json
import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from seampack.errors import MissingExtraError, ShardError
from seampack.segmenter import artifact
from seampack.segmenter.config import DistillConfig
from seampack.segmenter.model import Segmenter

pytest.importorskip("torch")

from seampack.segmenter import direction_trainer, training
from seampack.segmenter.direction_trainer import Report
from seampack.segmenter.student import Student
from seampack.segmenter.training import distill, train
from seampack.segmenter.training_folder import CHECKPOINT
from tests.segmenter import tiny
from tests.segmenter.language import QUICK, sentences
from tests.segmenter.runs import StoppedError, assert_same_arrays, contents, train_until

pytestmark = pytest.mark.xdist_group("training folder")


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "quick"
    train([sentences(100)[0]], QUICK, folder, threads=1)
    return folder


def test_a_stopped_run_resumes(quick: Path, tmp_path: Path) -> None:
    """Each direction resumes from its last checkpoint; a finished direction is not trained again."""
    train_until("forward", 15, tmp_path / "m")
    reports: list[Report] = []

    def stop(report: Report) -> None:
        reports.append(report)
        if (report.direction, report.step) == ("backward", 10):
            raise StoppedError

    texts, _ = sentences(100)
    with pytest.raises(StoppedError):
        train([texts], QUICK, tmp_path / "m", threads=1, resume=True, on_report=stop)
    assert (reports[0].direction, reports[0].step) == ("forward", 15)  # a checkpoint is written after its report
    reports.clear()
    train([texts], QUICK, tmp_path / "m", threads=1, resume=True, on_report=reports.append)
    assert (reports[0].direction, reports[0].step) == ("backward", 10)
    assert_same_arrays(tmp_path / "m", quick)


@pytest.mark.parametrize("done", [False, True])
def test_only_the_same_run_resumes(done: bool, tmp_path: Path) -> None:
    """Neither a checkpoint nor a finished direction of another text or other options is used."""
    train_until(*(("backward", 5) if done else ("forward", 10)), tmp_path / "m")
    texts, _ = sentences(100)
    other_text, _ = sentences(100, seed=1)
    for text, config in ((texts, QUICK.replace(seed=1)), (other_text, QUICK)):
        with pytest.raises(
            ShardError, match=r"forward\.(done|pt): belongs to another text or other options; give those of"
        ):
            train([text], config, tmp_path / "m", threads=1, resume=True)


def test_training_destroys_nothing_silently(quick: Path, tmp_path: Path) -> None:
    texts, _ = sentences(100)
    finished = Path(shutil.copytree(quick, tmp_path / "finished"))
    unknown = Path(shutil.copytree(quick, tmp_path / "unknown"))
    description = json.loads((unknown / artifact.DESCRIPTION).read_text())
    del description["given"]
    (unknown / artifact.DESCRIPTION).write_text(json.dumps(description))
    stopped = tmp_path / "stopped"
    train_until("forward", 10, stopped)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes").write_text("mine")
    for folder, resume, message in (
        (finished, False, "finished: holds a segmenter; replace it with --overwrite, or choose another folder"),
        (unknown, True, "unknown: holds a segmenter and nothing to resume; replace it with --overwrite"),
        (stopped, False, "stopped: holds the checkpoints of a stopped run; continue it with train --resume"),
        (tmp_path / "other", True, "other: nothing to resume: the folder has notes but no checkpoints"),
    ):
        before = contents(folder)

        def unread() -> Iterator[list[str]]:
            raise AssertionError("refused before the text is read")
            yield []

        with pytest.raises(ShardError, match=message):
            train(unread(), QUICK, folder, threads=1, resume=resume)
        assert contents(folder) == before
    train_until("forward", 10, finished, overwrite=True)
    assert_same_arrays(finished, quick)
    Segmenter.load(finished)  # the old segmenter stays until the new one is written
    train_until("forward", 5, stopped, overwrite=True)  # from the beginning
    train([texts], QUICK, finished, threads=1, resume=True)
    assert_same_arrays(finished, quick)
    assert not (finished / CHECKPOINT).exists()


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_finished_run_is_not_repeated(overwrite: bool, quick: Path, tmp_path: Path) -> None:
    """A script may always set --resume, also with --overwrite; the same text and options train nothing."""
    texts, _ = sentences(100)
    finished = Path(shutil.copytree(quick, tmp_path / "finished"))
    before = contents(finished)
    with pytest.warns(UserWarning, match="finished: already finished, with the same text and options"):
        description = train([texts], QUICK, finished, threads=1, resume=True, overwrite=overwrite)
    assert description == artifact.load_description(quick)
    assert contents(finished) == before


def test_a_finished_run_of_something_else_is_named(quick: Path, tmp_path: Path) -> None:
    texts, _ = sentences(100)
    finished = Path(shutil.copytree(quick, tmp_path / "finished"))
    before = contents(finished)
    for text, config, options, difference in (
        (texts, QUICK.replace(seed=1, least_count=3), {}, "least_count was 2, is now 3; seed was 0, is now 1;"),
        (texts, QUICK, {"retry": 1}, "retry was 0, is now 1;"),
        (texts, QUICK, {"distill": DistillConfig(seed=1)}, "student: .* seed was None, is now 1;"),
        (texts, QUICK, {"init": Segmenter.load(quick)}, "other models of --init;"),
        ([*texts, texts[0]], QUICK, {}, "the text has changed;"),
    ):
        with pytest.raises(ShardError, match=f"finished, but was trained on something else: .*{difference}"):
            train([text], config, finished, threads=1, resume=True, **options)
    assert contents(finished) == before
    with pytest.warns(UserWarning, match="finished: nothing to resume; training starts from the beginning"):
        train_until("forward", 5, finished, texts=sentences(50)[0], resume=True, overwrite=True)


def test_a_student_of_kept_models_is_not_the_one_of_their_training(quick: Path, tmp_path: Path) -> None:
    texts, _ = sentences(100)
    config = DistillConfig(table_bits=8)
    distill([Segmenter.load(quick)], [texts], tmp_path / "m", config=config, keep_teacher=True)
    with pytest.raises(ShardError, match="m: holds a segmenter and nothing to resume"):
        train([texts], QUICK, tmp_path / "m", threads=1, resume=True)


@pytest.mark.parametrize("exists", [False, True])
def test_resume_without_a_run(exists: bool, tmp_path: Path) -> None:
    """A script that always gives --resume trains from the beginning the first time, with a warning."""
    if exists:
        (tmp_path / "m").mkdir()
    with pytest.warns(UserWarning, match="m: nothing to resume; training starts from the beginning"):
        train_until("forward", 5, tmp_path / "m", resume=True)


@pytest.mark.parametrize("resume", [False, True])
def test_a_run_that_failed_before_its_first_checkpoint(
    resume: bool, quick: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder has nothing to resume or replace; the same command starts from the beginning."""

    def missing(*_: object) -> None:
        raise MissingExtraError("gensim", "segmenter", "training a segmenter")

    texts, _ = sentences(100)
    finished = Path(shutil.copytree(quick, tmp_path / "finished"))
    with monkeypatch.context() as patch:
        patch.setattr(direction_trainer, "skip_gram_embeddings", missing)
        for folder, overwrite in ((tmp_path / "m", False), (finished, True)):
            with pytest.raises(MissingExtraError):
                train([texts], QUICK, folder, threads=1, overwrite=overwrite)
            assert (folder / CHECKPOINT).exists()
    with (
        pytest.warns(UserWarning, match="finished: already finished")
        if resume
        else pytest.raises(ShardError, match="finished: holds a segmenter")
    ):
        train([texts], QUICK, finished, threads=1, resume=resume)
    with pytest.warns(UserWarning, match="m: nothing to resume") if resume else nullcontext():
        train_until("forward", 5, tmp_path / "m", resume=resume)


def test_distilling_destroys_nothing_silently(quick: Path, tmp_path: Path) -> None:
    texts, _ = sentences(50)
    teacher = Path(shutil.copytree(quick, tmp_path / "teacher"))
    link = tmp_path / "link"
    link.symlink_to(teacher)
    config = DistillConfig(table_bits=8)
    for folder in (teacher, link):
        with pytest.raises(
            ShardError, match="the segmenter in this folder is read; choose another folder for the dist"
        ):
            distill([Segmenter.load(quick), Segmenter.load(teacher)], [texts], folder, config=config, overwrite=True)
    assert contents(teacher) == contents(quick)
    with pytest.raises(ShardError, match="teacher: holds a segmenter; replace it"):
        distill([Segmenter.load(quick)], [texts], teacher, config=config)
    distill([Segmenter.load(quick)], [texts], teacher, config=config, overwrite=True)
    assert sorted(contents(teacher)) == ["segmenter.json", "student.safetensors"]
    train_until("forward", 10, tmp_path / "stopped")
    with pytest.raises(ShardError, match="stopped: holds the checkpoints"):
        distill([Segmenter.load(quick)], [texts], tmp_path / "stopped", config=config)


def test_two_runs_into_one_folder(quick: Path, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with (tmp_path / "model" / ".training").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(ShardError, match="another run is writing into this folder"):
            train([sentences(50)[0]], QUICK, tmp_path / "model")
        with pytest.raises(ShardError, match="another run is writing into this folder"):
            distill([Segmenter.load(quick)], [sentences(50)[0]], tmp_path / "model")
    assert not (quick / ".training").exists()


@pytest.mark.parametrize("is_used_again", [False, True])
def test_a_folder_that_is_removed_under_a_run(is_used_again: bool, quick: Path, tmp_path: Path) -> None:
    """The run ends with a message and writes nothing into the folder that another run has now."""
    folder = tmp_path / "m"

    def remove(report: Report) -> None:
        if report.step == 5:
            shutil.rmtree(folder)
            if is_used_again:
                train_until("forward", 10, folder)
                before.update(contents(folder))

    before: dict[str, bytes] = {}
    with pytest.raises(ShardError, match="m: the folder was removed while this run was writing into it"):
        train([sentences(100)[0]], QUICK, folder, threads=1, on_report=remove)
    assert folder.exists() == is_used_again
    if is_used_again:
        assert contents(folder) == before
        train([sentences(100)[0]], QUICK, folder, threads=1, resume=True)
        assert_same_arrays(folder, quick)


def test_a_finished_model_is_not_written_into_a_removed_folder(
    quick: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "m"

    def student(*_: object) -> Student:
        shutil.rmtree(folder)
        return tiny.student()

    monkeypatch.setattr(training, "train_student", student)
    with pytest.raises(ShardError, match="m: the folder was removed while this run was writing into it"):
        distill([Segmenter.load(quick)], [sentences(50)[0]], folder)
    assert not folder.exists()


def test_a_lock_without_its_file_locks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another run may have ended and removed the file after this run opened it."""
    lock = fcntl.flock

    def late(file: Any, operation: int) -> None:
        (tmp_path / "m" / ".training").unlink(missing_ok=True)
        lock(file, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(ShardError, match="another run is writing into this folder"):
        train([sentences(100)[0]], QUICK, tmp_path / "m", threads=1)
