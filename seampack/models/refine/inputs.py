"""What a dataset must look like, and how it is brought into that shape."""

from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash
from datasets import Dataset, Features, Value

from seampack.errors import ConfigError, DataError
from seampack.models.artifact import Artifact, fingerprint
from seampack.models.data import require, require_text
from seampack.models.refine.config import RefineConfig

_TEXTS = ("prompt", "optimized_prompt", "query", "good", "bad")
FEATURES = Features({name: Value("string") for name in _TEXTS} | {"attack": Value("bool")})
"""A prepared row: a pair, a query, or both; what it has not is empty."""
SAFETY_FEATURES = Features(
    {"response": Value("string"), "jailbroken": Value("bool"), "group": Value("string"), "held_out": Value("bool")}
)
_REMEDY = (
    "a refiner learns from prompt and optimized_prompt, or from query; rename the columns, or name yours in the options"
)


def refiner_rows(dataset: Dataset, config: RefineConfig) -> Dataset:
    """Pairs and queries, FEATURES. Raises DataError for a missing column, or a row that has neither."""
    have = dataset.column_names
    query = config.query_column or ("query" if "query" in have else "")
    attack = config.attack_column or ("attack" if "attack" in have else "")
    good = config.good_column or ("good_res" if "good_res" in have else "")
    bad = config.bad_column or ("bad_res" if "bad_res" in have else "")
    named = RefineConfig.__dataclass_fields__["optimized_column"].default != config.optimized_column
    if not query and not named and config.prompt_column in have and config.optimized_column not in have:
        query = config.prompt_column
    paired = config.optimized_column in have or named or not query
    pair = {"prompt": config.prompt_column, "optimized_prompt": config.optimized_column} if paired else {}
    wanted = pair | {name: column for name, column in (("query", query), ("good", good), ("bad", bad)) if column}
    require(dataset, [], _REMEDY)
    for column in [*wanted.values(), *([attack] if attack else [])]:
        if column not in have:
            raise DataError(f"the dataset has no column {column!r}; it has: {', '.join(have)}; {_REMEDY}")
    texts: dict[str, list[str]] = {}
    for name in _TEXTS:
        values = dataset[wanted[name]][:] if name in wanted else [None] * len(dataset)
        if wrong := next((value for value in values if not isinstance(value, str | None)), None):
            raise DataError(f"column {wanted[name]!r}: expected text; got {type(wrong).__name__} {wrong!r}")
        texts[name] = [value or "" for value in values]
    if not query:
        texts["query"] = list(texts["prompt"])
    for at, (first, second, asked) in enumerate(
        zip(texts["prompt"], texts["optimized_prompt"], texts["query"], strict=True)
    ):
        if bool(first.strip()) != bool(second.strip()) or not (first.strip() or asked.strip()):
            raise DataError(
                f"row {at}: expected a prompt and an optimized_prompt, a query, or all; one of a pair is empty"
            )
    attacks = _marks(dataset, attack) if attack else [False] * len(dataset)
    return Dataset.from_dict(texts | {"attack": attacks}, FEATURES)


def where(dataset: Dataset, column: str, wanted: bool = True) -> Dataset:
    """The rows whose value in a column is true, or not empty; or those others."""
    return dataset.select([at for at, value in enumerate(dataset[column]) if bool(value) == wanted])


def _marks(dataset: Dataset, column: str) -> list[bool]:
    """A column of yes and no, as bool, 0 and 1, or text."""
    require(dataset, [column])
    known = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    found = []
    for value in dataset[column]:
        mark = known.get(str(int(value) if isinstance(value, float) and value.is_integer() else value).strip().lower())
        if mark is None:
            raise DataError(f"column {column!r}: expected true or false, 1 or 0, yes or no; got {value!r}")
        found.append(mark)
    return found


def safety_rows(dataset: Dataset, config: RefineConfig) -> Dataset:
    """Labelled responses, SAFETY_FEATURES; which groups are held out is drawn by a hash of the seed and the group."""
    require_text(dataset, config.response_column)
    group = config.group_column or ("behavior" if "behavior" in dataset.column_names else "")
    require(dataset, [config.jailbroken_column, *([group] if group else [])])
    responses = dataset[config.response_column][:]
    groups = [str(value) for value in dataset[group]] if group else responses
    places = [xxhash.xxh3_64_intdigest(f"{config.seed}\0{name}".encode()) / 2**64 for name in groups]
    columns = {
        "response": responses,
        "jailbroken": _marks(dataset, config.jailbroken_column),
        "group": groups,
        "held_out": [place < config.held_out for place in places],
    }
    return Dataset.from_dict(columns, SAFETY_FEATURES)


def safety_facts(dataset: Dataset) -> tuple[dict[str, Any], dict[str, npt.NDArray[np.uint64]]]:
    """What tells an artifact the rows that it was trained on: facts of the data, and ``trained``, responses' hashes."""
    facts = {"fingerprint": fingerprint(dataset), "responses": _all_of(dataset), "rows": len(dataset)}
    return facts, {"trained": np.unique(_hashes(where(dataset, "held_out", False)))}


def untrained_rows(dataset: Dataset, artifact: Artifact, config: RefineConfig) -> Dataset:
    """The rows whose response was not trained on, in whatever group: of the training file, those held out.

    Raises ConfigError for the training file with other rows held out: it was not trained as the options say.
    """
    trained = artifact.tensors["trained"]
    taught = np.unique(_hashes(where(dataset, "held_out", False)))
    if artifact.facts["data"]["responses"] == _all_of(dataset) and not np.array_equal(taught, trained):
        names = [name for name in _DEALING if getattr(config, name) != artifact.config[name]]
        expected = ", ".join(f"{name} {artifact.config[name]!r}" for name in names)
        got = ", ".join(f"{name} {getattr(config, name)!r}" for name in names)
        raise ConfigError(
            f"{', '.join(names) or 'group'}: these are the responses of training, with other groups held out than "
            f"there; expected {expected or 'the groups of training'}; got {got or 'others'}; "
            f"keep {', '.join(_DEALING)}, or train anew with them"
        )
    return dataset.select(np.flatnonzero(~np.isin(_hashes(dataset), trained)))


_DEALING = ("held_out", "seed", "group_column")
"""Options that say which rows are held out."""


def _hashes(dataset: Dataset) -> npt.NDArray[np.uint64]:
    """A hash of each row's response."""
    return np.array([xxhash.xxh3_64_intdigest(text.encode()) for text in dataset["response"]], np.uint64)


def _all_of(dataset: Dataset) -> str:
    """Hash of the responses, whatever order they are in."""
    return xxhash.xxh3_128_hexdigest(np.sort(_hashes(dataset)).tobytes())
