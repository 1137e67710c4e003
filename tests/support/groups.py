"""Tests of one group run in one process, the group with the most tests first: what they share is made once.

pytest-xdist says a test's group to its scheduler within the test's name, which pytest has not let a plugin change since
its version 9.2: without this file each test goes to whichever process is free, kernels are compiled in both processes
at the same time, and every fixture of a session or a module is made twice. Here a worker writes the groups to a file
that the scheduler reads.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

PLACE = "sysgym_groups"  # among what a worker is told


class ByGroup(LoadScopeScheduling):  # type: ignore[misc]
    """Gives whole groups to processes."""

    def __init__(self, config: pytest.Config, log: Any, file: Path) -> None:
        super().__init__(config, log)
        self.file, self.groups = file, dict[str, str]()

    def _split_scope(self, nodeid: str) -> str:
        if not self.groups:  # all workers have collected the same tests
            self.groups = json.loads(self.file.read_text())
        return self.groups[nodeid]


class Groups:
    """A pytest plugin: of the process that schedules, and of those that run tests."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "groups.json"

    def pytest_configure_node(self, node: Any) -> None:
        node.workerinput[PLACE] = str(self.file)

    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> ByGroup:
        return ByGroup(config, log, self.file)


def install(config: pytest.Config) -> None:
    """In the process that schedules those that run tests; in any other nothing."""
    if not hasattr(config, "workerinput") and config.getvalue("dist") == "loadgroup":
        folder = tempfile.TemporaryDirectory(prefix="sysgym-groups-")
        config.add_cleanup(folder.cleanup)
        config.pluginmanager.register(Groups(Path(folder.name)), "groups")


def group_of(item: pytest.Item) -> str:
    """The group of a test by its nearest mark, else by its place: its file, or for a family the family's folder."""
    mark = item.get_closest_marker("xdist_group")
    if mark:
        return str(mark.args[0])
    folder = item.path.parent.name
    shared = folder in ("cli", "contract", "core", "leaderboards", "golden", "tests")
    return f"{folder}/{item.path.stem}" if shared else folder


def tell(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In the first worker: write the groups where the scheduler reads them."""
    given: dict[str, Any] = getattr(config, "workerinput", {})
    if given.get("workerid") == "gw0":
        Path(given[PLACE]).write_text(json.dumps({item.nodeid: group_of(item) for item in items}))
