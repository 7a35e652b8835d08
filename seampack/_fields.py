"""Fields of the frozen configs: default and help together, and the checks that they share."""

import dataclasses
from enum import StrEnum
from typing import Any, Self

from seampack.errors import ConfigError


def option(default: Any, description: str) -> Any:
    """A field whose description is also the help of the command line's option."""
    return dataclasses.field(default=default, metadata={"help": description})


def choices(enum: type[StrEnum]) -> str:
    """The members' values, for a message."""
    return ", ".join(member.value for member in enum)


def check_choice(name: str, value: object, enum: type[StrEnum]) -> None:
    """Raise ConfigError unless ``value`` is one of the enum's values."""
    if value not in [member.value for member in enum]:
        raise ConfigError(f"{name}: expected one of {choices(enum)}; got {value!r}")


def check_text(name: str, value: object) -> None:
    """Raise ConfigError unless the value is text."""
    if not isinstance(value, str):
        raise ConfigError(f"{name}: expected text; got {type(value).__name__} {value!r}")


def check_flag(name: str, value: object) -> None:
    """Raise ConfigError unless the value is true or false."""
    if not isinstance(value, bool):
        raise ConfigError(f"{name}: expected true or false; got {value!r}")


def check_integer(name: str, value: object, low: int, high: int, remedy: str = "") -> None:
    """Raise ConfigError unless ``value`` is an integer in ``low .. high``."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ConfigError(f"{name}: expected an integer from {low:,} to {high:,}; got {value!r}{remedy}")


def check_number(name: str, value: object, low: float, high: float) -> None:
    """Raise ConfigError unless ``value`` is a number in ``low .. high``."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ConfigError(f"{name}: expected a number from {low:g} to {high:g}; got {value!r}")


class Config:
    """Base of the frozen config dataclasses."""

    __slots__ = ()

    def check_kinds(self) -> None:
        """Raise ConfigError for a field that is no text, or neither true nor false, where its default is."""
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            if isinstance(field.default, str):
                check_text(field.name, getattr(self, field.name))
            elif isinstance(field.default, bool):
                check_flag(field.name, getattr(self, field.name))

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed, checked again. Raises ConfigError for a field that does not exist."""
        known = [field.name for field in dataclasses.fields(self)]  # type: ignore[arg-type]
        for name in changes:
            if name not in known:
                raise ConfigError(f"{name}: no such option; expected one of {', '.join(known)}")
        return dataclasses.replace(self, **changes)  # type: ignore[type-var]

    def to_dict(self) -> dict[str, Any]:
        """The fields, for JSON."""
        return dataclasses.asdict(self)  # type: ignore[call-overload, no-any-return]
