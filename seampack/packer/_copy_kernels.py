"""The copying kernels: they move tokens and decide nothing.

Inner loops run over slices from index 0, because the compiler vectorises only where an index cannot be negative.
"""

import numpy as np

from seampack._jit import copy_memory, kernel


@kernel
def copy_segments(addresses, lengths, targets, size, out):
    """Copy, for each segment, ``lengths`` items of ``size`` bytes from ``addresses`` to item ``targets`` of ``out``.

    The sources are addresses because the documents of a table lie in many buffers, which need not be joined. ``out`` is
    an address too. The caller keeps all buffers alive and guarantees the bounds.
    """
    for segment in range(lengths.size):
        copy_memory(out + targets[segment] * size, addresses[segment], np.int64(lengths[segment]) * size)


@kernel
def frame_documents(ids, offsets, before, after, out):
    """Copy ragged documents to ``out``, the token ``before`` ahead of each and ``after`` at its end; -1 means none."""
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
