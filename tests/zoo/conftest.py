"""The command line as a fixture."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def sysgym(tmp_path: Path) -> Run:
    """Run a command in an empty folder with a store of its own."""

    def run(*words: str, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "sysgym_zoo.cli", *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env={**os.environ, "SYSGYM_STORE": str(tmp_path / "boards.sqlite"), "COLUMNS": "200", **environment},
        )
        assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done

    return run
