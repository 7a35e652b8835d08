"""Carried and kept columns of tables: cast to their types, with the rows that do not fit."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from seampack.errors import DataError
from seampack.io.arrow import arrow_of
from seampack.io.ragged import offsets_of
from seampack.io.records import invalid_utf8
from seampack.io.tables import as_texts, check_text_column
from seampack.packer.column_checks import Wrong, true_rows
from seampack.packer.column_types import MASKS, CarriedType, KeptType
from seampack.packer.documents import other_length


def has_numbers(schema: pa.Schema, name: str) -> bool:
    """Return whether a table has a column of this name, once, with lists of numbers."""
    if schema.names.count(name) != 1:
        return False
    kind = schema.field(name).type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        return False
    item = kind.value_type
    numbers = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_null)
    return any(is_kind(item) for is_kind in numbers)  # of null, if all lists are empty


def check_carried(source: str, schema: pa.Schema, name: str, kind: str) -> None:
    """Raise DataError unless a column has lists of numbers that its type may hold."""
    given = schema.field(name).type
    if not has_numbers(schema, name):
        raise DataError(f"{source}: column {name!r}: expected lists of numbers; got {given}")
    item = given.value_type
    if pa.types.is_floating(item) and "int" in kind:
        wanted = CarriedType.FLOAT64 if pa.types.is_float64(item) else CarriedType.FLOAT32
        raise DataError(
            f"{source}: column {name!r}: expected lists of {kind}; got {given}; give --carry {name}:{wanted}"
        )


def check_kept(source: str, schema: pa.Schema, name: str, kind: str, option: str) -> None:
    """Raise DataError unless a column has texts, or numbers where its type is one. Texts are parsed as numbers.

    ``option`` is the one that names the column.
    """
    given = schema.field(name).type
    is_number = pa.types.is_integer(given) or pa.types.is_floating(given)
    if is_number and kind == KeptType.STRING:
        wanted = KeptType.FLOAT64 if pa.types.is_floating(given) else KeptType.INT64
        raise DataError(f"{source}: column {name!r}: expected texts; got {given}; give {option} {name}:{wanted}")
    if not is_number:
        check_text_column(source, schema, name)


def carried_lists(column: pa.Array, name: str, kind: str, lengths: npt.NDArray[np.int64], wrong: Wrong) -> pa.Array:
    """Return the lists of a carried column in its type, one for each row; rows that do not fit are added to ``wrong``.

    ``lengths`` has the token ids of each row.
    """
    import pyarrow.compute as pc  # slow, and texts do not need it

    given = pc.list_value_length(column).fill_null(0).to_numpy()
    offsets = offsets_of(given)
    values = column.flatten()
    reasons: Wrong = {}
    for row in np.flatnonzero(given != lengths).tolist():
        reasons[row] = other_length(name, int(lengths[row]), int(given[row]))
    if column.null_count:
        for row in true_rows(column.is_null()):
            reasons[row] = f"column {name!r}: expected a list of numbers; got null"
    cast, misfits = _cast(values, name, kind)
    if name in MASKS:
        numbers = cast.to_numpy(zero_copy_only=False)
        for index in np.flatnonzero((numbers != 0) & (numbers != 1)).tolist():
            misfits.setdefault(index, f"column {name!r}: expected 0 or 1 in a mask; got {values[index]}")
    for index, reason in misfits.items():
        reasons.setdefault(int(np.searchsorted(offsets[1:], index, side="right")), reason)
    for row, reason in reasons.items():
        wrong.setdefault(row, reason)
    return pa.LargeListArray.from_arrays(arrow_of(offsets), cast)


def kept_values(column: pa.Array, name: str, kind: str, wrong: Wrong) -> pa.Array:
    """Return the values of a kept column in its type; rows that do not fit are added to ``wrong``."""
    if kind != KeptType.STRING:
        is_number = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
        cast, reasons = _cast(column if is_number else as_texts(column), name, kind)
        for row, reason in reasons.items():
            wrong.setdefault(row, reason)
        return cast
    texts = as_texts(column)
    for row in true_rows(texts.is_null()) if texts.null_count else ():
        wrong.setdefault(row, f"column {name!r}: expected a value; got null")
    try:
        texts.validate(full=True)
    except pa.ArrowInvalid:
        for row, raw in enumerate(texts.cast(pa.large_binary()).to_pylist()):
            try:
                (raw or b"").decode()
            except UnicodeDecodeError as error:
                wrong.setdefault(row, f"column {name!r}: {invalid_utf8(error)}")
    return texts


def _cast(values: pa.Array, name: str, kind: str) -> tuple[pa.Array, Wrong]:
    """Return values in another type, with 0 for those that do not fit, and the reasons by index."""
    reasons: Wrong = {}
    target = pa.type_for_alias(kind)
    try:
        cast = values.cast(target)
    except pa.ArrowInvalid:
        numbers: list[Any] = [0] * len(values)
        for index in range(len(values)):
            try:
                numbers[index] = values[index].cast(target).as_py()
            except pa.ArrowInvalid:
                reasons[index] = (
                    f"column {name!r}: expected values of {kind}; got {values[index]}; name another type: {name}:TYPE"
                )
        cast = pa.array(numbers, target)
    if cast.null_count:
        for index in true_rows(cast.is_null()):
            reasons[index] = f"column {name!r}: expected a number; got null"
        cast = cast.fill_null(0)
    return cast, reasons
