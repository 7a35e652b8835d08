"""The number of worker threads of a run."""

import os

from seampack.config import check_integer


def thread_count(threads: int | None) -> int:
    """Return the number of threads, by default all cores of this process. Raise ConfigError if it is less than 1."""
    if threads is not None:
        return check_integer("threads", threads, low=1)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
