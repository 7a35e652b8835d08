"""The fast bag of words, and the limit of positions."""

from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import AutoModel, OPTConfig, RobertaConfig

from seampack.errors import ConfigError
from seampack.models import text
from seampack.models.ranmask import (
    RandomMask,
    RanmaskConfig,
)
from seampack.models.ranmask.adapter import ADAPTER
from seampack.models.ranmask.bag import BagPredictor


@pytest.mark.parametrize("max_tokens", [64, 9])
def test_the_fast_bag_is_the_classifier(sentences: Dataset, max_tokens: int) -> None:
    lines = sentences["text"][:40]
    encoder, tokenizer = text.encoder_and_tokenizer("small", lines, layers=0)
    model = text.TextClassifier(encoder, 3)
    assert BagPredictor.fits(model)
    copies = RandomMask(RanmaskConfig(rate=0.5), tokenizer.mask_token)(lines)
    bag = BagPredictor(model, tokenizer, max_tokens)
    expected = text.predict(model, tokenizer, copies, max_tokens=max_tokens)
    np.testing.assert_allclose(bag(copies), expected, atol=1e-5)
    np.testing.assert_allclose(bag(copies[:3]), expected[:3], atol=1e-5)


@pytest.mark.parametrize("layers", [0, 1])
def test_more_tokens_than_positions(sentences: Dataset, layers: int, config: RanmaskConfig) -> None:
    rows = ADAPTER.prepare(sentences.select(range(4)), config)
    with pytest.raises(ConfigError, match="max_tokens: expected at most 512, the encoder's number of positions"):
        ADAPTER.train(rows, config.replace(layers=layers, max_tokens=513))
    encoder, tokenizer = text.encoder_and_tokenizer("small", sentences["text"][:9], layers=layers)
    model = text.TextClassifier(encoder, 2)
    with pytest.raises(ConfigError, match="max_tokens"):
        text.predict(model, tokenizer, ["so"], max_tokens=513)
    assert text.predict(model, tokenizer, ["so " * 900], max_tokens=512).shape == (1, 2)
    with pytest.raises(ConfigError, match="max_tokens"):
        BagPredictor(model, tokenizer, 513)


TINY = {"vocab_size": 20, "max_position_embeddings": 12, "hidden_size": 4, "num_hidden_layers": 1}
TINY |= {"num_attention_heads": 1, "intermediate_size": 4, "pad_token_id": 1}


TINY_OPT = {"ffn_dim": 4, "word_embed_proj_dim": 4}


@pytest.mark.parametrize(("shape", "most"), [(RobertaConfig(**TINY), 10), (OPTConfig(**TINY, **TINY_OPT), 12)])
def test_positions_with_an_offset(shape: Any, most: int) -> None:
    """The padding id, or reserved positions, precede the first position."""
    encoder = AutoModel.from_config(shape)
    text.check_max_tokens(encoder, most)
    encoder(input_ids=torch.full((1, most), 5))
    with pytest.raises(ConfigError, match=f"expected at most {most}"):
        text.check_max_tokens(encoder, most + 1)
    with pytest.raises((IndexError, RuntimeError)):
        encoder(input_ids=torch.full((1, most + 1), 5))
