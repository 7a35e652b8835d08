"""Settings of glibc's allocator that keep freed memory in the process for reuse."""

import ctypes

# Constants of glibc's malloc.h. By default, each block of several megabytes is mapped again and zeroed page by page,
# which costs a third of the CPU seconds of a packing run.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 1 << 30
_LARGEST_MMAP_THRESHOLD = 32 << 20


def keep_freed_memory() -> None:
    """Keep freed memory for reuse. This affects the whole process, so only programs call it, never the library."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return  # not glibc
    mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
    mallopt(_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
