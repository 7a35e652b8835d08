"""The output of readers: batches of documents, as text or token ids, and the records that could not be read."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from seampack.errors import DataError


@dataclass(frozen=True, slots=True)
class BadRecord:
    """A record that could not be read: its place and the reason."""

    source: str
    position: int
    """Number of the line, or of the row of a columnar file, from 1."""
    reason: str
    raw: str
    """The record as text; bytes that are not UTF-8 as ``\\xNN``."""

    def error(self, advice: str = "") -> DataError:
        """Return the error that stops a run at this record."""
        return DataError(f"{self.source}:{self.position}: {self.reason}{advice}")

    def to_dict(self) -> dict[str, str | int]:
        """Return the record as an object of the quarantine file."""
        return {"source": self.source, "position": self.position, "reason": self.reason, "raw": self.raw}


@dataclass(frozen=True, slots=True)
class Texts:
    """Documents as text."""

    texts: list[str]
    names: pa.Array | None = None  # shape (documents,), the ids of ``id_column``
    bad: list[BadRecord] = field(default_factory=list)


Split = Callable[[list[str]], tuple[list[str], npt.NDArray[np.int64]]]
"""A function that cuts texts into pieces; no token may cross the border of a piece. Joined, they are the text.

It returns the pieces of all texts in one list, and the index of each text's first piece, shape (texts + 1,).
"""


class Doubled(NamedTuple):
    """Documents that had a token to put around them already."""

    begun: int = 0
    """Documents that begin with the begin token, which was not added again."""
    ended: int = 0
    """Documents that end with the end token, which was not added again."""
    begun_as_text: int = 0
    """Documents whose text begins with the name of the begin token, which is packed as plain text after the token."""
    ended_as_text: int = 0
    """Documents whose text ends with the name of the end token, which is packed as plain text before the token."""


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """Documents as token ids, ragged: document ``d`` is ``ids[offsets[d]:offsets[d + 1]]``."""

    ids: npt.NDArray[np.unsignedinteger]  # shape (tokens,)
    offsets: npt.NDArray[np.int64]  # shape (documents + 1,)
    names: pa.Array | None = None  # shape (documents,)
    bad: list[BadRecord] = field(default_factory=list)
    doubled: Doubled = Doubled()  # noqa: RUF009  # immutable

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of each document, shape (documents,)."""
        return np.diff(self.offsets)


def id_type(vocab_size: int) -> np.dtype[np.unsignedinteger]:
    """Return the narrowest unsigned type that holds the ids ``0 .. vocab_size - 1``."""
    return np.min_scalar_type(max(vocab_size - 1, 1))
