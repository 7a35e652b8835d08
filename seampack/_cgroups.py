"""The limits of the control groups that this process is in, of both versions: what a container may use."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")
_NO_LIMIT = 1 << 60  # version 1 of control groups writes a number near 2^63 for no limit


def cpu_limit(root: Path = _GROUPS, own: Path = Path("/proc/self/cgroup")) -> float | None:
    """Return the cores whose time the control group of the process may use, or None without a limit."""
    limits = []
    for folder in _folders(root, own, "cpu"):
        with suppress(OSError, ValueError, ZeroDivisionError):
            quota, period = (folder / "cpu.max").read_text().split()
            limits.append(int(quota) / int(period))  # no number is "max"
        with suppress(OSError, ValueError, ZeroDivisionError):
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
            limits += [int(quota) / int(period)] if int(quota) > 0 else []
    return min(limits, default=None)


def memory_limit(root: Path = _GROUPS, own: Path = Path("/proc/self/cgroup")) -> int | None:
    """Return the bytes of memory that the control group of the process may use, or None without a limit."""
    limits = []
    for folder in _folders(root, own, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            with suppress(OSError, ValueError):
                limits.append(int((folder / name).read_text()))
    return min((limit for limit in limits if limit < _NO_LIMIT), default=None)


def _folders(root: Path, own: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of the control groups that the process is in, of both versions, up to the root."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, names, path = line.split(":", 2)
        if names and controller not in names.split(","):
            continue
        top = root / controller if names else root
        folder = top / path.lstrip("/")
        yield from (each for each in (folder, *folder.parents) if each.is_relative_to(top))
