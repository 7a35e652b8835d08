"""Training and distilling: the words of a small language are found, and the artifact describes its training."""

import json
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seampack.errors import ConfigError, DataError, ShardError
from seampack.segmenter import student
from seampack.segmenter.config import DistillConfig, TrainConfig
from seampack.segmenter.model import Segmenter
from seampack.segmenter.student import train_student
from seampack.segmenter.units import Alphabet

pytest.importorskip("torch")

from seampack.segmenter.training import distill, train
from seampack.segmenter.training_folder import CHECKPOINT
from tests.segmenter import tiny
from tests.segmenter.language import QUICK, TINY, sentences, word_f1

pytestmark = pytest.mark.xdist_group("training")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    train([sentences(300)[0]], TINY, folder, threads=1)
    return folder


def test_it_finds_the_words(trained: Path) -> None:
    texts, gold = sentences(100, seed=1)
    segmenter = Segmenter.load(trained)
    exact = segmenter.segment(texts, exact=True)
    fast = segmenter.segment(texts)
    characters = word_f1([list(text) for text in texts], gold)
    assert -1 <= segmenter.description["agreement"] <= 1
    for direction, units in segmenter.description["units_per_word"].items():
        found = segmenter.segment(sentences(300)[0], decoder=direction)
        assert units == pytest.approx(sum(len("".join(words)) for words in found) / sum(map(len, found)))
    assert word_f1(exact, gold) > max(0.9, characters + 0.3)
    assert word_f1(fast, exact) > 0.95
    assert not (trained / CHECKPOINT).exists()
    assert ["".join(words) for words in fast] == texts


def test_an_ensemble_becomes_one_student(trained: Path, tmp_path: Path) -> None:
    texts, gold = sentences(200)
    train([texts], TINY.replace(seed=1), tmp_path / "second", threads=1)
    teachers = [Segmenter.load(trained), Segmenter.load(tmp_path / "second")]
    distill(teachers, [texts], tmp_path / "student", config=DistillConfig(table_bits=12))
    student = Segmenter.load(tmp_path / "student")
    assert word_f1(student.segment(texts), gold) > 0.9
    with pytest.raises(ShardError, match="has no language models; its parts: student; use its student"):
        student.segment(texts, exact=True)
    with pytest.raises(ConfigError, match="a segmenter can hold one teacher; got 2"):
        distill(teachers, [texts], tmp_path / "student", keep_teacher=True)


def test_a_teacher_is_kept_with_its_student(trained: Path, tmp_path: Path) -> None:
    texts, _ = sentences(100)
    config = DistillConfig(table_bits=12)
    distill([Segmenter.load(trained)], [texts], tmp_path / "both", config=config, keep_teacher=True)
    distill([Segmenter.load(trained)], [texts], tmp_path / "student", config=config)
    both, student = Segmenter.load(tmp_path / "both"), Segmenter.load(tmp_path / "student")
    assert both.segment(texts, exact=True) == Segmenter.load(trained).segment(texts, exact=True)
    assert both.segment(texts) == student.segment(texts)
    assert both.description["student"]["config"] == config.to_dict()


def test_the_description_is_json_if_nothing_is_held_out(tmp_path: Path) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    config = QUICK.replace(epochs=1, validation_share=0.0)
    description = train([sentences(100)[0]], config, tmp_path / "m", threads=1)
    assert json.loads((tmp_path / "m" / "segmenter.json").read_text(), parse_constant=refuse) == description
    assert Segmenter.load(tmp_path / "m").description["validation_nats"] == {"forward": None, "backward": None}


def test_only_the_parts_of_the_description_are_used(tmp_path: Path) -> None:
    """A language model in the folder of a student by accident is not its teacher."""
    teacher = tiny.save(tmp_path / "teacher", teacher=True)
    distill([Segmenter.load(teacher)], [sentences(50)[0]], tmp_path / "m", config=DistillConfig(table_bits=8))
    shutil.copy(teacher / "teacher.safetensors", tmp_path / "m")
    with pytest.raises(ShardError, match="has no language models; its parts: student; use its student"):
        Segmenter.load(tmp_path / "m").segment(["研究"], exact=True)


def test_bad_training_input(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the text is too short to train on"):
        train([["研究"]], TINY, tmp_path / "m")
    with pytest.raises(DataError, match="there is no text"):
        train([], TINY, tmp_path / "m")
    with pytest.raises(ConfigError, match="longest: expected an integer from 1 to 32; got 0"):
        TrainConfig(longest=0)
    with pytest.raises(ConfigError, match="drop_features: expected a number from 0 to"):
        DistillConfig(drop_features=2).replace()


def test_text_with_nothing_to_learn_from_leaves_no_folder(tmp_path: Path) -> None:
    texts = sentences(100)[0]
    teacher = Segmenter.load(tiny.save(tmp_path / "teacher", teacher=True))
    foreign = [["abcdef g", "12 h"]] * 10
    for lines, config, message in (
        (
            [texts],
            QUICK.replace(script="klingon"),
            "in the script 'klingon'; the text has 习, 京, 们, 北, 命, ...;",
        ),
        ([texts], QUICK.replace(script="abc"), "in the script 'abc'; the text has .* --script of its letters: zh, ja,"),
        (foreign, QUICK, "in the script 'zh'; the text has a, b, c, d, e, ...; train with the --script of its letters"),
        ([["1, 2"]] * 10, QUICK, "in the script 'zh'; the text has no letters; train with the --script of its letters"),
        ([["研", "究 生"]] * 10, QUICK, "nothing to learn from: expected text with two adjacent units of the script"),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the foreign letters
            with pytest.raises(DataError, match=message):
                train(lines, config, tmp_path / "m", threads=1)
            if config.script == "zh":
                with pytest.raises(DataError, match=message):
                    distill([teacher], lines, tmp_path / "m")
        assert not (tmp_path / "m").exists()


def test_a_script_near_a_name_stops_before_the_text_is_read(tmp_path: Path) -> None:
    def unread() -> Iterator[list[str]]:
        raise AssertionError
        yield []

    with pytest.raises(ConfigError, match=r"script: no script 'thai'; did you mean th\?"):
        train(unread(), TINY.replace(script="thai"), tmp_path / "m")


def test_letters_may_be_a_script(tmp_path: Path) -> None:
    description = train([["abcab cab"] * 40], QUICK.replace(script="abc", epochs=1), tmp_path / "m", threads=1)
    assert description["script"] == "abc"


def test_a_student_is_no_teacher(tmp_path: Path) -> None:
    student = Segmenter.load(tiny.save(tmp_path / "student"))
    teacher = Segmenter.load(tiny.save(tmp_path / "teacher", teacher=True))
    with pytest.raises(
        ShardError, match=r"student: .* no language models; .*; choose a segmenter with language models"
    ):
        distill([teacher, student], [sentences(50)[0]], tmp_path / "m")
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"threads": 0}, "threads: expected an integer of at least 1; got 0"),
        ({"threads": -1}, "threads: expected an integer of at least 1; got -1"),
        ({"threads": 1.5}, "threads: expected an integer of at least 1; got 1.5"),
        ({"resume": "yes"}, "resume: expected true or false; got 'yes'"),
        ({"overwrite": "no"}, "overwrite: expected true or false; got 'no'"),
        ({"config": {}}, "expected a TrainConfig or options by name; got a dict"),
    ],
)
def test_wrong_arguments(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        train([["text"]], **{"config": TINY, "out": tmp_path / "out", **arguments})
    assert str(error.value) == message
    assert not (tmp_path / "out").exists()


def test_blocks_of_training_places_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    units, _ = Alphabet("zh").units(["研究生命的起源", "生命，研究"])
    targets = (np.arange(units.key.size) % 2).astype(np.float32)
    config = DistillConfig(table_bits=8, epochs=3)
    whole = train_student(units, targets, targets, config).to_arrays()
    monkeypatch.setattr(student, "_BLOCK", 3)
    for name, array in train_student(units, targets, targets, config).to_arrays().items():
        assert np.array_equal(array, whole[name])
