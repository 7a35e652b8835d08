"""Settings of all tests of watermarks."""

import gc
from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True, scope="module")
def quick() -> Iterator[None]:
    """Models this small are slower on several threads; and each training first collects all garbage of the process."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    gc.freeze()
    yield
    gc.unfreeze()
    torch.set_num_threads(threads)
