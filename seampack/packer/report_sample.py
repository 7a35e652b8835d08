"""Rows of a packed folder as a report shows them: segments, divided into runs of tokens that are treated alike."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from seampack.packer.column_types import IGNORE_INDEX, LABELS, TRAINED, kept_types
from seampack.packer.manifest import Manifest
from seampack.packer.rows import Int64, row_reader

MOST_TOKENS = 1024
"""Tokens of a row that are shown, as far as each segment can have its share."""
LEAST_TOKENS = 16
"""Tokens of a segment that are shown in any case."""
MOST_SEGMENTS = 64
"""Segments of a row that are shown."""


class Run(NamedTuple):
    """Tokens of a segment, one after another, that are treated alike."""

    ids: Int64
    repeated: bool
    """Whether another row has these tokens too."""
    masked: bool
    """Whether they are not trained on."""
    skipped: int = 0
    """Number of tokens that are not shown; there are no ids then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownSegment:
    """A segment of a row."""

    document: int | str
    start: int
    tokens: int
    repeated: int
    kept: dict[str, Any]
    """Values of the kept columns."""
    runs: tuple[Run, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownRow:
    """A row."""

    number: int
    lengths: tuple[int, ...]
    """Tokens of all segments."""
    padding: int
    segments: tuple[ShownSegment, ...]
    """The first segments, at most ``MOST_SEGMENTS``."""


def mask_column(columns: Any) -> str | None:
    """Return the column, of those of the rows, that says which tokens are trained on; None if there is none."""
    return next((name for name in TRAINED if name in columns), None)


def shown_rows(table: pa.Table, numbers: Int64, manifest: Manifest) -> Iterator[ShownRow]:
    """Iterate over rows, given with their numbers."""
    mask = mask_column(manifest.columns)
    kept = list(kept_types(manifest.config))
    for batch in table.combine_chunks().to_batches():
        read = row_reader(batch)
        for place in range(batch.num_rows):
            yield _row(read(place), int(numbers[place]), mask, kept)


def _row(row: dict[str, Any], number: int, mask: str | None, kept: list[str]) -> ShownRow:
    ids = row["input_ids"]
    masked = np.zeros(ids.size, np.bool_)
    if mask is not None:
        masked = row[mask] == (IGNORE_INDEX if mask == LABELS else 0)
    lengths = [int(length) for length in row["seq_lengths"][: len(row["doc_ids"])]]  # without that of the padding
    share = max(LEAST_TOKENS, MOST_TOKENS // max(1, len(lengths)))
    segments = []
    first = 0
    for place, length in enumerate(lengths[:MOST_SEGMENTS]):
        repeated = int(row["repeated"][place])
        document = row["doc_ids"][place]
        flags = masked[first : first + length] + 2 * (np.arange(length) < repeated)
        segments.append(
            ShownSegment(
                document=document if isinstance(document, str) else int(document),
                start=int(row["doc_starts"][place]),
                tokens=length,
                repeated=repeated,
                kept={name: row[name][place] for name in kept},
                runs=tuple(_runs(ids[first : first + length], flags, share)),
            )
        )
        first += length
    return ShownRow(number=number, lengths=tuple(lengths), padding=ids.size - sum(lengths), segments=tuple(segments))


def _runs(ids: Int64, flags: npt.NDArray[Any], most: int) -> Iterator[Run]:
    """Divide a segment where the flags change. Of more than ``most`` tokens, those in the middle are skipped."""
    if ids.size > most:
        head = most - most // 3
        tail = ids.size - most // 3
        yield from _runs(ids[:head], flags[:head], most)
        yield Run(ids[:0], False, False, tail - head)
        yield from _runs(ids[tail:], flags[tail:], most)
        return
    borders = [0, *(np.flatnonzero(np.diff(flags)) + 1).tolist(), ids.size]
    for first, end in pairwise(borders):
        flag = int(flags[first])
        yield Run(ids[first:end], flag >= 2, flag % 2 == 1)
