"""JSON records as a table: the union of their fields, each with one type."""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from seampack.errors import DataError
from seampack.io.records import numbered_objects
from seampack.io.sources import Source, place


def read_records(source: Source) -> pa.Table:
    """Return the records of JSON lines as a table with every field that a record has; a missing field is null.

    Raises DataError, which names the line and the field, for a value of another type than the values before it.
    """
    numbers: list[int] = []
    columns: dict[str, list[Any]] = {}
    for row, (number, record) in enumerate(numbered_objects(source)):
        numbers.append(number)
        for name in record:
            if name not in columns:
                columns[name] = [None] * row
        for name, values in columns.items():
            values.append(record.get(name))
    return pa.table({name: _array(source, name, columns[name], numbers) for name in columns})


def _array(source: Source, name: str, values: Sequence[Any], numbers: Sequence[int]) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError, ValueError, TypeError) as error:
        row = bisect_left(range(len(values)), True, key=lambda last: not _fits(values[: last + 1]))
        expected = pa.array(values[:row]).type
        wanted = "a value that Arrow can hold" if pa.types.is_null(expected) else f"{expected}, as in the lines before"
        shown = repr(values[row])
        raise DataError(
            f"{place(source.name, numbers[row], source.unit)}: field {name!r}: expected {wanted}; got "
            f"{shown if len(shown) <= 60 else shown[:60] + '...'}; give a field the same type in every record"
        ) from error


def _fits(values: Sequence[Any]) -> bool:
    """Return whether the values have one type."""
    try:
        pa.array(values)
    except (pa.ArrowException, OverflowError, ValueError, TypeError):
        return False
    return True
