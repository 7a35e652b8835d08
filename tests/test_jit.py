"""The machine code of kernels is cached; the cache may be damaged or have no place, and kernels work all the same."""

import importlib.util
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from numba import TypingError

from seampack import _compiler, _jit

pytestmark = pytest.mark.skipif(os.environ.get("NUMBA_DISABLE_JIT") == "1", reason="nothing is compiled")

SOURCE = """
import numpy as np
from seampack._jit import allocating_kernel, kernel
from helpers import twice

@kernel
def double(number):
    return twice(number)

@allocating_kernel
def doubled(number):
    return np.full(3, twice(number))
"""
HELPERS = """
from seampack._jit import inlined

@inlined
def twice(number):
    return 2 * number
"""


def load(path: Path) -> Any:
    """Import a module again, as another process would."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The sources of kernels in a folder of their own, where their cache is too."""
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    (tmp_path / "kernels.py").write_text(SOURCE)
    (tmp_path / "helpers.py").write_text(HELPERS)
    _jit.warn_once.cache_clear()
    return tmp_path


def loaded(folder: Path) -> Any:
    load(folder / "helpers.py")
    return load(folder / "kernels.py")


def used(folder: Path) -> tuple[bool, list[str]]:
    """Call the kernel of a new import. Return whether it was compiled, and the warnings."""
    double = loaded(folder).double
    with (
        warnings.catch_warnings(record=True) as caught,
        mock.patch.object(_compiler, "compiled", wraps=_compiler.compiled) as compiled,
    ):
        warnings.simplefilter("always")
        assert double(21) == 42
    return compiled.called, [str(warning.message) for warning in caught]


def cached(folder: Path, ending: str) -> list[Path]:
    return list((folder / "__pycache__").glob(f"*.{ending}"))


DAMAGE = pytest.mark.parametrize(
    "damage",
    [lambda data: b"", lambda data: data[: len(data) // 2], lambda data: b"not code", lambda data: data[:40] + b"x"],
    ids=["empty", "half", "text", "one byte"],
)


@DAMAGE
def test_a_damaged_cache_is_made_again(folder: Path, damage: Callable[[bytes], bytes]) -> None:
    assert used(folder) == (True, [])
    assert used(folder) == (False, [])
    (path,) = cached(folder, "o")
    path.write_bytes(damage(path.read_bytes()))
    assert used(folder) == (True, [f"{path}: the compiled kernel is damaged; it is made again"])
    assert used(folder) == (False, [])


@DAMAGE
@pytest.mark.parametrize("ending", ["nbi", "nbc"])
def test_a_damaged_cache_of_numba_is_made_again(folder: Path, ending: str, damage: Callable[[bytes], bytes]) -> None:
    def hit() -> bool:
        with mock.patch.object(_compiler, "dispatcher", side_effect=keep):
            assert loaded(folder).doubled(21).tolist() == [42, 42, 42]
        return bool(made.pop().stats.cache_hits)

    made: list[Any] = []
    original = _compiler.dispatcher

    def keep(function: Any) -> Any:
        made.append(original(function))
        return made[-1]

    assert [hit(), hit()] == [False, True]
    (path,) = cached(folder, ending)
    path.write_bytes(damage(path.read_bytes()[:2000]))
    with pytest.warns(UserWarning, match="the cache of compiled kernels is damaged; it is made again"):
        assert not hit()
    assert hit()


def test_changed_sources_are_compiled_and_replace_the_old_code(folder: Path) -> None:
    """The source of a function that a kernel calls counts too."""
    assert used(folder) == (True, [])
    (folder / "helpers.py").write_text(HELPERS.replace("2 * number", "number + 21"))
    assert used(folder) == (True, [])
    assert used(folder) == (False, [])
    assert len(cached(folder, "o")) == 1


def test_another_process_needs_no_numba(folder: Path) -> None:
    code = "import sys, kernels; print(kernels.double(21), 'numba' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), *sys.path])}
    for numba in ("True", "False"):
        out = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        assert out.stdout.split() == ["42", numba]


def test_a_cache_that_cannot_be_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    double = loaded(folder).double
    shutil.rmtree(folder / "__pycache__", ignore_errors=True)
    (folder / "__pycache__").touch()
    assert double(21) == 42
    assert len(list((folder / "home" / "seampack").iterdir())) == 1  # the second place
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(folder / "kernels.py" / "cache"))
    with pytest.warns(UserWarning, match="compiled kernels cannot be cached, so that each start compiles them"):
        assert loaded(folder).double(21) == 42


def test_a_cache_that_cannot_be_replaced_leaves_no_file(folder: Path) -> None:
    with (
        mock.patch.object(Path, "replace", side_effect=OSError("no space")),
        pytest.warns(UserWarning, match="cannot be cached"),
    ):
        assert loaded(folder).double(21) == 42
    assert not [path for path in folder.rglob("*") if ".o" in path.suffixes]


def test_code_is_not_loaded_from_the_current_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    (folder / "__pycache__").touch()
    with pytest.warns(UserWarning, match="cannot be cached"):
        assert loaded(folder).double(21) == 42
    assert not (folder / "relative").exists()


def test_a_place_that_is_given_is_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(folder / "given"))
    assert used(folder) == (True, [])
    assert used(folder) == (False, [])
    assert len(list((folder / "given").iterdir())) == 1


@pytest.mark.parametrize("decorator", [_jit.kernel, _jit.allocating_kernel])
def test_no_place_for_a_cache(decorator: Callable[[Any], Any]) -> None:
    names: dict[str, Any] = {}
    exec(compile("def double(number): return 2 * number", "<nowhere>", "exec"), names)
    _jit.warn_once.cache_clear()
    with pytest.warns(UserWarning, match="set NUMBA_CACHE_DIR to a folder that can be written"):
        assert decorator(names["double"])(21) == 42
    with warnings.catch_warnings(action="error"):  # once for all kernels
        assert decorator(names["double"])(21) == 42


@_jit.kernel
def nothing(numbers):  # type: ignore[no-untyped-def]
    numbers[0] += 1


@_jit.kernel
def fill(table, pair, factor):  # type: ignore[no-untyped-def]
    (first, last), chosen = pair
    total = 0
    for row in range(first, last):
        for column in range(table.shape[1]):
            if chosen[row]:
                table[row, column] = row * factor + column
                total += 1
    return total, last


@_jit.kernel
def half(number):  # type: ignore[no-untyped-def]
    return number // np.uint64(2) + np.uint64(number > np.uint64(1 << 63))


def test_arguments_and_results() -> None:
    numbers = np.zeros(2, np.int8)
    assert nothing(numbers) is None
    assert numbers.tolist() == [1, 0]
    table = np.zeros((3, 2))
    assert fill(table, ((1, 3), np.array([True, True, False])), 2.5) == (2, 3)
    assert table.tolist() == [[0, 0], [2.5, 3.5], [0, 0]]
    assert half(np.uint64((1 << 64) - 2)) == -(1 << 63)  # results are int64


def test_arrays_must_be_contiguous() -> None:
    with pytest.raises(TypeError, match=r"expected contiguous arrays; got strides \(16,\)"):
        nothing(np.zeros(4)[::2])


def test_a_kernel_that_needs_more_than_its_arguments_is_refused() -> None:
    @_jit.kernel
    def raises(number):  # type: ignore[no-untyped-def]
        if number > 3:
            raise ValueError
        return number

    with pytest.raises(TypeError, match=r"kernel .*raises: expected no calls outside; got .*Py"):
        raises(1)


def test_a_kernel_with_more_results_than_there_is_room_for_is_refused() -> None:
    @_jit.kernel
    def many(number):  # type: ignore[no-untyped-def]
        return number, number, number, number, number, number, number, number, number

    with pytest.raises(TypingError):
        many(1)
