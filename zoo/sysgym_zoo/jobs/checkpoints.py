"""What a training leaves behind to go on from: the agent, checkpoints, and how far it was."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from sysgym_agents.core import Budget
from sysgym_zoo.jobs.console import say
from sysgym_zoo.jobs.runs import keep_metrics
from sysgym_zoo.lookup.records import checkpoints, load_progress


class Begun(NamedTuple):
    """Where a run goes on: what was spent, and whether it takes the very steps that it would have taken."""

    steps: float
    seconds: float
    exact: bool
    cpu_seconds: float = 0.0


def left(budget: Budget, begun: Begun) -> Budget:
    """What remains of a budget."""
    return budget._replace(
        seconds=None if budget.seconds is None else max(budget.seconds - begun.seconds, 0.0),
        steps=None if budget.steps is None else max(int(budget.steps - begun.steps), 0),
        cpu_seconds=None if budget.cpu_seconds is None else max(budget.cpu_seconds - begun.cpu_seconds, 0.0),
    )


def save_agent(folder: Path, learner: Any) -> None:
    """Write `agent/` anew; what was there stays until the new one is complete."""
    partial = folder / ".agent"
    shutil.rmtree(partial, ignore_errors=True)
    learner.save(partial)
    shutil.rmtree(folder / "agent", ignore_errors=True)
    partial.rename(folder / "agent")


def resume(folder: Path, learner: Any, budget: Budget) -> Begun:
    """Load the newest checkpoint of a run folder, and forget the metrics that came after it."""
    saved = checkpoints(folder)
    if not saved:
        say(f"{folder} holds no checkpoint yet, it starts from the beginning.")
        keep_metrics(folder, 0)
        return Begun(0.0, 0.0, exact=True)
    newest = saved[-1]
    progress = load_progress(newest / "progress.json")
    begun = Begun(progress["steps"], progress["seconds"], True, progress.get("cpu_seconds", 0.0))
    learner.load(newest)
    exact = (newest / "training.json").is_file()
    if exact:
        exact = learner.load_training(newest, left(budget, begun))
    exact = exact or begun.steps == 0  # the weights that it started from are all there was
    keep_metrics(folder, progress["steps"])
    return begun._replace(exact=exact)


def checkpoint(folder: Path, learner: Any, begun: Begun) -> None:
    """Write `checkpoints/STEPS`, whole or not at all; only the newest one keeps the state to go on exactly from."""
    target, partial = folder / "checkpoints" / str(int(begun.steps)), folder / "checkpoints" / ".partial"
    if target.exists():
        return
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    learner.save(partial)
    learner.save_training(partial)
    spent = {"steps": begun.steps, "seconds": begun.seconds, "cpu_seconds": begun.cpu_seconds}
    (partial / "progress.json").write_text(json.dumps(spent) + "\n")
    partial.rename(target)
    for file in target.parent.glob("*/training.*"):
        if file.parent != target:
            file.unlink()
