"""The layers hold: imports go one way, names are exported as said, the light parts stay light."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import seampack

ROOT = Path(seampack.__file__).parent
STANDARD = sys.stdlib_module_names | {"__future__"}

# What each module may import, besides the standard library, seampack.errors, _version and what stands before it.
ALLOWED = {
    "errors": set(),
    "_jit": {"numba", "numpy"},
    "packer/_bitset": {"numpy", "seampack._jit"},
    "packer/_kernels": {"numpy", "seampack._jit", "seampack.packer._bitset"},
    "packer/_copy_kernels": {"numpy", "seampack._jit"},
    "config": set(),
    "io/formats": set(),
    "packer/config": {"seampack.config", "seampack.io.formats"},
    "packer/accounting": set(),
    "packer/_layout_kernels": {"numpy", "seampack._jit"},
    "io/ragged": {"numpy"},
    "packer/planning": {
        "numpy",
        "seampack.io.ragged",
        "seampack.packer._kernels",
        "seampack.packer._layout_kernels",
        "seampack.packer.accounting",
        "seampack.packer.config",
    },
    "packer/windows": {"numpy", "seampack.packer.accounting", "seampack.packer.config", "seampack.packer.planning"},
}
FORBIDDEN = {
    "packer": {"torch", "transformers", "datasets", "seampack.segmenter", "seampack.models", "seampack.cli"},
    "segmenter": {
        "transformers",
        "datasets",
        "seampack.packer",
        "seampack.models",
        "seampack.commands",
        "seampack.cli",
    },
}
WITH_TORCH = {"corpus", "direction_trainer", "language_model", "teacher", "training", "training_processes"}


def imports(path: Path, *, top_level: bool) -> set[str]:
    """Modules that a file imports, when it is loaded or anywhere in it."""
    tree = ast.parse(path.read_text("utf-8"))
    nodes = tree.body if top_level else ast.walk(tree)
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            deeper = {f"{base}.{alias.name}" for alias in node.names if (ROOT.parent / base.replace(".", "/")).is_dir()}
            found |= deeper or {base}
    return found


@pytest.mark.parametrize("module", ALLOWED)
def test_what_a_module_may_import(module: str) -> None:
    for name in imports(ROOT / f"{module}.py", top_level=False):
        top = name.split(".")[0]
        assert top in STANDARD or name in ("seampack.errors", "seampack._version") or {name, top} & ALLOWED[module], (
            f"{module} imports {name}"
        )


@pytest.mark.parametrize(
    "path", [path for part in FORBIDDEN for path in sorted((ROOT / part).glob("*.py"))], ids=lambda path: path.stem
)
def test_what_the_cores_never_import(path: Path) -> None:
    found = imports(path, top_level=True)
    assert not {name for name in found for no in FORBIDDEN[path.parent.name] if name == no or name.startswith(f"{no}.")}
    assert path.parent.name == "packer" or ("torch" in found) <= (path.stem in WITH_TORCH)


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: path.stem)
def test_modules_stay_small(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= 420


def test_only_one_module_knows_numba() -> None:
    users = {
        path.stem for path in ROOT.rglob("*.py") if any(m.startswith("numba") for m in imports(path, top_level=False))
    }
    assert users == {"_jit"}


def test_exports() -> None:
    assert seampack.__all__ == sorted(seampack.__all__)
    assert set(dir(seampack)) == set(seampack.__all__)
    assert set(seampack._HOME) | {"__version__"} == set(seampack.__all__)
    for name in seampack.__all__:
        assert getattr(seampack, name) is not None
        assert getattr(seampack, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = seampack.nothing


def test_importing_the_package_imports_nothing_heavy() -> None:
    heavy = "('numba', 'numpy', 'pyarrow', 'tokenizers', 'torch')"
    code = f"import sys, seampack, seampack.cli; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


def test_root_links() -> None:
    """The tree that a checkout shows; they are absent where the package is installed."""
    top = ROOT.parent
    if not (top / "pyproject.toml").is_file():
        pytest.skip("not a checkout")
    for name in ("packer", "segmenter", "models", "cli.py"):
        assert os.readlink(top / name) == f"seampack/{name}"
    out = subprocess.run([sys.executable, "cli.py", "--version"], cwd=top, capture_output=True, text=True, check=True)
    assert seampack.__version__ in out.stdout
