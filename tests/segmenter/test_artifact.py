"""Segmenters on disk: damaged or edited files raise a one-line error before anything is segmented."""

import json
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from seampack.errors import ShardError
from seampack.segmenter import artifact
from seampack.segmenter.model import Segmenter
from tests.segmenter import tiny


def refused(folder: Path, message: str, *, exact: bool = False) -> None:
    with pytest.raises(ShardError, match=message) as caught:
        Segmenter.load(folder).segment([tiny.TEXT], exact=exact)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "copy the model again" in str(caught.value)


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "segmenter.json"
    description = json.loads(path.read_text())
    change(description)
    path.write_text(json.dumps(description))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("parts"), "parts: expected a list with some of student, teacher, lexicon; got None"),
        (lambda d: d.update(parts=5), "parts: expected a list .* got 5"),
        (lambda d: d.update(parts=[]), r"parts: expected a list .* got \[\]"),
        (lambda d: d.update(parts=["pupil"]), "parts: expected a list .* got .'pupil'"),
        (lambda d: d.update(script=5), "script: expected a preset or characters; got 5"),
        (lambda d: d.update(han_form="old"), "han_form: expected simplified or traditional or null; got .old"),
        (lambda d: d.update(decoder="best"), "decoder: expected posterior, .* or nothing; got 'best'"),
        (lambda d: d.update(script="z-a"), "script: expected 'zh', as in config; got 'z-a'"),
        (lambda d: d.update(script="z-a", parts=["student"]), "script: the range z-a runs backwards"),
        (lambda d: d.update(script="th"), "script: expected 'zh', as in config; got 'th'"),
        (lambda d: d.update(config=None), "config: expected the training options; got None"),
        (lambda d: d["config"].pop("forward_weight"), "missing forward_weight"),
        (lambda d: d["config"].update(longest="3"), "longest: expected an integer from 1 to 32; got '3'"),
        (lambda d: d["config"].update(longest=-1), "longest: expected an integer from 1 to 32; got -1"),
        (lambda d: d["config"].update(chunk_units=None), "chunk_units: expected an integer .* got None"),
        (lambda d: d["config"].update(chunk_units=0), "chunk_units: expected an integer .* got 0"),
        (lambda d: d["config"].update(forward_weight=float("nan")), "forward_weight: expected a number .* got None"),
        (lambda d: d.update(parts=["teacher", "lexicon"]), "parts: expected a student next to the lexicon"),
        (lambda d: d["parts"].append("lexicon"), "lexicon: expected format version 1; got None"),
        (
            lambda d: d.update(parts=["student", "lexicon"], lexicon={"format_version": 2}),
            "lexicon: expected format version 1; got 2",
        ),
        (lambda d: d.update(format="other"), "format: expected 'seampack segmenter'"),
    ],
)
def test_descriptions_are_checked(change: Callable[[dict[str, Any]], object], message: str, tmp_path: Path) -> None:
    edit(tiny.save(tmp_path / "m"), lambda d: d.update(parts=["student", "teacher"]))
    edit(tmp_path / "m", change)
    refused(tmp_path / "m", rf"segmenter\.json: .*{message}")


@pytest.mark.parametrize("content", [b"\xff", b"[]", b"5", b"{", b'"seampack segmenter"'])
def test_files_that_are_not_a_description(content: bytes, tmp_path: Path) -> None:
    (tiny.save(tmp_path / "m") / "segmenter.json").write_bytes(content)
    refused(tmp_path / "m", r"segmenter\.json: damaged: ")


def test_unknown_options_are_ignored(tmp_path: Path) -> None:
    edit(tiny.save(tmp_path / "m"), lambda d: d["config"].update(invented_later=1))
    assert "".join(Segmenter.load(tmp_path / "m").segment([tiny.TEXT])[0]) == tiny.TEXT


def put(path: Path, name: str, value: Any) -> None:
    """Replace an array of a file, or remove it if ``value`` is None."""
    arrays = load_file(path)
    if value is None:
        del arrays[name]
    else:
        arrays[name] = value
    save_file(arrays, path)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("scale", np.array(1, np.float32), r"scale: expected 1 floats; got float32 of shape \(\)"),
        ("scale", np.zeros(0, np.float32), r"scale: expected 1 floats; got float32 of shape \(0,\)"),
        ("scale", np.array([1]), "scale: expected 1 floats; got int64"),
        ("table", np.zeros((0, 4), np.int8), r"table: .* with a power of two of rows; got int8 of shape \(0, 4\)"),
        ("table", np.zeros((3, 4), np.int8), r"table: .* got int8 of shape \(3, 4\)"),
        ("table", np.zeros((4, 0), np.int8), r"table: .* got int8 of shape \(4, 0\)"),
        ("table", np.zeros(256, np.int8), r"table: .* got int8 of shape \(256,\)"),
        ("table", np.zeros((4, 4), np.float32), "table: expected int8 .* got float32"),
        ("output", np.zeros(4, np.float32), r"output: expected 5 floats; got float32 of shape \(4,\)"),
        ("output", np.full(5, np.nan, np.float32), "damaged: output: expected finite numbers"),
        ("hidden_bias", np.full(4, np.inf, np.float32), "damaged: hidden_bias: expected finite numbers"),
        ("hidden_bias", None, "no 'hidden_bias'"),
    ],
)
def test_students_are_checked(name: str, value: Any, message: str, tmp_path: Path) -> None:
    path = tiny.save(tmp_path / "m") / "student.safetensors"
    put(path, name, value)
    refused(tmp_path / "m", rf"student\.safetensors: .*{message}")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("forward.bias", np.full(11, np.nan, np.float32), "damaged: forward.bias: expected finite numbers"),
        ("forward.bias", np.zeros(5, np.float32), "size mismatch for bias"),
        ("vocabulary", np.zeros(8, np.float32), "vocabulary: expected one axis of int64; got float32"),
        ("vocabulary", np.zeros(8, np.int64), "vocabulary: expected distinct keys in ascending order"),
        ("vocabulary", None, "no 'vocabulary'"),
        ("longest", np.array([4]), r"longest: expected 3 as in the description; got \[4\]"),
    ],
)
def test_teachers_are_checked(name: str, value: Any, message: str, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    path = tiny.save(tmp_path / "m", teacher=True) / "teacher.safetensors"
    put(path, name, value)
    refused(tmp_path / "m", rf"teacher\.safetensors: .*{message}", exact=True)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("words", np.zeros(5, np.uint8), "words: Error -3 while decompressing data"),
        ("words", np.frombuffer(zlib.compress("研究\n研究".encode()), np.uint8), "words: expected distinct words"),
        ("words", np.frombuffer(zlib.compress(b"\xff\xff"), np.uint8), "can't decode byte 0xff"),
        ("words", np.frombuffer(zlib.compress(b""), np.uint8), "words: expected distinct words; got an empty"),
        ("counts", np.array([1, 2, 3]), r"counts: expected 2 integers above 0; got int64 of shape \(3,\)"),
        ("counts", np.array([1, 0]), "counts: expected 2 integers above 0"),
        ("counts", np.array([1.5, 2]), "counts: expected 2 integers above 0; got float64"),
        ("longest", np.array([0]), r"longest: expected an integer from 1 to 32; got \[0\]"),
        ("longest", np.array([4, 4]), "longest: expected an integer from 1 to 32"),
    ],
)
def test_lexicons_are_checked(name: str, value: Any, message: str, tmp_path: Path) -> None:
    path = tiny.save(tmp_path / "m", lexicon={"研究": 2, "生命": 1}) / "lexicon.safetensors"
    put(path, name, value)
    refused(tmp_path / "m", rf"lexicon\.safetensors: .*{message}")


@pytest.mark.parametrize("value", [float("nan"), {1, 2}, "\ud800"])
def test_facts_that_json_cannot_hold_change_nothing(value: object, tmp_path: Path) -> None:
    folder = tiny.save(tmp_path / "m")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises((ValueError, TypeError)):
        artifact.save(folder, {"script": "zh", "found": value}, {"student": tiny.student(1.0).to_arrays()})
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_the_longest_word_is_kept_with_the_parameters(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    folder = tiny.save(tmp_path / "m", teacher=True)
    assert "".join(Segmenter.load(folder).segment([tiny.TEXT], exact=True)[0]) == tiny.TEXT
    edit(folder, lambda d: d["config"].update(longest=4))
    refused(folder, r"longest: expected 4 as in the description; got \[3\]", exact=True)


def test_all_files_have_the_same_mode(tmp_path: Path) -> None:
    assert len({path.stat().st_mode for path in tiny.save(tmp_path / "m").iterdir()}) == 1


def test_damaged_artifacts(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    whole = tiny.save(tmp_path / "whole", teacher=True)

    def copy() -> Path:
        shutil.rmtree(tmp_path / "m", ignore_errors=True)
        return Path(shutil.copytree(whole, tmp_path / "m"))

    with pytest.raises(ShardError, match=r"no such segmenter; .*train one with"):
        Segmenter.load(tmp_path / "none")
    (copy() / "segmenter.json").write_text("{")
    with pytest.raises(ShardError, match=r"segmenter\.json: damaged: "):
        Segmenter.load(tmp_path / "m")
    description = json.loads((copy() / "segmenter.json").read_text())
    (tmp_path / "m" / "segmenter.json").write_text(json.dumps({**description, "format_version": 99}))
    with pytest.raises(ShardError, match="expected format version 1; got 99"):
        Segmenter.load(tmp_path / "m")
    for part, exact in (("student", False), ("teacher", True)):
        path = copy() / f"{part}.safetensors"
        path.write_bytes(path.read_bytes()[:-100])
        with pytest.raises(ShardError, match=rf"{part}\.safetensors: damaged"):
            Segmenter.load(tmp_path / "m").segment(["研究"], exact=exact)
    path = copy() / "student.safetensors"
    shutil.copy(whole / "teacher.safetensors", path)
    with pytest.raises(ShardError, match="does not hold a student"):
        Segmenter.load(tmp_path / "m").segment(["研究"])
