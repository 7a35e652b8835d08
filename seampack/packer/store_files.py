"""The files of a token store: the columns of a partition, and its blocks, written and read."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from seampack.io.arrow import arrow_of
from seampack.packer.column_types import KeptType
from seampack.packer.columns import field_type, joined_fields, token_columns
from seampack.packer.config import PackConfig
from seampack.packer.documents import Origin, TokenBatch, id_type

NAMES = "id"
"""The column with the names of the documents."""
IDS = "input_ids"
_BYTES = "input_bytes"
"""Metadata of a record batch: bytes of the block of input that its documents were read from."""


def with_labels(config: PackConfig) -> PackConfig:
    """Return the options with the labels of conversations, which any run that packs a store may want."""
    return config.replace(labels=True) if config.reads_chats else config


def schema_of(config: PackConfig, vocab_size: int) -> pa.Schema:
    """Return the columns of the files of a store."""
    lists = {IDS: id_type(vocab_size).name, **config.carried}
    return pa.schema(
        {name: field_type(kind) for name, kind in named_types(config).items()}
        | {name: pa.large_list(pa.type_for_alias(kind)) for name, kind in lists.items()}
    )


def named_types(config: PackConfig) -> dict[str, str]:
    """Return the types of the columns of a store with a value for each document."""
    return ({} if config.id_column is None else {NAMES: KeptType.STRING.value}) | config.kept


def write_block(writer: Any, schema: pa.Schema, batch: TokenBatch, config: PackConfig) -> None:
    """Append the documents of a block of the corpus to an Arrow file."""
    offsets = arrow_of(batch.offsets)
    columns = joined_fields([{NAMES: batch.names, **batch.fields} if batch.lengths.size else {}], named_types(config))
    for name, values in token_columns(batch, config.carried).items():
        columns[name] = pa.LargeListArray.from_arrays(offsets, arrow_of(values))
    rows = pa.record_batch([columns[name] for name in schema.names], schema=schema)
    writer.write_batch(rows, custom_metadata={_BYTES: str(batch.input_bytes)})


def read_blocks(path: Path, schema: pa.Schema, partition: int) -> Iterator[TokenBatch]:
    """Open the blocks of a partition. Raise an error of Arrow or a ValueError for other data."""
    with pa.memory_map(str(path)) as mapped:  # closing it keeps the mapping of the columns
        file = pa.ipc.open_file(mapped)
        if not file.schema.equals(schema):
            raise ValueError(f"expected columns {', '.join(schema.names)}; got {', '.join(file.schema.names)}")
        for place in range(file.num_record_batches):
            rows, facts = file.get_batch_with_custom_metadata(place)
            rows.validate(full=True)
            yield _block(rows, Origin(b"", int(facts[_BYTES]), partition))


def _block(rows: pa.RecordBatch, origin: Origin) -> TokenBatch:
    values: dict[str, Any] = {}
    fields: dict[str, pa.Array] = {}
    offsets = rows.column(IDS).offsets.to_numpy()
    for name, column in zip(rows.schema.names, rows.columns, strict=True):
        if not pa.types.is_large_list(column.type):
            fields[name] = column
            continue
        values[name] = column.values.to_numpy()
        own = column.offsets.to_numpy()
        is_same = offsets is own or np.array_equal(offsets, own)
        if column.null_count or not is_same or own[0] or own[-1] != values[name].size:
            raise ValueError(f"column {name!r}: expected a list for each document, of as many values as ids")
    return TokenBatch(values.pop(IDS), offsets, fields.pop(NAMES, None), origin=origin, columns=values, fields=fields)
