"""What this process may use and what it has spent: threads of every pool, and time that went into compiling.

Light on purpose: whoever keeps a clock imports it, and numba with it would be slow.
"""

from __future__ import annotations

import os
import sys
import time
from typing import NamedTuple

_threads: list[int] = []  # what `set_threads` was told last; empty before


def set_threads(threads: int) -> None:
    """Let no pool of this process take more threads: simulations in batches, numba's and torch's."""
    _threads[:] = [max(int(threads), 1)]
    limit_pools()


def limit_pools() -> None:
    """Tell the pools of libraries that are loaded by now what `set_threads` was told; who imports one calls this."""
    if not _threads:
        return
    if "numba" in sys.modules:
        numba = sys.modules["numba"]
        numba.set_num_threads(min(_threads[0], numba.config.NUMBA_NUM_THREADS))
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(_threads[0])


def threads() -> int:
    """Threads that a pool may take: those of `set_threads`, else the cores that this process may use."""
    return _threads[0] if _threads else cores()


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1  # macOS: all cores


class Compiled(NamedTuple):
    """Time spent so far on compiling kernels or loading compiled ones."""

    seconds: float
    cpu_seconds: float


class Meter:
    """Adds up the time between a start and its end; what starts within counts once."""

    def __init__(self) -> None:
        self.depth = 0
        self.total, self.began = Compiled(0.0, 0.0), Compiled(0.0, 0.0)

    def start(self) -> None:
        """Compiling begins."""
        if not self.depth:  # a kernel that calls another one compiles that within its own compilation
            self.began = Compiled(time.perf_counter(), time.process_time())
        self.depth += 1

    def end(self) -> None:
        """Compiling ends."""
        self.depth -= 1
        if not self.depth:
            self.total = Compiled(
                self.total.seconds + time.perf_counter() - self.began.seconds,
                self.total.cpu_seconds + time.process_time() - self.began.cpu_seconds,
            )


METER = Meter()  # `sysgym.compiled` tells it when numba compiles


def compiled() -> Compiled:
    """Time that this process has spent on compiling so far: a clock leaves it out, as the next run has it for nothing.

    >>> compiled().seconds >= 0
    True
    """
    return METER.total
