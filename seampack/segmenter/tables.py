"""Tables read: record batches of Parquet and Arrow files, and the texts of a column of theirs."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from seampack.errors import DataError
from seampack.segmenter.apply_config import FileFormat, OnBad

ROWS = 1024
"""Of a batch, at most."""


def batches(stream: Any, kind: FileFormat) -> Iterator[pa.RecordBatch]:
    """Record batches; an empty table gives one without rows, so that its schema is known."""
    if kind == FileFormat.PARQUET:
        file = pq.ParquetFile(stream)
        schema, found = file.schema_arrow, file.iter_batches(batch_size=ROWS)
    elif stream.peek(6).startswith(b"ARROW1"):
        reader = pa.ipc.open_file(stream)
        schema, found = reader.schema, (reader.get_batch(i) for i in range(reader.num_record_batches))
    else:
        reader = pa.ipc.open_stream(stream)
        schema, found = reader.schema, iter(reader)
    empty = True
    for batch in found:
        for at in range(0, batch.num_rows, ROWS):
            empty = False
            yield batch.slice(at, ROWS)
    if empty:
        yield pa.RecordBatch.from_pylist([], schema)


def texts_of(
    batch: pa.RecordBatch, column: str, name: str, first_row: int, on_bad: str
) -> tuple[list[str | None], pa.RecordBatch]:
    """The texts of a column, and the batch: its column is changed where bytes that are not UTF-8 are replaced.

    Raises DataError where there is no such column, it holds no texts, or ``on_bad`` is stop and some are not UTF-8.
    """
    at = batch.schema.get_field_index(column)
    if at < 0:
        columns = ", ".join(map(repr, batch.schema.names[:8])) or "none"
        raise DataError(f"{name}: no column {column!r}; the table has {columns}; name it with --text-column")
    where = f"{name}: column {column!r}"
    found = _valid_texts(batch.column(at), where)
    if found is None:
        found = _repaired(batch.column(at), where, first_row, on_bad)
        field = batch.schema.field(at)
        batch = batch.set_column(at, field, pa.array(found, pa.large_string()).cast(field.type))
    return found, batch


def _valid_texts(values: pa.Array, where: str) -> list[str | None] | None:
    """The texts of a column, or None where some are not UTF-8, which Arrow itself does not look at."""
    kind = values.type
    try:
        texts = values.cast(pa.large_string())
    except pa.ArrowException as error:
        if str(kind) in ("binary", "large_binary", "binary_view"):
            return None
        raise DataError(f"{where}: expected texts; got {kind}") from error
    if not pa.types.is_null(kind) and pa.types.is_primitive(kind):
        raise DataError(f"{where}: expected texts; got {kind}")
    try:
        found: list[str | None] = texts.to_pylist()
    except UnicodeDecodeError:
        return None
    return found


def _repaired(values: pa.Array, where: str, first_row: int, on_bad: str) -> list[str | None]:
    """The texts of a column of which some are not UTF-8, or DataError that names the first."""
    errors = "replace" if on_bad == OnBad.REPLACE else "strict"
    found: list[str | None] = []
    for row, data in enumerate(values.cast(pa.large_binary()).to_pylist(), first_row):
        try:
            found.append(data if data is None else data.decode(errors=errors))
        except UnicodeDecodeError as error:
            raise DataError(
                f"{where}, row {row:,}: invalid UTF-8 at byte {error.start + 1} ({error.reason}: "
                f"0x{data[error.start]:02x}); convert the texts to UTF-8, or use --on-bad replace"
            ) from error
    return found
