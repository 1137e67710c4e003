"""Files of a user's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Any], str]:
    """Write a file into an empty folder, which is the current one; its name."""
    monkeypatch.chdir(tmp_path)

    def write(name: str, content: Any) -> str:
        if isinstance(content, dict):
            np.savez(name, **content)
        elif name.endswith(".npy"):
            np.save(name, content)
        elif isinstance(content, bytes):
            Path(name).write_bytes(content)
        else:
            Path(name).write_text(content)
        return name

    return write
