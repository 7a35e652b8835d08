"""Rotary positions scaled layer by layer, through hooks on the layers of a transformers model."""

import copy
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from torch import nn

from seampack.config import check_choice, check_number
from seampack.errors import ConfigError, DataError
from seampack.models.rope_scaling.config import Base

FILE = "rope_scaling.json"
_FORMAT = "seampack rope scaling"


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerFactors:
    """One factor per layer, and the quantity that the factors scale, as saved in an artifact."""

    base: str
    """A value of ``Base``."""
    factors: tuple[float, ...]
    """One factor per layer."""

    def __post_init__(self) -> None:
        """Raise ConfigError if the base is unknown or a factor is not a number from 0.001 to 1,000."""
        check_choice("base", self.base, Base)
        if not self.factors:
            raise ConfigError("factors: expected one number per layer; got none")
        for layer, factor in enumerate(self.factors):
            check_number(f"factors, layer {layer}", factor, 1e-3, 1e3)

    def save(self, path: Path) -> None:
        """Write the factors to a JSON file."""
        path.write_text(json.dumps({"format": _FORMAT, **asdict(self)}, indent=2) + "\n", "utf-8")

    def save_pretrained(self, folder: Path) -> None:
        """Write the factors into a folder, as part of an artifact."""
        folder.mkdir(parents=True, exist_ok=True)
        self.save(folder / FILE)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a file of ``save`` or a folder of ``save_pretrained``. Raise DataError if there are no saved factors."""
        file = path / FILE if path.is_dir() else path
        try:
            content = json.loads(file.read_text("utf-8"))
            if content.get("format") != _FORMAT:
                raise ValueError(f"expected the format {_FORMAT!r}; got {content.get('format')!r}")
            return cls(base=content["base"], factors=tuple(map(float, content["factors"])))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{file}: no saved factors: {error}") from error


class LayerwiseRope:
    """Context manager that scales the rotary positions of each layer of a model; the weights do not change.

    With ``pi``, layer l uses positions ``m / s_l``; with ``ntk``, its base is ``b * s_l^(d / (d - 2))``, where d is the
    number of rotated dimensions of a head (arXiv 2503.04355, after arXiv 2306.15595 and NTK-aware scaling). The
    frequencies come from the model's own rotary module, so that the model's own scaling (linear, dynamic, llama3 and
    other types of transformers) is applied first. In nested blocks, the inner block is active.

    A cache stores rotated keys: create and use a cache under the same factors.
    """

    def __init__(self, model: nn.Module, base: str, factors: Sequence[float]) -> None:
        """Prepare the scaling; entering the block applies it.

        Args:
            model: A model whose layers share one rotary module, such as Llama, Qwen2 and Mistral.
            base: A value of ``Base``.
            factors: One number per layer.

        Raises:
            ConfigError: The factors do not fit the model.
            DataError: The model's layers do not share a rotary module.
        """
        self.saved = LayerFactors(base=base, factors=tuple(map(float, factors)))
        self._layers, self._rotary = rotary_of(model)
        if len(self._layers) != len(self.saved.factors):
            layers, got = len(self._layers), len(self.saved.factors)
            raise ConfigError(f"factors: the model has {layers} layers; expected one number per layer; got {got}")
        self._handles: list[Any] = []

    @classmethod
    def load(cls, model: nn.Module, path: Path) -> Self:
        """Load saved factors and prepare the scaling of a model."""
        saved = LayerFactors.load(path)
        return cls(model, saved.base, saved.factors)

    def save(self, path: Path) -> None:
        """Write base and factors to a JSON file."""
        self.saved.save(path)

    def __enter__(self) -> Self:
        if self._handles:
            raise ConfigError("this LayerwiseRope is already active; create a second one")
        scaled = {factor: self._module(factor) for factor in set(self.saved.factors)}
        for layer, factor in zip(self._layers, self.saved.factors, strict=True):
            hook = self._hook(factor, scaled[factor])
            self._handles.append(layer.register_forward_pre_hook(hook, with_kwargs=True))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _module(self, factor: float) -> Any:
        """Return the rotary module of the layers that share a factor."""
        if self.saved.base == Base.PI:
            module = copy.deepcopy(self._rotary)
            module.rope_type = "default"  # the hook sets the frequencies; the module must not update them itself
            return module
        config = copy.deepcopy(self._rotary.config)
        rotated = 2 * self._rotary.inv_freq.numel()
        if rotated < 4:
            raise DataError(f"the model rotates {rotated} dimensions of a head; ntk needs at least 4; use pi")
        config.rope_parameters["rope_theta"] *= factor ** (rotated / (rotated - 2))
        return type(self._rotary)(config).to(self._rotary.inv_freq.device)

    def _hook(self, factor: float, module: Any) -> Any:
        """Return the hook that passes the position embeddings of a factor to a layer."""

        def rotate(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
            if kwargs.get("position_embeddings") is None or kwargs.get("position_ids") is None:
                name = type(layer).__name__
                raise DataError(f"{name}: expected position_embeddings and position_ids as keyword arguments; got none")
            if self.saved.base == Base.PI:
                # The model calls its own module before its layers, so the frequencies belong to this sequence.
                module.inv_freq = self._rotary.inv_freq / factor
                module.attention_scaling = self._rotary.attention_scaling
            states = args[0] if args else kwargs["hidden_states"]
            return args, kwargs | {"position_embeddings": module(states, kwargs["position_ids"])}

        return rotate


def rotary_of(model: nn.Module) -> tuple[list[nn.Module], Any]:
    """Return a model's decoder layers and the rotary module that they share; also looks inside wrappers.

    Raises DataError if there is no shared rotary module.
    """
    for module in model.modules():
        rotary, layers = getattr(module, "rotary_emb", None), getattr(module, "layers", None)
        if rotary is not None and isinstance(layers, nn.ModuleList):
            if not isinstance(getattr(rotary, "rope_type", None), str) or not hasattr(rotary, "inv_freq"):
                raise DataError(f"{type(model).__name__}: the layers do not share one kind of rotary positions")
            return list(layers), rotary
    raise DataError(f"{type(model).__name__}: the layers share no rotary positions; expected a model like Llama")


def moves_with_length(model: nn.Module) -> bool:
    """Return whether the model's own frequencies depend on the length of the sequence."""
    kind: str = rotary_of(model)[1].rope_type
    return "dynamic" in kind or kind == "longrope"
