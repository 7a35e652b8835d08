"""What holds of a segmenter whatever its parameters are: units that are words, options, texts that are none."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import seampack
from seampack.errors import ConfigError, DataError, ShardError
from seampack.segmenter._unit_kernels import KIND_SCRIPT
from seampack.segmenter.dictionary import Dictionary
from seampack.segmenter.model import Segmenter
from seampack.segmenter.units import Alphabet
from tests.segmenter import tiny

ALPHABET = Alphabet("zh")
MIXED = ["研究2001年在OK公司，生命。", "12.5研，，究ab 的12", "。", "", " "]


@pytest.fixture(scope="module")
def joining(tmp_path_factory: pytest.TempPathFactory) -> Segmenter:
    """A student that joins whatever it may."""
    return Segmenter.load(tiny.save(tmp_path_factory.mktemp("models") / "joining", end_bias=-1e4))


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Segmenter:
    """A student and language models."""
    pytest.importorskip("torch")
    return Segmenter.load(tiny.save(tmp_path_factory.mktemp("models") / "both", teacher=True))


def runs(text: str) -> list[str]:
    """Obvious twin of what joins all it may: stretches of script between white space and units of other kinds."""
    units, _ = ALPHABET.units([text])
    words: list[str] = []
    last = None
    for begin, end, kind, spaced in zip(units.begin, units.end, units.kind, units.spaced, strict=True):
        if last == kind == KIND_SCRIPT and not spaced:
            words[-1] += text[begin:end]
        else:
            words.append(text[begin:end])
        last = kind
    return words


@given(st.lists(st.text("研究生e\u0301aB12.，。 \u3000", max_size=20), max_size=3))
def test_units_that_are_words_by_themselves_are_never_joined(joining: Segmenter, texts: list[str]) -> None:
    for threshold in (None, 0.5, 1):
        assert joining.segment(texts, threshold=threshold) == list(map(runs, texts))


@pytest.mark.parametrize("threshold", [None, 0.5, 1])
def test_student_and_language_models_end_words_there_alike(both: Segmenter, threshold: float | None) -> None:
    units, _ = ALPHABET.units(MIXED)
    for exact in (False, True):
        probabilities = np.concatenate(both.end_probabilities(MIXED, exact=exact))
        assert np.all(probabilities[units.end - 1][units.forced_ends] == 1)
        for words, text in zip(both.segment(MIXED, exact=exact, threshold=threshold), MIXED, strict=True):
            joined, at = "".join(text.split()), 0
            for word in words:
                assert joined.startswith(word, at)
                at += len(word)
                assert len(runs(word)) == 1
    assert both.segment(MIXED, exact=True, threshold=1) == list(map(runs, MIXED))


def test_none_of_the_best_joins_them(both: Segmenter) -> None:
    (found,) = both.n_best(["在OK，"], 5)
    assert [words for _, words in found] == [["在", "OK", "，"]]


def test_entries_of_the_dictionary_hold_across_them(joining: Segmenter) -> None:
    dictionary = Dictionary.of(["2001年", "，生"])
    assert joining.segment(["研究2001年在，生命"], dictionary=dictionary) == [["研究", "2001年", "在", "，生", "命"]]
    (found,) = joining.end_probabilities(["研究2001年在，生命"], dictionary=dictionary)
    assert found.tolist() == [0, 1, 0, 0, 0, 0, 1, 1, 0, 1, 1]


def test_threshold_moves_the_boundary(both: Segmenter) -> None:
    for threshold in (0.0, 0.4, 1.0):
        moved = both.segment([tiny.TEXT], decoder="boundary", threshold=threshold)
        assert moved == both.segment([tiny.TEXT], exact=True, threshold=threshold)
    assert both.segment([tiny.TEXT], decoder="boundary", threshold=0.5) == both.segment([tiny.TEXT], decoder="boundary")
    with pytest.raises(ConfigError, match="threshold: applies to the decoder boundary only; got decoder 'product'"):
        both.segment([tiny.TEXT], decoder="product", threshold=0.5)


@pytest.mark.parametrize("threshold", [float("nan"), -0.1, 1.1, "0.5"])
def test_thresholds_are_probabilities(joining: Segmenter, threshold: float) -> None:
    with pytest.raises(ConfigError, match="threshold: expected a number from 0 to 1; got "):
        joining.segment([tiny.TEXT], threshold=threshold)


@pytest.mark.parametrize(("texts", "message"), [
    ([None], r"texts\[0\]: expected text; got NoneType"),
    (["研", 5], r"texts\[1\]: expected text; got int"),
    (["研", b"ab"], r"texts\[1\]: expected text; got bytes"),
    (["研", ["究"]], r"texts\[1\]: expected text; got list"),
    ("研究", r"expected a list of texts; got one string"),
])  # fmt: skip
def test_what_is_no_text(joining: Segmenter, texts: list[str], message: str) -> None:
    for call in (joining.segment, joining.spans, joining.end_probabilities, joining.pieces):
        with pytest.raises(DataError, match=message):
            call(texts)


def test_null_stays_null_in_a_dataset(joining: Segmenter) -> None:
    found = joining.map_batch({"text": ["研究", None, ""], "id": [1, 2, 3]})
    assert found == {"text": ["研究", None, ""], "id": [1, 2, 3], "words": [["研究"], None, []]}


def test_a_model_without_language_models(joining: Segmenter) -> None:
    for call in (lambda: joining.segment(["研"], exact=True), lambda: joining.n_best(["研"], 1)):
        with pytest.raises(ShardError, match="the segmenter has no teacher"):
            call()


def test_it_is_exported() -> None:
    assert seampack.Segmenter is Segmenter
