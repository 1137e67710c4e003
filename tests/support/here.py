"""A small sweep and what it finds, a backend that does each task at once in this process, and tasks for real ones."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sysgym_zoo.sweeps.backends import DIED, Ended, Task
from sysgym_zoo.sweeps.drive import load_units

SMALL = """
    compare = "fm"
    [[train]]
    agent = "gap"
    instances = "tiny/train"
    options = { k = 4 }
    set = { hidden = 8 }
    seeds = 2
    steps = 4
    [[train.evaluate]]
    instances = "tiny/delaunay-valid;tiny/grid-valid"
    [[evaluate]]
    agent = ["fm", "ldg"]
    options = { k = 4 }
    instances = "tiny/delaunay-valid;tiny/grid-valid"
"""


def facts(root: Path) -> dict[str, Any]:
    """What is the same wherever a sweep ran: hashes of weights, and rows without times and names of folders."""
    found: dict[str, Any] = {}
    for unit in load_units(root):
        folder = unit.folder(root)
        if unit.kind == "train":
            found[unit.id] = json.loads((folder / "run.json").read_text())["weights_sha256"]
        else:
            rows = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
            found[unit.id] = [(row["instance"], row["seed"], row["cost"], row["feasible"]) for row in rows]
    return found


class Here:
    """Carries out a task when it is started; `fails` may end it otherwise."""

    def __init__(self, fails: Callable[[Task, int], Mapping[str, Any] | None] = lambda task, number: None) -> None:
        self.fails, self.over, self.started = fails, list[Ended](), list[str]()

    def refuse(self, threads: int) -> None:
        """Any number will do."""

    def room(self, threads: int) -> bool:
        return not self.over

    def start(self, task: Task) -> None:
        self.started.append(task.id)
        number = self.started.count(task.id)
        self.over.append(Ended(task.id, self.fails(task, number) or task.function(*task.arguments)))

    def ended(self, seconds: float) -> list[Ended]:
        over, self.over = self.over, []
        return over

    def interrupt(self) -> None:
        """Nothing runs between two calls."""

    def close(self) -> None:
        """Nothing is left."""


def died() -> dict[str, Any]:
    return {"status": DIED, "error": "its process was killed."}


# ------------------------------------------------------------------------------------------------ tasks


def doubled(value: int) -> dict[str, Any]:
    return {"status": "done", "value": 2 * value, "pid": os.getpid()}


def killed_once(mark: str) -> dict[str, Any]:
    """The process that comes first is killed."""
    if not Path(mark).exists():
        Path(mark).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return {"status": "done"}


def counted(folder: str, name: str, seconds: float) -> dict[str, Any]:
    """How many tasks were at work at once, by the marks of all."""
    mark = Path(folder) / name
    mark.touch()
    most, until = 0, time.monotonic() + seconds
    while time.monotonic() < until:
        most = max(most, len(list(Path(folder).iterdir())))
        time.sleep(0.005)
    mark.unlink()
    return {"status": "done", "most": most}


def waits(mark: str) -> dict[str, Any]:
    """Until SIGINT comes."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        Path(mark).write_text(str(os.getpid()))
        while True:
            time.sleep(0.01)
    except KeyboardInterrupt:
        return {"status": "interrupted"}
    finally:
        signal.signal(signal.SIGINT, before)
