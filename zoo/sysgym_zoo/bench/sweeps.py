"""`sysgym bench sweeps`: what a sweep takes beyond its own runs, and what it takes where all are done."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sysgym_zoo.jobs.console import say
from sysgym_zoo.jobs.measuring import row
from sysgym_zoo.sweeps.backends import Local
from sysgym_zoo.sweeps.drive import load_units, run_sweep
from sysgym_zoo.sweeps.files import load_sweep

CORES = 2
TABLE = """
[[train]]
agent = "gap"
instances = "tiny/train"
options = {{ k = 4 }}
set = {{ hidden = 8 }}
seed = {seeds}
steps = {steps}
"""


class Warm(Local):
    """Workers that several sweeps use one after the other."""

    def close(self) -> None:
        """They stay."""


@contextmanager
def _in(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def swept(seeds: list[int], steps: int, name: str, backend: Local) -> tuple[float, float]:
    """Wall seconds of a sweep of small trainings, and the seconds that their records say, added up."""
    file = Path(f"{name}.toml")
    file.write_text(TABLE.format(seeds=seeds, steps=steps))
    began = time.perf_counter()
    run_sweep(load_sweep(file), Path(name), lambda: backend)
    wall = time.perf_counter() - began
    folders = [unit.folder(Path(name)) for unit in load_units(Path(name))]
    return wall, sum(json.loads((folder / "run.json").read_text())["seconds"] for folder in folders)


def rows(quick: bool) -> list[dict[str, Any]]:
    """200 trainings of a part of a second on two cores, and the same again."""
    count, steps = (8, 10) if quick else (200, 60)
    with tempfile.TemporaryDirectory() as folder, _in(Path(folder)):
        backend = Warm(CORES)
        try:
            swept(list(range(1000, 1008)), steps, "warm", backend)
            wall, own = swept(list(range(count)), steps, "all", backend)
            say(f"{count} runs: {wall:.1f} s, their own {own:.1f} s")
            again, _ = swept(list(range(count)), steps, "all", backend)
        finally:
            Local.close(backend)
    return [
        row(
            f"{count} trainings on {CORES} cores, wall / (their own seconds / {CORES})",
            wall * CORES / own,
            "x",
            "<= 1.1",
        ),
        row("seconds of one of them", own / count, "s"),
        row("the same sweep again, where all are done", again, "s", "< 5"),
    ]
