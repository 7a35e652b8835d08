"""Dialogues, options and a small model, shared by the empathy tests."""

from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from transformers import BartConfig

from seampack.models.empathy import EmpathyConfig, EmpathyModel

GLAD = ("I passed the exam today", "My sister had her baby", "We won the match at last", "They gave me the job")
SAD = ("My old dog died today", "I lost my job at last", "My best friend moved away", "We sold the house I grew up in")


def dialogues() -> Dataset:
    """Invented dialogues; xReact reveals the emotion, xWant does not and is sometimes null."""
    rows = []
    for number in range(8):
        for emotion, events, reply, react in (
            ("joyful", GLAD, "That is wonderful, well done!", "happy"),
            ("sad", SAD, "I am so sorry for your loss.", "sad"),
        ):
            event = events[number % 4]
            longer = [f"{event}.", "Oh, tell me more.", "It was in the morning."] if number > 3 else [f"{event}."]
            knowledge = {"xReact": [react, "full of it"], "xWant": ["to eat"] if number % 3 else None}
            rows.append({"context": longer, "emotion": emotion, "target": reply, "knowledge": knowledge})
    return Dataset.from_list(rows)


OPTIONS: dict[str, Any] = {
    "hidden_size": 32,
    "layers": 1,
    "vocabulary": 400,
    "epochs": 25.0,
    "batch_rows": 8,
    "learning_rate": 1e-2,
    "max_target_tokens": 16,
    "beams": 3,
    "responses": 6,
}


def tiny(options: EmpathyConfig | None = None, **changes: Any) -> EmpathyModel:
    """A random model of two decoder layers; ``changes`` are of its BART config."""
    torch.manual_seed(0)
    shape = BartConfig(
        vocab_size=60,
        d_model=16,
        encoder_layers=1,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        max_position_embeddings=32,
        dropout=0.0,
        decoder_start_token_id=0,
    )
    shape.update({"emotions": 3, "empathy": (options or EmpathyConfig(emotion_weight=1.0)).to_dict(), **changes})
    return EmpathyModel(shape).eval()


def batch(rows: int = 3, relations: int = 4) -> dict[str, Tensor]:
    """A batch in which one piece of knowledge is missing in row 1, and all are in row 2."""
    torch.manual_seed(1)
    mask = torch.ones(rows, relations, 5, dtype=torch.long)
    mask[0, 1, 3:] = 0
    mask[1, 2] = 0
    mask[2] = 0
    attention = torch.ones(rows, 7, dtype=torch.long)
    attention[1, 4:] = 0
    return {
        "input_ids": torch.randint(5, 60, (rows, 7)),
        "attention_mask": attention,
        "knowledge_ids": torch.randint(5, 60, (rows, relations, 5)) * mask + 1 - mask,
        "knowledge_mask": mask,
    }


LABELS = torch.tensor([[7, 8, 9, 2], [10, 2, -100, -100], [11, 12, 2, -100]])
