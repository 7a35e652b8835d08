"""Prepared rows: pairs, queries and attacks in one dataset."""

from typing import Any

import pytest
from datasets import Dataset

from seampack.errors import DataError
from seampack.models.refine import (
    RefineConfig,
)
from seampack.models.refine.adapter import ADAPTER


def test_pairs_and_queries_may_share_a_dataset() -> None:
    rows = [
        {"prompt": "a", "optimized_prompt": "b", "query": None, "attack": "no"},
        {"prompt": None, "optimized_prompt": None, "query": "q", "attack": "yes"},
    ]
    prepared = ADAPTER.prepare(Dataset.from_list(rows), RefineConfig())
    assert prepared["query"][:] == ["", "q"]
    assert prepared["prompt"][:] == ["a", ""]
    assert prepared["attack"][:] == [False, True]
    alone = ADAPTER.prepare(Dataset.from_dict({"query": ["q"]}), RefineConfig())
    assert alone.features == prepared.features


def test_attacks_may_be_in_a_column_of_prompts() -> None:
    prepared = ADAPTER.prepare(Dataset.from_dict({"prompt": ["q", "r"], "attack": [1, 0]}), RefineConfig())
    assert (prepared["query"][:], prepared["prompt"][:]) == (["q", "r"], ["", ""])
    with pytest.raises(DataError, match="no column 'better'"):
        ADAPTER.prepare(Dataset.from_dict({"prompt": ["q"]}), RefineConfig(optimized_column="better"))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"prompt": "a", "optimized_prompt": " "}], "row 1: .* got an incomplete pair"),
        ([{"query": ""}], "row 1"),
        ([{"prompt": 1, "optimized_prompt": "b"}], "expected text; got int 1"),
        ([{"query": "q", "attack": "perhaps"}], "got 'perhaps'"),
        ([{"text": "a"}], "no column 'prompt'"),
    ],
)
def test_rows_that_cannot_be_used(rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        ADAPTER.prepare(Dataset.from_list(rows), RefineConfig())
