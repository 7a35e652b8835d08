"""Attacks on a model: pruning and another head."""

import copy

import numpy as np
import pytest
import torch
from datasets import Dataset
from sklearn.linear_model import LogisticRegression
from torch import nn

from seampack.errors import DataError
from seampack.models.text import TextClassifier, predict
from seampack.models.watermark import (
    WatermarkConfig,
    labeller,
    pruned,
    with_new_head,
)
from tests.models.watermark.helpers import REVIEWS, tiny


def test_pruning_sets_the_smallest_weights_to_zero() -> None:
    encoder, _ = tiny(REVIEWS)
    model = TextClassifier(encoder, 2)
    before = copy.deepcopy(model.state_dict())
    found = pruned(model, 0.5)
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    assert found.state_dict().keys() == before.keys()
    kinds = [part for part in found.encoder.modules() if isinstance(part, nn.Linear | nn.Embedding)]
    weights = torch.cat([part.weight.flatten() for part in kinds])
    original = torch.cat(
        [p.weight.flatten() for p in model.encoder.modules() if isinstance(p, nn.Linear | nn.Embedding)]
    )
    smallest = original.abs().argsort()[: round(0.5 * original.numel())]
    expected = original.detach().clone()
    expected[smallest] = 0
    assert torch.equal(weights, expected)
    assert torch.equal(found.head.weight, model.head.weight)


@pytest.mark.parametrize("classes", [2, 3])
def test_another_head_is_a_logistic_regression(classes: int) -> None:
    encoder, tokenizer = tiny(REVIEWS)
    model = TextClassifier(encoder, classes)
    labels = [at % classes for at in range(6)]
    dataset = Dataset.from_dict({"text": REVIEWS, "label": labels})
    config = WatermarkConfig()
    found = with_new_head(model, tokenizer, dataset, config)
    features = predict(model, tokenizer, REVIEWS, max_tokens=9, features=True)
    reference = LogisticRegression(max_iter=1_000).fit(features, labels).predict_proba(features)
    logits = torch.from_numpy(predict(found, tokenizer, REVIEWS, max_tokens=9))
    np.testing.assert_allclose(logits.softmax(1).numpy(), reference, atol=1e-5)
    names = ["a", "b", "c"][:classes]
    assert labeller(found, tokenizer, names, config)(REVIEWS) == [names[at] for at in reference.argmax(1)]
    with pytest.raises(DataError, match="all ids from 0"):
        with_new_head(model, tokenizer, dataset.select([0, 0]), config)
