"""The number of worker threads of a run."""

import math
import os

from seampack._cgroups import cpu_limit
from seampack.config import check_integer


def thread_count(threads: int | None) -> int:
    """Return the number of threads, by default one for each core that this process may use.

    In a container, these are fewer than the cores of the machine: more threads would be paused. Raise ConfigError if
    the number is less than 1.
    """
    if threads is not None:
        return check_integer("threads", threads, low=1)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = cpu_limit()
    return cores if limit is None else min(cores, max(1, math.ceil(limit)))
