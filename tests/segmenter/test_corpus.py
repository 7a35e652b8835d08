"""Chunks and ids of units, as the language model reads them."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")

from seampack.segmenter.corpus import ChunkCorpus, Vocabulary, chunk_offsets
from seampack.segmenter.units import Alphabet
from tests.segmenter.test_units import ALPHABETS, TEXT


@given(st.lists(TEXT, max_size=4), st.sampled_from(sorted(ALPHABETS)), st.integers(2, 9))
def test_chunks_cut_units_into_stretches(texts: list[str], script: str, most: int) -> None:
    units, _ = ALPHABETS[script].units(texts)
    offsets = chunk_offsets(units, most)
    assert offsets[0] == 0
    assert offsets[-1] == units.key.size
    assert np.all((np.diff(offsets) >= 1) & (np.diff(offsets) <= most))
    begins = set(offsets.tolist())
    assert set(np.flatnonzero(units.spaced).tolist()) <= begins


def test_chunks_end_after_marks() -> None:
    """Chunks also end before white space; a closing mark belongs to its chunk, an opening mark ends no chunk."""
    texts = ["研究，生命。的", "「起源」、我们", "在 北京", "好！", "a;b"]
    chunks = []
    for text in texts:
        units, _ = Alphabet("zh").units([text])
        offsets = chunk_offsets(units, 40)
        chunks.append([text[units.begin[a] : units.end[b - 1]] for a, b in itertools.pairwise(offsets.tolist())])
    assert chunks == [["研究，", "生命。", "的"], ["「起源」、", "我们"], ["在", "北京"], ["好！"], ["a;", "b"]]


def test_vocabulary() -> None:
    units, _ = ALPHABETS["zh"].units(["研究研究生"])
    vocabulary = Vocabulary.of(units, 2)
    assert vocabulary.size == 5
    assert vocabulary.ids(units.key).tolist().count(2) == 1
    assert Vocabulary(np.empty(0, np.uint64)).ids(units.key).tolist() == [2] * 5


def test_reversed_chunks() -> None:
    units, _ = ALPHABETS["zh"].units(["研究，生命的"])
    corpus = ChunkCorpus.of(units, Vocabulary.of(units, 1), 40)
    back = corpus.reversed()
    for begin, end in zip(corpus.offsets, corpus.offsets[1:], strict=False):
        assert back.ids[begin:end].tolist() == corpus.ids[begin:end][::-1].tolist()
    assert np.array_equal(back.reversed().ids, corpus.ids)
