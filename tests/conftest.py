"""Shared fixtures: the folders of public data, and the command line: forked, in this process, or a real process."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from copy import copy
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import groups
import pytest
import typer.testing
from forked import ForkedModule
from meter import Meter
from public import PARTITIONING, PUBLIC
from typer.testing import CliRunner
from warm import Command, Warm

from sysgym.core.registry import failures, problem_registry

built = cache(typer.testing._get_command)  # building the tree of our commands takes longer than most of them
typer.testing._get_command = lambda app: copy(built(app))  # a word that is no command changes the group's own list
Run = Callable[..., subprocess.CompletedProcess[str]]
METER = pytest.StashKey[Meter]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[METER] = Meter()
    config.pluginmanager.register(config.stash[METER], "meter")
    groups.install(config)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A family's tests run in one process, so that its kernels are compiled once; others go file by file."""
    groups.tell(config, items)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """A command that ran in this process may have asked torch for more; on a busy machine they cost much."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


# ------------------------------------------------------------------------------------------------ public data


@pytest.fixture(scope="session")
def public_data() -> Path:
    """The folder that SYSGYM_DATA names; tests that need it are skipped without one. See `public` for its parts."""
    if not PUBLIC.is_dir():
        pytest.skip("SYSGYM_DATA is not set")
    return PUBLIC


@pytest.fixture(scope="session")
def partition_data(public_data: Path) -> Path:
    """Public graphs and partitions."""
    return PARTITIONING


# ------------------------------------------------------------------------------------------------ judging


@pytest.fixture
def forked_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    """Submissions are judged in forks of this process, where a test is not about the process that judges them."""
    monkeypatch.setattr(import_module("sysgym_leaderboards.verify"), "subprocess", ForkedModule)


# ------------------------------------------------------------------------------------------------ commands


class Sysgym:
    """The command line, run in one folder with a store of its own."""

    def __init__(self, warm: Warm, folder: Path) -> None:
        self.warm, self.folder = warm, folder

    def _environment(self, changes: dict[str, str]) -> dict[str, str]:
        own = {"SYSGYM_STORE": str(self.folder / "boards.sqlite"), "COLUMNS": "200"}
        return {**os.environ, **own, **changes}

    def __call__(self, *words: str, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, which must be the exit code."""
        done = self.warm.run(list(words), self.folder, self._environment(environment))
        assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done

    def start(self, *words: str, terminal: str | None = None, **environment: str) -> Command:
        """Start a command, for a signal or a kill, or on a terminal."""
        return self.warm.start(list(words), self.folder, self._environment(environment), terminal)


@pytest.fixture(scope="session")
def warm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Warm]]:
    """Start a warm process; one for our own interpreter is shared by all tests."""
    servers: dict[Any, Warm] = {}

    def start(python: str = sys.executable, options: tuple[str, ...] = (), **environment: str) -> Warm:
        key = (python, options, *sorted(environment.items()))
        if key not in servers:
            servers[key] = Warm(tmp_path_factory.mktemp("warm"), python, options, **environment)
            request.config.stash[METER].servers.append(servers[key])
        return servers[key]

    yield start
    for server in servers.values():
        server.close()


@pytest.fixture
def sysgym(warm: Callable[..., Warm], tmp_path: Path) -> Sysgym:
    """Commands in an empty folder, forked from the warm process."""
    return Sysgym(warm(), tmp_path)


@pytest.fixture
def real_sysgym(tmp_path: Path) -> Run:
    """Commands in an empty folder, each in a new process: for what forking might hide."""

    def run(*words: str, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "sysgym_zoo.cli", *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
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


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A GPU that is none: see `away`."""
    from away import AWAY, there_is

    from sysgym_agents.learning import devices

    monkeypatch.setattr(devices, "accelerator", lambda: AWAY)
    monkeypatch.setattr(devices, "named", lambda kind: "a GPU that is none")
    monkeypatch.setattr("sysgym_agents.chip_placement.edge_pretrain.STEPS", 2)  # more would part ways by rounding
    with there_is():
        yield
