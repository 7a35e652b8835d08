"""The layers hold: imports go one way, names are exported as said, the light parts stay light."""

import ast
import graphlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import seampack

ROOT = Path(seampack.__file__).parent
STANDARD = sys.stdlib_module_names | {"__future__"}

FLOOR = {"seampack.errors", "seampack._version", "seampack.config", "seampack._signals", "seampack._threads"}
KERNELS = {"numpy", "seampack._jit", "seampack.packer._bitset", "seampack.packer._kernels"}
PLANNING = {
    *{"numpy", "seampack.errors", "seampack.config", "seampack.io.ragged", "seampack.io.formats"},
    *{"seampack.packer._bin_kernels", "seampack.packer._kernels", "seampack.packer._layout_kernels"},
    *{"seampack.packer._limited_kernels", "seampack.packer._order_kernels", "seampack.packer._pattern_kernels"},
    *{"seampack.packer.accounting", "seampack.packer.config", "seampack.packer.plan_config"},
    *{"seampack.packer.planning", "seampack.packer.plans"},
    *{
        "seampack.packer.bins",
        "seampack.packer.blocks",
        "seampack.packer.groups",
        "seampack.packer.optimal",
        "seampack.packer.row_groups",
    },
    "seampack.packer.chat_rules",
    "seampack.packer.column_types",
    "seampack.packer.formats.registry",
    "seampack.packer.numbering",
}
# The names that the modules of a layer may import: seampack's anywhere, others when they are loaded. A module is in the
# layer with the longest name that begins its own.
LAYERS: dict[str, set[str]] = {
    "__init__": {
        *FLOOR,
        "seampack.packer",
        "seampack.segmenter",
        "seampack.training",
    },  # public names, imported when they are used
    "errors": set(),
    "_version": set(),
    "_memory": set(),
    "_pandas": set(),
    "_signals": set(),
    "_cgroups": set(),
    "_threads": {"seampack._cgroups", "seampack.config"},
    "_jit": {"numpy", "seampack._compiler"},
    "_compiler": {"llvmlite", "numba", "numpy", "seampack._jit"},
    "config": {"seampack.errors"},
    "io": {*FLOOR, "seampack.io", "numpy", "pyarrow", "msgspec", "safetensors"},
    "io/formats": set(),
    "io/ragged": {"numpy"},
    "packer": {*FLOOR, "seampack.io", "seampack.packer", "numpy", "pyarrow", "msgspec", "xxhash", "tokenizers"},
    "packer/_bin_kernels": KERNELS,
    "packer/_bitset": KERNELS,
    "packer/_copy_kernels": KERNELS,
    "packer/_kernels": KERNELS,
    "packer/_layout_kernels": KERNELS,
    "packer/_limited_kernels": {*KERNELS, "seampack.packer._bin_kernels"},
    "packer/_order_kernels": KERNELS,
    "packer/_pattern_kernels": KERNELS,
    "packer/accounting": PLANNING,
    "packer/bins": PLANNING,
    "packer/blocks": PLANNING,
    "packer/column_types": FLOOR,
    "packer/config": PLANNING,
    "packer/groups": PLANNING,
    "packer/numbering": PLANNING,
    "packer/optimal": PLANNING,
    "packer/plan_config": FLOOR,
    "packer/planning": PLANNING,
    "packer/plans": PLANNING,
    "packer/ray": {*FLOOR, "seampack.packer", "seampack.io", "ray"},
    "packer/ray_worker": {*FLOOR, "seampack.packer", "seampack.io", "seampack._memory", "seampack._pandas"},
    "packer/row_groups": PLANNING,
    "packer/windows": PLANNING,
    "segmenter": {*FLOOR, "seampack.io", "seampack.segmenter", "seampack._memory", "numpy", "pyarrow", "msgspec"},
    "segmenter/_kernels": KERNELS,
    "segmenter/_lexicon_kernels": {*KERNELS, "seampack.segmenter._student_kernels"},
    "segmenter/_student_kernels": KERNELS,
    "segmenter/_thai_kernels": {*KERNELS, "seampack.segmenter._student_kernels", "seampack.segmenter._unit_kernels"},
    "segmenter/_unit_kernels": KERNELS,
    "models": {*FLOOR, "seampack.io", "seampack.models", "numpy", "pyarrow", "datasets", "torch", "transformers"}
    | {"xxhash", "safetensors", "scipy", "sklearn", "tokenizers", "tqdm", "pygad", "rouge_score", "sacrebleu"},
    "training": {*FLOOR, "seampack.io", "seampack.packer", "seampack.training", "numpy", "pyarrow"},
    "models/lazy": set(),
    "models/options": FLOOR,
    "models/registry": {*FLOOR, "seampack.models"},
    "models/sources": {*FLOOR, "seampack.io"},
    "commands": {*FLOOR, "seampack.commands", "seampack.io", "seampack.packer", "seampack.segmenter", "seampack.models"}
    | {"seampack._cgroups", "seampack._jit", "seampack._memory", "seampack._pandas", "click"},
    "cli": {*FLOOR, "seampack.commands", "click"},
    "__main__": {"seampack.cli"},
}
WITH_TORCH = {
    "corpus",
    "direction_trainer",
    "language_model",
    "scoring",
    "softmax",
    "teacher",
    "training",
    "training_processes",
}
"""The modules of the segmenter's language model; the others work without torch."""
MODULES = {path.relative_to(ROOT).with_suffix("").as_posix(): path for path in sorted(ROOT.rglob("*.py"))}


def imports(path: Path, *, top_level: bool) -> set[str]:
    """Modules that a file imports, when it is loaded or anywhere in it."""
    tree = ast.parse(path.read_text("utf-8"))
    nodes = tree.body if top_level else ast.walk(tree)
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            deeper = {f"{base}.{alias.name}" for alias in node.names if (ROOT.parent / base.replace(".", "/")).is_dir()}
            names |= deeper or {base}
    return names


def layer_of(module: str) -> str:
    return max((layer for layer in LAYERS if f"{module}/".startswith(f"{layer}/")), key=len)


def allows(layer: str, name: str) -> bool:
    if name.split(".")[0] in STANDARD:
        return True
    return any(f"{name}.".startswith(f"{allowed}.") for allowed in LAYERS[layer])


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_one_way(module: str) -> None:
    path, layer = MODULES[module], layer_of(module)
    own = {name for name in imports(path, top_level=False) if name.split(".")[0] == "seampack"}
    others = imports(path, top_level=True) - own
    if layer == "segmenter" and path.stem in WITH_TORCH:
        others.discard("torch")
    climbing = sorted(name for name in own | others if not allows(layer, name))
    assert not climbing, f"{module} ({layer}) imports {', '.join(climbing)}"


def test_every_layer_has_modules() -> None:
    assert {layer_of(module) for module in MODULES} == set(LAYERS)
    assert {path.stem for path in (ROOT / "segmenter").glob("*.py")} >= WITH_TORCH


def test_no_imports_in_a_circle() -> None:
    """Only what is imported when a module is loaded counts."""
    known = {f"seampack.{module.replace('/', '.')}".removesuffix(".__init__"): path for module, path in MODULES.items()}
    ahead = {name: {each for each in imports(path, top_level=True) if each in known} for name, path in known.items()}
    try:
        graphlib.TopologicalSorter(ahead).prepare()
    except graphlib.CycleError as error:
        pytest.fail(f"a circle: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize("module", MODULES)
def test_modules_stay_small(module: str) -> None:
    assert len(MODULES[module].read_text("utf-8").splitlines()) <= 360


def test_only_one_module_knows_numba() -> None:
    users = {
        path.stem for path in ROOT.rglob("*.py") if any(m.startswith("numba") for m in imports(path, top_level=False))
    }
    assert users == {"_compiler"}


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
    """The tree that a checkout shows; neither the source distribution nor an installation has them."""
    top = ROOT.parent
    if not (top / ".git").exists():
        pytest.skip("not a checkout")
    for name in ("packer", "segmenter", "models", "cli.py"):
        assert os.readlink(top / name) == f"seampack/{name}"
    out = subprocess.run([sys.executable, "cli.py", "--version"], cwd=top, capture_output=True, text=True, check=True)
    assert seampack.__version__ in out.stdout
