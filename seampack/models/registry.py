"""The methods by name. Nothing heavy is imported before a method is used."""

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from seampack.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    from seampack.models.base import Adapter


@dataclass(frozen=True, slots=True)
class Method:
    """One line for people, and the module that holds ``ADAPTER``."""

    summary: str
    module: str


METHODS: dict[str, Method] = {}


def get(name: str) -> "Adapter[Any]":
    """The adapter of a method. Raises ConfigError for an unknown name, MissingExtraError where packages are missing."""
    if name not in METHODS:
        raise ConfigError(f"{name}: no such method; expected one of {', '.join(METHODS)}")
    try:
        adapter: Adapter[Any] = import_module(METHODS[name].module).ADAPTER
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("seampack"):
            raise
        raise MissingExtraError(error.name or "a package", "models", f"the method {name}") from error
    return adapter
