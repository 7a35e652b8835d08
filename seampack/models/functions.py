"""Import of the user's functions, which options name."""

import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

from seampack.errors import ConfigError


def function_of(name: str) -> Callable[..., Any]:
    """Return the function ``MODULE:FUNCTION``; modules in the current folder have priority.

    The current folder is appended to ``sys.path``, so that the function can import its neighbours when it runs. Raises
    ConfigError if there is no such function.
    """
    module, _, attribute = name.partition(":")
    folder = os.getcwd()
    sys.path.insert(0, folder)  # an installed command does not search the current folder
    try:
        function = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # the user's module may raise anything
        raise ConfigError(
            f"{name}: no such function: {error!r}; expected MODULE:FUNCTION that Python can import"
        ) from error
    finally:
        sys.path.remove(folder)
    if not callable(function):
        raise ConfigError(f"{name}: expected a function; got {type(function).__name__}")
    if folder not in sys.path:
        # at the end, so that later imports of libraries do not find a user's file with the same name
        sys.path.append(folder)
    result: Callable[..., Any] = function
    return result
