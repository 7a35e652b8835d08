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
def frame_documents(ids, offsets, before, after, out, ends):
    """Copy ragged documents to ``out``, each between the tokens ``before`` and ``after``; -1 means no token.

    A document that has the token there already is given no second one; an empty document stays empty. ``ends`` receives
    the end of each document. Returns the number of documents that began with ``before``, and that ended with ``after``.
    """
    begun = 0
    ended = 0
    end = 0
    for document in range(offsets.size - 1):
        source = ids[offsets[document] : offsets[document + 1]]
        if source.size > 0:
            has_before = np.int64(source[0]) == before
            has_after = np.int64(source[source.size - 1]) == after
            begun += has_before
            ended += has_after
            if before >= 0 and not has_before:
                out[end] = before
                end += 1
            target = out[end : end + source.size]
            for k in range(source.size):
                target[k] = source[k]
            end += source.size
            if after >= 0 and not has_after:
                out[end] = after
                end += 1
        ends[document] = end
    return begun, ended


@kernel
def mask_segments(starts, lengths, value, out):
    """Set ``out[starts[s] + k] = value`` for each segment ``s`` and ``k < lengths[s]``."""
    for segment in range(lengths.size):
        target = out[starts[segment] : starts[segment] + lengths[segment]]
        for k in range(target.size):
            target[k] = value
