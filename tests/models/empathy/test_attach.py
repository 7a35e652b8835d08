"""Knowledge retrieved from a table."""

from pathlib import Path

import pytest
import torch
from datasets import Dataset
from transformers import BertConfig, BertModel

from seampack.errors import ConfigError, DataError
from seampack.models import text, training
from seampack.models.empathy import attach_knowledge


@pytest.fixture
def encoder(tmp_path: Path) -> str:
    """A sentence encoder without layers: texts with the same words are similar."""
    words = text.word_tokenizer(["my dog died . i won the match to cry be proud cat ate fish"] * 2)
    words.save_pretrained(tmp_path / "encoder")
    torch.manual_seed(0)
    shape = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=0,
        num_attention_heads=2,
        intermediate_size=32,
        initializer_range=1.0,
    )
    model = BertModel(shape, add_pooling_layer=False)
    with torch.no_grad():
        table = model.embeddings
        for shared in (table.position_embeddings.weight, table.token_type_embeddings.weight):
            shared.zero_()
        table.word_embeddings.weight[:5] = 0  # special tokens
    with training.quiet():
        model.save_pretrained(tmp_path / "encoder")
    return str(tmp_path / "encoder")


def test_attaches_the_nearest_knowledge(encoder: str) -> None:
    table = Dataset.from_list(
        [
            {"head": "dog died", "relation": "xReact", "tail": "sad"},
            {"head": "dog died", "relation": "xReact", "tail": "sad "},
            *({"head": "dog died", "relation": "xReact", "tail": tail} for tail in ("none", " None ", "NONE", " ")),
            {"head": "the dog died", "relation": "xReact", "tail": "lonely"},
            {"head": "the dog died", "relation": "xWant", "tail": "to cry"},
            {"head": "won match", "relation": "xReact", "tail": "proud"},
        ]
    )
    rows = Dataset.from_list([{"context": ["be proud", "my dog died."]}, {"context": ["i won the match."]}])
    attached = attach_knowledge(rows, table, encoder=encoder, tails=2, least_similarity=0.45)
    assert attached["knowledge"][:] == [
        {"xReact": ["sad", "lonely"], "xWant": ["to cry"]},
        {"xReact": ["proud"], "xWant": []},
    ]
    again = attach_knowledge(rows.add_column("knowledge", ["a", "b"]), table, encoder=encoder)
    assert again["knowledge_given"][:] == ["a", "b"]
    fewer = attach_knowledge(rows, table, encoder=encoder, relations=["xWant"], tails=1, least_similarity=-1)
    assert fewer["knowledge"][:] == [{"xWant": ["to cry"]}] * 2
    with pytest.raises(DataError, match="no relation 'xNeed'"):
        attach_knowledge(rows, table, encoder=encoder, relations=["xNeed"])
    with pytest.raises(DataError, match="tail"):
        attach_knowledge(rows, table.remove_columns("tail"), encoder=encoder)
    with pytest.raises(ConfigError, match="pretrained"):
        attach_knowledge(rows, table, encoder="small")
