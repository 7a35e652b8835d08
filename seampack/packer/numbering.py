"""The numbers of documents: ``p * 2^32 + n`` for document ``n`` of partition ``p``, and ``0, 1, ...`` over all of them.

A partition is packed without knowing how many documents the others have, so rows hold numbers of the first kind. The
manifest counts the documents of each partition, which gives the second kind, the place of a document in the input. Both
have the same order, and are the same in the first partition.
"""

from collections.abc import Sequence

import numpy as np

from seampack.io.ragged import offsets_of
from seampack.packer.plans import Int64

BITS = 32
"""Bits of a document's number within its partition."""


def places_of(numbers: Int64, partitions: Sequence[int]) -> Int64:
    """Return the places in the input of documents, given the number of documents of each partition; -1 for none."""
    counts = np.asarray(partitions, np.int64)
    partition, within = numbers >> BITS, numbers & ((1 << BITS) - 1)
    known = (partition >= 0) & (partition < counts.size)
    partition = np.where(known, partition, 0)
    places: Int64 = np.where(known & (within < counts[partition]), offsets_of(counts)[partition] + within, -1)
    return places


def numbers_of(places: Int64, partitions: Sequence[int]) -> Int64:
    """Return the numbers of documents, given their places in the input."""
    offsets = offsets_of(np.asarray(partitions, np.int64))
    partition = np.searchsorted(offsets[1:], places, side="right")
    numbers: Int64 = (partition << BITS) + places - offsets[partition]
    return numbers
