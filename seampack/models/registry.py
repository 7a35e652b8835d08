"""The methods by name. A method's config is imported without torch; its adapter, on first use."""

from dataclasses import dataclass
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from seampack.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    from seampack.models.base import Adapter
    from seampack.models.options import MethodConfig


@dataclass(frozen=True, slots=True)
class Method:
    """An entry of the registry."""

    summary: str
    """One line for ``models list``."""
    config: str
    """The config class, as MODULE:CLASS. Its module imports nothing heavy."""
    adapter: str
    """The adapter, as MODULE:NAME."""


METHODS: dict[str, Method] = {
    "ranmask": Method(
        "text classifiers with certified robustness to word substitutions",
        "seampack.models.ranmask.config:RanmaskConfig",
        "seampack.models.ranmask.adapter:ADAPTER",
    ),
    "watermark": Method(
        "watermark a text encoder with a secret trigger that survives fine-tuning by others",
        "seampack.models.watermark.config:WatermarkConfig",
        "seampack.models.watermark.adapter:ADAPTER",
    ),
    "double_descent": Method(
        "double descent under label noise, and the position of noisy rows among a network's features",
        "seampack.models.double_descent.config:DoubleDescentConfig",
        "seampack.models.double_descent.adapter:ADAPTER",
    ),
    "rope_scaling": Method(
        "one rotary scaling factor per layer, for better retrieval from the middle of long contexts",
        "seampack.models.rope_scaling.config:RopeScalingConfig",
        "seampack.models.rope_scaling.adapter:ADAPTER",
    ),
    "refine": Method(
        "a refiner that rewords queries for a model, for better answers and fewer successful attacks",
        "seampack.models.refine.config:RefineConfig",
        "seampack.models.refine.adapter:ADAPTER",
    ),
    "curriculum": Method(
        "train on questions from easy to hard by the model's pass rates, with hints for unsolved questions",
        "seampack.models.curriculum.config:CurriculumConfig",
        "seampack.models.curriculum.adapter:ADAPTER",
    ),
    "empathy": Method(
        "empathetic responses with commonsense knowledge selected for each dialogue",
        "seampack.models.empathy.config:EmpathyConfig",
        "seampack.models.empathy.adapter:ADAPTER",
    ),
}


def config_of(name: str) -> "type[MethodConfig]":
    """Return a method's config class, which has its columns and options. Raises ConfigError for an unknown name."""
    config: type[MethodConfig] = resolve_name(_method(name).config)
    return config


def get(name: str) -> "Adapter[Any]":
    """Return a method's adapter. Raises ConfigError for an unknown name, MissingExtraError if a package is missing."""
    try:
        adapter: Adapter[Any] = resolve_name(_method(name).adapter)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("seampack"):
            raise
        raise MissingExtraError(error.name or "a package", "models", f"the method {name}") from error
    return adapter


def _method(name: str) -> Method:
    if name not in METHODS:
        raise ConfigError(f"{name}: no such method; expected one of {', '.join(METHODS)}")
    return METHODS[name]
