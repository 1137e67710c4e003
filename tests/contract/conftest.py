"""The plugin's problem and agent are registered while the contract tests run."""

from __future__ import annotations

from collections.abc import Iterator

import cases
import pytest


@pytest.fixture(autouse=True, scope="module")
def plugin() -> Iterator[None]:
    with cases.plugin_registered():
        yield
