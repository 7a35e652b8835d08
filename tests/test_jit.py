"""The cache of compiled kernels may be damaged or have no place; kernels work all the same."""

import importlib.util
import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seampack import _jit

pytestmark = pytest.mark.skipif(os.environ.get("NUMBA_DISABLE_JIT") == "1", reason="nothing is compiled")

SOURCE = """
from seampack._jit import kernel

@kernel
def double(number):
    return 2 * number
"""


def loaded(folder: Path) -> Any:
    """Return the kernel of a module, imported again as by another process."""
    path = folder / "kernels.py"
    if not path.exists():
        path.write_text(SOURCE)
    spec = importlib.util.spec_from_file_location("kernels", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.double


def used(folder: Path) -> tuple[bool, list[str]]:
    """Call the kernel of a new import. Return whether it came from the cache, and the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        double = loaded(folder)
        assert double(21) == 42
    return bool(double.stats.cache_hits), [str(warning.message) for warning in caught]


@pytest.mark.parametrize("ending", ["nbi", "nbc"])
@pytest.mark.parametrize(
    "damage",
    [lambda data: b"", lambda data: data[: len(data) // 2], lambda data: b"not a pickle", lambda data: data[:3]],
    ids=["empty", "half", "text", "three bytes"],
)
def test_a_damaged_cache_is_made_again(tmp_path: Path, ending: str, damage: Callable[[bytes], bytes]) -> None:
    assert used(tmp_path) == (False, [])
    assert used(tmp_path) == (True, [])
    (path,) = (tmp_path / "__pycache__").glob(f"*.{ending}")
    path.write_bytes(damage(path.read_bytes()))
    hit, messages = used(tmp_path)
    assert not hit
    assert messages == [f"{path.parent}: the cache of compiled kernels is damaged; it is made again"]
    assert used(tmp_path) == (True, [])


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    double = loaded(tmp_path)
    shutil.rmtree(tmp_path / "__pycache__")
    (tmp_path / "__pycache__").touch()
    with pytest.warns(UserWarning, match="compiled kernels cannot be cached, so that each start compiles them"):
        assert double(21) == 42


def test_no_place_for_a_cache() -> None:
    names: dict[str, Any] = {}
    exec(compile("def double(number): return 2 * number", "<nowhere>", "exec"), names)
    _jit._warn_once.cache_clear()
    with pytest.warns(UserWarning, match="set NUMBA_CACHE_DIR to a folder that can be written"):
        double = _jit.kernel(names["double"])
    assert double(21) == 42
    with warnings.catch_warnings(action="error"):  # once for all kernels
        _jit.kernel(names["double"])
