"""Fixtures of the tests of packing: a corpus on disk, and a folder packed from it."""

from pathlib import Path

import pytest

import seampack
from seampack.packer import text_blocks
from tests.packer.corpus import SMALL, TEXTS, write_corpus


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A corpus read in many blocks, so that there are many windows."""
    monkeypatch.setattr(text_blocks, "BLOCK_BYTES", 512)
    return write_corpus(tmp_path / "corpus.jsonl", TEXTS)


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of several shards and a quarantined record, for tests that change none of them."""
    folder = tmp_path_factory.mktemp("packed")
    source = write_corpus(folder / "corpus.jsonl", TEXTS)
    with source.open("a") as file:
        file.write("{")
    seampack.pack(source, out=folder / "out", **{**SMALL, "on_bad": "quarantine"})
    return folder / "out"
