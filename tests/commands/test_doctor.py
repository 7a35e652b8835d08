"""``seampack doctor`` describes what a bug report needs, and names what is broken."""

import doctest
import json
import os
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import seampack
from seampack import _threads
from seampack._cgroups import cpu_limit, memory_limit
from seampack.commands import diagnosis, packages
from seampack.commands.packages import Requirement, missing_of_extras, parsed
from tests.conftest import DATA, Run

PYPROJECT = tomllib.loads((Path(seampack.__file__).parent.parent / "pyproject.toml").read_text("utf-8"))["project"]


def test_a_working_installation(call: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "hidden-value")
    result = call("doctor", "--tokenizer", DATA / "tokenizer.json", "--json")
    assert (result.returncode, result.stderr) == (0, b"")
    facts = json.loads(result.stdout)
    assert facts["seampack"] == seampack.__version__
    assert facts["problems"] == []
    assert facts["packages"]["numpy"]
    assert facts["cpu"]["allowed"] >= 1
    assert facts["memory"]["total_bytes"] > facts["memory"]["available_bytes"] > 0
    assert facts["kernels"]["seconds"] >= 0
    assert facts["tokenizer"] | {"notes": []} == {
        "name": str(DATA / "tokenizer.json"),
        "vocab_size": 8192,
        "is_fast": True,
        "notes": [],
    }
    assert b"hidden-value" not in result.stdout
    text = call("doctor").stdout.decode()
    assert all(f"\n{name} " in text for name in ("python", "cores", "memory", "kernels", "tokenizer", "problem"))
    assert "none found" in text


def test_what_is_broken_is_named(call: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    declared = [Requirement("numpy", "999", "", ()), Requirement("no-such-package", "1", "", ())]
    monkeypatch.setattr(diagnosis, "requirements", lambda: declared)
    monkeypatch.setattr(diagnosis, "tempfile", SimpleNamespace(gettempdir=fail))
    result = call("doctor", "--tokenizer", tmp_path / "none.json", "--json")
    assert result.returncode == 1
    old, missing, tokenizer, folder = json.loads(result.stdout)["problems"]
    assert old.startswith("numpy ")
    assert old.endswith("is too old: expected 999 or later; pip install 'numpy>=999'")
    assert missing == "no-such-package is not installed; pip install 'no-such-package>=1'"
    assert "none.json: no such tokenizer" in tokenizer
    assert folder.endswith("no room; set TMPDIR to another")


def fail() -> Any:
    raise OSError(28, "no room")


def test_kernels_that_do_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    from seampack.packer import planning

    monkeypatch.setattr(planning, "plan", lambda lengths: fail())
    assert diagnosis.diagnose(None)["problems"] == ["the kernels do not run: OSError: [Errno 28] no room"]


@pytest.mark.parametrize("extra", PYPROJECT["optional-dependencies"])
def test_declared_requirements_are_understood(extra: str) -> None:
    for line in (*PYPROJECT["dependencies"], *PYPROJECT["optional-dependencies"][extra]):
        requirement = parsed(f"{line}; extra == '{extra}'")
        assert requirement.extra == extra
        assert line.startswith(requirement.name)
        assert line.endswith(requirement.least)
        assert requirement.least or requirement.extras
    assert parsed("a[b,c]>=1.2,<3; python_version < '3.12' and extra == \"x\"") == Requirement(
        "a", "1.2", "x", ("b", "c")
    )


def test_extras_include_what_they_refer_to() -> None:
    declared = [
        parsed("no-such-package>=1; extra == 'a'"),
        parsed("seampack[a]; extra == 'b'"),
        parsed("x; extra == 'test'"),
    ]
    assert missing_of_extras(declared) == {name: ["no-such-package is not installed"] for name in "ab"}
    assert doctest.testmod(packages).failed == 0


@pytest.mark.parametrize(
    ("files", "own", "cores", "memory"),
    [
        ({}, "0::/\n", None, None),
        ({"a/cpu.max": "150000 100000", "a/b/cpu.max": "max 100000", "a/memory.max": "max"}, "0::/a/b\n", 1.5, None),
        ({"a/b/memory.max": "1000", "a/memory.max": "500", "memory.max": "max"}, "0::/a/b\n", None, 500),
        (
            {
                "cpu/x/cpu.cfs_quota_us": "200000",
                "cpu/x/cpu.cfs_period_us": "100000",
                "cpu/cpu.cfs_quota_us": "-1",
                "memory/y/memory.limit_in_bytes": "77",
                "memory/memory.limit_in_bytes": "9223372036854771712",
            },
            "3:cpu:/x\n2:memory:/y\n",
            2.0,
            77,
        ),
    ],
    ids=["no limit", "cores", "memory", "version 1"],
)
def test_limits_of_control_groups(
    tmp_path: Path, files: dict[str, str], own: str, cores: float | None, memory: int | None
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "own").write_text(own)
    assert cpu_limit(tmp_path, tmp_path / "own") == cores
    assert memory_limit(tmp_path, tmp_path / "own") == memory
    assert cpu_limit(tmp_path, tmp_path / "none") is None


@pytest.mark.parametrize(("limit", "count"), [(None, 8), (0.5, 1), (2.0, 2), (2.5, 3), (64.0, 8)])
def test_a_container_gets_the_threads_that_it_may_use(
    monkeypatch: pytest.MonkeyPatch, limit: float | None, count: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)))
    monkeypatch.setattr(_threads, "cpu_limit", lambda: limit)
    assert _threads.thread_count(None) == count
    assert _threads.thread_count(7) == 7
