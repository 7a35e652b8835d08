"""The methods by name. A method's module, and with it torch and transformers, is imported on first use."""

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from seampack.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    from seampack.models.base import Adapter


@dataclass(frozen=True, slots=True)
class Method:
    """An entry of the registry."""

    summary: str
    """One line for ``models list``."""
    module: str
    """The module that holds ``ADAPTER``."""


METHODS: dict[str, Method] = {
    "ranmask": Method(
        "text classifiers with certified robustness to word substitutions", "seampack.models.ranmask.adapter"
    ),
    "watermark": Method(
        "watermark a text encoder with a secret trigger that survives fine-tuning by others",
        "seampack.models.watermark.adapter",
    ),
    "double_descent": Method(
        "double descent under label noise, and the position of noisy rows among a network's features",
        "seampack.models.double_descent.adapter",
    ),
    "rope_scaling": Method(
        "one rotary scaling factor per layer, for better retrieval from the middle of long contexts",
        "seampack.models.rope_scaling.adapter",
    ),
    "refine": Method(
        "a refiner that rewords queries for a model, for better answers and fewer successful attacks",
        "seampack.models.refine.adapter",
    ),
    "curriculum": Method(
        "train on questions from easy to hard by the model's pass rates, with hints for unsolved questions",
        "seampack.models.curriculum.adapter",
    ),
    "empathy": Method(
        "empathetic responses with commonsense knowledge selected for each dialogue",
        "seampack.models.empathy.adapter",
    ),
}


def get(name: str) -> "Adapter[Any]":
    """Return a method's adapter. Raises ConfigError for an unknown name, MissingExtraError if a package is missing."""
    if name not in METHODS:
        raise ConfigError(f"{name}: no such method; expected one of {', '.join(METHODS)}")
    try:
        adapter: Adapter[Any] = import_module(METHODS[name].module).ADAPTER
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("seampack"):
            raise
        raise MissingExtraError(error.name or "a package", "models", f"the method {name}") from error
    return adapter
