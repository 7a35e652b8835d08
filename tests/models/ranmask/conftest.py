"""Settings and models of all tests of RanMASK."""

from collections.abc import Iterator

import pytest
import torch
from datasets import Dataset

from seampack.models.data import load
from seampack.models.ranmask import (
    RanmaskConfig,
)
from tests.models.ranmask.helpers import DATA, QUICK


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Models this small are slower on several threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def sentences() -> Dataset:
    """Held-out rows first."""
    return load(str(DATA / "subjectivity.csv")).shuffle(seed=0)


@pytest.fixture(scope="module")
def config() -> RanmaskConfig:
    return RanmaskConfig(**QUICK)
