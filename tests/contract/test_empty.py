"""The contract tests fail where there is nothing to test; they do not pass by running nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EMPTY = {  # "nothing" is the control
    "problems": "import sysgym.core.registry as r; r.problem_registry.entries = dict",
    "agents": "import sysgym_agents.core as c; c.agent_registry.entries = dict",
    "nothing": "",
    "boards": "from pathlib import Path; import sysgym_leaderboards.board as b; b.FOLDER = Path('nowhere')",
}


FAILS = {  # for each: the tests that must fail, and the assertion of the last one
    "problems": (("test_agents.py::test_registries_are_not_empty", "test_environments.py::test_registry_is_not_empty"),
                 "assert PROBLEMS and"),
    "agents": (("test_agents.py::test_registries_are_not_empty",), "assert agent_names() and LEARNERS"),
    "boards": (("test_certificates.py::test_there_are_boards",), "assert board_names()"),
    "nothing": ((), " passed"),
}  # fmt: skip


@pytest.mark.parametrize("what", EMPTY)
def test_an_empty_registry_fails(what: str, tmp_path: Path) -> None:
    (tmp_path / "emptied.py").write_text(EMPTY[what])
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    folder = Path(__file__).parent
    options = ["-q", "-p", "emptied", "-p", "no:cacheprovider", "-k", "empty or there_are", "--deselect", __file__]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "--ignore", __file__, str(folder)],
        capture_output=True, text=True, cwd=folder.parents[1], env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    tests, words = FAILS[what]
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    assert done.returncode == bool(tests), done.stdout + done.stderr
    assert [line.split()[1].rpartition("/")[2] for line in failed] == [*tests] and words in done.stdout, done.stdout
