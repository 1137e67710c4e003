"""Tests of one group do run in one process: what they share is made once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import groups

HOOKS = """
import groups
def pytest_configure(config):
    groups.install(config)
def pytest_collection_modifyitems(config, items):
    groups.tell(config, items)
"""
TESTS = """
import os, pathlib, time, pytest
@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("group", [pytest.param(x, marks=pytest.mark.xdist_group(x)) for x in ("one", "two", "three")])
def test_it(group, number):
    time.sleep(0.01)
    with open(pathlib.Path(__file__).with_name("told"), "a") as file:
        file.write(f"{group} {os.environ['PYTEST_XDIST_WORKER']}\\n")
"""


def test_a_group_runs_in_one_process_and_two_processes_share_the_groups(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(HOOKS)
    (tmp_path / "test_it.py").write_text(TESTS)
    words = ["-q", "-n2", "--dist=loadgroup", "-p", "xdist.plugin", f"--rootdir={tmp_path}", "-c", os.devnull]
    own = {"PYTHONPATH": str(Path(groups.__file__).parent), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words, "."],
        env={**os.environ, **own}, cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    where = defaultdict(list)
    for line in (tmp_path / "told").read_text().splitlines():
        group, worker = line.split()
        where[group].append(worker)
    assert {group: len(workers) for group, workers in where.items()} == {"one": 4, "two": 4, "three": 4}
    assert all(len({*workers}) == 1 for workers in where.values()), where
    assert len({workers[0] for workers in where.values()}) == 2, where
