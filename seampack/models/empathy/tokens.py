"""Dialogues as tensors, and the tokeniser of the small model."""

from collections.abc import Sequence
from typing import Any

import torch
from tokenizers import ByteLevelBPETokenizer
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from seampack.models.empathy.config import EmpathyConfig
from seampack.models.training import IGNORED, padded, padded_batch

_SPECIAL = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>", "mask_token": "<mask>"}


def byte_tokenizer(texts: Sequence[str], most: int) -> Any:
    """Train a byte-level BPE tokeniser of at most ``most`` tokens; it restores any text byte by byte."""
    learned = ByteLevelBPETokenizer()
    learned.train_from_iterator(
        texts, vocab_size=most, min_frequency=2, show_progress=False, special_tokens=list(_SPECIAL.values())
    )
    tokens: Any = PreTrainedTokenizerFast
    names = {"cls_token": "<s>", "sep_token": "</s>", **_SPECIAL}
    return tokens(tokenizer_object=learned._tokenizer, clean_up_tokenization_spaces=False, **names)


def encode_context(tokenizer: Any, contexts: Sequence[Sequence[str]], most: int) -> list[list[int]]:
    """Return ids of ``<s> first </s> second </s> ...``; if longer than ``most`` tokens, of ``<s>`` and the end."""
    flat = _plain_ids(tokenizer, [utterance for context in contexts for utterance in context])
    encoded, start = [], 0
    for context in contexts:
        stop = start + len(context)
        ids = [token for utterance in flat[start:stop] for token in [*utterance, tokenizer.eos_token_id]]
        encoded.append([tokenizer.bos_token_id, *ids[-(most - 1) :]])
        start = stop
    return encoded


def encode_text(tokenizer: Any, texts: Sequence[str], most: int) -> list[list[int]]:
    """Return ids of ``<s> text </s>``, cut to ``most`` tokens; no ids for an empty text."""
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    return [[bos, *ids[: most - 2], eos] if ids else [] for ids in _plain_ids(tokenizer, texts)]


def _plain_ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Return ids without special tokens; a special token's name within a text is encoded as text."""
    if not texts:
        return []
    encoded: list[list[int]] = tokenizer(list(texts), add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return encoded


def piece_text(relation: str, tails: Sequence[str]) -> str:
    """Return a relation's knowledge as one text, such as ``xReact: happy; proud``; empty if there are no tails."""
    kept = [tail.strip() for tail in tails if tail.strip()]
    return f"{relation}: {'; '.join(kept)}" if kept else ""


def collate(
    tokenizer: Any, rows: Sequence[dict[str, Any]], relations: Sequence[str], config: EmpathyConfig
) -> dict[str, Tensor]:
    """Return a batch of prepared rows as arguments of ``EmpathyModel.forward``, cut to the lengths of the config.

    ``input_ids``, ``attention_mask``: (rows, tokens); ``knowledge_ids``, ``knowledge_mask``: (rows, relations, tokens);
    ``labels``: (rows, tokens), with -100 for padding; ``emotion``: (rows,).
    """
    pad = tokenizer.pad_token_id
    contexts = encode_context(tokenizer, [row["context"] for row in rows], config.max_context_tokens)
    texts = [piece_text(relation, row["knowledge"][relation]) for row in rows for relation in relations]
    pieces = encode_text(tokenizer, texts, config.max_knowledge_tokens)
    targets = encode_text(tokenizer, [row["target"] for row in rows], config.max_target_tokens + 1)
    shape = (len(rows), len(relations), -1)
    knowledge = padded(pieces, pad).view(shape) if relations else torch.full((len(rows), 0, 1), pad)
    mask = padded([[1] * len(piece) for piece in pieces], 0).view(shape) if relations else torch.zeros_like(knowledge)
    return {
        **padded_batch(contexts, pad),
        "knowledge_ids": knowledge,
        "knowledge_mask": mask,
        "labels": padded([target[1:] for target in targets], IGNORED),
        "emotion": torch.tensor([row["label"] for row in rows]),
    }
