"""Mixes: sources by name and weight, and how many tokens, and which documents, are taken of each."""

import glob
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from seampack.config import check_number
from seampack.errors import ConfigError
from seampack.io.formats import stem_of
from seampack.packer import _layout_kernels as layout
from seampack.packer.plans import Int64

MIX = "mix"
"""Note of a packed folder with what was taken of each source of its blend."""
SOURCE_COLUMNS = {
    "name": "source",
    "weight": "weight",
    "share": "share",
    "tokens": "tokens",
    "documents": "documents",
    "epochs": "epochs",
    "documents_unused": "documents unused",
    "tokens_unused": "tokens unused",
}
"""The entries of a source in that note which are shown, and their headings."""


def noted_sources(notes: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what was taken of each source of a blend, for tables; none if a folder is no blend."""
    noted = notes.get(MIX)
    sources = noted.get("sources") if isinstance(noted, Mapping) else None
    if not isinstance(sources, list) or not all(isinstance(each, dict) for each in sources):
        return []
    return [each for each in sources if each.keys() >= SOURCE_COLUMNS.keys()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """An input of ``pack``: token stores by name, and the weight of each.

    A source may also be a corpus, as for ``pack`` (paths, or documents in memory), which is tokenised for one run.
    ``repeat``: sources are repeated until the one that lasts longest was read once; otherwise, the blend ends where the
    scarcest source does, and the rest of the others is not used.

    Raises ConfigError for weights that are not positive numbers, for names that have no store or no weight, and for
    names that a command could not take: ``/`` and ``=`` are not allowed.
    """

    stores: Mapping[str, Any]
    weights: Mapping[str, float]
    repeat: bool = False

    def __post_init__(self) -> None:
        for option, given in (("stores", self.stores), ("weights", self.weights)):
            if not isinstance(given, Mapping):
                raise ConfigError(f"mix: {option}: expected a mapping by name; got {given!r}")
        for name in self.stores:
            if not isinstance(name, str) or not name or "/" in name or "=" in name:
                raise ConfigError(f"mix: expected text without / and = as the name of a source; got {name!r}")
        for name in self.weights:
            if name not in self.stores:
                raise ConfigError(f"mix: no input is named {name!r}; the inputs are {', '.join(self.stores) or 'none'}")
        weights = {name: _checked_weight(name, weight) for name, weight in self.weights.items()}
        object.__setattr__(self, "weights", weights)
        if missing := [name for name in self.stores if name not in self.weights]:
            raise ConfigError(f"mix: the input {missing[0]!r} has no weight; add --mix {missing[0]}=WEIGHT")
        if not self.stores:
            raise ConfigError("mix: expected at least one input NAME=INPUT; got none")

    @classmethod
    def parsed(cls, inputs: Sequence[str], weights: Iterable[str], *, repeat: bool) -> "Mix":
        """Return the mix of ``NAME=INPUT`` and ``NAME=WEIGHT``; without inputs, that of ``INPUT=WEIGHT``.

        Raises ConfigError for other text.
        """
        if not inputs:
            named = {name: each.rpartition("=") for name, each in _named(weights).items()}
            stores = {name: place for name, (place, _, _) in named.items()}
            return cls(stores=stores, weights={name: _number(each[2]) for name, each in named.items()}, repeat=repeat)
        return cls(
            stores=pairs(inputs, "inputs", "NAME=INPUT"),
            weights={name: _number(value) for name, value in pairs(weights, "mix", "NAME=WEIGHT").items()},
            repeat=repeat,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenisedMix(Mix):
    """A mix of which some stores were made for one run, and are removed at its end."""

    corpora: Mapping[str, str]
    """The inputs that these were made from, by the names of their sources."""


def pairs(items: Iterable[str], option: str, form: str) -> dict[str, str]:
    """Return the values of ``NAME=VALUE`` by name. Raise ConfigError, naming the option, for other text."""
    found: dict[str, str] = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not (name and equals and value) or "/" in name:
            raise ConfigError(f"{option}: expected {form} in a mix; got {item!r}")
        if name in found:
            raise ConfigError(f"{option}: expected each name once; got {name!r} twice")
        found[name] = value
    return found


def _named(items: Iterable[str]) -> dict[str, str]:
    """Return each ``INPUT=WEIGHT`` by the name of its input: that of the file without its endings, or of the folder.

    Raises ConfigError for other text, for a glob, and for two inputs of one name.
    """
    found: dict[str, str] = {}
    remedy = "name the inputs: seampack pack NAME=INPUT ... --mix NAME=WEIGHT"
    for item in items:
        place, _, weight = item.rpartition("=")
        name = stem_of(place)
        if not (place and weight):
            raise ConfigError(f"mix: expected INPUT=WEIGHT, such as web.jsonl=0.7; got {item!r}")
        if not name or glob.has_magic(name):
            raise ConfigError(f"mix: {place}: a source needs a name; {remedy}")
        if name in found:
            raise ConfigError(f"mix: {found[name].rpartition('=')[0]} and {place} have one name, {name}; {remedy}")
        found[name] = item
    return found


def _checked_weight(name: str, weight: object) -> float:
    """Return a weight as an int or float. Raise ConfigError if it is no positive number."""
    try:
        number = check_number(name, weight)
    except ConfigError:
        number = 0
    if number <= 0:
        raise ConfigError(f"mix: expected a number greater than 0 as the weight of {name!r}; got {weight!r}")
    return number


def _number(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text  # which Mix refuses


def refuse_groups(column: str | None) -> None:
    """Raise ConfigError for sources whose documents are in groups."""
    if column is not None:
        raise ConfigError(
            "group_column: a mix draws documents one by one, so that groups do not stay together; tokenise the "
            "sources without it, and with keep"
        )


class Taken(NamedTuple):
    """The documents that a blend takes of a source, in order."""

    documents: Int64
    """Places of the documents in the store; a repeated document is there again."""
    epochs: Int64
    """How often each was taken before."""


def take(lengths: Int64, target: int, seeds: tuple[int, ...]) -> Taken:
    """Take documents with ``target`` tokens in all, to the nearest document, in an order drawn for each epoch.

    ``lengths`` have at least one token.
    """
    whole = target // int(lengths.sum())
    orders = [
        layout.shuffled(lengths.size, np.random.SeedSequence([*seeds, epoch]).generate_state(1, np.uint64)[0])
        for epoch in range(whole + 1)
    ]
    documents = np.concatenate(orders).astype(np.int64)
    ends = np.cumsum(lengths[documents])
    count = int(np.searchsorted(ends, target))  # the first end that reaches the target, or is beyond it
    before = int(ends[count - 1]) if count else 0
    count += target - before > int(ends[count]) - target if count < ends.size and before < target else 0
    return Taken(documents[:count], np.repeat(np.arange(whole + 1), lengths.size)[:count])


def targets(tokens: list[int], weights: list[float], *, repeat: bool) -> list[int]:
    """Return the tokens to take of each source, given those that it has: exact shares of the largest possible sum.

    Without ``repeat``, no source has too few; with it, no source has too many.
    """
    exact = [Fraction(str(weight)) for weight in weights]
    sums = [have / weight for have, weight in zip(tokens, exact, strict=True)]
    total = max(sums) if repeat else min(sums)
    return [round(total * weight) for weight in exact]
