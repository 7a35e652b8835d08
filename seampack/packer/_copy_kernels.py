"""Kernels that copy tokens; the plan decides where each token goes.

Inner loops run over slices from index 0, because the compiler vectorises only where an index cannot be negative.
"""

import numpy as np

from seampack._jit import copy_memory, kernel


@kernel
def copy_segments(addresses, lengths, targets, size, out):
    """Copy, for each segment, ``lengths`` items of ``size`` bytes from ``addresses`` to item ``targets`` of ``out``.

    Sources are given by address because the documents of a table are in many buffers, which need not be joined. ``out``
    is an address too. The caller must keep all buffers alive and within their bounds.
    """
    for segment in range(lengths.size):
        copy_memory(out + targets[segment] * size, addresses[segment], np.int64(lengths[segment]) * size)


@kernel
def frame_documents(ids, offsets, before, after, out):
    """Copy ragged documents to ``out``, each between the tokens ``before`` and ``after``; -1 means no token."""
    end = 0
    for document in range(offsets.size - 1):
        if before >= 0:
            out[end] = before
            end += 1
        source = ids[offsets[document] : offsets[document + 1]]
        target = out[end : end + source.size]
        for k in range(source.size):
            target[k] = source[k]
        end += source.size
        if after >= 0:
            out[end] = after
            end += 1


@kernel
def mask_segments(starts, lengths, value, out):
    """Set ``out[starts[s] + k] = value`` for each segment ``s`` and ``k < lengths[s]``."""
    for segment in range(lengths.size):
        target = out[starts[segment] : starts[segment] + lengths[segment]]
        for k in range(target.size):
            target[k] = value
