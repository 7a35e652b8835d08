"""What limits a process on its machine: cores, threads and memory, also those of its control group."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from seampack._cgroups import cpu_limit, memory_limit
from seampack._threads import thread_count


def cpu_facts() -> dict[str, Any]:
    """Return the cores of the machine, those that the process may use, and the number of threads of a run."""
    return {"cores": os.cpu_count(), "allowed": thread_count(None), "cgroup_limit": cpu_limit()}


def memory_facts() -> dict[str, int | None]:
    """Return the memory of the machine in bytes, how much of it is free, and how much the control group allows."""
    total = None
    with suppress(AttributeError, OSError, ValueError):
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    available = None
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        available = int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]) << 10
    return {"total_bytes": total, "available_bytes": available, "cgroup_limit_bytes": memory_limit()}
