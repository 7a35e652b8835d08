"""Records that cannot be read."""

import dataclasses
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn

from seampack.errors import DataError
from seampack.io.sources import place


@dataclass(frozen=True, slots=True)
class BadRecord:
    """A record that could not be read: its place and the reason."""

    source: str
    position: int
    """Number of the record in its source, from 1."""
    reason: str
    raw: str
    """The record as text; bytes that are not UTF-8 as ``\\xNN``."""
    unit: str = "line"
    """Unit of ``position``: ``line``, ``value`` of JSON, or ``row`` of a table."""

    def error(self, advice: str = "") -> DataError:
        """Return the error that stops a run at this record."""
        return DataError(f"{place(self.source, self.position, self.unit)}: {self.reason}{advice}")

    def to_dict(self) -> dict[str, str | int]:
        """Return the record as an object of the quarantine file."""
        return dataclasses.asdict(self)


Report = Callable[[BadRecord], None]
"""A function that receives a bad record."""


def refuse(record: BadRecord) -> NoReturn:
    """Raise the error that stops a run at a bad record."""
    raise record.error()


@dataclass(slots=True)
class Skipped:
    """The count of bad records that a run skips, and the first of them."""

    count: int = 0
    first: BadRecord | None = None

    def add(self, records: Sequence[BadRecord]) -> None:
        """Count records."""
        self.count += len(records)
        self.first = self.first or next(iter(records), None)

    def warn(self) -> None:
        """Warn of the skipped records, if there are any."""
        if self.first is not None:
            count = "1 record was" if self.count == 1 else f"{self.count:,} records were"
            warnings.warn(f"{count} skipped; the first: {self.first.error()}", stacklevel=3)
