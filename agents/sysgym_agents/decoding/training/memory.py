"""Memory that a training uses again at every step."""

from __future__ import annotations

import ctypes

TRIM, MAP, LARGEST = -1, -3, 2**31 - 1  # glibc's M_TRIM_THRESHOLD and M_MMAP_THRESHOLD


def keep_freed_memory() -> None:
    """Let the C library keep what is freed instead of giving it back: a step asks for tens of megabytes again and
    again, and fresh pages cost it a seventh of its time. Where there is no glibc nothing happens."""
    try:
        library = ctypes.CDLL("libc.so.6")
        library.mallopt(TRIM, LARGEST)
        library.mallopt(MAP, LARGEST)
    except (OSError, AttributeError):
        return
