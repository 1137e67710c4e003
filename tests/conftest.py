"""Shared fixtures: one thread, and the folder of public data."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest


@pytest.fixture(scope="session")
def public_data() -> Path:
    """The folder that SYSGYM_DATA names; tests that need it are skipped without one."""
    named = os.environ.get("SYSGYM_DATA")
    if not named:
        pytest.skip("SYSGYM_DATA is not set")
    return Path(named)


@pytest.fixture(scope="session")
def partition_data(public_data: Path) -> Path:
    """Public graphs and partitions."""
    return public_data / "partitioning"
