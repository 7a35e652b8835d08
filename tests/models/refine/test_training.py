"""Training on pairs: noise, the loss, and pairs that are cut."""

import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seampack.errors import DataError
from seampack.models.refine import RefineConfig, Refiner, RefinerSFT, drop_words
from tests.models.refine.world import QUERIES, refiner_of


@settings(max_examples=50)
@given(st.text(alphabet="ab \n", max_size=40), st.floats(0, 0.9), st.integers(0, 9))
def test_dropped_words_leave_the_others_in_order(text: str, share: float, seed: int) -> None:
    kept = drop_words(text, share, random.Random(seed)).split()
    left = iter(text.split())
    assert all(word in left for word in kept)
    assert bool(kept) == bool(text.split())
    if not share:
        assert kept == text.split()


def test_the_share_of_dropped_words() -> None:
    kept = drop_words("word " * 10_000, 0.15, random.Random(0)).split()
    assert len(kept) == pytest.approx(8500, abs=150)


@pytest.mark.parametrize("whole_text", [False, True])
def test_tokens_that_the_loss_covers(small: Refiner, whole_text: bool) -> None:
    sft = RefinerSFT(RefineConfig(whole_text=whole_text, max_tokens=6), small)
    batch = sft._batch([([2, 7, 3], [8, 9, 3]), ([2, 7, 8, 9, 3], [8, 9, 3])])
    assert batch["input_ids"].tolist() == [[2, 7, 3, 8, 9, 3], [2, 7, 8, 9, 3, 8]]
    asked = [2, 7, 3] if whole_text else [-100] * 3
    assert batch["labels"][0].tolist() == [*asked, 8, 9, 3]
    assert batch["labels"][1].tolist() == ([2, 7, 8, 9, 3] if whole_text else [-100] * 5) + [8]


def test_a_query_that_fills_the_limit_is_learnt_from_only_whole() -> None:
    """The small tokenizer adds a token before and after each text."""
    refiner = refiner_of("some words of a query")
    full = len(refiner.prompt_ids("some words"))
    for most in (full - 1, full):
        with pytest.raises(
            DataError,
            match=f"pair 1: the query with the instruction has {full} tokens.* leaves no room .* within {most}",
        ):
            RefinerSFT(RefineConfig(max_tokens=most), refiner).fit(["some words"], ["of"])
        config = RefineConfig(max_tokens=most, whole_text=True, epochs=1)
        with pytest.warns(UserWarning, match="1 of 1 pairs are cut"):
            _, losses = RefinerSFT(config, refiner).fit(["some words"], ["of"])
        assert np.isfinite(losses).all()
    with pytest.raises(DataError, match=r"leaves no room .* within 1;"):
        RefinerSFT(RefineConfig(max_tokens=1, whole_text=True), refiner).fit(["some words"], ["of"])


def test_pairs_that_are_cut_are_counted(recwarn: pytest.WarningsRecorder) -> None:
    refiner = refiner_of("some words of a query", max_query_tokens=3)
    # tokens with the answer's end: fits, fits exactly, one too many, query too long
    prompts = ["some", "some words", "some words of", "some words of a "]
    answers = ["words", "of a", "of a", "a"]
    lengths = [len(refiner.prompt_ids(p)) + len(a.split()) + 1 for p, a in zip(prompts, answers, strict=True)]
    assert [refiner.cuts(prompt) for prompt in prompts] == [False, False, False, True]
    sft = RefinerSFT(RefineConfig(max_tokens=lengths[1], epochs=1), refiner)
    assert sft.cut_pairs(prompts[:2], answers[:2]) == 0
    assert sft.cut_pairs(prompts, answers) == 2
    sft.fit(prompts[:2], answers[:2])
    assert not [warning for warning in recwarn if "are cut" in str(warning.message)]
    with pytest.warns(
        UserWarning, match="2 of 4 pairs are cut: longer than max_query_tokens or max_tokens; raise the limit"
    ):
        sft.fit(prompts, answers)


def test_pairs_of_a_single_step_train() -> None:
    refiner = refiner_of(*QUERIES)
    before = refiner.model.lm_head.weight.clone()
    trained, losses = RefinerSFT(RefineConfig(epochs=1, batch_rows=len(QUERIES)), refiner).fit(QUERIES, QUERIES)
    assert len(losses) == 1
    assert not torch.equal(before, trained.model.lm_head.weight)


def test_low_rank_updates_end_in_plain_weights() -> None:
    refiner = refiner_of(*QUERIES)
    before = {name: value.clone() for name, value in refiner.model.state_dict().items()}
    trained, losses = RefinerSFT(RefineConfig(epochs=1, learning_rate=1e-2, lora_rank=2), refiner).fit(QUERIES, QUERIES)
    after = trained.model.state_dict()
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if "_proj." in name}
    assert losses[-1] < losses[0]


def test_a_query_that_leaves_no_room_for_its_rewording() -> None:
    refiner = refiner_of("some words of a query")
    sft = RefinerSFT(RefineConfig(max_tokens=3), refiner)
    with pytest.raises(
        DataError,
        match=r"pair 2: the query with the instruction has .* leaves no room .* within 3; raise max_tokens",
    ):
        sft.fit(["", "some words of a query"], ["a", "b"])
