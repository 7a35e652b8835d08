"""Segments that are padded to a multiple: plans in blocks of tokens, of which the last of a document is not full.

Documents are cut between blocks only, in all windows of a stream. So each segment is whole blocks when it is padded.

document of 10 tokens, blocks of 4    0 1 2 3 | 4 5 6 7 | 8 9 . .
"""

from typing import TypeVar

import numpy as np
import numpy.typing as npt

from seampack.packer.plan_config import PlanConfig
from seampack.packer.plans import Int32, Pieces, Planned, Rows

Integer = TypeVar("Integer", np.int32, np.int64)


def blocks_of(lengths: npt.NDArray[Integer], size: int) -> npt.NDArray[Integer]:
    """Return the blocks of ``size`` tokens that each document takes; a block is a token if ``size`` is 1."""
    return lengths if size == 1 else -(-lengths // lengths.dtype.type(size))


def in_blocks(config: PlanConfig) -> PlanConfig:
    """Return the options with lengths in blocks of ``pad_to_multiple`` tokens."""
    size = config.pad_to_multiple
    return config.replace(pad_to_multiple=1, seq_len=config.seq_len // size, extra_tokens=config.extra_tokens // size)


def in_tokens(planned: Planned, lengths: Int32, size: int) -> Planned:
    """Return a plan in blocks of ``size`` tokens as one in tokens; ``lengths`` are those of the documents."""

    def tokens_of(pieces: Pieces) -> Pieces:
        start = pieces.start.astype(np.int64) * size
        length = np.minimum(pieces.length.astype(np.int64) * size, lengths[pieces.document] - start)
        return Pieces(pieces.document, start.astype(np.int32), length.astype(np.int32))

    segments = tokens_of(Pieces(*planned.rows[1:]))
    return planned._replace(
        rows=Rows(planned.rows.row_offsets, *segments),
        repeated=np.minimum(planned.repeated.astype(np.int64) * size, segments.length).astype(np.int32),
        dropped=tokens_of(planned.dropped),
        carried=tokens_of(planned.carried),
    )
