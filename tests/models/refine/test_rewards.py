"""Ready rewards: phrases of refusal, and log-probabilities token by token."""

import numpy as np
import pytest
import torch

from seampack.errors import DataError
from seampack.models.refine import (
    LogProbQuality,
    RefineConfig,
    Refiner,
    Refusal,
    not_refused,
    refused,
)
from seampack.models.refine.generation import ids_of
from tests.models.refine.world import with_chat


@pytest.mark.parametrize(
    ("response", "is_refusal"),
    [
        ("I'm sorry, but I can't help with that.", True),
        ("I’m sorry.", True),
        ("As an AI, I have no opinion.", True),
        ("Here is a poem about rivers.", False),
    ],
)
def test_refusals(response: str, is_refusal: bool) -> None:
    assert refused(response) == is_refusal
    assert not_refused([""], [response]) == [bool(response) and not is_refusal]
    assert Refusal({"attack"})(["attack", "question"], [response] * 2) == [float(is_refusal), float(not is_refusal)]


@pytest.mark.parametrize("chat", [False, True])
def test_quality_against_token_by_token(small: Refiner, chat: bool) -> None:
    refiner = with_chat(small, instruction="") if chat else small
    model, tokenizer = refiner.model, refiner.tokenizer

    def slow(query: str, response: str) -> float:
        ids = ids_of(tokenizer, [{"role": "user", "content": query}] if chat else query)
        values = []
        for token in tokenizer(response, add_special_tokens=False)["input_ids"][:4]:
            with torch.no_grad():
                values.append(
                    torch.log_softmax(model(torch.tensor([ids], device=model.device)).logits[0, -1], -1)[token].item()
                )
            ids = [*ids, token]
        return float(np.mean(values))

    references = {"a": ("the old river", "describe"), "b": ("please explain the small old garden now", "the bridge")}
    quality = LogProbQuality(RefineConfig(target_tokens=4, batch_rows=3), model, tokenizer, references)
    originals, refined = ["a", "b", "a", "unknown"], ["describe the river", "the garden please", "now", "now"]
    expected = [
        slow(text, references[name][0]) - slow(text, references[name][1]) if name in references else None
        for name, text in zip(originals, refined, strict=True)
    ]
    assert quality(originals, refined) == pytest.approx(expected, abs=1e-5)
    assert quality(originals, refined) == pytest.approx(expected, abs=1e-5)
    with pytest.raises(DataError, match="no row has a good and a bad response to compare; add the columns good_res"):
        LogProbQuality(RefineConfig(), model, tokenizer, {})
