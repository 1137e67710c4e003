"""Every example in a docstring of the four packages runs and gives what it says."""

from __future__ import annotations

import doctest
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ("envs", "agents", "zoo", "leaderboards")
EXAMPLE = re.compile(r"^\s*>>> ", re.M)


def modules() -> list[str]:
    """Names of the modules with an example."""
    files = [(file, root) for root in SOURCES for file in sorted((ROOT / root).rglob("*.py"))]
    written = [file.relative_to(ROOT / root) for file, root in files if EXAMPLE.search(file.read_text())]
    return [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in written]


@pytest.mark.parametrize("name", modules())
def test_examples_in_docstrings_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted and not found.failed


def test_the_environments_and_the_leaderboards_have_examples() -> None:
    """An empty list would pass; so would one that has lost a package."""
    assert {name.split(".")[0] for name in modules()} >= {"sysgym", "sysgym_leaderboards"}
    assert len(modules()) > 5
