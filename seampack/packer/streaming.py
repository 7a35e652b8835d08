"""Packing on the fly: a stream of tokenised documents, window by window, as a stream of rows."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from seampack.errors import ConfigError, DataError, MissingExtraError
from seampack.io.ragged import offsets_of
from seampack.packer.column_types import ADDED_COLUMNS, MASKS, PADDING
from seampack.packer.config import PackConfig
from seampack.packer.gather import Ragged, gather
from seampack.packer.plan_config import PlanConfig
from seampack.packer.plans import Pieces
from seampack.packer.rows import row_reader
from seampack.packer.states import checked_state
from seampack.packer.windows import End, Parts, WindowPlanner, joined_lengths, no_parts, windows_of

if TYPE_CHECKING:
    import datasets

Array = npt.NDArray[Any]
Row = dict[str, Any]

_NO_VALUES = np.empty(0, np.int64)

_OPTIONS = (*(each.name for each in fields(PlanConfig)), "window_tokens", "labels")
"""The options of a run that packing a stream uses: nothing is read, tokenised or written."""
_REMEDIES = {"share": "load for each share the state that it has saved, with as many shares"}


def pack_stream(
    documents: Iterable[Any],
    config: PackConfig | None = None,
    *,
    columns: Sequence[str] | None = None,
    pads: Mapping[str, int] | None = None,
    keep_ends: bool = False,
    **options: Any,
) -> "PackStream":
    """Return the rows of a stream of documents, packed while they are read.

    The rows are those that ``pack`` gives with the same windows. Memory is bounded by ``window_tokens``, not by the
    stream; the first row comes when a window is full.

    Args:
        documents: Lists of token ids; or mappings with ``input_ids`` and other lists that are as long, such as
            ``labels`` or ``loss_mask``, which are packed alike. Give an object that can be iterated again, such as a
            ``datasets.IterableDataset``, to resume or to repeat.
        config: The options of planning, ``window_tokens`` and ``labels`` of a PackConfig; others have no effect.
        columns: The columns of mappings to pack, by default all; the first must be ``input_ids``.
        pads: As in ``apply_plan``.
        keep_ends: As in ``plan``.
        options: Fields of PackConfig; they override ``config``.

    >>> [row["input_ids"].tolist() for row in pack_stream([[1, 2, 3], [4], [5, 6]], seq_len=3, shuffle=False)]
    [[1, 2, 3], [5, 6, 4]]

    Raises ConfigError for an invalid option, and DataError for documents that cannot be iterated. The iterator raises
    DataError for a document that cannot be packed, and for a second iteration over documents that can be read once.
    """
    if not isinstance(documents, Iterable):
        raise DataError(f"documents: expected an iterable of lists of token ids; got {type(documents).__name__}")
    if idle := [name for name in options if name in PackConfig.__dataclass_fields__ and name not in _OPTIONS]:
        raise ConfigError(f"{idle[0]}: has no effect on a stream of tokens; expected some of {', '.join(_OPTIONS)}")
    if columns is not None and "input_ids" not in columns:
        raise ConfigError(f"columns: expected input_ids among them; got {', '.join(columns) or 'none'}")
    config = PackConfig.given(config, **options)
    if config.pad_to_multiple > 1 and pads is None:
        raise ConfigError("pad_to_multiple: expected values to pad with, such as pads={'input_ids': 0, 'labels': -100}")
    return PackStream(documents, config, columns=columns, pads=pads, keep_ends=keep_ends)


class PackStream:
    """An iterable of packed rows; see ``pack_stream``. It can be resumed after any row."""

    def __init__(
        self,
        documents: Iterable[Any],
        config: PackConfig,
        *,
        columns: Sequence[str] | None = None,
        pads: Mapping[str, int] | None = None,
        keep_ends: bool = False,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        self._documents = documents
        self._config = config
        self._columns = columns
        self._pads = pads
        self._keep_ends = keep_ends
        self._share = share
        self._place = _Place()
        self._resume_at: _Place | None = None
        self._end: _Place | None = None  # of the last iteration, as long as no other has begun
        self._has_begun = False

    def share(self, number: int, count: int) -> "PackStream":
        """Return the rows of every ``count``-th document from ``number`` on, for one of several processes.

        Each document is in one share. Shares may have different numbers of rows.
        """
        if not 0 <= number < count:
            raise ConfigError(f"share: expected a number from 0 to {count - 1}; got {number}")
        inner, shares = self._share
        return PackStream(
            self._documents,
            self._config,
            columns=self._columns,
            pads=self._pads,
            keep_ends=self._keep_ends,
            share=(number * shares + inner, count * shares),
        )

    def __iter__(self) -> Iterator[Row]:
        self._end = None
        return self._rows()

    def _rows(self) -> Iterator[Row]:
        if self._has_begun and isinstance(self._documents, Iterator):
            raise DataError(
                "documents: expected an object that can be iterated again, such as a list or an IterableDataset; "
                f"got {type(self._documents).__name__}, whose documents have been read"
            )
        self._has_begun = True
        self._place, self._resume_at = self._resume_at or _Place(), None
        planner = WindowPlanner(self._config, keep_ends=self._keep_ends)
        planner.begin(0, 0, self._place.documents, window=self._place.window, carried=self._place.parts)
        for documents, end in windows_of(self._read(self._place.documents), self._config):
            start = self._place
            is_last = end == End.PARTITION
            window = planner.plan(joined_lengths(documents), last=is_last)
            offsets = offsets_of(window.parts.length)
            columns = _joined(start.carried, documents)
            for batch in gather(
                {name: Ragged.of_values(values, offsets) for name, values in columns.items()},
                window.plan,
                doc_ids=window.parts.document * self._share[1] + self._share[0],
                bases=window.parts.base,
                pads=self._pads,
                labels=self._config.labels,
            ):
                row = row_reader(batch)
                done = min(start.skip, batch.num_rows)
                start.skip -= done
                for place in range(done, batch.num_rows):
                    start.rows += 1  # before the row is given away: the loop may ask for the state now
                    yield row(place)
            carried = {name: _parts_of(values, offsets, window.plan.carried) for name, values in columns.items()}
            self._place = _Place(start.documents + len(documents), planner.window, planner.carried, carried)
        self._place, self._end = _Place(), self._place

    def state_dict(self, *, finished: bool = False) -> dict[str, Any]:
        """Return the place of the current iteration, as plain values: to be saved with a checkpoint.

        After an iteration, this is the beginning of the next one; with ``finished`` the end of the last one, after
        which no row comes. Workers of a loader need the latter, while others finish.
        """
        place = (self._end if finished else None) or self._resume_at or self._place
        return {**self._identity(), **place.to_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on, with the next iteration, after the rows that had been given out.

        The documents before the window of the next row are skipped, and those of the window are read again.

        Raises DataError if the state is that of other options, or none.
        """
        found = checked_state(state, self._identity(), [*_Place().to_dict()], remedies=_REMEDIES)
        self._resume_at, self._end = _Place.from_dict(found), None

    def to_datasets(self) -> "datasets.IterableDataset":
        """Return the rows as a ``datasets.IterableDataset``.

        It resumes by packing from the beginning; this object's own ``state_dict`` resumes at the window.
        """
        try:
            import datasets
        except ModuleNotFoundError as error:
            raise MissingExtraError("datasets", "datasets", "to_datasets") from error

        return datasets.IterableDataset.from_generator(_rows_of, gen_kwargs={"stream": self})

    def _identity(self) -> dict[str, Any]:
        """Return what the rows depend on, besides the documents."""
        config = self._config.to_dict()
        return {
            **{name: config[name] for name in _OPTIONS},
            "columns": None if self._columns is None else list(self._columns),
            "pads": None if self._pads is None else dict(self._pads),
            "keep_ends": self._keep_ends,
            "share": list(self._share),
        }

    def _read(self, done: int) -> Iterator["_Document"]:
        """Iterate over the documents of the share after those that are done."""
        number, count = self._share
        names: list[str] | None = None
        first = number + done * count
        skip = getattr(self._documents, "skip", None)  # that of datasets reads nothing
        rest = islice(self._documents, first, None) if skip is None or not first else iter(skip(first))
        for place, document in enumerate(islice(rest, 0, None, count)):
            read = _columns(document, self._columns, names, f"document {first + place * count}")
            names = list(read)
            yield _Document(read)


def _rows_of(stream: PackStream) -> Iterator[Row]:
    yield from stream


@dataclass(slots=True)
class _Place:
    """A place in a stream: the window that is being packed, and the rows of it that were given out."""

    documents: int = 0
    window: int = 0
    parts: Parts = field(default_factory=no_parts)
    carried: dict[str, Array] = field(default_factory=dict)
    rows: int = 0
    skip: int = 0

    def to_dict(self) -> dict[str, Any]:
        return {
            "documents": self.documents,
            "window": self.window,
            "parts": [column.tolist() for column in self.parts],
            "carried": {name: values.tolist() for name, values in self.carried.items()},
            "rows": self.rows,
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> "_Place":
        return cls(
            documents=state["documents"],
            window=state["window"],
            parts=Parts(*(np.array(column, np.int64) for column in state["parts"])),
            carried={name: _numbers(values) for name, values in state["carried"].items()},
            rows=state["rows"],
            skip=state["rows"],
        )


@dataclass(frozen=True, slots=True)
class _Document:
    """A document by its columns, as a batch of one."""

    columns: dict[str, Array]
    input_bytes: int = 0
    ends_partition: bool = False
    begins: None = None
    long_at: None = None

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of the document, shape (1,)."""
        return np.array([self.columns["input_ids"].size])


def _parts_of(values: Array, offsets: Array, pieces: Pieces) -> Array:
    """Return the values of some pieces of lists."""
    starts = offsets[pieces.document] + pieces.start
    return np.concatenate(
        [values[:0], *(values[a : a + length] for a, length in zip(starts, pieces.length, strict=True))]
    )


def _joined(carried: dict[str, Array], documents: Sequence[_Document]) -> dict[str, Array]:
    """Return the values of the carried parts and the documents, column by column."""
    names = documents[0].columns if documents else carried or {"input_ids": _NO_VALUES}
    return {
        name: np.concatenate([carried.get(name, _NO_VALUES), *(each.columns[name] for each in documents)])
        for name in names
    }


def _columns(
    document: Any, chosen: Sequence[str] | None, expected: Sequence[str] | None, where: str
) -> dict[str, Array]:
    """Return the columns of a document: those that were chosen, or all, as ``expected`` by the documents before it.

    Raises DataError unless they are lists of numbers of one length.
    """
    if not isinstance(document, Mapping):
        document = {"input_ids": document}
    names = list(chosen or expected or document)
    if missing := [name for name in ("input_ids", *names) if name not in document]:
        raise DataError(f"{where}: expected a column {missing[0]}; got {', '.join(document) or 'none'}")
    if chosen is None and (more := [name for name in document if name not in names]):
        raise DataError(
            f"{where}: column {more[0]}: the documents before it have none; choose columns by columns=[...]"
        )
    if taken := [name for name in names if name in (*ADDED_COLUMNS, PADDING)]:
        raise DataError(
            f"{where}: column {taken[0]}: packing adds a column of this name; choose others by columns=[...]"
        )
    columns = {name: _numbers(document[name]) for name in names}
    for name, values in columns.items():
        if values.ndim != 1 or values.dtype.kind not in "if":
            raise DataError(
                f"{where}: column {name}: expected a list of numbers; got {type(document[name]).__name__}; choose the "
                "list columns by columns=[...]"
            )
        _check_values(name, values, where)
    length = columns["input_ids"].size
    if other := [name for name in columns if columns[name].size != length]:
        raise DataError(f"{where}: column {other[0]}: expected {length:,} values; got {columns[other[0]].size:,}")
    return columns


def _check_values(name: str, values: Array, where: str) -> None:
    """Raise DataError for negative or fractional token ids, and for masks with other values than 0 and 1."""
    if name == "input_ids" and values.size and (values.dtype.kind != "i" or values.min() < 0):
        wrong = values[0] if values.dtype.kind != "i" else values.min()
        raise DataError(f"{where}: column {name}: expected integers of at least 0; got {wrong}")
    if name in MASKS and not ((values == 0) | (values == 1)).all():
        wrong = values[(values != 0) & (values != 1)][0]
        raise DataError(f"{where}: column {name}: expected 0 or 1 in a mask; got {wrong}")


def _numbers(values: Any) -> Array:
    """Return numbers as an array of int64 or float64; anything else as it is."""
    try:
        array = np.asarray(values)
    except ValueError:  # lists of different lengths
        return np.empty((0, 0))
    if array.dtype.kind in "iub" or array.shape == (0,):
        return array.astype(np.int64)
    return array.astype(np.float64) if array.dtype.kind == "f" else array
