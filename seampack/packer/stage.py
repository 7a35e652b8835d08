"""The stage that packs windows of tokens: plan, gather and write them, and end partitions."""

import dataclasses
from collections.abc import Mapping
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
from seampack.packer.documents import Doubled, TokenBatch
from seampack.packer.gather import Ragged, gather
from seampack.packer.journal import BlockDigest, Tail
from seampack.packer.shards import ShardWriter
from seampack.packer.tokenizing import TextTokenizer
from seampack.packer.windows import End, Parts, Window, WindowPlanner, joined_lengths, windows_of_tails

_NAMES = "doc_ids"
"""The field with the names of the documents."""


def _ragged(columns: Mapping[str, npt.NDArray[Any]], offsets: npt.NDArray[np.int64]) -> dict[str, Ragged]:
    return {name: Ragged.of_values(values, offsets) for name, values in columns.items()}


class Stage:
    """Plans, gathers and writes one window at a time, and ends partitions; keeps the tokens of the carried parts."""

    def __init__(self, config: PackConfig, tokenizer: TextTokenizer, writer: ShardWriter) -> None:
        receipts = writer.journal.receipts
        self._config = config
        self._tokenizer = tokenizer
        self._planner = WindowPlanner(
            config,
            keep_ends=tokenizer.eos.name is not None,
            finished_partitions=len(receipts),
            finished_documents=sum(receipt.documents for receipt in receipts),
        )
        self._types = {"input_ids": tokenizer.dtype.name, **config.carried}
        pads = {"input_ids": tokenizer.pad, **{name: pad_of(name) for name in config.carried}}
        self._pads = pads if tokenizer.pad >= 0 else None
        names = {} if config.id_column is None else {_NAMES: KeptType.STRING.value}
        self._field_types = {**names, **config.kept}
        self._writer = writer
        self.accounting = Accounting(seq_len=config.seq_len)
        for receipt in receipts:
            self.accounting += Accounting(**receipt.accounting)
        self._begin_partition()

    def _begin_partition(self) -> None:
        self._columns = {name: np.empty(0, kind) for name, kind in self._types.items()}
        self._lengths = np.empty(0, np.int64)
        self._fields = joined_fields((), self._field_types)
        self._digest = BlockDigest()
        self._documents = self._tokens_read = 0
        self._doubled = Doubled()
        self._accounting = Accounting(seq_len=self._config.seq_len)

    def run(self, batches: list[TokenBatch], end: End) -> None:
        """Pack the next window, and end the partition if it ends here. A partition that is alone leaves no tail."""
        receipts = self._writer.journal.receipts
        if receipts and not batches:  # the earlier run had finished the last partition
            return
        for batch in batches:
            self._digest.add(batch.origin)
            self._documents += batch.lengths.size
            self._tokens_read += batch.ids.size
            self._doubled = Doubled(*map(sum, zip(self._doubled, batch.doubled, strict=True)))
            self._writer.quarantine(batch.bad)
        is_alone = end == End.INPUT and not receipts
        window = self._planner.plan(joined_lengths(batches), last=is_alone)
        new = [_ragged(token_columns(batch, self._config.carried), batch.offsets) for batch in batches]
        self._pack(window, new, [{_NAMES: batch.names, **batch.fields} for batch in batches])
        if end != End.WINDOW and not is_alone:
            self._end_partition()

    def pack_tails(self) -> None:
        """Pack the tails of all partitions."""
        journal = self._writer.journal
        sizes = [receipt.tail_tokens for receipt in journal.receipts]
        for numbers, is_last in windows_of_tails(sizes, self._config) if sizes else ():
            tails = [journal.read_tail(number) for number in numbers]
            window = self._planner.plan_parts(Parts.joined(tail.parts for tail in tails), last=is_last)
            columns = [_ragged(tail.columns, offsets_of(tail.parts.length)) for tail in tails]
            self._pack(window, columns, [tail.fields for tail in tails])

    def _pack(self, window: Window, new: list[dict[str, Ragged]], new_fields: list[Mapping[str, pa.Array]]) -> None:
        """Write the rows of a window, and keep the carried parts."""
        several = [_ragged(self._columns, offsets_of(self._lengths)), *new]
        documents = {
            name: Ragged.joined([columns[name] for columns in several], np.dtype(kind))
            for name, kind in self._types.items()
        }
        fields = joined_fields([self._fields, *new_fields], self._field_types)
        for batch in gather(
            documents,
            window.plan,
            doc_ids=fields.get(_NAMES, window.parts.document),
            bases=window.parts.base,
            pads=self._pads,
            labels=self._config.labels,
            fields={name: fields[name] for name in self._config.kept},
        ):
            self._writer.write(batch)
        self.accounting += window.accounting
        self._accounting += window.accounting
        self._carry(documents, window)
        chosen = arrow_of(window.plan.carried.document)
        self._fields = {name: values.take(chosen) for name, values in fields.items()}

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

    def _end_partition(self) -> None:
        tail = self._planner.end_partition()
        self._writer.end_partition(
            Tail(tail, self._columns, self._fields),
            blocks=self._digest.blocks,
            bytes=self._digest.bytes,
            checksum=str(self._digest),
            documents=self._documents,
            tokens=self._tokens_read,
            uses_reference=self._tokenizer.distrusts_fast,
            tail_tokens=self._columns["input_ids"].size,
            doubled=self._doubled,
            accounting=dataclasses.asdict(self._accounting),
        )
        self._begin_partition()
