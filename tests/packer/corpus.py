"""The corpus of the tests of packing: documents of very different lengths, and their tokens."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from seampack.packer.formats.registry import OutputFormat
from seampack.packer.tokenizing import TextTokenizer

END = "<|endoftext|>"
TOKENIZER = TextTokenizer()
END_ID = TOKENIZER.reference.token_to_id(END)


def sample(documents: int = 120) -> list[str]:
    """Documents of very different lengths: empty, of one token, short, longer than many rows."""
    chance = random.Random(7)
    words = ["seam", "pack", "Ä", " ", "\n", "12", "the", END]
    return [" ".join(chance.choices(words, k=chance.choice([0, 1, 1, 3, 9, 30, 90, 400]))) for _ in range(documents)]


def write_corpus(path: Path, texts: Sequence[str]) -> Path:
    path.write_text("".join(json.dumps({"text": text, "id": f"d{n:05d}"}) + "\n" for n, text in enumerate(texts)))
    return path


TEXTS = sample()
TOKENS = [TOKENIZER.reference.encode(text, add_special_tokens=False).ids for text in TEXTS]
UNFRAMED = {"bos": "none", "eos": "none"}
SMALL: dict[str, Any] = {"seq_len": 32, "window_tokens": 256, "shard_tokens": 1024, **UNFRAMED}
STRATEGIES = pytest.mark.parametrize("strategy", ["seamless", "concat", "best_fit", "ffd", "pad"])
FORMATS = pytest.mark.parametrize("output_format", ["arrow", "parquet"])
OF_ROWS = [member for member in OutputFormat if member != OutputFormat.INDEX]
"""The formats that hold the tokens of the rows."""
SHORT_ROWS = pytest.mark.filterwarnings("ignore:.*rows have less than")
"""Of tests with rows that are not full, in formats whose trainers need full ones."""
