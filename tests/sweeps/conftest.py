"""A sweep of two small trainings, their evaluations, and those of classical agents."""

from __future__ import annotations

from pathlib import Path

import pytest
from here import SMALL


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.toml").write_text(SMALL)
    return tmp_path / "small.toml"
