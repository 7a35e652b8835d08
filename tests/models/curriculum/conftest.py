"""Shared fixtures of the curriculum's tests."""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from seampack.models.curriculum.small import piece_tokenizer, small_model
from tests.models.curriculum.world import prepared


@pytest.fixture(autouse=True, scope="package")
def _one_thread() -> Iterator[None]:
    """Small networks are slower on several threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="package")
def tiny() -> tuple[Any, Any]:
    """A model of one layer with random weights, and its tokenizer."""
    rows = prepared(200)
    tokenizer = piece_tokenizer([*rows["question"], "".join(itertools.chain(*rows["steps"]))])
    return small_model(tokenizer, width=32, layers=1), tokenizer
