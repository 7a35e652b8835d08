"""Settings of all tests of watermarks."""

import gc
from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True, scope="module")
def quick() -> Iterator[None]:
    """Use one thread, which is faster for small models, and skip the garbage collection before each training."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    gc.freeze()
    yield
    gc.unfreeze()
    torch.set_num_threads(threads)
