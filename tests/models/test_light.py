"""Lists, checks and mistakes of users are answered without torch, transformers and datasets."""

import importlib
import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

from seampack.models import METHODS
from seampack.models.lazy import homes

HEAVY = ("torch", "transformers", "datasets", "pandas", "scipy", "sklearn", "numba")
RUN = """
import contextlib, json, sys
from seampack.cli import main
code = 0
try:
    main(sys.argv[1:])
except SystemExit as end:
    code = end.code
print(json.dumps({"code": code, "modules": sorted(sys.modules)}))
"""


def run(folder: Path, *arguments: str) -> tuple[int, set[str], str]:
    """Run a command in a process of its own; return its exit code, heavy modules that it imported, and its messages."""
    command = [sys.executable, "-c", RUN, "models", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    report = json.loads(done.stdout.splitlines()[-1])
    return report["code"], {*HEAVY} & {*report["modules"]}, done.stderr


@pytest.mark.parametrize("method", METHODS)
def test_a_list_of_options_imports_nothing_heavy(tmp_path: Path, method: str) -> None:
    assert run(tmp_path, "list", method) == (0, set(), "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "empathy", "--data", "lost.parquet"), "lost.parquet: no such file"),
        (("prepare", "refine", "--data", "lost/*.jsonl"), "lost/*.jsonl: no file matches"),
        (("train", "curriculum", "--data", "."), "expected files with a known ending"),
        (("train", "watermark", "--data", "lost.csv", "--set", "trigger_word=1"), "trigger_word: no such option"),
        (("train", "double_descent", "--data", "lost.csv", "--set", "noise=7"), "noise: expected a number"),
        (("evaluate", "rope_scaling", "--artifact", "lost", "--data", "lost.csv"), "lost: no such folder"),
    ],
)
def test_mistakes_import_nothing_heavy(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    code, heavy, said = run(tmp_path, *arguments, "-o", "out")
    assert (code, heavy) == (1, set())
    assert message in said


@pytest.mark.parametrize("method", METHODS)
def test_the_names_of_a_package_are_imported_on_use(method: str) -> None:
    package = importlib.import_module(f"seampack.models.{method}")
    assert sorted(homes(package.__name__)) == sorted(package.__all__)
    modules = {module.name for module in pkgutil.iter_modules(package.__path__)}
    assert not modules & {*package.__all__}, "a module of this name would hide the object"
    for name in package.__all__:
        assert getattr(package, name) is getattr(importlib.import_module(homes(package.__name__)[name]), name)
    with pytest.raises(AttributeError, match=f"module 'seampack.models.{method}' has no attribute 'nothing'"):
        _ = package.nothing
