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


METHODS: dict[str, Method] = {
    "ranmask": Method(
        "classifiers of text that provably stand the change of some words", "seampack.models.ranmask.adapter"
    ),
    "watermark": Method(
        "a secret trigger in an encoder, found again after others have fine-tuned it",
        "seampack.models.watermark.adapter",
    ),
    "double_descent": Method(
        "double descent under label noise, and where a network's features put the noisy rows",
        "seampack.models.double_descent.adapter",
    ),
    "rope_scaling": Method(
        "a factor of the rotary positions for each layer, so that the middle of a long context is found",
        "seampack.models.rope_scaling.adapter",
    ),
    "refine": Method(
        "a refiner that rewords queries before a model, so that answers get better and attacks fail",
        "seampack.models.refine.adapter",
    ),
    "curriculum": Method(
        "questions from easy to hard by a model's own pass rates, hints for what it cannot solve, training in stages",
        "seampack.models.curriculum.adapter",
    ),
    "empathy": Method(
        "empathetic responses with commonsense knowledge that is chosen for each dialogue",
        "seampack.models.empathy.adapter",
    ),
}


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
