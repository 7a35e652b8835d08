"""Documents of the comparison: read, split into three disjoint sets before anything is packed, and tokenised."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import seampack
from seampack.models.data import load
from seampack.packer.config import PackConfig
from seampack.packer.documents import Texts
from seampack.packer.tokenizing import TextTokenizer

EOS = "<|endoftext|>"
SPLIT_SEED = 20251126
LARGEST = 4
"""No document is more than a set divided by this number."""
BUNDLED = Path(seampack.__file__).parent / "data" / "corpus.jsonl.zst"
DEBIAN = Path(".work") / "corpus" / "documents.jsonl"  # made by `python -m benchmarks.corpus`
GIVEN = {  # files of the folder --data
    "news": "bbc",
    "medicine": "pubmedqa",
    "finance": "fomc_speech",
    "speeches": "sotu",
    "handbook": "handbook_en",
}

Tokens = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """Three disjoint sets of documents: trained on, scored to choose the learning rate, scored at the end."""

    train: list[str]
    choosing: list[str]
    held_out: list[str]


def path_of(source: str, data: Path | None) -> Path | None:
    """Return the file of a source; None if it is not on this machine."""
    if source == "public":
        return BUNDLED
    path = DEBIAN if source == "debian" else data and data / "corpora" / f"{GIVEN[source]}.jsonl.zst"
    return path if path and path.exists() else None


def read(sources: Iterable[str], data: Path | None) -> tuple[list[str], list[str]]:
    """Return the distinct texts of the sources that are on this machine, and the names of these sources."""
    found = {source: path for source in sources if (path := path_of(source, data))}
    texts: dict[str, None] = {}
    for path in found.values():
        texts |= dict.fromkeys(text for text in load(str(path))["text"][:] if text and text.strip())
    return list(texts), list(found)


def split(texts: Sequence[str], *, train: int, choosing: int, held_out: int) -> Split:
    """Split texts at random, the same on every machine. The sizes are in characters.

    The scored sets are filled first, so that they do not change with the size of the training set. No document is more
    than a quarter of its set, so that none decides the outcome.
    """
    shuffled = list(texts)
    random.Random(SPLIT_SEED).shuffle(shuffled)
    left = dict.fromkeys(shuffled)

    def take(characters: int) -> list[str]:
        taken, room = [], characters
        for text in left:
            if len(text) <= min(room, characters / LARGEST):
                taken.append(text)
                room -= len(text)
        for text in taken:
            del left[text]
        return taken

    parts = {"held_out": take(held_out), "choosing": take(choosing), "train": take(train)}
    for name, part in parts.items():
        if not part:
            raise SystemExit(f"{len(texts)} documents are too few: no document is left for {name}")
    return Split(**parts)


def own_vocabulary(texts: Sequence[str], size: int, path: Path) -> str:
    """Train a byte-level vocabulary on the training documents, unless the file is there; return its path."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        source = path.with_name("train.jsonl")
        source.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), "utf-8")
        print(f"vocabulary of {size} tokens from {len(texts)} documents", file=sys.stderr, flush=True)
        seampack.train_tokenizer(str(source), path, vocab_size=size, special_tokens=(EOS,))
        source.unlink()
    return str(path)


def tokenize(texts: Sequence[str], tokenizer: TextTokenizer) -> list[Tokens]:
    """Return the tokens of each text, with the end-of-document token."""
    batch = tokenizer.encode(Texts(list(texts)))
    return np.split(batch.ids.astype(np.int64), batch.offsets[1:-1])


def load_tokenizer(path: str) -> TextTokenizer:
    """Load a tokenizer that puts the end-of-document token after each document, and nothing before it."""
    return TextTokenizer(path, PackConfig(bos="none", eos=EOS))


def describe(parts: dict[str, list[Tokens]], sources: list[str]) -> dict[str, Any]:
    """Return the sources, and the documents and tokens of each set, for the saved results."""
    sizes = {name: {"documents": len(part), "tokens": sum(map(len, part))} for name, part in parts.items()}
    return {"sources": sources, **sizes}
