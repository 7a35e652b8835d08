"""Options: fields of frozen dataclasses that declare their help, unit, range and choices, and are checked by these.

    class TrainConfig(Config):
        epochs: float = option(5.0, "Passes over the text.", low=0.01, high=1e4)

``TrainConfig(epochs=0)`` raises ConfigError. ``--help``, ``models list`` and the messages are made from the same
metadata, so a range or a choice is written once.
"""

import dataclasses
import difflib
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


class Group(StrEnum):
    """The stages of a run, under which ``--help`` of a command with many options lists them."""

    INPUT = "Input"
    """Which documents are read, and from which columns."""
    TOKENS = "Tokens"
    """How documents become tokens."""
    PLANNING = "Planning"
    """How documents become rows."""
    OUTPUT = "Output"
    """What is written, and where."""
    RUN = "Run"
    """How the work is divided, and what is printed."""


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
    group: Group | None = None,
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
        group: Stage of the run that the option belongs to.
    """
    metadata = {
        "help": help,
        "low": low,
        "high": high,
        "below": below,
        "choices": choices,
        "unit": unit,
        "empty": empty,
        "group": group,
    }
    return dataclasses.field(default=default, metadata=metadata)


def seed_option(help: str, *, group: Group | None = None) -> Any:  # noqa: A002
    """Declare a seed option; all seeds have the same range."""
    return option(0, help, low=0, high=MAX_SEED, group=group)


def choice_names(choices: Iterable[StrEnum]) -> str:
    """Return the values of an enum, or of some of its members, as text for a message."""
    return ", ".join(member.value for member in choices)


def check_choice(name: str, value: object, choices: Iterable[StrEnum]) -> str:
    """Return the choice that the value names, as a plain str; ``choices`` are an enum or some members.

    Raises ConfigError for another value.
    """
    for member in choices:
        if isinstance(value, str) and underscored(value) == underscored(member.value):
            return member.value
    raise ConfigError(f"{name}: expected one of {choice_names(choices)}; got {_shown(value)}")


def underscored(choice: str) -> str:
    """Return a choice with underscores for dashes: the two are the same in a choice."""
    return choice.replace("-", "_")


def check_flag(name: str, value: object) -> bool:
    """Return the value. Raise ConfigError unless it is true or false."""
    if not isinstance(value, bool):
        raise ConfigError(f"{name}: expected true or false; got {_shown(value)}")
    return value


def check_integer(
    name: str, value: object, low: float | None = None, high: float | None = None, below: float | None = None
) -> int:
    """Return the value as an int. Raise ConfigError unless it is an integer within the bounds."""
    if isinstance(value, bool) or not isinstance(value, Integral) or not _is_within(int(value), low, high, below):
        raise ConfigError(f"{name}: expected an integer{range_words(low, high, below, ',')}; got {_shown(value)}")
    return int(value)


def check_number(
    name: str, value: object, low: float | None = None, high: float | None = None, below: float | None = None
) -> float:
    """Return the value as an int or float. Raise ConfigError unless it is a finite number within the bounds."""
    if (
        isinstance(value, bool)
        or not isinstance(value, Real)
        or not _is_finite(value)
        or not _is_within(float(value), low, high, below)
    ):
        raise ConfigError(f"{name}: expected a number{range_words(low, high, below, 'g')}; got {_shown(value)}")
    return value if isinstance(value, int) else float(value)


def _is_finite(value: Real) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond the largest float
        return False


def _shown(value: object) -> str:
    try:
        return repr(value)
    except ValueError:  # Python refuses to print integers of thousands of digits
        return "a number of thousands of digits"


def _is_within(value: float, low: float | None, high: float | None, below: float | None) -> bool:
    return (low is None or value >= low) and (high is None or value <= high) and (below is None or value < below)


def range_words(low: float | None, high: float | None, below: float | None, style: str) -> str:
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
    words = range_words(metadata["low"], metadata["high"], metadata["below"], style).removeprefix(" from").strip()
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
            raise ConfigError(f"{name}: expected a list; got {_shown(value)}")
        if not value and not may_be_empty:
            raise ConfigError(f"{name}: expected at least one value; got an empty list")
        return tuple(check_value(name, item, kind, {**metadata, "empty": False}) for item in value)
    if kind is bool:
        return check_flag(name, value)
    if kind is int:
        return check_integer(name, value, low, high, below)
    if kind is float:
        return check_number(name, value, low, high, below)
    if choices is not None:
        return check_choice(name, value, choices)
    if not isinstance(value, str):
        raise ConfigError(f"{name}: expected text; got {_shown(value)}")
    if not value and not may_be_empty:
        raise ConfigError(f"{name}: expected text; got none")
    return value


def check_names(config: type["Config"], names: Iterable[str]) -> None:
    """Raise ConfigError for a name that is no option of the config class; the message has the nearest name."""
    known = [field.name for field in dataclasses.fields(config)]  # type: ignore[arg-type]
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            expected = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(known)}"
            raise ConfigError(f"{name}: no such option; {expected}")


class Config:
    """Base class of the frozen config dataclasses. Fields are declared by ``option`` and checked by its metadata."""

    __slots__ = ()

    def __new__(cls, *args: Any, **options: Any) -> Self:
        """Raise ConfigError for an option that does not exist; a dataclass raises a bare TypeError."""
        check_names(cls, options)
        return super().__new__(cls)

    @classmethod
    def given(cls, config: Self | None, **changes: Any) -> Self:
        """Return the config, by default that of all defaults, with changes. Raise ConfigError for another object."""
        if config is not None and not isinstance(config, cls):
            raise ConfigError(f"expected a {cls.__name__} or options by name; got a {type(config).__name__}")
        return (config or cls()).replace(**changes)

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
        return dataclasses.replace(self, **changes)  # type: ignore[type-var]

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as values that JSON can express."""
        fields = dataclasses.asdict(self)  # type: ignore[call-overload]
        return {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}
