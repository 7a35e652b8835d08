"""The stage that packs windows of tokens: plan, gather and write them, and end partitions."""

import dataclasses
from typing import Any

import numpy as np
import pyarrow as pa

from seampack.io.arrow import arrow_of
from seampack.io.ragged import offsets_of
from seampack.packer import _copy_kernels as kernels
from seampack.packer.accounting import Accounting
from seampack.packer.config import PackConfig
from seampack.packer.documents import Doubled, TokenBatch
from seampack.packer.gather import Ragged, gather
from seampack.packer.journal import BlockDigest, Tail
from seampack.packer.shards import ShardWriter
from seampack.packer.tokenizing import TextTokenizer
from seampack.packer.windows import End, Parts, Window, WindowPlanner, joined_lengths, windows_of_tails


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
        self._pads = {"input_ids": tokenizer.pad} if tokenizer.pad >= 0 else None
        self._writer = writer
        self._no_tokens = np.empty(0, tokenizer.dtype)
        self.accounting = Accounting(seq_len=config.seq_len)
        for receipt in receipts:
            self.accounting += Accounting(**receipt.accounting)
        self._begin_partition()

    def _begin_partition(self) -> None:
        self._tokens = self._no_tokens
        self._lengths = np.empty(0, np.int64)
        self._names = pa.nulls(0, pa.large_string())
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
        new = [Ragged.of_values(batch.ids, batch.offsets) for batch in batches]
        self._pack(window, new, [batch.names for batch in batches])
        if end != End.WINDOW and not is_alone:
            self._end_partition()

    def pack_tails(self) -> None:
        """Pack the tails of all partitions."""
        journal = self._writer.journal
        sizes = [receipt.tail_tokens for receipt in journal.receipts]
        for numbers, is_last in windows_of_tails(sizes, self._config) if sizes else ():
            tails = [journal.read_tail(number) for number in numbers]
            window = self._planner.plan_parts(Parts.joined(tail.parts for tail in tails), last=is_last)
            ids = [Ragged.of_values(tail.ids, offsets_of(tail.parts.length)) for tail in tails]
            self._pack(window, ids, [tail.names for tail in tails])

    def _pack(self, window: Window, new: list[Ragged], new_names: list[Any]) -> None:
        """Write the rows of a window, and keep the carried parts."""
        carried_before = Ragged.of_values(self._tokens, offsets_of(self._lengths))
        documents = Ragged.joined([carried_before, *new], self._tokens.dtype)
        has_names = self._config.id_column is not None
        names = pa.concat_arrays([self._names, *new_names]) if has_names else window.parts.document
        for batch in gather(
            {"input_ids": documents},
            window.plan,
            doc_ids=names,
            bases=window.parts.base,
            pads=self._pads,
            labels=self._config.labels,
        ):
            self._writer.write(batch)
        self.accounting += window.accounting
        self._accounting += window.accounting
        self._carry(documents, window)
        if has_names:
            self._names = names.take(arrow_of(window.plan.carried.document))

    def _carry(self, documents: Ragged, window: Window) -> None:
        carried = window.plan.carried
        self._lengths = carried.length.astype(np.int64)
        self._tokens = np.empty(carried.tokens, documents.dtype)
        targets = offsets_of(self._lengths)[:-1]
        size = documents.dtype.itemsize
        first = documents.addresses[carried.document] + carried.start.astype(np.int64) * size
        kernels.copy_segments(first, carried.length, targets, size, self._tokens.ctypes.data)

    def _end_partition(self) -> None:
        tail = self._planner.end_partition()
        self._writer.end_partition(
            Tail(tail, self._tokens, self._names if self._config.id_column is not None else None),
            blocks=self._digest.blocks,
            bytes=self._digest.bytes,
            checksum=str(self._digest),
            documents=self._documents,
            tokens=self._tokens_read,
            uses_reference=self._tokenizer.distrusts_fast,
            tail_tokens=self._tokens.size,
            doubled=self._doubled,
            accounting=dataclasses.asdict(self._accounting),
        )
        self._begin_partition()
