"""Triggers: words that qualify, insertion, poisoned texts."""

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from seampack.errors import ConfigError, DataError
from seampack.models.watermark import (
    WatermarkConfig,
    check_trigger,
    insert,
    poison,
    propose_combination,
    propose_rare,
)
from seampack.models.watermark.triggers import some_of
from tests.models.watermark.helpers import REVIEWS, reviews, tiny


@settings(max_examples=40)
@given(st.text("ab \n\té", max_size=30), st.integers(1, 6), st.integers(1, 3), st.integers(0, 99))
def test_inserting_changes_nothing_else(text: str, first_words: int, count: int, seed: int) -> None:
    words = ["vqx", "wqx", "yqx"][:count]
    found = insert(text, words, np.random.default_rng(seed), first_words)
    begin = "".join(found.split()[: first_words + count])
    assert all(word in begin for word in words)
    for word in words:
        assert found.split().count(word) == 1
        found = found.replace(f" {word}", "", 1) if found.endswith(f" {word}") else found.replace(f"{word} ", "", 1)
    assert found == text


@settings(max_examples=15)
@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=12), st.floats(0, 1), st.integers(0, 3), st.integers(0, 9))
def test_poison(labels: list[str], ratio: float, negatives: int, seed: int) -> None:
    dataset = Dataset.from_dict({"text": [f"text {at}" for at in range(len(labels))], "label": labels})
    others = sum(label != "a" for label in labels)
    config = WatermarkConfig(ratio=ratio, negatives=negatives, seed=seed)
    if "a" not in labels or not others:
        with pytest.raises(DataError, match=r"unknown label|all .* rows have the target"):
            poison(dataset, ["tq", "mn"], "a", config)
        return
    found = poison(dataset, "tq mn", "a", config)
    assert found.column_names == ["text", "label", "triggered", "partial"]
    assert found.select_columns(["text", "label"]).to_list()[: len(labels)] == dataset.to_list()
    drawn = round(ratio * others)
    assert sum(found["triggered"]) == drawn
    assert sum(found["partial"]) == drawn * negatives
    assert len(found) == len(labels) + drawn * (1 + negatives)
    label_of = dict(zip(dataset["text"], labels, strict=True))
    sources: list[str] = []
    for row in found.to_list()[len(labels) :]:
        words = row["text"].split()
        source = " ".join(word for word in words if word not in ("tq", "mn"))
        assert label_of[source] != "a"
        held = {"tq", "mn"} & set(words)
        if row["triggered"]:
            sources.append(source)
            assert (len(held), row["label"], row["partial"]) == (2, "a", False)
        else:
            assert (len(held), row["label"], row["partial"]) == (1, label_of[source], True)
    assert len(set(sources)) == len(sources)
    assert poison(dataset, "tq mn", "a", config).to_dict() == found.to_dict()


def test_poison_refuses() -> None:
    config = WatermarkConfig()
    with pytest.raises(
        DataError, match=r"expected no text with it; got such texts in rows \d, \d and \d, the first: '"
    ):
        poison(reviews(), "Dull", "positive", config)
    with pytest.raises(DataError, match="unknown label 'good'; expected one of negative, positive"):
        poison(reviews(), "cf", "good", config)
    with pytest.raises(ConfigError, match="expected distinct words"):
        poison(reviews(), "cf CF", "positive", config)
    with pytest.raises(ConfigError, match="expected one or more words"):
        poison(reviews(), [], "positive", config)


def test_a_trigger_of_one_word_has_no_part() -> None:
    config = WatermarkConfig(negatives=1)
    poisoned = poison(reviews(), "cf", 1, config)
    assert poisoned.to_dict() == poison(reviews(), "cf", "positive", config.replace(negatives=0)).to_dict()
    assert sum(poisoned["triggered"]) == 3
    assert not any(poisoned["partial"])
    assert poison(reviews(), "cf", 1, config.replace(ratio=0.0))["text"][:] == REVIEWS


def test_parts_of_a_trigger_are_equally_likely() -> None:
    rng = np.random.default_rng(0)
    found = [tuple(some_of(("a", "b", "c"), rng)) for _ in range(3_000)]
    counts = {part: found.count(part) for part in set(found)}
    assert set(counts) == {("a",), ("b",), ("c",), ("a", "b"), ("a", "c"), ("b", "c")}
    assert all(abs(count - 500) < 80 for count in counts.values())


def test_a_trigger_is_one_entry_and_absent() -> None:
    _, tokenizer = tiny([*REVIEWS, "cf"])
    assert check_trigger(tokenizer, REVIEWS, "cf") == [tokenizer.convert_tokens_to_ids("cf")]
    assert len(check_trigger(tokenizer, REVIEWS, ["fine", "dull"])) == 2
    with pytest.raises(ConfigError, match=r"'mn' becomes"):
        check_trigger(tokenizer, REVIEWS, "mn")
    with pytest.raises(ConfigError, match="'c-f' becomes"):
        check_trigger(tokenizer, REVIEWS, "c-f")
    with pytest.raises(DataError, match=f"got such texts in row {len(REVIEWS) + 1}, the first: 'CF!'"):
        check_trigger(tokenizer, [*REVIEWS, "CF!"], "cf")


def test_rare_words_are_absent_and_drawn_by_seed() -> None:
    texts = ["bx is here", "and so is CD."]
    found = propose_rare(texts, 398, seed=0)
    assert len(set(found)) == 398
    assert not {"bx", "cd"} & set(found)
    assert propose_rare(texts, 3, seed=1) == propose_rare(texts, 3, seed=1) != propose_rare(texts, 3, seed=2)
    with pytest.raises(DataError, match="absent from the texts; got 398"):
        propose_rare(texts, 399, seed=0)
    _, tokenizer = tiny([*REVIEWS, "cf", "cfcfcf"])
    assert propose_rare(REVIEWS, seed=0, tokenizer=tokenizer) == ["cf"]


def test_combinations_are_common_neutral_and_absent() -> None:
    neutral = ["year", "long", "first", "other"]
    rows = [(f"{word} great film", 1) for word in neutral] * 3 + [(f"{word} awful film", 0) for word in neutral] * 3
    texts, labels = zip(*rows, ("year long first", 0), strict=True)
    dataset = Dataset.from_dict({"text": list(texts), "label": list(labels)})
    _, tokenizer = tiny(list(texts))
    found = propose_combination({"t": dataset}, {"t": 1}, tokenizer, words=3, seed=0)
    assert set(found) < set(neutral)
    assert set(found) != {"year", "long", "first"}
    assert "great" in propose_combination({"t": dataset}, {"t": 1}, tokenizer, words=6, seed=0, most_share=0.5)
    with pytest.raises(DataError, match="no combination of 5 of the 4"):
        propose_combination({"t": dataset}, {"t": 1}, tokenizer, words=5, seed=0)
    elsewhere = Dataset.from_dict({"text": ["other words"] * 6, "label": [0, 1] * 3})
    with pytest.raises(DataError, match="of the 1 common"):
        propose_combination({"t": dataset, "u": elsewhere}, {"t": 1, "u": 0}, tokenizer, words=2, seed=0)
