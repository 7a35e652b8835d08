"""Random masks: uniform sets, seeds, transforms."""

from collections import Counter
from math import comb
from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from scipy.stats import chisquare

from seampack.errors import ConfigError
from seampack.models.ranmask import (
    RandomMask,
    RanmaskConfig,
    certify,
)
from seampack.models.ranmask.masks import MASK_TOKEN, distinct, draw, every
from tests.models.ranmask.helpers import Copies


@pytest.mark.parametrize(("length", "kept"), [(6, 2), (6, 4), (7, 3), (5, 1), (4, 4)])
def test_every_set_is_drawn_equally_often(length: int, kept: int) -> None:
    masks = draw(20_000, length, kept, np.random.default_rng(1))
    assert (masks.sum(1) == kept).all()
    found = Counter(map(bytes, masks))
    assert len(found) == comb(length, kept)
    assert len(found) == 1 or chisquare(list(found.values())).pvalue > 0.001
    assert {bytes(mask) for mask in every(length, kept)} == set(found)


def test_distinct_masks_make_up_all() -> None:
    masks = draw(500, 9, 2, np.random.default_rng(2))
    once, which = distinct(masks)
    assert len({bytes(mask) for mask in once}) == len(once) <= 36
    np.testing.assert_array_equal(once[which], masks)


def test_masks_are_new_at_every_call_and_the_same_from_one_seed() -> None:
    words = [str(at) for at in range(30)]
    mask = RandomMask(RanmaskConfig(rate=0.7, seed=4))
    first, second = mask([words]), mask([words])
    assert first != second
    again = RandomMask(RanmaskConfig(rate=0.7, seed=4))
    assert [again([" ".join(words)]), again([words])] == [first, second]
    assert sum(word != MASK_TOKEN for word in first[0]) == mask.kept(30) == 9
    assert all(word in (own, MASK_TOKEN) for word, own in zip(first[0], words, strict=True))


def test_the_same_words_stay_in_sampling_and_in_the_certificate() -> None:
    shown = []

    def seen(copies: Copies) -> Any:
        shown.extend((len(copy), sum(word != MASK_TOKEN for word in copy)) for copy in copies)
        return np.zeros((len(copies), 2))

    found = certify(
        seen, [["w"] * length for length in range(1, 30)], RanmaskConfig(rate=0.9, guess_masks=10, masks=20)
    )
    assert set(shown) == set(zip(found.length.tolist(), found.kept.tolist(), strict=True))
    assert (found.radius[found.length <= found.kept] == 0).all()


def test_a_dataset_is_masked_anew_at_every_access() -> None:
    dataset = Dataset.from_dict({"text": ["a b c d e f g h"], "words": [list("abcdefgh")]})
    dataset.set_transform(RandomMask(RanmaskConfig(rate=0.5)).on("text"))
    looks = {dataset[0]["text"] for _ in range(10)}
    assert len(looks) > 1
    assert all(look.split().count(MASK_TOKEN) == 4 for look in looks)
    dataset.set_transform(RandomMask(RanmaskConfig(rate=0.5)).on("words"))
    assert dataset[0]["words"].count(MASK_TOKEN) == 4


@pytest.mark.parametrize("wrong", [{"rate": 1.5}, {"rate": "abc"}, {"min_keep": 0}, {"min_keep": 2.5}])
def test_invalid_masks(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        RandomMask(RanmaskConfig(**wrong))


@pytest.mark.parametrize("wrong", ["a b", "", None])
def test_a_mask_token_is_one_word(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="mask_token: expected one word; got"):
        RandomMask(RanmaskConfig(), wrong)
