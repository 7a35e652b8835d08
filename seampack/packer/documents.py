"""The output of readers: batches of documents, as text or token ids, and the records that could not be read."""

import threading
import warnings
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from seampack.io.bad_records import BadRecord
from seampack.packer.checksums import block_checksum
from seampack.packer.column_types import ATTENTION_MASK, LABELS, MASKS
from seampack.packer.entries import Input

SKIP_ADVICE = "; skip such records with --on-bad quarantine"
NO_NAMES = pa.nulls(0, pa.large_string())
WATCHED = (LABELS, *MASKS)
"""Columns of token ids that say what to train on: they are looked at where they are not carried."""


def lost(name: str) -> str:
    """Return the reason why token ids cannot be packed without a column that says something."""
    if name == LABELS:
        fact = "differ from the token ids: packing would lose them and train on every token"
    elif name == ATTENTION_MASK:
        fact = "has a 0: packing would turn padding into text; remove the padded ids"
    else:
        fact = "has a 0: packing would lose it and train on every token"
    return f"{name} {fact}; pack the column too with --carry {name}, or remove it"


def outside_vocabulary(token_id: object, vocab_size: int) -> str:
    """Return the reason why a token id cannot be packed."""
    return f"token id {token_id}: expected an id of the vocabulary, 0 to {vocab_size - 1:,}"


def other_length(name: str, expected: int, got: int) -> str:
    """Return the reason why a carried column cannot be packed: it has another length than the token ids."""
    return f"column {name!r}: expected a value for each of the {expected:,} token ids; got {got:,}"


def no_ids_to_carry(name: str) -> str:
    """Return the message for an input of texts, whose tokens no column can have values for."""
    return f"column {name!r} cannot be carried: the documents are texts, not token ids; omit --carry"


def text_option(fields: Container[str]) -> str:
    """Return the option that names the text of records without the expected field, which may be conversations."""
    return "--text-column" + (", or --messages-column for conversations" if "messages" in fields else "")


@dataclass(frozen=True, slots=True)
class Texts:
    """Documents as text."""

    texts: list[str]
    names: pa.Array | None = None  # shape (documents,), the ids of ``id_column``
    bad: list[BadRecord] = field(default_factory=list)
    fields: Mapping[str, pa.Array] = field(default_factory=dict)  # the kept columns, shapes (documents,)


class IdKinds:
    """The kinds of ids that a run has read. Warns once if there are two: the id ``1`` is then the same as ``"1"``."""

    def __init__(self) -> None:
        self._places: dict[str, str] = {}
        self._lock = threading.Lock()

    def __contains__(self, kind: str) -> bool:
        return kind in self._places

    def add(self, kind: str, where: str) -> None:
        """Add a kind, ``a number`` or ``text``, and the place of its first id."""
        with self._lock:
            if kind in self._places:
                return
            self._places[kind] = where
            if len(self._places) == 2:
                shown = "; ".join(f"{place}: {kind}" for kind, place in sorted(self._places.items()))
                warnings.warn(
                    f'ids are numbers and texts, and 1 and "1" become the same id; write all in one way ({shown})',
                    stacklevel=2,
                )


class Origin(NamedTuple):
    """The block of input that a batch was read from."""

    checksum: bytes = b""
    bytes: int = 0
    partition: int = 0
    trusts_fast: bool | None = None
    """Whether the partition uses the fast path of the tokenizer; None if that is not decided yet."""
    inputs: tuple[Input, ...] | None = None
    """The files of the partition, in the batch that ends it; that batch has no documents."""
    long_at: tuple[int, str] | None = None
    """Index in the batch, and place in the input, of the first document that is longer than a row, if that is an error.
    """


@dataclass(frozen=True, slots=True)
class BadBlock:
    """A block of an input in which no document can be read."""

    bad: list[BadRecord]
    size: ClassVar[int] = 0
    """Bytes of documents."""

    def checksum(self) -> bytes:
        """Return the checksum of what is shown of the records."""
        return block_checksum(*(record.raw.encode(errors="surrogatepass") for record in self.bad))

    def decode(self) -> Texts:
        """Return no document, and the bad records."""
        return Texts([], NO_NAMES, self.bad)


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
    control: int = 0
    """Conversations with the name of a control token as text in a message, which is packed as the token."""


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """Documents as token ids, ragged: document ``d`` is ``ids[offsets[d]:offsets[d + 1]]``.

    A batch without documents may lack the carried and kept columns.
    """

    ids: npt.NDArray[np.unsignedinteger]  # shape (tokens,)
    offsets: npt.NDArray[np.int64]  # shape (documents + 1,)
    names: pa.Array | None = None  # shape (documents,)
    bad: list[BadRecord] = field(default_factory=list)
    doubled: Doubled = Doubled()  # noqa: RUF009  # immutable
    origin: Origin = Origin()  # noqa: RUF009  # immutable
    columns: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)  # the carried columns, shapes (tokens,)
    fields: Mapping[str, pa.Array] = field(default_factory=dict)  # the kept columns, shapes (documents,)
    begins: npt.NDArray[np.bool_] | None = None  # whether each begins a group, shape (documents,); None: no groups

    @property
    def input_bytes(self) -> int:
        """Bytes of input that the documents were read from."""
        return self.origin.bytes

    @property
    def ends_partition(self) -> bool:
        """Whether the partition ends with this batch."""
        return self.origin.inputs is not None

    @property
    def long_at(self) -> tuple[int, str] | None:
        """The first document that is longer than a row, if that is an error: see ``Origin``."""
        return self.origin.long_at

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of each document, shape (documents,)."""
        return np.diff(self.offsets)


def id_type(vocab_size: int) -> np.dtype[np.unsignedinteger]:
    """Return the narrowest unsigned type that holds the ids ``0 .. vocab_size - 1``."""
    return np.min_scalar_type(max(vocab_size - 1, 1))
