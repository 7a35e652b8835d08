"""Artifacts: they are read as written, and each kind of damage is reported on one line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seampack.errors import ShardError
from seampack.io.artifact import ArtifactKind, finite_facts, to_bytes

KIND = ArtifactKind("seampack thing", 3, "thing.json", "seampack make", "make it again")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    KIND.write_description(tmp_path, {"name": "é", "numbers": [1, 2.5, None]})
    (tmp_path / "a.safetensors").write_bytes(to_bytes({"x": np.arange(6.0).reshape(2, 3)[:, ::2]}))
    return tmp_path


def test_an_artifact_is_read_as_written(folder: Path) -> None:
    content = KIND.read_description(folder)
    assert content == {"format": "seampack thing", "format_version": 3, "name": "é", "numbers": [1, 2.5, None]}
    np.testing.assert_array_equal(KIND.read_arrays(folder / "a.safetensors")["x"], [[0, 2], [3, 5]])


def rewritten(**changes: Any) -> Callable[[Path], object]:
    return lambda path: path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda path: path.unlink(),
            ": no thing.json: not a seampack thing, or a run that did not finish; make one with",
        ),
        (lambda path: path.write_text("{"), "/thing.json: damaged: "),
        (lambda path: path.write_bytes(b"\xff"), "/thing.json: damaged: "),
        (lambda path: path.write_text("[" * 100_000), "/thing.json: damaged: "),
        (lambda path: path.write_text("[]"), "/thing.json: damaged: format: expected 'seampack thing'; got []"),
        (rewritten(format="other"), "/thing.json: damaged: format: expected 'seampack thing'; got {'format': 'other'"),
        (rewritten(format_version=4), "/thing.json: expected format version 3; got 4; make it again"),
        (rewritten(format_version=None), "/thing.json: expected format version 3; got None; make it again"),
    ],
)
def test_descriptions_that_cannot_be_used(folder: Path, change: Callable[[Path], object], message: str) -> None:
    change(folder / "thing.json")
    with pytest.raises(ShardError) as error:
        KIND.read_description(folder)
    assert str(error.value).startswith(f"{folder}{message}")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ShardError) as error:
        KIND.read_description(tmp_path / "none")
    assert str(error.value) == f"{tmp_path}/none: no such folder; make one with: seampack make -o {tmp_path}/none"


def test_damaged_arrays_are_named(folder: Path) -> None:
    path = folder / "a.safetensors"
    whole = path.read_bytes()
    for data in (b"", whole[:20], whole[:-1], b"\xff" * 40):
        path.write_bytes(data)
        with pytest.raises(ShardError, match=r"a\.safetensors: damaged: .*; make it again"):
            KIND.read_arrays(path)
    path.write_bytes(to_bytes({"x": np.array([1, np.nan])}))
    with pytest.raises(ShardError, match="damaged: x: expected finite numbers"):
        KIND.read_arrays(path)
    assert np.isnan(KIND.read_arrays(path, finite=False)["x"][1])
    path.unlink()
    with pytest.raises(ShardError, match=r"damaged: .*No such file"):
        KIND.read_arrays(path)


def test_facts_that_json_cannot_express(tmp_path: Path) -> None:
    for value in (float("nan"), {1, 2}, "\ud800"):
        with pytest.raises((ValueError, TypeError)):
            KIND.write_description(tmp_path, {"value": value})
    assert list(tmp_path.iterdir()) == []
    facts = {"loss": [1.0, float("inf")], "inner": {"x": float("nan")}, "ok": (1, "a")}
    assert finite_facts(facts) == {"loss": [1.0, None], "inner": {"x": None}, "ok": [1, "a"]}
