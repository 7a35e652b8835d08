"""Groups of a stream: documents that follow each other with the same value of ``group_column``."""

import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np

from seampack.errors import DataError
from seampack.packer.blocks import blocks_of
from seampack.packer.config import PackConfig
from seampack.packer.documents import TokenBatch


def with_groups(batches: Iterable[TokenBatch], config: PackConfig) -> Iterator[TokenBatch]:
    """Yield batches with ``begins``, if the config has a column of groups. A group ends with its partition.

    Raises DataError for a group of several documents that has more tokens than ``config.most_tokens_of_group``.
    """
    name = config.group_name
    if name is None:
        yield from batches
        return
    groups = _Groups(name, config)
    for batch in batches:
        if batch.ends_partition:
            groups = _Groups(name, config)
        yield groups.marked(batch)


class _Groups:
    """The groups of a partition, batch by batch; keeps the value and the size of the last group."""

    def __init__(self, column: str, config: PackConfig) -> None:
        self._column = column
        self._config = config
        self._value: object = None
        self._tokens = self._documents = 0

    def marked(self, batch: TokenBatch) -> TokenBatch:
        """Return the batch with ``begins``."""
        if not batch.lengths.size:
            return dataclasses.replace(batch, begins=np.empty(0, np.bool_))
        values = batch.fields[self._column]
        codes = values.dictionary_encode().indices.to_numpy()
        begins = np.append(values[0].as_py() != self._value, codes[1:] != codes[:-1])
        size = self._config.pad_to_multiple
        firsts = np.unique(np.append(0, np.flatnonzero(begins)))
        tokens = np.add.reduceat(blocks_of(batch.lengths, size) * size, firsts)
        documents = np.diff(firsts, append=begins.size)
        if not begins[0]:
            tokens[0] += self._tokens
            documents[0] += self._documents
        most = self._config.most_tokens_of_group
        long = np.flatnonzero((tokens > most) & (documents > 1))
        if long.size:
            group = int(long[0])
            raise DataError(
                f"group_column: expected at most {most:,} tokens in a group of several documents; got "
                f"{tokens[group]:,} in that of {self._column} {values[int(firsts[group])].as_py()!r}; {self._remedy}"
            )
        self._value = values[-1].as_py()
        self._tokens, self._documents = int(tokens[-1]), int(documents[-1])
        return dataclasses.replace(batch, begins=begins)

    @property
    def _remedy(self) -> str:
        if self._config.most_tokens_of_group == self._config.seq_len:
            return "choose a larger --seq-len, or --long split, window, truncate or drop"
        return "choose larger --window-tokens"
