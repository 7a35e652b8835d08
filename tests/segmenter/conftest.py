"""Fixtures of the segmenter's tests."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seampack.segmenter import apply as applying
from seampack.segmenter.apply_config import ApplyConfig
from tests.segmenter.dummy import EachFew


@pytest.fixture
def segmented(tmp_path: Path) -> Callable[..., bytes]:
    """A function from the bytes of an input file to the bytes of the output."""

    def apply(data: bytes, *, name: str = "in.txt", out: str = "out", **options: Any) -> bytes:
        (tmp_path / name).write_bytes(data)
        applying.apply(EachFew(), tmp_path / name, tmp_path / out, ApplyConfig(**options))
        return (tmp_path / out).read_bytes()

    return apply
