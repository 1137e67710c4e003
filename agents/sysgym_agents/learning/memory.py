"""How much memory there is, and a sentence instead of a process that is killed for taking more."""

from __future__ import annotations

import math
import os
import resource
from pathlib import Path

from sysgym.core.errors import UsageError

GROUPS = (  # files of a container's limit and of what it uses
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def _number(file: str) -> float:
    """The number in a file; inf where there is none."""
    try:
        return float(Path(file).read_text())
    except (OSError, ValueError):
        return math.inf


def _free() -> float:
    """Bytes that the machine can give; all that it has where it does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(1024.0 * float(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def available() -> float:
    """Bytes that this process may still take: of the machine, of its container and of its own limit.

    >>> available() > 0
    True
    """
    found = [_free()]
    for limit, used in GROUPS:
        most = _number(limit)
        found.append(most - _number(used) if math.isfinite(most) else math.inf)
    most = float(resource.getrlimit(resource.RLIMIT_AS)[0])
    if most >= 0:  # else there is none
        held = Path("/proc/self/statm")
        pages = int(held.read_text().split()[0]) if held.is_file() else 0
        found.append(most - pages * resource.getpagesize())
    return max(0.0, min(found))


def afford(needed: float, what: str, lower: str) -> None:
    """UsageError if something needs more bytes than there are; `lower` says what would make it smaller."""
    free = available()
    if needed > free:
        most, there = (f"{value / 2**30:.1f} GiB" for value in (needed, free))
        raise UsageError(f"{what} would take about {most} of memory, and there are {there}; lower {lower}.")
