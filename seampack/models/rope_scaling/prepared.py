"""Prepared prompts: checks against the options, selection of rows, hashes."""

from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash
from datasets import Dataset

from seampack.errors import ConfigError, DataError
from seampack.models.data import require, require_text
from seampack.models.rope_scaling.config import RopeScalingConfig
from seampack.models.rope_scaling.retrieval import MADE_WITH, PREPARED, SOURCE

Hashes = npt.NDArray[np.uint64]


def require_prepared(dataset: Dataset) -> None:
    """Raise DataError unless a dataset has the columns of ``KVRetrieval.prompts``."""
    require(dataset, PREPARED, "prepare the dataset first")
    for column in ("prompt", "answer"):
        require_text(dataset, column)


def check_made_with(dataset: Dataset, config: RopeScalingConfig) -> None:
    """Raise ConfigError unless the prompts were made with the config's ``pairs``, ``positions`` and ``gold``."""
    positions = sorted(dataset.unique("gold_position"))
    if positions != sorted(map(float, config.positions)):
        raise ConfigError(
            f"positions: the data was prepared with {positions}; got {list(config.positions)}; "
            "use the same positions, or prepare the data again"
        )
    default = RopeScalingConfig()
    for name in MADE_WITH:
        wanted = getattr(config, name)
        if name not in dataset.column_names:
            if wanted != getattr(default, name):
                raise ConfigError(
                    f"{name}: the prepared data has no column {name!r}, so {wanted!r} cannot be checked; "
                    "use the default, or prepare the data again"
                )
        elif (values := dataset.unique(name)) != [wanted]:
            raise ConfigError(
                f"{name}: the data was prepared with {', '.join(map(repr, values))}; got {wanted!r}; "
                "use the same value, or prepare the data again"
            )


def select_rows(dataset: Dataset, config: RopeScalingConfig) -> Dataset:
    """Return the prompts of ``config.rows`` rows from ``config.first_row`` on. Raise DataError if there are none."""
    if not config.first_row and not config.rows:
        return dataset
    examples = np.array(dataset["example"][:])
    kept = examples >= config.first_row
    if config.rows:
        kept &= examples < config.first_row + config.rows
    if not kept.any():
        last = f"{config.first_row + config.rows:,}" if config.rows else "the last"
        raise DataError(
            f"first_row, rows: no prompt belongs to the rows {config.first_row + 1:,} to {last}; the prepared data has "
            f"rows {examples.min() + 1:,} to {examples.max() + 1:,}; choose among these (first_row counts from 0), or "
            "prepare the data again"
        )
    return dataset if kept.all() else dataset.select(np.flatnonzero(kept))


def prompt_weights(dataset: Dataset, config: RopeScalingConfig) -> npt.NDArray[np.float64]:
    """Return the weight of each prompt, shape (prompts,). Raise DataError if a position has no weight."""
    positions = dataset["gold_position"][:]
    if not config.position_weights:
        return np.ones(len(positions))
    weights = dict(zip(config.positions, config.position_weights, strict=True))
    if unknown := sorted(set(positions) - set(weights)):
        raise DataError(
            f"gold_position {unknown[0]}: not one of the positions {list(config.positions)}; prepare the data again"
        )
    return np.array([weights[position] for position in positions])


def prompt_hashes(dataset: Dataset) -> Hashes:
    """Return a hash of each prompt with its answer, shape (prompts,)."""
    pairs = zip(dataset["prompt"][:], dataset["answer"][:], strict=True)
    return np.array([xxhash.xxh3_64_intdigest(f"{prompt}{answer}".encode()) for prompt, answer in pairs], np.uint64)


def source_hashes(dataset: Dataset) -> Hashes:
    """Return the hash of each prompt's row, shape (prompts,); empty if the column ``source`` is missing."""
    sources: list[Any] = dataset[SOURCE][:] if SOURCE in dataset.column_names else []
    return np.array([int(source, 16) for source in sources], np.uint64)


def seen_in_search(dataset: Dataset, searched: Hashes) -> npt.NDArray[np.bool_]:
    """Return flags of the prompts whose rows are in ``searched``, shape (prompts,).

    The hashes of prompts are compared as well, because a user's prompts may have no column ``source``.
    """
    seen: npt.NDArray[np.bool_] = np.isin(prompt_hashes(dataset), searched)
    sources = source_hashes(dataset)
    return seen | np.isin(sources, searched) if sources.size else seen
