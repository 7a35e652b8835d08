"""What SECURITY.md promises of the source: nothing is unpickled, no code of strangers is loaded."""

import ast
from pathlib import Path

import pytest

import seampack

ROOT = Path(seampack.__file__).parent
UNSAFE = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}


def calls(tree: ast.AST) -> list[ast.Call]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_input_is_run(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    modules = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    modules |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not {name.split(".")[0] for name in modules} & UNSAFE
    for call in calls(tree):
        name = ast.unparse(call.func)
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        assert (
            name not in ("eval", "exec", "os.system") or path.name == "_compiler.py"
        )  # it runs code of its own making
        assert given.get("trust_remote_code", "False") == "False"
        assert given.get("allow_pickle", "False") == "False"
        assert given.get("shell", "False") == "False"
        assert name != "torch.load" or given["weights_only"] == "True"


def test_versions_agree() -> None:
    citation = (ROOT.parent / "CITATION.cff").read_text("utf-8")
    assert f"\nversion: {seampack.__version__}\n" in citation
