"""The copying kernels: they move tokens, and decide nothing."""

from seampack.packer._jit import kernel


@kernel
def copy_segments(tokens, sources, lengths, targets, out):
    """``out[targets[s] + k] = tokens[sources[s] + k]`` for each segment ``s`` and ``k < lengths[s]``."""
    for segment in range(lengths.size):
        source = sources[segment]
        target = targets[segment]
        for k in range(lengths[segment]):
            out[target + k] = tokens[source + k]


@kernel
def frame_documents(ids, offsets, before, after, out):
    """Copy ragged documents with the token ``before`` in front of and ``after`` behind each; -1 is no token."""
    to = 0
    for document in range(offsets.size - 1):
        if before >= 0:
            out[to] = before
            to += 1
        for at in range(offsets[document], offsets[document + 1]):
            out[to] = ids[at]
            to += 1
        if after >= 0:
            out[to] = after
            to += 1


@kernel
def mask_segments(starts, lengths, value, out):
    """``out[starts[s] + k] = value`` for each segment ``s`` and ``k < lengths[s]``."""
    for segment in range(lengths.size):
        for k in range(lengths[segment]):
            out[starts[segment] + k] = value
