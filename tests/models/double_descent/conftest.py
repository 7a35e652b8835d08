"""Settings of all tests of double descent."""

from typing import Any

import pytest
import torch


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Any:
    """Small networks are slower on several threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
