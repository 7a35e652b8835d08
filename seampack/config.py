"""Options: fields of frozen dataclasses that declare their help, unit, range and choices, and are checked by these.

    class TrainConfig(Config):
        epochs: float = option(5.0, "Passes over the text.", low=0.01, high=1e4)

``TrainConfig(epochs=0)`` raises ConfigError. ``--help``, ``models list`` and the messages are made from the same
metadata, so a range or a choice is written once.
"""

import dataclasses
import math
import types
import typing
from collections.abc import Iterable, Mapping
from enum import StrEnum
from numbers import Integral, Real
from typing import Any, Self

from seampack.errors import ConfigError

MAX_SEED = 2**31 - 1
"""Largest seed: every library in use accepts it, also with the small numbers that a method adds."""


def option(
    default: Any,
    help: str,  # noqa: A002  # as in click
    *,
    low: float | None = None,
    high: float | None = None,
    below: float | None = None,
    choices: Iterable[StrEnum] | None = None,
    unit: str = "",
    empty: bool = True,
) -> Any:
    """Declare a config field.

    Args:
        default: The default value.
        help: Help text: what the option sets, its effect, what the default means.
        low: Smallest allowed value, or smallest allowed item of a list.
        high: Largest allowed value, or largest allowed item of a list.
        below: Exclusive upper bound of the value, or of each item.
        choices: Enum, or some of its members, whose values are allowed.
        unit: Unit of the value in the plural, such as ``tokens``.
        empty: Whether a text or a list may be empty.
    """
    metadata = {
        "help": help,
        "low": low,
        "high": high,
        "below": below,
        "choices": choices,
        "unit": unit,
        "empty": empty,
    }
    return dataclasses.field(default=default, metadata=metadata)


def seed_option(help: str) -> Any:  # noqa: A002
    """Declare a seed option; all seeds have the same range."""
    return option(0, help, low=0, high=MAX_SEED)


def choice_names(choices: Iterable[StrEnum]) -> str:
    """Return the values of an enum, or of some of its members, as text for a message."""
    return ", ".join(member.value for member in choices)


def check_choice(name: str, value: object, choices: Iterable[StrEnum]) -> str:
    """Return the value as a plain str. Raise ConfigError unless it is one of ``choices``: an enum or some members."""
    if not isinstance(value, str) or value not in list(choices):
        raise ConfigError(f"{name}: expected one of {choice_names(choices)}; got {value!r}")
    return str(value)


def check_integer(
    name: str, value: object, low: float | None = None, high: float | None = None, below: float | None = None
) -> int:
    """Return the value as an int. Raise ConfigError unless it is an integer within the bounds."""
    if isinstance(value, bool) or not isinstance(value, Integral) or not _is_within(int(value), low, high, below):
        raise ConfigError(f"{name}: expected an integer{_bounds(low, high, below, ',')}; got {value!r}")
    return int(value)


def check_number(
    name: str, value: object, low: float | None = None, high: float | None = None, below: float | None = None
) -> float:
    """Return the value as an int or float. Raise ConfigError unless it is a finite number within the bounds."""
    if (
        isinstance(value, bool)
        or not isinstance(value, Real)
        or not math.isfinite(value)
        or not _is_within(float(value), low, high, below)
    ):
        raise ConfigError(f"{name}: expected a number{_bounds(low, high, below, 'g')}; got {value!r}")
    return value if isinstance(value, int) else float(value)


def _is_within(value: float, low: float | None, high: float | None, below: float | None) -> bool:
    return (low is None or value >= low) and (high is None or value <= high) and (below is None or value < below)


def _bounds(low: float | None, high: float | None, below: float | None, style: str) -> str:
    """Return the bounds in words after a leading space, with numbers in the given format style."""
    if high is not None:
        return f" from {low:{style}} to {high:{style}}" if low is not None else f" of at most {high:{style}}"
    least = f" of at least {low:{style}}" if low is not None else ""
    if below is None:
        return least
    return f" from {low:{style}} to below {below:{style}}" if low is not None else f" below {below:{style}}"


def bounds(field: "dataclasses.Field[Any]") -> str:
    """Return the values that a field accepts, such as ``1 to 100 tokens`` or ``one of sft, grpo``."""
    metadata = field.metadata
    if metadata["choices"] is not None:
        return f"one of {choice_names(metadata['choices'])}"
    style = "," if value_type(field.type)[0] is int else "g"
    words = _bounds(metadata["low"], metadata["high"], metadata["below"], style).removeprefix(" from").strip()
    return " ".join(word for word in (words.removeprefix("of "), metadata["unit"]) if word)


def value_type(annotation: Any) -> tuple[Any, bool]:
    """Return the plain type of an annotated value, or of the items of its list, and whether it is a list.

    >>> value_type(int | None), value_type(tuple[str, ...])
    ((<class 'int'>, False), (<class 'str'>, True))
    """
    if isinstance(annotation, types.UnionType):  # only ``kind | None`` is used
        annotation = next(part for part in typing.get_args(annotation) if part is not types.NoneType)
    if typing.get_origin(annotation) is tuple:
        return typing.get_args(annotation)[0], True
    return annotation, False


def check_value(name: str, value: Any, annotation: Any, metadata: Mapping[str, Any]) -> Any:
    """Return the value in plain Python types. Raise ConfigError unless it fits the annotation and the metadata.

    ``metadata`` has any of the entries that ``option`` makes: ``low``, ``high``, ``below``, ``choices``, ``empty``.
    """
    if value is None and isinstance(annotation, types.UnionType):
        return None
    kind, is_list = value_type(annotation)
    low, high, below, choices = (metadata.get(rule) for rule in ("low", "high", "below", "choices"))
    may_be_empty = metadata.get("empty", True)
    if is_list:
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{name}: expected a list; got {value!r}")
        if not value and not may_be_empty:
            raise ConfigError(f"{name}: expected at least one value; got an empty list")
        return tuple(check_value(name, item, kind, {**metadata, "empty": False}) for item in value)
    if kind is bool:
        if not isinstance(value, bool):
            raise ConfigError(f"{name}: expected true or false; got {value!r}")
        return value
    if kind is int:
        return check_integer(name, value, low, high, below)
    if kind is float:
        return check_number(name, value, low, high, below)
    if choices is not None:
        return check_choice(name, value, choices)
    if not isinstance(value, str):
        raise ConfigError(f"{name}: expected text; got {value!r}")
    if not value and not may_be_empty:
        raise ConfigError(f"{name}: expected text; got none")
    return value


class Config:
    """Base class of the frozen config dataclasses. Fields are declared by ``option`` and checked by its metadata."""

    __slots__ = ()

    def __post_init__(self) -> None:
        """Check each field by itself, then the rules between fields."""
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = check_value(field.name, getattr(self, field.name), field.type, field.metadata)
            object.__setattr__(self, field.name, value)
        self.check_rules()

    def check_rules(self) -> None:
        """Raise ConfigError if fields that are valid alone contradict each other."""

    def replace(self, **changes: Any) -> Self:
        """Return a copy with the given fields changed, and check it. Raise ConfigError for an unknown field."""
        names = [field.name for field in dataclasses.fields(self)]  # type: ignore[arg-type]
        for name in changes:
            if name not in names:
                raise ConfigError(f"{name}: no such option; expected one of {', '.join(names)}")
        return dataclasses.replace(self, **changes)  # type: ignore[type-var]

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as values that JSON can express."""
        fields = dataclasses.asdict(self)  # type: ignore[call-overload]
        return {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}
