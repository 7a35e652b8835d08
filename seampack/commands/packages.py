"""The packages that seampack needs, as its own metadata declares them, and what is missing of each extra."""

import re
from importlib import metadata
from typing import NamedTuple

_NAME = "seampack"
_REQUIREMENT = re.compile(
    r"""(?P<name>[\w.-]+) (?:\[(?P<extras>[^]]*)\])? [^;>]* (?:>=(?P<least>[\w.]+))? [^;]*
    (?:; .*? extra \s*==\s* ["'](?P<extra>[\w-]+)["'])?""",
    re.VERBOSE,
)
DEVELOPMENT = ("test", "lint", "bench", "peers", "docs")
"""Extras for work on seampack itself."""


class Requirement(NamedTuple):
    """A package that seampack, or an extra of it, needs."""

    name: str
    least: str
    """The earliest version that is accepted, or an empty text."""
    extra: str
    """The extra that needs it; empty if seampack itself does."""
    extras: tuple[str, ...]
    """The extras of the package that are needed."""

    @property
    def fault(self) -> str:
        """What is wrong with the package, or an empty text."""
        version = version_of(self.name)
        if version is None:
            return f"{self.name} is not installed"
        is_old = _numbers(version) < _numbers(self.least)
        return f"{self.name} {version} is too old: expected {self.least} or later" if is_old else ""


def requirements() -> list[Requirement] | None:
    """Return what the installed seampack declares, or None if it runs without being installed."""
    try:
        lines = metadata.requires(_NAME) or []
    except metadata.PackageNotFoundError:
        return None
    return [parsed(line) for line in lines]


def parsed(line: str) -> Requirement:
    """Return a line of the metadata as a requirement.

    >>> parsed("datasets>=3.0; extra == 'datasets'")
    Requirement(name='datasets', least='3.0', extra='datasets', extras=())
    """
    match = _REQUIREMENT.fullmatch(line)
    if match is None:
        raise ValueError(f"expected a requirement; got {line!r}")
    extras = tuple(name.strip() for name in (match["extras"] or "").split(",") if name.strip())
    return Requirement(match["name"], match["least"] or "", match["extra"] or "", extras)


def missing_of_extras(declared: list[Requirement]) -> dict[str, list[str]]:
    """Return what is missing of each extra that a user may want, also of the extras that it includes."""
    names = sorted({each.extra for each in declared} - {"", *DEVELOPMENT})
    return {name: sorted(set(_missing(name, declared))) for name in names}


def _missing(extra: str, declared: list[Requirement]) -> list[str]:
    faults = []
    for each in declared:
        if each.extra == extra and each.name == _NAME:
            faults += [fault for name in each.extras for fault in _missing(name, declared)]
        elif each.extra == extra and each.fault:
            faults.append(each.fault)
    return faults


def version_of(name: str) -> str | None:
    """Return the version of an installed package, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> tuple[int, ...]:
    """Return the numbers that a version begins with, without zeros at their end."""
    numbers = [int(number) for number in re.findall(r"\d+", re.split(r"[^\d.]", version)[0])]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)
