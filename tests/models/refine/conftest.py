"""Shared fixtures of the refiner's tests."""

from collections.abc import Iterator

import pytest
import torch

from seampack.models.refine import Refiner
from tests.models.refine.world import QUERIES, refiner_of


@pytest.fixture(scope="package", autouse=True)
def _one_thread() -> Iterator[None]:
    """Small networks are slower on several threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def small() -> Refiner:
    """Fresh weights, the vocabulary of the small world."""
    return refiner_of(*QUERIES, "user assistant", max_new_tokens=6)
