"""Fixtures of the rope_scaling tests."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from tests.models.rope_scaling.helpers import bundled_tokenizer, tiny


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Models this small are slower on several threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    return bundled_tokenizer()


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> str:
    """A tiny Llama and its tokenizer on disk."""
    path = tmp_path_factory.mktemp("model")
    tiny().save_pretrained(path)
    tokenizer.save_pretrained(path)
    return str(path)
