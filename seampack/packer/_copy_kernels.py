"""The copying kernels: they move tokens, and decide nothing.

Inner loops run over slices from 0 on: only where an index cannot be negative does the compiler use vector registers.
"""

import numpy as np

from seampack._jit import copy_memory, kernel


@kernel
def copy_segments(addresses, lengths, targets, size, out):
    """For each segment, copy ``lengths`` items of ``size`` bytes from ``addresses`` to item ``targets`` of ``out``.

    Addresses instead of one source array: the documents of a table stand in many buffers, and need no copy into one.
    ``out`` is an address too. The caller keeps all buffers alive, and answers for the bounds.
    """
    for segment in range(lengths.size):
        copy_memory(out + targets[segment] * size, addresses[segment], np.int64(lengths[segment]) * size)


@kernel
def frame_documents(ids, offsets, before, after, out):
    """Copy ragged documents with the token ``before`` in front of and ``after`` behind each; -1 is no token."""
    to = 0
    for document in range(offsets.size - 1):
        if before >= 0:
            out[to] = before
            to += 1
        here = ids[offsets[document] : offsets[document + 1]]
        there = out[to : to + here.size]
        for k in range(here.size):
            there[k] = here[k]
        to += here.size
        if after >= 0:
            out[to] = after
            to += 1


@kernel
def mask_segments(starts, lengths, value, out):
    """``out[starts[s] + k] = value`` for each segment ``s`` and ``k < lengths[s]``."""
    for segment in range(lengths.size):
        there = out[starts[segment] : starts[segment] + lengths[segment]]
        for k in range(there.size):
            there[k] = value
