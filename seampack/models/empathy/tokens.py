"""Dialogues as tensors, and the vocabulary of a model of our own size."""

from collections.abc import Sequence
from typing import Any

import torch
from tokenizers import ByteLevelBPETokenizer
from torch import Tensor
from transformers import PreTrainedTokenizerFast

IGNORED = -100
"""A label that counts in no loss."""
_SPECIAL = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>", "mask_token": "<mask>"}


def byte_tokenizer(texts: Sequence[str], most: int) -> Any:
    """A byte-level BPE tokenizer learned from ``texts``: it encodes any text and gives it back to the byte."""
    learned = ByteLevelBPETokenizer()
    learned.train_from_iterator(
        texts, vocab_size=most, min_frequency=2, show_progress=False, special_tokens=list(_SPECIAL.values())
    )
    tokens: Any = PreTrainedTokenizerFast
    names = {"cls_token": "<s>", "sep_token": "</s>", **_SPECIAL}
    return tokens(tokenizer_object=learned._tokenizer, clean_up_tokenization_spaces=False, **names)


def encode_context(tokenizer: Any, contexts: Sequence[Sequence[str]], most: int) -> list[list[int]]:
    """Ids of ``<s> first </s> second </s> ...``; of a long context the end is kept, behind ``<s>``."""
    flat = _plain(tokenizer, [utterance for context in contexts for utterance in context])
    found, at = [], 0
    for context in contexts:
        ids = [token for piece in flat[at : at + len(context)] for token in [*piece, tokenizer.eos_token_id]]
        found.append([tokenizer.bos_token_id, *ids[-(most - 1) :]])
        at += len(context)
    return found


def encode_text(tokenizer: Any, texts: Sequence[str], most: int) -> list[list[int]]:
    """Ids of ``<s> text </s>``, cut behind ``most`` tokens; an empty text has none."""
    ids = _plain(tokenizer, texts)
    ends = tokenizer.bos_token_id, tokenizer.eos_token_id
    return [[ends[0], *each[: most - 2], ends[1]] if each else [] for each in ids]


def _plain(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Ids without special tokens; their names within a text are text."""
    if not texts:
        return []
    found: list[list[int]] = tokenizer(list(texts), add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return found


def padded(rows: Sequence[Sequence[int]], value: int) -> Tensor:
    """Shape (rows, longest row)."""
    width = max([1, *map(len, rows)])
    return torch.tensor([[*row, *[value] * (width - len(row))] for row in rows])


def piece_text(relation: str, tails: Sequence[str]) -> str:
    """A relation's knowledge as one text, empty where there is none: ``xReact: happy; proud``."""
    kept = [tail.strip() for tail in tails if tail.strip()]
    return f"{relation}: {'; '.join(kept)}" if kept else ""


def collate(
    tokenizer: Any, rows: Sequence[dict[str, Any]], relations: Sequence[str], most: tuple[int, int, int]
) -> dict[str, Tensor]:
    """A batch of prepared rows as ``EmpathyModel.forward`` takes it; ``most``: tokens of context, knowledge, response.

    ``input_ids``, ``attention_mask``: (rows, tokens); ``knowledge_ids``, ``knowledge_mask``: (rows, relations, tokens);
    ``labels``: (rows, tokens), padding being -100; ``emotion``: (rows,).
    """
    pad = tokenizer.pad_token_id
    contexts = encode_context(tokenizer, [row["context"] for row in rows], most[0])
    texts = [piece_text(relation, row["knowledge"][relation]) for row in rows for relation in relations]
    pieces = encode_text(tokenizer, texts, most[1])
    targets = encode_text(tokenizer, [row["target"] for row in rows], most[2] + 1)
    shape = (len(rows), len(relations), -1)
    knowledge = padded(pieces, pad).view(shape) if relations else torch.full((len(rows), 0, 1), pad)
    mask = padded([[1] * len(piece) for piece in pieces], 0).view(shape) if relations else torch.zeros_like(knowledge)
    return {
        "input_ids": padded(contexts, pad),
        "attention_mask": padded([[1] * len(context) for context in contexts], 0),
        "knowledge_ids": knowledge,
        "knowledge_mask": mask,
        "labels": padded([target[1:] for target in targets], IGNORED),
        "emotion": torch.tensor([row["label"] for row in rows]),
    }
