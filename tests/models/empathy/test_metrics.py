"""Metrics against values computed by hand."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seampack.errors import DataError
from seampack.models.empathy import EmpathyMetrics, bleu, distinct, perplexity, rouge, sentence_perplexity


def test_perplexities() -> None:
    nll, tokens = [4 * math.log(2), math.log(16)], [4, 1]
    assert perplexity(nll, tokens) == pytest.approx(2 ** (8 / 5))
    assert sentence_perplexity(nll, tokens) == pytest.approx((2 + 16) / 2)
    with pytest.raises(DataError, match="one token count, at least 1, per loss"):
        perplexity([1.0], [0])


@given(st.lists(st.text("ab ", max_size=12), max_size=6), st.integers(1, 3))
def test_distinct_is_its_definition(texts: list[str], n: int) -> None:
    grams: list[str] = []
    for text in texts:
        words = text.split()
        grams += [" ".join(words[start : start + n]) for start in range(len(words) - n + 1)]
    assert distinct(texts, n) == (100 * len(set(grams)) / len(grams) if grams else 0)


def test_bleu_and_rouge_by_hand() -> None:
    responses, references = ["the cat sat on the mat", "hello there"], ["The cat lay on the mat", "hello you there"]
    scores = bleu(responses, references)
    brevity = math.exp(1 - 9 / 8)
    assert scores["bleu_1"] == pytest.approx(100 * brevity * 7 / 8)
    assert scores["bleu_2"] == pytest.approx(100 * brevity * math.sqrt(7 / 8 * 3 / 6))
    assert scores["bleu_4"] < scores["bleu_3"] < scores["bleu_2"]
    overlap = rouge(responses, references)
    assert overlap["rouge_1"] == pytest.approx(100 * (5 / 6 + 2 * 2 / 5) / 2)
    assert overlap["rouge_2"] == pytest.approx(100 * (3 / 5 + 0) / 2)
    assert overlap["rouge_l"] == pytest.approx(overlap["rouge_1"])
    with pytest.raises(DataError, match="expected one reference per response"):
        bleu(responses, references[:1])
    assert EmpathyMetrics.of([1.0], [1]).to_dict()["bleu_4"] is None
