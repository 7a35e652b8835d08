"""The stage that packs windows of tokens: plan, gather and write them, and end sections of partitions."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from seampack.io.arrow import arrow_of
from seampack.io.ragged import offsets_of
from seampack.packer import _copy_kernels as kernels
from seampack.packer.accounting import Accounting
from seampack.packer.column_types import KeptType, pad_of
from seampack.packer.columns import joined_fields, token_columns
from seampack.packer.config import PackConfig
from seampack.packer.documents import Doubled, TokenBatch, id_type
from seampack.packer.entries import Input, TokenizerFacts
from seampack.packer.formats.registry import OutputFormat
from seampack.packer.gather import Ragged, gather
from seampack.packer.indexed import index_of
from seampack.packer.journal import BlockDigest, Tail
from seampack.packer.planning import plan
from seampack.packer.plans import PackPlan
from seampack.packer.run_folder import RunFolder
from seampack.packer.shards import ShardWriter
from seampack.packer.windows import (
    End,
    Parts,
    Window,
    WindowPlanner,
    joined_begins,
    joined_lengths,
    long_place,
    no_parts,
    windows_of_tails,
)

_NAMES = "doc_ids"
"""The field with the names of the documents."""


def _ragged(columns: Mapping[str, npt.NDArray[Any]], offsets: npt.NDArray[np.int64]) -> dict[str, Ragged]:
    return {name: Ragged.of_values(values, offsets) for name, values in columns.items()}


class Stage:
    """Plans, gathers and writes one window at a time, and ends sections; keeps the tokens of the carried parts."""

    def __init__(self, config: PackConfig, tokenizer: TokenizerFacts, folder: RunFolder, *, partitions: int) -> None:
        self._config = config
        self._folder = folder
        self._partitions = partitions
        self._planner = WindowPlanner(config, keep_ends=tokenizer.eos is not None)
        self._is_index = config.output_format == OutputFormat.INDEX
        types = {"input_ids": id_type(tokenizer.vocab_size).name, **config.carried}
        self._types = {} if self._is_index else types
        pads = {name: pad_of(name) for name in config.carried}
        self._pads = None if tokenizer.pad_id is None else {"input_ids": tokenizer.pad_id, **pads}
        names = {} if config.id_column is None else {_NAMES: KeptType.STRING.value}
        field_types = {**names, **config.kept}
        self._field_types = {} if self._is_index else field_types
        self._writer: ShardWriter | None = None
        nothing = {name: Ragged.joined([], np.dtype(kind)) for name, kind in types.items()}
        no_plan = plan([], seq_len=config.seq_len, pad_to_multiple=config.pad_to_multiple)
        no_rows = self._rows(no_plan, no_parts(), nothing, joined_fields((), field_types))
        self.schema: pa.Schema = next(iter(no_rows)).schema
        """The columns of the rows, also of those that an index means."""

    def _begin(self, partition: int, section: int = 0, documents: int = 0) -> ShardWriter:
        self._writer = self._folder.begin(partition)
        self._planner.begin(partition, section, documents)
        self._columns = {name: np.empty(0, kind) for name, kind in self._types.items()}
        self._lengths = np.empty(0, np.int64)
        self._fields = joined_fields((), self._field_types)
        self._digest = BlockDigest()
        self._documents = self._tokens_read = 0
        self._doubled = Doubled()
        self._trusts_fast: bool | None = None
        self._accounting = Accounting(seq_len=self._config.seq_len)
        return self._writer

    def run(self, batches: list[TokenBatch], end: End) -> None:
        """Pack the next window, and end the section if it ends here.

        If a partition is alone and was read in one section, its last window leaves no tail.
        """
        partition = batches[0].origin.partition
        receipts = self._folder.journal.receipts.get(partition, [])
        writer = self._writer or self._begin(partition, len(receipts), sum(receipt.documents for receipt in receipts))
        read = [batch for batch in batches if not batch.ends_partition]
        for batch in read:
            self._digest.add(batch.origin)
            self._documents += batch.lengths.size
            self._tokens_read += batch.ids.size
            self._doubled = Doubled(*map(sum, zip(self._doubled, batch.doubled, strict=True)))
            self._trusts_fast = batch.origin.trusts_fast
            self._folder.quarantine(partition, batch.bad)
        is_alone = end == End.PARTITION and self._partitions == 1 and not receipts
        window = self._planner.plan(
            joined_lengths(read),
            last=is_alone,
            begins=joined_begins(read),
            long_place=long_place(read, self._config),
        )
        carried = self._config.carried
        new = [{} if self._is_index else _ragged(token_columns(batch, carried), batch.offsets) for batch in read]
        self._pack(writer, window, new, [{_NAMES: batch.names, **batch.fields} for batch in read])
        if end != End.WINDOW:
            self._end_section(partition, writer, batches[-1].origin.inputs)

    def pack_tails(self) -> tuple[ShardWriter, Accounting]:
        """Pack the tails of all partitions. Return the writer of their shards, and their accounting."""
        writer = self._begin(self._partitions)
        journal = self._folder.journal
        receipts = journal.in_order
        for places, is_last in windows_of_tails([receipt.tail_tokens for receipt in receipts], self._config):
            tails = [journal.read_tail(receipts[place]) for place in places]
            window = self._planner.plan_parts(Parts.joined(tail.parts for tail in tails), last=is_last)
            columns = [_ragged(tail.columns, offsets_of(tail.parts.length)) for tail in tails]
            self._pack(writer, window, columns, [tail.fields for tail in tails])
        return writer, self._accounting

    def _pack(
        self,
        writer: ShardWriter,
        window: Window,
        new: list[dict[str, Ragged]],
        new_fields: list[Mapping[str, pa.Array]],
    ) -> None:
        """Write the rows of a window, and keep the carried parts."""
        several = [_ragged(self._columns, offsets_of(self._lengths)), *new]
        documents = {
            name: Ragged.joined([columns[name] for columns in several], np.dtype(kind))
            for name, kind in self._types.items()
        }
        fields = joined_fields([self._fields, *new_fields], self._field_types)
        if self._is_index:
            writer.write(index_of(window.plan, window.parts))
        else:
            for batch in self._rows(window.plan, window.parts, documents, fields):
                writer.write(batch)
        self._accounting += window.accounting
        self._carry(documents, window)
        chosen = arrow_of(window.plan.carried.document)
        self._fields = {name: values.take(chosen) for name, values in fields.items()}

    def _rows(
        self, plan: PackPlan, parts: Parts, documents: dict[str, Ragged], fields: dict[str, pa.Array]
    ) -> Iterator[pa.RecordBatch]:
        return gather(
            documents,
            plan,
            doc_ids=fields.get(_NAMES, parts.document),
            bases=parts.base,
            pads=self._pads,
            labels=self._config.labels,
            fields={name: fields[name] for name in self._config.kept},
        )

    def _carry(self, documents: dict[str, Ragged], window: Window) -> None:
        carried = window.plan.carried
        self._lengths = carried.length.astype(np.int64)
        targets = offsets_of(self._lengths)[:-1]
        for name, column in documents.items():
            values = np.empty(carried.tokens, column.dtype)
            size = column.dtype.itemsize
            first = column.addresses[carried.document] + carried.start.astype(np.int64) * size
            kernels.copy_segments(first, carried.length, targets, size, values.ctypes.data)
            self._columns[name] = values

    def _end_section(self, partition: int, writer: ShardWriter, inputs: tuple[Input, ...] | None) -> None:
        self._folder.end_section(
            partition,
            writer,
            Tail(self._planner.carried, self._columns, self._fields),
            is_last=inputs is not None,
            inputs=inputs or (),
            blocks=self._digest.blocks,
            bytes=self._digest.bytes,
            checksum=str(self._digest),
            documents=self._documents,
            tokens=self._tokens_read,
            trusts_fast=self._trusts_fast,
            tail_tokens=int(self._lengths.sum()),
            doubled=self._doubled,
            accounting=dataclasses.asdict(self._accounting),
        )
        self._writer = None
