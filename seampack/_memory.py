"""The C library's allocator, told not to hand memory back that the next block needs again."""

import ctypes

# From glibc's malloc.h. Blocks of megabytes are mapped anew and zeroed page by page otherwise, which costs a third of
# the CPU seconds of a packing run.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 1 << 30
_LARGEST_MMAP_THRESHOLD = 32 << 20


def keep_freed_memory() -> None:
    """For the whole process, so for programs only: the library leaves its caller's allocator alone."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return  # not glibc: no such knob
    mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
    mallopt(_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
