"""Input of the method: pairs and queries, or labelled responses, as prepared rows."""

from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash
from datasets import Dataset, Features, Value

from seampack.errors import ConfigError, DataError
from seampack.models.artifact import Artifact
from seampack.models.data import require, require_text
from seampack.models.refine.config import RefineConfig

_TEXTS = ("prompt", "optimized_prompt", "query", "good", "bad")
FEATURES = Features({name: Value("string") for name in _TEXTS} | {"attack": Value("bool")})
"""Columns of a prepared row: a pair, a query, or both; missing texts are empty."""
SAFETY_FEATURES = Features(
    {"response": Value("string"), "jailbroken": Value("bool"), "group": Value("string"), "held_out": Value("bool")}
)
_REMEDY = (
    "a refiner needs prompt and optimized_prompt, or query; rename your columns, or set their names in the options"
)


def refiner_rows(dataset: Dataset, config: RefineConfig) -> Dataset:
    """Return pairs and queries as FEATURES. Raise DataError if a column is missing or a row has neither."""
    require(dataset, [], _REMEDY)
    sources = _sources(dataset, config)
    attack = config.attack_column or _present(dataset, "attack")
    for column in [*sources.values(), *([attack] if attack else [])]:
        if column not in dataset.column_names:
            columns = ", ".join(dataset.column_names)
            raise DataError(f"the dataset has no column {column!r}; it has: {columns}; {_REMEDY}")
    texts = {name: _texts(dataset, sources[name]) if name in sources else [""] * len(dataset) for name in _TEXTS}
    if "query" not in sources:
        texts["query"] = list(texts["prompt"])
    rows = zip(texts["prompt"], texts["optimized_prompt"], texts["query"], strict=True)
    for row, (prompt, optimized, query) in enumerate(rows, 1):
        if bool(prompt.strip()) != bool(optimized.strip()) or not (prompt.strip() or query.strip()):
            raise DataError(
                f"row {row}: expected a pair of prompt and optimized_prompt, a query, or both; got an incomplete pair "
                "or an empty row"
            )
    attacks = _marks(dataset, attack) if attack else [False] * len(dataset)
    return Dataset.from_dict(texts | {"attack": attacks}, FEATURES)


def _sources(dataset: Dataset, config: RefineConfig) -> dict[str, str]:
    """Return the source column of each text of a prepared row; texts without a column are skipped.

    If there is no column of rewordings, and the options do not name one, prompts are queries.
    """
    columns = set(dataset.column_names)
    is_named = RefineConfig().optimized_column != config.optimized_column
    has_pairs = config.optimized_column in columns or is_named
    query = config.query_column or _present(dataset, "query")
    if not query and not has_pairs and config.prompt_column in columns:
        query = config.prompt_column
    sources = {
        "query": query,
        "good": config.good_column or _present(dataset, "good_res"),
        "bad": config.bad_column or _present(dataset, "bad_res"),
    }
    if has_pairs or not query:
        sources |= {"prompt": config.prompt_column, "optimized_prompt": config.optimized_column}
    return {name: sources[name] for name in _TEXTS if sources.get(name)}


def _present(dataset: Dataset, column: str) -> str:
    """Return the name of a column if the dataset has it, otherwise an empty text."""
    return column if column in dataset.column_names else ""


def _texts(dataset: Dataset, column: str) -> list[str]:
    """Return a column of text, with nulls as empty texts. Raise DataError for any other value."""
    values = dataset[column][:]
    if wrong := next((value for value in values if not isinstance(value, str | None)), None):
        raise DataError(f"column {column!r}: expected text; got {type(wrong).__name__} {wrong!r}")
    return [value or "" for value in values]


def where(dataset: Dataset, column: str, wanted: bool = True) -> Dataset:
    """Return the rows whose value in a column is true or not empty; with ``wanted=False`` the other rows."""
    return dataset.select([row for row, value in enumerate(dataset[column]) if bool(value) == wanted])


def _marks(dataset: Dataset, column: str) -> list[bool]:
    """Return a column of truth values, given as bool, 0 and 1, or text. Raise DataError for any other value."""
    require(dataset, [column])
    meanings = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    marks = []
    for row, value in enumerate(dataset[column], 1):
        text = str(int(value) if isinstance(value, float) and value.is_integer() else value)
        mark = meanings.get(text.strip().lower())
        if mark is None:
            raise DataError(f"column {column!r}, row {row}: expected true or false, 1 or 0, yes or no; got {value!r}")
        marks.append(mark)
    return marks


def safety_rows(dataset: Dataset, config: RefineConfig) -> Dataset:
    """Return labelled responses as SAFETY_FEATURES; a hash of the seed and the group selects the held-out groups."""
    require_text(dataset, config.response_column)
    group = config.group_column or _present(dataset, "behavior")
    require(dataset, [config.jailbroken_column, *([group] if group else [])])
    responses = dataset[config.response_column][:]
    groups = [str(value) for value in dataset[group]] if group else responses
    draws = [xxhash.xxh3_64_intdigest(f"{config.seed}\0{name}".encode()) / 2**64 for name in groups]
    columns = {
        "response": responses,
        "jailbroken": _marks(dataset, config.jailbroken_column),
        "group": groups,
        "held_out": [draw < config.held_out for draw in draws],
    }
    return Dataset.from_dict(columns, SAFETY_FEATURES)


def safety_facts(dataset: Dataset) -> tuple[dict[str, Any], dict[str, npt.NDArray[np.uint64]]]:
    """Return facts about the data, and the array ``trained``, the hashes of the responses used in training."""
    return {"responses": _digest(dataset)}, {"trained": np.unique(_hashes(where(dataset, "held_out", False)))}


def untrained_rows(dataset: Dataset, artifact: Artifact, config: RefineConfig) -> Dataset:
    """Return the rows whose response was not used in training; in the training file, these are the held-out rows.

    Raises ConfigError if the dataset is the training file and the options hold out other rows than in training.
    """
    trained = artifact.tensors["trained"]
    selected = np.unique(_hashes(where(dataset, "held_out", False)))
    if artifact.facts["data"]["responses"] == _digest(dataset) and not np.array_equal(selected, trained):
        names = [name for name in _SPLITTING if getattr(config, name) != artifact.config[name]]
        expected = ", ".join(f"{name} {artifact.config[name]!r}" for name in names)
        got = ", ".join(f"{name} {getattr(config, name)!r}" for name in names)
        raise ConfigError(
            f"{', '.join(names) or 'group'}: this is the training file, but other groups are held out; "
            f"expected {expected or 'the groups of training'}; got {got or 'other groups'}; "
            f"keep {', '.join(_SPLITTING)}, or train again with the new values"
        )
    return dataset.select(np.flatnonzero(~np.isin(_hashes(dataset), trained)))


_SPLITTING = ("held_out", "seed", "group_column")
"""Options that determine the held-out rows."""


def _hashes(dataset: Dataset) -> npt.NDArray[np.uint64]:
    """Return a hash of each row's response."""
    return np.array([xxhash.xxh3_64_intdigest(text.encode()) for text in dataset["response"]], np.uint64)


def _digest(dataset: Dataset) -> str:
    """Return a hash of the responses that does not depend on their order."""
    return xxhash.xxh3_128_hexdigest(np.sort(_hashes(dataset)).tobytes())
