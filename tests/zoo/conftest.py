"""The command line as a fixture: in a process of its own, or in this one, which is quicker."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sysgym.core.registry import failures, problem_registry

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
