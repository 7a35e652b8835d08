"""Public names of a package that are imported on first use.

A package lists its names under ``if TYPE_CHECKING:``, where type checkers and editors read them, and sets
``__getattr__ = lazy_names(__name__)``. Importing the package then imports none of its modules.
"""

import ast
import sys
from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any


@cache
def homes(package: str) -> dict[str, str]:
    """Return the module of each name that a package imports under ``if TYPE_CHECKING:``."""
    spec = find_spec(package)
    source = spec.loader.get_source(package)  # type: ignore[union-attr]
    blocks = [node for node in ast.parse(source).body if isinstance(node, ast.If)]
    imports = [node for block in blocks for node in block.body if isinstance(node, ast.ImportFrom) and node.module]
    return {alias.name: str(node.module) for node in imports for alias in node.names}


def lazy_names(package: str) -> Callable[[str], Any]:
    """Return a module's ``__getattr__`` that imports the names of ``homes`` on first use."""

    def import_name(name: str) -> Any:
        if name.startswith("__") or name not in homes(package):
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(homes(package)[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    return import_name
