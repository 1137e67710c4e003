"""Trainings that go step by step, are told of every so often, and can be stopped and gone on with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from sysgym.core.errors import UsageError
from sysgym_agents.core import Budget, Callback, Clock
from sysgym_agents.learning.learner import spend
from sysgym_agents.learning.snapshot import Snapshot

MAX_ITERATIONS = 10**9


class Progress(Protocol):
    """A training between two steps."""

    @property
    def done(self) -> int: ...  # steps so far

    def step(self, share: float) -> dict[str, float]: ...  # one more, at a share of the budget; its metrics

    def snapshot(self) -> Snapshot: ...

    def restore(self, snapshot: Snapshot) -> None: ...


def resumed(progress: Progress, snapshot: Snapshot | None, name: str) -> None:
    """Let a training go on from a snapshot, if there is one; UsageError where it does not fit."""
    if snapshot is None:
        return
    try:
        progress.restore(snapshot)
    except Exception as error:  # it may be anything
        raise UsageError(
            f"the saved state of the training does not fit agent {name!r} and this problem ({error}); train anew."
        ) from error


def run(progress: Progress, total: int, clock: Clock, callback: Callback | None, every: int) -> None:
    """Take steps until `total` are done, the budget is spent or the callback says stop. It hears the means of the
    metrics since the last time, of the steps that have them, every so many steps and at the end.
    """
    first, rows = progress.done, list[dict[str, float]]()
    whole = first == 0  # else the share of the budget is that of the first start, which the steps tell

    def step(share: float) -> dict[str, float]:
        rows.append(progress.step(share if whole else 0.0))
        return {"steps": progress.done - first}

    def report(row: Mapping[str, float]) -> bool:
        last = progress.done >= total or clock.spent(int(row["steps"]))
        if callback is None or (progress.done % every and not last):
            return True
        keys = dict.fromkeys(key for told in rows for key in told)
        means = {key: float(np.mean([told[key] for told in rows if key in told])) for key in keys}
        rows.clear()
        return callback({**row, **means})

    if total > first:
        spend(clock, total - first, step, report)


def goes_on(path: Path, budget: Budget, name: str) -> Snapshot | None:
    """The snapshot in a folder, if a budget is what was left of its training; UsageError if it is none."""
    found = Snapshot.load(path)
    facts: dict[str, Any] = found.facts
    total, done, seed = (facts.get(key) for key in ("iterations", "done", "seed"))
    if not isinstance(total, int) or not isinstance(done, int) or not isinstance(seed, int):
        raise UsageError(f"{path} holds the state of another training than that of agent {name!r}; train anew.")
    if not 0 <= done <= total <= MAX_ITERATIONS or seed < 0:
        raise UsageError(f"{path} says that {done} of {total} iterations are done, which cannot be; train anew.")
    return found if total > done and budget.steps in (None, total - done) else None


def rate(largest: float, done: int, warm: int, share: float) -> float:
    """The learning rate of a step: it grows for `warm` steps, then falls as a cosine of the share of the budget."""
    return largest * min(1.0, (done + 1) / warm) * max(0.02, 0.5 * (1 + float(np.cos(np.pi * share))))
