"""Attacks on a released encoder and on models derived from it: fine-tuning, pruning, another head."""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.nn.utils import prune
from transformers import set_seed

from seampack.config import check_number
from seampack.errors import DataError
from seampack.models.text import FitOptions, TextClassifier, fit, predict
from seampack.models.watermark.config import WatermarkConfig
from seampack.models.watermark.verification import PredictFn


def fine_tuned(
    encoder: Any, tokenizer: Any, dataset: Dataset, classes: int, config: WatermarkConfig, seed_offset: int = 1
) -> TextClassifier:
    """Train a copy of the encoder with a fresh head on ``text, label`` (ids) for ``suspect_epochs``.

    All weights are trained. The seed is ``config.seed + seed_offset``, so that two models of the same texts differ.
    """
    options = FitOptions(
        epochs=config.suspect_epochs,
        batch_rows=config.batch_rows,
        learning_rate=config.learning_rate,
        seed=config.seed + seed_offset,
    )
    set_seed(options.seed)
    model = TextClassifier(copy.deepcopy(encoder), classes)
    fit(model, tokenizer, dataset, options, max_tokens=config.max_tokens)
    return model


def pruned(model: TextClassifier, share: float) -> TextClassifier:
    """Return a copy of the model in which a ``share`` of the encoder's weights, the smallest, is set to zero.

    Pruning covers the linear and embedding layers.
    """
    check_number("share", share, 0.0, 0.99)
    result = copy.deepcopy(model)
    weights = [(part, "weight") for part in result.encoder.modules() if isinstance(part, nn.Linear | nn.Embedding)]
    prune.global_unstructured(weights, prune.L1Unstructured, amount=share)
    remove: Any = prune.remove
    for part, name in weights:
        remove(part, name)
    return result


def with_new_head(model: TextClassifier, tokenizer: Any, dataset: Dataset, config: WatermarkConfig) -> TextClassifier:
    """Return a copy with a new head, a logistic regression trained on ``text, label`` (ids); the encoder is kept.

    Raise DataError unless the labels include every class of the head.
    """
    labels = np.asarray(dataset["label"][:])
    classes = model.head.out_features
    if np.unique(labels).tolist() != list(range(classes)):
        raise DataError(f"label: expected rows of all ids from 0 to {classes - 1}, to train the new head")
    regression = LogisticRegression(max_iter=1_000)
    regression.fit(predict(model, tokenizer, dataset["text"][:], max_tokens=config.max_tokens, features=True), labels)
    result = copy.deepcopy(model)
    weight, bias = np.asarray(regression.coef_), np.asarray(regression.intercept_)
    if classes == 2:
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    with torch.no_grad():
        result.head.weight.copy_(torch.from_numpy(weight))
        result.head.bias.copy_(torch.from_numpy(bias))
    return result


def labeller(model: TextClassifier, tokenizer: Any, classes: Sequence[str], config: WatermarkConfig) -> PredictFn:
    """Wrap a classifier as a function from texts to names of classes."""

    def labels(texts: list[str]) -> list[str]:
        return [classes[best] for best in predict(model, tokenizer, texts, max_tokens=config.max_tokens).argmax(1)]

    return labels
