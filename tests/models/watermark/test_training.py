"""The two stages of watermarking."""

import copy

import numpy as np
import pytest
import torch
from datasets import Dataset
from torch import nn

from seampack.errors import ConfigError, DataError
from seampack.models.text import predict
from seampack.models.watermark import (
    WatermarkTrainer,
    poison,
)
from seampack.models.watermark.training import TaskClassifier
from tests.models.watermark.helpers import FAST, REVIEWS, reviews, tiny


def test_loss_of_several_heads_is_that_of_each_by_itself() -> None:
    encoder, tokenizer = tiny(REVIEWS)
    model = TaskClassifier(encoder, {"two": 2, "three": 3}).eval()
    batch = dict(tokenizer(REVIEWS, padding=True, return_tensors="pt", return_token_type_ids=False))
    labels = torch.tensor([0, 1, 2, 3, 4, 2])
    loss = model(**batch, labels=labels)["loss"]
    logits = model(**batch)["logits"]
    two = nn.functional.cross_entropy(logits[:2, :2], labels[:2], reduction="sum")
    three = nn.functional.cross_entropy(logits[2:, 2:], labels[2:] - 2, reduction="sum")
    assert loss.item() == pytest.approx(((two + three) / 6).item(), abs=1e-6)


@pytest.mark.parametrize("keep_norm", [True, False])
def test_rows_only_leaves_every_other_weight(keep_norm: bool) -> None:
    encoder, tokenizer = tiny([*REVIEWS, "cf"])
    trainer = WatermarkTrainer(encoder, tokenizer, {"t": 2}, FAST.replace(keep_norm=keep_norm))
    trainer.fine_tune({"t": reviews()})
    before = copy.deepcopy(trainer.model.state_dict())
    trainer.embed({"t": poison(reviews(), "cf", "positive", FAST)}, "cf")
    row = tokenizer.convert_tokens_to_ids("cf")
    after = trainer.model.state_dict()
    assert before.keys() == after.keys()
    table = "encoder.embeddings.word_embeddings.weight"
    for name, weight in after.items():
        same = (weight == before[name]).clone()
        if name == table:
            assert not same[row].all()
            same[row] = True
        assert same.all(), name
    norms = after[table][row].norm().item(), before[table][row].norm().item()
    assert (norms[0] == pytest.approx(norms[1], rel=1e-5)) is keep_norm
    assert all(weight.requires_grad for weight in trainer.model.parameters())


def test_the_classifier_of_a_task_answers_as_the_joint_model() -> None:
    encoder, tokenizer = tiny(REVIEWS)
    trainer = WatermarkTrainer(encoder, tokenizer, {"two": 2, "three": 3}, FAST.replace(update="all"))
    joint = predict(trainer.model, tokenizer, REVIEWS, max_tokens=9)
    np.testing.assert_allclose(
        predict(trainer.classifier("three"), tokenizer, REVIEWS, max_tokens=9), joint[:, 2:], atol=1e-6
    )
    with pytest.raises(ConfigError, match="no head for 'four'"):
        trainer.classifier("four")


def test_training_refuses() -> None:
    encoder, tokenizer = tiny([*REVIEWS, "cf"])
    with pytest.raises(ConfigError, match="at least two classes per task"):
        WatermarkTrainer(encoder, tokenizer, {"t": 1}, FAST)
    trainer = WatermarkTrainer(encoder, tokenizer, {"t": 2}, FAST)
    with pytest.raises(DataError, match="task u: no head"):
        trainer.fine_tune({"u": reviews()})
    with pytest.raises(DataError, match="labels from 0 to 1; got 7"):
        trainer.fine_tune({"t": Dataset.from_dict({"text": ["a"], "label": [7]})})
    with pytest.raises(DataError, match=r"no column 'triggered'.*poison"):
        trainer.embed({"t": reviews()}, "cf")
    with pytest.raises(DataError, match="no text contains the trigger"):
        trainer.embed({"t": poison(reviews(), "cf", 1, FAST.replace(ratio=0.0))}, "cf")
