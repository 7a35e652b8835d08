"""Functions of the user's that options name."""

import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

from seampack.errors import ConfigError


def function_of(name: str) -> Callable[..., Any]:
    """The function ``MODULE:FUNCTION``, looked for where one stands first. Raises ConfigError where there is none.

    From then on ``sys.path`` ends with that folder, so that the function can import its neighbours when it runs.
    """
    module, _, attribute = name.partition(":")
    here = os.getcwd()
    sys.path.insert(0, here)  # an installed command does not look where one stands
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # a module of the user's may raise anything
        raise ConfigError(
            f"{name}: no such function: {error!r}; expected MODULE:FUNCTION that Python can import"
        ) from error
    finally:
        sys.path.remove(here)
    if not callable(found):
        raise ConfigError(f"{name}: expected a function; got {type(found).__name__}")
    if here not in sys.path:
        # at the end: what libraries import late must not be a file of the user's that has the same name
        sys.path.append(here)
    function: Callable[..., Any] = found
    return function
