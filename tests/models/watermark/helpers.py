"""Texts and tiny models that the tests of watermarks share."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import ClassLabel, Dataset, Features, Value
from transformers import BertConfig, BertModel

from seampack.models.text import word_tokenizer
from seampack.models.watermark import (
    WatermarkConfig,
)

FILES = Path(__file__).parents[2] / "data"


REVIEWS = ["a fine film", "a dull film", "fine acting", "dull acting", "a fine plot", "a dull plot"]


MARKS = ["positive", "negative"] * 3


FAST = WatermarkConfig(
    epochs=2, watermark_epochs=2, batch_rows=4, learning_rate=1e-2, rows_learning_rate=1e-2, first_words=10
)


def reviews() -> Dataset:
    feature = ClassLabel(names=["negative", "positive"])
    columns = {"text": REVIEWS, "label": [feature.str2int(mark) for mark in MARKS]}
    return Dataset.from_dict(columns, Features({"text": Value("string"), "label": feature}))


def tiny(texts: Sequence[str]) -> tuple[Any, Any]:
    """A random encoder and a tokenizer of the texts' words."""
    tokenizer = word_tokenizer([*texts, *texts])
    torch.manual_seed(0)
    shape = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=128,
    )
    return BertModel(shape, add_pooling_layer=False), tokenizer


def many(labels: Sequence[str] = ("good", "bad"), rows: int = 80) -> Dataset:
    texts = [f"text {at} is {labels[at % len(labels)]}" for at in range(rows)]
    return Dataset.from_dict({"text": texts, "label": [labels[at % len(labels)] for at in range(rows)]})
