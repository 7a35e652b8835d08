"""The stage that packs windows of tokens: plan, gather and write them, and end sections of partitions."""

import dataclasses
from typing import Any

import numpy as np
import pyarrow as pa

from seampack.io.arrow import arrow_of
from seampack.io.ragged import offsets_of
from seampack.packer import _copy_kernels as kernels
from seampack.packer.accounting import Accounting
from seampack.packer.config import PackConfig
from seampack.packer.documents import Doubled, TokenBatch, id_type
from seampack.packer.gather import Ragged, gather
from seampack.packer.journal import BlockDigest, Tail
from seampack.packer.manifest import Input, TokenizerFacts
from seampack.packer.run_folder import RunFolder
from seampack.packer.shards import ShardWriter
from seampack.packer.windows import End, Parts, Window, WindowPlanner, joined_lengths, windows_of_tails


class Stage:
    """Plans, gathers and writes one window at a time, and ends sections; keeps the tokens of the carried parts."""

    def __init__(self, config: PackConfig, tokenizer: TokenizerFacts, folder: RunFolder, *, partitions: int) -> None:
        self._config = config
        self._folder = folder
        self._partitions = partitions
        self._planner = WindowPlanner(config, keep_ends=tokenizer.eos is not None)
        self._pads = {"input_ids": tokenizer.pad_id} if tokenizer.pad_id is not None else None
        self._no_tokens = np.empty(0, id_type(tokenizer.vocab_size))
        self._writer: ShardWriter | None = None

    def _begin(self, partition: int, section: int = 0, documents: int = 0) -> ShardWriter:
        self._writer = self._folder.begin(partition)
        self._planner.begin(partition, section, documents)
        self._tokens = self._no_tokens
        self._lengths = np.empty(0, np.int64)
        self._names = pa.nulls(0, pa.large_string())
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
        for batch in batches:
            if batch.ends_partition:
                continue
            self._digest.add(batch.origin)
            self._documents += batch.lengths.size
            self._tokens_read += batch.ids.size
            self._doubled = Doubled(*map(sum, zip(self._doubled, batch.doubled, strict=True)))
            self._trusts_fast = batch.origin.trusts_fast
            self._folder.quarantine(partition, batch.bad)
        is_alone = end == End.PARTITION and self._partitions == 1 and not receipts
        window = self._planner.plan(joined_lengths(batches), last=is_alone)
        new = [Ragged.of_values(batch.ids, batch.offsets) for batch in batches]
        self._pack(writer, window, new, [batch.names for batch in batches if batch.names is not None])
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
            ids = [Ragged.of_values(tail.ids, offsets_of(tail.parts.length)) for tail in tails]
            self._pack(writer, window, ids, [tail.names for tail in tails])
        return writer, self._accounting

    def _pack(self, writer: ShardWriter, window: Window, new: list[Ragged], new_names: list[Any]) -> None:
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
            writer.write(batch)
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

    def _end_section(self, partition: int, writer: ShardWriter, inputs: tuple[Input, ...] | None) -> None:
        self._folder.end_section(
            partition,
            writer,
            Tail(self._planner.tail, self._tokens, self._names if self._config.id_column is not None else None),
            is_last=inputs is not None,
            inputs=inputs or (),
            blocks=self._digest.blocks,
            bytes=self._digest.bytes,
            checksum=str(self._digest),
            documents=self._documents,
            tokens=self._tokens_read,
            trusts_fast=self._trusts_fast,
            tail_tokens=self._tokens.size,
            doubled=self._doubled,
            accounting=dataclasses.asdict(self._accounting),
        )
        self._writer = None
