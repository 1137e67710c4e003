"""Trained agents that are in the package, by name: run folders `trained/<name>`, each with a model card."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from sysgym.core.errors import unknown
from sysgym_agents.core import make_agent
from sysgym_zoo.lookup.records import load_run

FOLDER = Path(__file__).parents[1] / "trained"
CARD = "card.md"


@lru_cache(maxsize=1)
def trained_names() -> list[str]:
    """Names of the trained agents."""
    return sorted(path.name for path in FOLDER.iterdir() if (path / "run.json").is_file())


def folder_of(name: str) -> Path:
    """The run folder of a trained agent; UsageError if there is none of the name."""
    if name not in trained_names():
        raise unknown("trained agent", name, trained_names())
    return FOLDER / name


def trained_for(problem: str) -> list[tuple[str, str]]:
    """Names of the trained agents of a problem, and what they are."""
    records = {name: load_run(folder_of(name)) for name in trained_names()}
    return [(name, each["agent"]["name"]) for name, each in records.items() if each["problem"]["name"] == problem]


def card_of(name: str) -> str:
    """The model card: how it was trained, its table beside fresh weights, rule and classical agents, its limits."""
    return (folder_of(name) / CARD).read_text()


def fault(name: str) -> str:
    """What is wrong with a trained agent, or ''."""
    folder = folder_of(name)
    make_agent(load_run(folder)["agent"]["name"]).load(folder / "agent")
    return "" if card_of(name).strip() else "its model card is empty"
