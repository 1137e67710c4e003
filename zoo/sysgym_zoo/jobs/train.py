"""`sysgym train`: a Learner, a budget, a run folder."""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sysgym_agents.core import Budget, Clock, uncounted
from sysgym_agents.learning import devices
from sysgym_zoo.jobs.checkpoints import Begun, checkpoint, left, resume, save_agent
from sysgym_zoo.jobs.console import Progress, say
from sysgym_zoo.jobs.plan import Plan, Training, planned
from sysgym_zoo.jobs.runs import Run, fresh_folder, set_device, set_threads, tell_device
from sysgym_zoo.jobs.selection import WEIGHTS, Score, Selection
from sysgym_zoo.tracking.vocabulary import named
from sysgym_zoo.tracking.writers import Tracking, check_trackers

SHOWN = ("train/loss", "train/ncut")  # of the metrics of training itself, beside the line of progress


Hear = Callable[[Score, float], bool]  # the best evaluation so far and the steps; False ends the training


def train(asked: Training, hear: Hear | None = None) -> tuple[Path, dict[str, Any]]:
    """Train and record a run; its folder and record. An interrupted run keeps its weights and ends as `interrupted`.

    Resuming goes on from the newest checkpoint. `hear` is told after every evaluation; the record of a training that
    it ended says `pruned`.
    """
    check_trackers(asked.track)
    plan = planned(asked)
    set_threads(plan.threads)
    set_device(plan.device)
    record, begun = plan.record(), Begun(0.0, 0.0, exact=True)
    if asked.resume and asked.out is not None:
        folder, begun = asked.out, resume(asked.out, plan.learner, plan.budget)
        begun = begun._replace(exact=begun.exact and not plan.moved)
        earlier = {key: plan.run.get(key) for key in ("started", "seconds", "cpu_seconds", "status")}
        record |= {"resumed_at": begun._asdict(), "earlier": [*plan.run.get("earlier", []), earlier]}
    else:
        name = plan.agent["recipe"] if plan.agent["options"] else plan.agent["name"]
        folder = fresh_folder(asked.out, f"{plan.problem.name}-{name}-s{plan.seed}", ", or go on with --resume")
        if "started_from" in plan.agent:  # a kill before the first checkpoint must not lose the weights
            checkpoint(folder, plan.learner, begun)
    selection = plan.schedule and Selection(folder, plan.schedule, plan.problem, plan.agent["name"])
    if selection:
        selection.resume(begun.steps)
        record["best"] = selection.record()
    tracking = Tracking(asked.track, plan.run.get("track", {}), int(begun.steps))
    with Run(folder, {**record, "device": devices.described()}, tracking) as run:
        status = _fit(run, plan, begun, _How(asked.save_every, selection, hear))
        save_agent(folder, plan.learner)
        weights = (folder / "agent" / WEIGHTS).read_bytes()
        if selection:
            selection.drop()
            run.note(best=selection.record(), stopped_early=selection.over)
            say(selection.told())
        run.finish(status, weights_sha256=hashlib.sha256(weights).hexdigest())
    return folder, run.record


class _How(NamedTuple):
    """How a training is watched."""

    save_every: float  # seconds between checkpoints
    selection: Selection | None  # the evaluations
    hear: Hear | None  # who is told of them


def _fit(run: Run, plan: Plan, begun: Begun, how: _How) -> str:
    """Fit with progress, metrics, checkpoints and evaluations; how it ended."""
    selection = how.selection
    budget = left(plan.budget, begun)
    if any(limit is not None and limit <= 0 for limit in budget):
        say(f"{run.folder} has used its budget already; give more --steps or --seconds to go on.")
        return "done"
    if selection and selection.over:
        return "done"
    plan.learner.prepare()
    watch = _Watch(run, plan.learner, begun, budget, how)
    previous = signal.signal(signal.SIGINT, watch.stop)
    try:
        rng = np.random.default_rng([plan.seed, int(begun.steps)])
        plan.learner.fit(plan.problem, plan.instances, rng, budget, watch)
    finally:
        signal.signal(signal.SIGINT, previous)
        watch.bar.close()
    same = watch.what_is_the_same()
    if same:
        say(f"note: {same}")
    checkpoint(run.folder, plan.learner, watch.now())
    if watch.pruned:
        run.note(pruned=True)
    return "interrupted" if watch.asked_to_stop else "done"


class _Watch:
    """What a learner calls while it is fitted: logs, shows, keeps checkpoints and the best model, and passes on that it
    should stop.
    """

    def __init__(self, run: Run, learner: Any, begun: Begun, budget: Budget, how: _How) -> None:
        self.run, self.learner, self.begun = run, learner, begun
        self.save_every, self.selection, self.hear = how
        self.clock, self.asked_to_stop, self.pruned = Clock(budget), False, False
        (total, self.unit), *_ = [(float(limit), name) for limit, name in zip(budget, Budget._fields, strict=True)
                                  if limit is not None] or [(0.0, "steps")]  # fmt: skip
        self.bar = Progress("training", total, self.unit.replace("_", " "), last=True)
        self.steps = self.seconds = 0.0  # now
        self.saved = begun.seconds  # when the last checkpoint was written
        self.device: dict[str, Any] = {}  # what is recorded of it
        self.lengths: set[float] = set()  # mean lengths of episodes, and the least and greatest returns
        self.returns: set[float] = set()

    def stop(self, signum: int, frame: Any) -> None:
        """Let the learner end after this rollout."""
        self.asked_to_stop = True
        say("stopping after this rollout; the weights are kept.")

    def now(self) -> Begun:
        """What is spent by now."""
        steps, seconds = max(self.steps, self.begun.steps), max(self.seconds, self.begun.seconds)
        return Begun(steps, seconds, True, self.begun.cpu_seconds + self.clock.cpu_seconds)

    def __call__(self, metrics: dict[str, float]) -> bool:
        self._note_device()
        self.steps = metrics["steps"] + self.begun.steps
        self.seconds = metrics["seconds"] + self.begun.seconds
        score = None
        if self.selection and self.selection.due(self.steps):
            score = self.selection.evaluate(self.learner, self.steps)
            metrics = {**metrics, **score.metrics}
        self.lengths |= {metrics["rollout/ep_len_mean"]} if "rollout/ep_len_mean" in metrics else set()
        self.returns |= {metrics[key] for key in ("rollout/ep_rew_min", "rollout/ep_rew_max") if key in metrics}
        self.run.log({**metrics, "steps": self.steps, "seconds": self.seconds}, int(self.steps))
        note = "  ".join(
            f"{k.removeprefix('rollout/').removeprefix('sysgym/').removeprefix('train/')} {v:.3g}"
            for k, v in named(metrics).items()
            if k.startswith(("rollout/", "eval/", "sysgym/")) or k in SHOWN
        )
        done = {**metrics, "cpu_seconds": self.clock.cpu_seconds}
        self.bar.update(done[self.unit], note)
        if self.selection and score is not None and score is self.selection.best:
            self._keep_best(self.selection)
        elif self.seconds - self.saved >= self.save_every:
            self._checkpoint()
        if self.hear and self.selection and score is not None and self.selection.best is not None:
            with uncounted():
                self.pruned = not self.hear(self.selection.best, self.steps)
        return not (self.asked_to_stop or self.pruned or (self.selection and self.selection.over))

    def _note_device(self) -> None:
        """Record which device is used: that is known once something is computed there."""
        facts = devices.described() if self.device else tell_device()
        if facts != self.device:
            self.device = facts
            self.run.note(device=facts)

    def what_is_the_same(self) -> str:
        """A sentence where all episodes were alike, so that there was little to learn; else nothing."""
        if len(self.returns) == 1:
            return f"all episodes had the same return, {self.returns.pop():g}: nothing can be learnt from them."
        return "all episodes had one step." if self.lengths == {1.0} else ""

    def _checkpoint(self) -> None:
        self.saved = self.seconds
        checkpoint(self.run.folder, self.learner, self.now())

    def _keep_best(self, selection: Selection) -> None:
        """Keep the model that was evaluated just now, after a checkpoint: what goes on from there finds it again."""
        with uncounted():
            self._checkpoint()
            selection.keep()
            self.run.note(best=selection.record())
