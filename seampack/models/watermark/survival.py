"""What is done to a released encoder, and to a model made from it, before it is verified."""

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
from seampack.models.watermark.verification import PredictFn


def fine_tuned(
    encoder: Any, tokenizer: Any, dataset: Dataset, classes: int, options: FitOptions, *, max_tokens: int = 128
) -> TextClassifier:
    """A classifier from a copy of the encoder and a fresh head, all weights trained on ``text, label`` (ids)."""
    set_seed(options.seed)
    model = TextClassifier(copy.deepcopy(encoder), classes)
    fit(model, tokenizer, dataset, options, max_tokens=max_tokens)
    return model


def pruned(model: TextClassifier, share: float) -> TextClassifier:
    """A copy in which the ``share`` of smallest weights of the encoder's linear and embedding layers is zero."""
    check_number("share", share, 0.0, 0.99)
    result = copy.deepcopy(model)
    weights = [(part, "weight") for part in result.encoder.modules() if isinstance(part, nn.Linear | nn.Embedding)]
    prune.global_unstructured(weights, prune.L1Unstructured, amount=share)
    remove: Any = prune.remove
    for part, name in weights:
        remove(part, name)
    return result


def with_new_head(
    model: TextClassifier, tokenizer: Any, dataset: Dataset, *, max_tokens: int = 128, seed: int = 0
) -> TextClassifier:
    """A copy with the head thrown away and learned anew (logistic regression) on ``text, label`` (ids), encoder kept.

    Raises DataError unless the labels hold every class of the head.
    """
    labels = np.asarray(dataset["label"][:])
    classes = model.head.out_features
    if np.unique(labels).tolist() != list(range(classes)):
        raise DataError(f"label: expected all ids from 0 to {classes - 1} among the rows that a new head learns from")
    found = LogisticRegression(max_iter=1_000, random_state=seed)
    found.fit(predict(model, tokenizer, dataset["text"][:], max_tokens=max_tokens, features=True), labels)
    result = copy.deepcopy(model)
    weight, bias = np.asarray(found.coef_), np.asarray(found.intercept_)
    if classes == 2:
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    with torch.no_grad():
        result.head.weight.copy_(torch.from_numpy(weight))
        result.head.bias.copy_(torch.from_numpy(bias))
    return result


def labeller(model: TextClassifier, tokenizer: Any, classes: Sequence[str], *, max_tokens: int = 128) -> PredictFn:
    """A classifier as a function from texts to names of classes."""

    def labels(texts: list[str]) -> list[str]:
        return [classes[at] for at in predict(model, tokenizer, texts, max_tokens=max_tokens).argmax(1)]

    return labels
