"""The libraries of a study, imported before its tests, and the learner that they tune."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import pytest
from cases import plugin_registered
from tuning_cases import Dial

from sysgym_agents.core import agent_registry

Inline = Callable[..., Any]


@pytest.fixture(scope="module", autouse=True)
def loaded() -> None:
    """Importing the libraries is no part of a test."""
    import torch.utils.tensorboard

    assert torch.utils.tensorboard
    for name in ("optuna", "sklearn.ensemble", "matplotlib.figure", "sqlalchemy.orm", "alembic.command"):
        with contextlib.suppress(ImportError):
            import_module(name)


@pytest.fixture
def plugin(inline: Inline) -> Iterator[None]:
    """The plugin's learner, which trains in milliseconds."""
    pytest.importorskip("optuna")
    with plugin_registered():
        agent_registry.local["dial"] = Dial
        yield
        del agent_registry.local["dial"]
