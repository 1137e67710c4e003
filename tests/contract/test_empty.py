"""The contract tests fail where there is nothing to test; they do not pass by running nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EMPTY = {
    "problems": "import sysgym.core.registry as r; r.problem_registry.entries = dict",
    "agents": "import sysgym_agents.core as c; c.agent_registry.entries = dict",
    "boards": "from pathlib import Path; import sysgym_leaderboards.boards as b; b.FOLDER = Path('nowhere')",
}


@pytest.mark.parametrize("what", EMPTY)
def test_an_empty_registry_fails(what: str, tmp_path: Path) -> None:
    (tmp_path / "emptied.py").write_text(EMPTY[what])
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    folder = Path(__file__).parent
    words = ["-q", "-p", "emptied", "-p", "no:cacheprovider", "-k", "empty or there_are", "--deselect", __file__]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words, "--ignore", __file__, str(folder)],
        capture_output=True, text=True, cwd=folder.parents[1], env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode in (1, 2), done.stdout
    assert "failed" in done.stdout or "error" in done.stdout
