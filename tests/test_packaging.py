"""The wheel works where there is no checkout."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_wheel_and_sdist(tmp_path: Path) -> None:
    """Built, unpacked away from the sources, and run with nothing but the wheel's own files."""
    pytest.importorskip("hatchling")
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tmp_path / "dist"), str(ROOT)],
        check=True,
        capture_output=True,
    )
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    (sdist,) = (tmp_path / "dist").glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[-1] for name in archive.getnames()}
    assert {
        "README.md",
        "LICENSE",
        "constraints.txt",
        "tests/test_packaging.py",
        "tests/plugin/pyproject.toml",
    } <= names
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
        archive.extractall(tmp_path / "installed")
    for package, folder in (("sysgym", "envs"), ("sysgym_agents", "agents"), ("sysgym_zoo", "zoo"),
                            ("sysgym_leaderboards", "leaderboards")):  # fmt: skip
        here = {
            str(file.relative_to(ROOT / folder))
            for file in (ROOT / folder / package).rglob("*")
            if file.is_file() and "__pycache__" not in file.parts
        }
        assert here <= packed, here - packed
    code = """
import sys; sys.path.insert(0, sys.argv[1])
import warnings; warnings.simplefilter("error")
import gymnasium as gym, sysgym
from sysgym.core.registry import problem_class
assert sysgym.__file__.startswith(sys.argv[1]), sysgym.__file__
for name in sysgym.problem_ids():
    for variant in problem_class(name).variants:
        for form in ("full", "dynamic", "raw"):
            env = gym.make(name, obs=form, **variant)
            env.reset(seed=0); env.close()
from sysgym_leaderboards import board_names, load_board
assert len(board_names()) >= 3 and load_board(board_names()[0]).pairs()
from sysgym_zoo.lookup.recipes import recipe_names
assert len(recipe_names()) >= 3
from sysgym_zoo.cli import app
app(["solve", "tiny/grid-test", "--json"])
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "installed")], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert '"agent": "fm"' in done.stdout
