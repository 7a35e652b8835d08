"""Collation: packed rows to the tensors of a training batch, in which no document sees another.

rows, by seq_lengths      a0 a1 a2 b0 b1 | c0 c1 c2 c3
input_ids                 a0 a1 a2 b0 b1   c0 c1 c2 c3
position_ids               0  1  2  0  1    0  1  2  3
seq_idx                    0  0  0  1  1    2  2  2  2
labels                     .  a1 a2 .  b1   .  c1 c2 c3      (. is -100)
cu_seq_lens_q             0 3 5 9
max_length_q              4
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from seampack.config import Config, option
from seampack.errors import DataError, MissingExtraError
from seampack.io.ragged import offsets_of, positions_of
from seampack.packer.column_types import IGNORE_INDEX
from seampack.training.columns import RowColumns, row_name

if TYPE_CHECKING:
    import pyarrow as pa
    import torch
    from torch.nn.attention.flex_attention import BlockMask

Array = npt.NDArray[Any]
Int64 = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


class Layout(StrEnum):
    """Shape of a batch."""

    PADDING_FREE = "padding_free"
    """All rows end to end in one sequence, ``(1, tokens)``, without padding."""
    PADDED = "padded"
    """A row each, ``(rows, tokens of the longest)``; the padding of a row is one more segment of it."""


class Mask(StrEnum):
    """Attention mask of a batch."""

    NONE = "none"
    """No mask: the model finds the segments by ``cu_seq_lens_q`` or ``position_ids``."""
    DENSE = "dense"
    """A float mask to add to the scores, shape ``(rows, 1, tokens, tokens)``, for eager attention and SDPA."""
    FLEX = "flex"
    """The block mask of FlexAttention."""


class MaskType(StrEnum):
    """Number type of a dense mask."""

    FLOAT32 = "float32"
    """Works with models of any type; four bytes for each pair of tokens."""
    BFLOAT16 = "bfloat16"
    """Half of that, for models in bfloat16."""
    FLOAT16 = "float16"
    """Half of that, for models in float16."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CollateConfig(Config):
    """Options of ``collate``.

    Raises ConfigError, naming the field, the expected values and the given one.
    """

    layout: str = option(
        Layout.PADDING_FREE.value,
        "Shape of a batch: all rows end to end in one sequence, or a row each, padded to the longest.",
        choices=Layout,
    )
    mask: str = option(Mask.NONE.value, "Attention mask to add as attention_mask.", choices=Mask)
    mask_type: str = option(
        MaskType.FLOAT32.value, "Number type of a dense mask; that of the model, for SDPA.", choices=MaskType
    )
    pad_id: int = option(0, "Token id of padding.", low=0, high=(1 << 31) - 1)
    pad_to_multiple: int = option(
        1,
        "Pad the length of a batch to a multiple of this; a multiple of the row's length gives all batches one shape.",
        low=1,
        high=1 << 24,
        unit="tokens",
    )
    train_on_repeated: bool = option(
        False,
        "Whether tokens that repeat others of an overlapping window are labels again. By default each token is a label "
        "once.",
    )


def collate(
    rows: "Sequence[Mapping[str, Any]] | pa.Table | pa.RecordBatch", config: CollateConfig | None = None, **options: Any
) -> dict[str, Any]:
    """Return the batch of some packed rows, as tensors. The names are those of transformers and flash attention.

    Args:
        rows: Rows of a packed folder, as mappings (values are lists, arrays or tensors) or in Arrow.
        config: The options; by default ``CollateConfig()``.
        options: Fields of CollateConfig; they override ``config``.

    Columns that are read:
        input_ids: The tokens.
        seq_lengths: Tokens of each segment, and of the padding, if there is any.
        repeated: Repeated tokens at the start of each segment. Without this column and ``doc_ids``, no row is padded.
        labels: Label of each token; by default its id.
        loss_mask: 0 for tokens that are no label.

    Returned:
        input_ids, position_ids, seq_idx: Token, position in its segment, and number of its segment in the batch.
        labels: Labels, not shifted. -100 for padding, for tokens that the columns exclude, and for the first token of
            each segment, which would be predicted from the last of another document.
        cu_seq_lens_q, cu_seq_lens_k: Borders of the segments, shape (segments + 1,).
        max_length_q, max_length_k: Tokens of the longest segment.
        use_cache: False. With a cache, the models of transformers do not look for segments in ``position_ids``.
        attention_mask: With ``mask`` only.

    Raises DataError for rows whose columns do not fit together.
    """
    config = CollateConfig.given(config, **options)
    torch = _torch("collate")
    batch = _laid_out(_read(rows, config), config)
    lengths = batch.lengths
    shape = (1, -1) if config.layout == Layout.PADDING_FREE else (len(rows), -1)
    borders = torch.from_numpy(offsets_of(lengths).astype(np.int32))
    longest = int(lengths.max())
    numbers = np.repeat(np.arange(lengths.size, dtype=np.int32), lengths)
    tensors: dict[str, Any] = {
        "input_ids": torch.from_numpy(batch.ids).view(shape),
        "labels": torch.from_numpy(batch.labels).view(shape),
        "position_ids": torch.from_numpy(positions_of(lengths)).view(shape),
        "seq_idx": torch.from_numpy(numbers).view(shape),
        "cu_seq_lens_q": borders,
        "cu_seq_lens_k": borders,
        "max_length_q": longest,
        "max_length_k": longest,
        "use_cache": False,
    }
    if config.mask == Mask.DENSE:
        tensors["attention_mask"] = dense_mask(tensors["seq_idx"], getattr(torch, config.mask_type))
    elif config.mask == Mask.FLEX:
        tensors["attention_mask"] = block_mask(tensors["seq_idx"])
    return tensors


def dense_mask(seq_idx: "torch.Tensor", dtype: "torch.dtype | None" = None) -> "torch.Tensor":
    """Return the mask to add to attention scores: 0 for earlier tokens of the same segment, else the lowest number.

    ``seq_idx`` has shape (rows, tokens), the mask (rows, 1, tokens, tokens). It is made on the device of ``seq_idx``.
    """
    torch = _torch("dense_mask")
    dtype = dtype or torch.float32
    is_same = seq_idx[:, None, :, None] == seq_idx[:, None, None, :]
    seen = is_same.tril()
    mask: Any = torch.zeros(seen.shape, dtype=dtype, device=seq_idx.device)
    return mask.masked_fill_(~seen, torch.finfo(dtype).min)  # type: ignore[no-any-return]


def block_mask(seq_idx: "torch.Tensor") -> "BlockMask":
    """Return FlexAttention's block mask: each token sees itself and the earlier tokens of its segment.

    ``seq_idx`` has shape (rows, tokens). The mask is made on its device, and belongs there: make it after the batch has
    been moved.
    """
    _torch("block_mask")
    from torch.nn.attention.flex_attention import create_block_mask

    rows, tokens = seq_idx.shape
    rule = partial(_is_seen, seq_idx)  # no closure, so that a worker of a DataLoader can send the mask
    return create_block_mask(rule, rows, None, tokens, tokens, device=str(seq_idx.device))


def _is_seen(seq_idx: Any, row: Any, head: Any, query: Any, key: Any) -> Any:
    return (query >= key) & (seq_idx[row, query] == seq_idx[row, key])


def _torch(purpose: str) -> Any:
    """Return the module torch, which is heavy and needed by this module alone. Raise MissingExtraError without it."""
    try:
        import torch
    except ModuleNotFoundError as error:
        raise MissingExtraError("torch", "torch", f"seampack.{purpose}") from error
    return torch


@dataclass(frozen=True, slots=True)
class _Batch:
    """Tokens and labels, shape (tokens,), and the length of each segment; each row has ``counts`` of them."""

    ids: Int64
    labels: Int64
    lengths: Int64
    counts: Int64


def _read(rows: Any, config: CollateConfig) -> _Batch:
    """Return the tokens of the rows without their padding, and their labels."""
    columns = RowColumns(rows)
    ids, row_lengths = columns.integers("input_ids")
    lengths, counts = columns.integers("seq_lengths")
    _check_sums(lengths, counts, row_lengths)
    labels = columns.per_token("labels", row_lengths).astype(np.int64) if "labels" in columns else ids.copy()
    if "loss_mask" in columns:
        labels[~_flags(columns.per_token("loss_mask", row_lengths))] = IGNORE_INDEX
    labels[offsets_of(lengths)[:-1]] = IGNORE_INDEX
    is_padding = _padding(counts, columns.segments(counts))
    if "repeated" in columns and not config.train_on_repeated:
        repeated = np.zeros_like(lengths)
        repeated[~is_padding] = columns.integers("repeated")[0]
        labels[positions_of(lengths) < np.repeat(repeated, lengths)] = IGNORE_INDEX
    kept = np.repeat(~is_padding, lengths)
    counts = np.diff(offsets_of(~is_padding)[offsets_of(counts)])
    return _Batch(ids[kept], labels[kept], lengths[~is_padding], counts)


def _check_sums(lengths: Int64, counts: Int64, row_lengths: Int64) -> None:
    """Raise DataError unless the lengths of each row's segments are positive and add up to its tokens."""
    if not lengths.size:
        raise DataError("expected at least one row with tokens; got none")
    if lengths.min() < 1:
        row = int(np.repeat(np.arange(counts.size), counts)[lengths.argmin()])
        raise DataError(f"{row_name(row)}: seq_lengths: expected at least 1 token; got {lengths.min()}")
    sums = np.diff(offsets_of(lengths)[offsets_of(counts)])
    wrong = np.flatnonzero(sums != row_lengths)
    if wrong.size:
        row = int(wrong[0])
        raise DataError(
            f"{row_name(row)}: expected seq_lengths that add up to its {row_lengths[row]:,} tokens; got {sums[row]:,}; "
            "do not cut or pad rows before they are collated"
        )


def _padding(counts: Int64, segments: Int64) -> Bools:
    """Return a mask of the entries of ``seq_lengths`` that are padding: the last of a row with one more than segments.

    Raises DataError for other numbers.
    """
    wrong = np.flatnonzero((counts != segments) & (counts != segments + 1))
    if wrong.size:
        row = int(wrong[0])
        raise DataError(
            f"{row_name(row)}: expected seq_lengths of {segments[row]:,} segments, and of padding; got {counts[row]:,} "
            "lengths"
        )
    mask = np.zeros(int(counts.sum()), np.bool_)
    mask[np.cumsum(counts)[counts > segments] - 1] = True
    return mask


def _flags(values: Array) -> Bools:
    """Return the values of a mask. Raise DataError unless all are 0 or 1."""
    other = np.flatnonzero((values != 0) & (values != 1))
    if other.size:
        raise DataError(f"loss_mask: expected 0 and 1; got {values[other[0]]}")
    return values.astype(np.bool_)


def _laid_out(batch: _Batch, config: CollateConfig) -> _Batch:
    """Add the padding of the layout; it is a segment."""
    counts = np.array([batch.lengths.size]) if config.layout == Layout.PADDING_FREE else batch.counts
    tokens = np.diff(offsets_of(batch.lengths)[offsets_of(counts)])
    gaps = -(-tokens.max() // config.pad_to_multiple) * config.pad_to_multiple - tokens
    short = np.flatnonzero(gaps)
    places = np.repeat(offsets_of(tokens)[1:], gaps)
    return _Batch(
        np.insert(batch.ids, places, config.pad_id),
        np.insert(batch.labels, places, IGNORE_INDEX),
        np.insert(batch.lengths, offsets_of(counts)[short + 1], gaps[short]),
        counts + (gaps > 0),
    )
