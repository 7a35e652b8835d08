"""Batches of conversations to batches of token ids, with the column ``loss_mask``."""

from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from seampack.errors import DataError
from seampack.io.bad_records import BadRecord
from seampack.io.ragged import lengths_of, offsets_of
from seampack.packer.chats import Chats, ChatWriter, Written, mask_of
from seampack.packer.column_types import IGNORE_INDEX, LABELS, LOSS_MASK
from seampack.packer.documents import Doubled, TokenBatch
from seampack.packer.tokenizing import TextTokenizer


def encode_chats(chats: Chats, tokenizer: TextTokenizer) -> TokenBatch:
    """Write and tokenise conversations. Those that cannot be written, or have nothing to train on, are in ``bad``.

    ``tokenizer`` has been made for conversations.
    """
    writer: ChatWriter = tokenizer.chats  # type: ignore[assignment]
    wrong: dict[int, str] = {}
    written: dict[int, Written] = {}
    for index, chat in enumerate(chats.chats):
        try:
            written[index] = writer.write(chat)
        except DataError as error:
            wrong[index] = str(error)
    encodings = tokenizer.reference.encode_batch([each.text for each in written.values()], add_special_tokens=False)
    ids: list[list[int]] = []
    masks: list[npt.NDArray[np.uint8]] = []
    begun = ended = control = 0
    bos = [tokenizer.bos.id] if tokenizer.bos.name is not None else []
    eos = [tokenizer.eos.id] if tokenizer.eos.name is not None else []
    for (index, text), encoding in zip(written.items(), encodings, strict=True):
        tokens: list[int] = encoding.ids
        mask = mask_of(encoding.offsets, text.spans)
        if text.is_framed:
            has_bos, has_eos = bool(bos) and tokens[:1] == bos, bool(eos) and tokens[-1:] == eos
            before, after = ([] if has_bos else bos), ([] if has_eos else eos)
            tokens = [*before, *tokens, *after]
            mask = np.concatenate([np.zeros(len(before), np.uint8), mask, np.ones(len(after), np.uint8)])
            begun, ended = begun + has_bos, ended + has_eos
        if writer.has_mask and not mask.any():
            wrong[index] = "the assistant's messages have no token: there is nothing to train on"
            continue
        ids.append(tokens)
        masks.append(mask)
        control += text.has_control
    offsets = offsets_of(lengths_of(ids))
    flat = np.fromiter(chain.from_iterable(ids), np.uint32, int(offsets[-1]))
    tokenizer.check_ids(flat)
    kept = pa.array(np.setdiff1d(np.arange(len(chats.chats)), list(wrong)))
    return TokenBatch(
        flat.astype(tokenizer.dtype),
        offsets,
        None if chats.names is None else chats.names.take(kept),
        _in_order([*chats.bad, *(chats.bad_record(index, reason) for index, reason in wrong.items())]),
        Doubled(begun, ended, control=control),
        columns=_columns(flat, masks) if writer.has_mask else {},
        fields={name: values.take(kept) for name, values in chats.fields.items()},
    )


def _columns(ids: npt.NDArray[np.uint32], masks: list[npt.NDArray[np.uint8]]) -> dict[str, npt.NDArray[Any]]:
    """Return what goes with the ids of conversations: the mask, and the labels."""
    mask = np.concatenate([np.empty(0, np.uint8), *masks])
    return {LOSS_MASK: mask, LABELS: np.where(mask, ids.astype(np.int32), np.int32(IGNORE_INDEX))}


def _in_order(bad: list[BadRecord]) -> list[BadRecord]:
    return sorted(bad, key=lambda record: record.position)
