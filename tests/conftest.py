"""Shared fixtures: one thread, the folder of public data, and the command line in a process or in this one."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from typer.testing import CliRunner

from sysgym.core.registry import failures, problem_registry

Run = Callable[..., subprocess.CompletedProcess[str]]


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


@pytest.fixture
def inline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Run a command in this process, without what other tests registered: a result with `stdout` and `stderr`."""
    from sysgym_zoo.cli import app

    monkeypatch.setattr(problem_registry, "local", {})
    failures.clear()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SYSGYM_STORE", str(tmp_path / "boards.sqlite"))
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: str, code: int = 0) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            done = CliRunner().invoke(app, list(words), prog_name="sysgym")
        assert done.exit_code == code, (words, done.exit_code, done.stdout, done.stderr)
        return done

    return run
