"""Columns that documents have besides their tokens, and their types, which the options alone decide.

A *carried* column has a number for each token; it travels with the token ids. A *kept* column has one value for each
document. Both are declared as ``NAME`` or ``NAME:TYPE``, so that every shard of every input has the same types.
"""

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import Any

from seampack.errors import ConfigError

IGNORE_INDEX = -100
"""The label that losses of the Hugging Face libraries ignore."""
LABELS = "labels"
ATTENTION_MASK = "attention_mask"
LOSS_MASK = "loss_mask"
LOSS_MASKS = (LOSS_MASK, "completion_mask", "assistant_masks")
MASKS = (ATTENTION_MASK, *LOSS_MASKS)
"""Names of columns whose values must be 0 or 1."""
TRAINED = (LABELS, *LOSS_MASKS)
"""Names of columns that say which tokens to train on: with the option ``labels``, each token once."""
ADDED_COLUMNS = ("seq_lengths", "doc_ids", "doc_starts", "repeated")
"""Columns of the rows that packing adds."""
PADDING = "padding"
"""Column of rows whose segments are padded to a multiple: the padding of each, which ``seq_lengths`` counts too."""
CARRIED_BY = ("carry", "messages_column", "prompt_column", "train_on", "labels")
"""Fields of a PackConfig that decide which columns are carried."""
_TAKEN = ("input_ids", "text", "id", *ADDED_COLUMNS, PADDING)


class TrainOn(StrEnum):
    """The tokens of a conversation that a model is trained on: those with 1 in the column ``loss_mask``."""

    ALL = "all"
    """All messages of the assistant."""
    LAST = "last"
    """The last message of the assistant."""
    NONE = "none"
    """No choice: there is no ``loss_mask``, and every token is trained on."""


class CarriedType(StrEnum):
    """Type of the values of a carried column."""

    INT8 = "int8"
    INT16 = "int16"
    INT32 = "int32"
    INT64 = "int64"
    UINT8 = "uint8"
    UINT16 = "uint16"
    UINT32 = "uint32"
    FLOAT32 = "float32"
    FLOAT64 = "float64"


class KeptType(StrEnum):
    """Type of the values of a kept column."""

    STRING = "string"
    INT64 = "int64"
    FLOAT64 = "float64"


def carried_types(options: Mapping[str, Any]) -> dict[str, str]:
    """Return the type of each carried column, by name, given the fields of a PackConfig.

    Raises ConfigError for a type that does not exist, and for a name that is there twice or that the rows use.
    """
    return {**_types("carry", options.get("carry", ()), _default_type, CarriedType), **_chat_types(options)}


def kept_types(options: Mapping[str, Any]) -> dict[str, str]:
    """Return the type of each kept column, by name, given the fields of a PackConfig. Raise as ``carried_types``."""

    def types(option: str, declared: Iterable[str]) -> dict[str, str]:
        return _types(option, declared, lambda name: KeptType.STRING.value, KeptType)

    group = options.get("group_column")
    groups, kept = types("group_column", () if group is None else (group,)), types("keep", options.get("keep", ()))
    for name, kind in groups.items():
        if name != group and kept.get(name, kind) != kind:
            raise ConfigError(f"keep: expected {group}, the type in group_column; got {name}:{kept[name]}")
    return groups | kept


def _chat_types(options: Mapping[str, Any]) -> dict[str, str]:
    """Return the types of the columns that the packing of conversations adds to the token ids."""
    reads_chats = any(options.get(name) is not None for name in ("messages_column", "prompt_column"))
    if not reads_chats or options.get("train_on") == TrainOn.NONE:
        return {}
    names = (LOSS_MASK, LABELS) if options.get("labels") else (LOSS_MASK,)
    return {name: _default_type(name) for name in names}


def pad_of(name: str) -> int:
    """Return the value of a carried column where a row is padded."""
    return IGNORE_INDEX if name == LABELS else 0


def _default_type(name: str) -> str:
    if name == LABELS:
        return CarriedType.INT32.value
    return CarriedType.UINT8.value if name in MASKS else CarriedType.INT64.value


def _types(option: str, declared: Iterable[str], default: Callable[[str], str], known: type[StrEnum]) -> dict[str, str]:
    types: dict[str, str] = {}
    for each in declared:
        name, colon, kind = each.partition(":")
        kind = kind if colon else default(name)
        if kind not in list(known):
            raise ConfigError(f"{option}: expected NAME or NAME:TYPE with a type of {', '.join(known)}; got {each!r}")
        if not name or name in _TAKEN or name in types:
            raise ConfigError(
                f"{option}: expected names of different columns, other than {', '.join(_TAKEN)}; got {each!r}"
            )
        if known is CarriedType and name == LABELS and not kind.startswith("int"):
            raise ConfigError(f"{option}: expected a signed type for labels, which -100 fits; got {each!r}")
        types[name] = kind
    return types
