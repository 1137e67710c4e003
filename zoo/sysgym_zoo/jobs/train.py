"""`sysgym train`: a Learner, a budget, a run folder."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sysgym import UsageError, content_hash, make_problem
from sysgym.core.options import keyword_options, parse_pairs
from sysgym.core.problem import AnyProblem
from sysgym.core.registry import options_of, problem_class
from sysgym_agents.core import Budget, Clock, check_fits, make_agent
from sysgym_zoo.jobs.console import Progress, say
from sysgym_zoo.jobs.runs import Run, describe_instances, fresh_folder, keep_metrics, set_threads
from sysgym_zoo.lookup.finding import Clues, find_problem, split
from sysgym_zoo.lookup.naming import Choice, choose, learner_class, mode_keys, of_recipe, resumed_choice
from sysgym_zoo.lookup.recipes import Recipe, default_recipe, load_recipe
from sysgym_zoo.lookup.records import checkpoints, load_progress, load_run
from sysgym_zoo.lookup.resolve import instance_names

CHECKPOINT_SECONDS = 30.0
SHOWN = ("reward", "cost", "best", "feasible", "ncut")  # of a learner's metrics, beside the line of progress


@dataclass(frozen=True, kw_only=True)
class Training:
    """What `sysgym train` is asked for; what is not said is the recipe's, the agent's or the problem's to say."""

    agent: str | None = None
    problem: str | None = None
    options: Sequence[str] = ()  # of the problem, key=value
    instances: str | None = None
    recipe: str | None = None
    changes: Sequence[str] = ()  # hyper-parameters, key=value
    steps: int | None = None
    seconds: float | None = None
    cpu_seconds: float | None = None
    seed: int = 0
    threads: int = 1
    out: Path | None = None
    resume: bool = False
    save_every: float = CHECKPOINT_SECONDS  # seconds between checkpoints


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is trained, and on what, with every name resolved."""

    learner: Any
    agent: Mapping[str, Any]  # as the record keeps it: name, recipe, options, hyper
    problem_id: str
    problem: AnyProblem
    instances: Sequence[Any]
    budget: Budget
    seed: int
    threads: int
    run: Mapping[str, Any] = field(default_factory=dict)  # the record of the run that goes on

    def record(self) -> dict[str, Any]:
        """What the run folder says of it."""
        problem = self.problem
        return {
            "kind": "train",
            "problem": {
                "id": self.problem_id, "name": problem.name, "version": problem.version, "options": options_of(problem),
            },
            "agent": dict(self.agent),
            "instances": describe_instances(problem, list(self.instances)),
            "seed": self.seed,
            "threads": self.threads,
            "budget": self.budget._asdict(),
        }  # fmt: skip


def train(asked: Training) -> tuple[Path, dict[str, Any]]:
    """Train and record a run; its folder and record. An interrupted run keeps its weights and ends as `interrupted`.

    Resuming goes on from the newest checkpoint.
    """
    plan = _going_on(asked) if asked.resume else _fresh(asked)
    set_threads(plan.threads)
    record, begun = plan.record(), Begun(0.0, 0.0, exact=True)
    if asked.resume and asked.out is not None:
        folder, begun = asked.out, _resume(asked.out, plan.learner, plan.budget)
        earlier = {key: plan.run.get(key) for key in ("started", "seconds", "cpu_seconds", "status")}
        record |= {"resumed_at": begun._asdict(), "earlier": [*plan.run.get("earlier", []), earlier]}
    else:
        name = plan.agent["recipe"] if plan.agent["options"] else plan.agent["name"]
        folder = fresh_folder(asked.out, f"{plan.problem.name}-{name}-s{plan.seed}", ", or go on with --resume")
    with Run(folder, record, tensorboard=True) as run:
        interrupted = _fit(run, plan, begun, asked.save_every)
        if interrupted is None:
            say(f"{folder} has used its budget already; give more --steps or --seconds to go on.")
        _save_agent(folder, plan.learner)
        weights = (folder / "agent" / "model.safetensors").read_bytes()
        run.finish("interrupted" if interrupted else "done", weights_sha256=hashlib.sha256(weights).hexdigest())
    return folder, run.record


def _asked_choice(asked: Training) -> tuple[Choice, Recipe]:
    """The agent that is to be trained, and the recipe that was asked for by name (an empty one if none was)."""
    recipe = load_recipe(asked.recipe) if asked.recipe else Recipe()
    choice = of_recipe(recipe) if recipe.agent else None
    if asked.agent:
        named = choose(asked.agent)
        if named.recipe and not named.run and asked.recipe:
            raise UsageError(f"--agent {asked.agent} is a recipe already; leave --recipe {asked.recipe} out.")
        if named.recipe and not named.run:
            recipe = load_recipe(named.recipe)
        choice = named
    if choice is None:
        raise UsageError("no agent is named; give --agent NAME (`sysgym list agents`), or a --recipe that names one.")
    if choice.run is not None and asked.changes:
        raise UsageError(f"{choice.word} goes on with the hyper-parameters that it has; leave --set out.")
    return choice, recipe


def _fresh(asked: Training) -> Plan:
    """The plan of a new run: what was said, before the recipe, before the defaults."""
    choice, recipe = _asked_choice(asked)
    factory = learner_class(choice.agent)
    named = find_problem(Clues(asked.problem, [asked.agent or choice.agent], recipe.problem, split(asked.instances)))
    kind = problem_class(named)
    if recipe.problem and problem_class(recipe.problem) is not kind:
        raise UsageError(f"recipe {recipe.name} is for {recipe.problem}, not {named}.")
    chosen = recipe if recipe.name or choice.run else default_recipe(make_problem(named).name, choice.agent)
    started = choice.options if choice.run else chosen.options
    problem = make_problem(named, **{**started, **parse_pairs(asked.options, kind, named)})
    defaults = {key: parameter.default for key, parameter in keyword_options(factory).items()}
    given = choice.hyper if choice.run else chosen.hyper
    hyper = {**defaults, **given, **parse_pairs(asked.changes, factory, f"agent {choice.agent!r}")}
    learner = make_agent(choice.agent, **hyper)
    check_fits(choice.agent, learner, problem)
    if choice.run is not None:
        learner.load(choice.run / "agent")
    wanted = asked.instances or chosen.instances or learner.default_instances or problem.default_instances
    own = set(choice.own if choice.run else recipe.options) & mode_keys(problem)
    agent = {
        "name": choice.agent, "recipe": choice.recipe or chosen.name or None,
        "options": {key: getattr(problem, key) for key in own}, "hyper": hyper,
        **({"started_from": str(choice.run)} if choice.run else {}),
    }  # fmt: skip
    return Plan(
        learner=learner, agent=agent, problem_id=named, problem=problem,
        instances=[problem.load(item) for item in instance_names(problem, wanted)],
        budget=_budget(chosen.budget, learner, asked), seed=asked.seed, threads=asked.threads,
    )  # fmt: skip


def _going_on(asked: Training) -> Plan:
    """The plan of a run that goes on: what it was started with, and the budget that is asked for now."""
    for flag, given in (
        ("--set", asked.changes), ("--recipe", asked.recipe), ("-O", asked.options), ("--instances", asked.instances),
    ):  # fmt: skip
        if given:
            raise UsageError(f"--resume goes on with what the run was started with; leave {flag} out.")
    record = _resumable(asked.out, asked.threads)
    choice, told = resumed_choice(record), record["problem"]
    if asked.agent and (lambda c: (c.agent, c.recipe))(choose(asked.agent)) != (choice.agent, choice.recipe):
        raise UsageError(
            f"{asked.out} is no training run of {asked.agent!r}; resume it with the agent it was started with."
        )
    named = told.get("id", told["name"])
    problem = make_problem(named, **choice.options)
    learner = make_agent(choice.agent, **choice.hyper)
    check_fits(choice.agent, learner, problem)
    loaded = [problem.load(item["name"]) for item in record["instances"]]
    for item, graph in zip(record["instances"], loaded, strict=True):
        if content_hash(graph) != item["hash"]:
            raise UsageError(f"{item['name']} has changed since the run began; start anew with another --out.")
    agent = {**record["agent"], "name": choice.agent, "recipe": choice.recipe or record["agent"].get("recipe")}
    return Plan(
        learner=learner, agent={**agent, "options": dict(choice.own)}, problem_id=named, problem=problem,
        instances=loaded, budget=_budget(record["budget"], learner, asked), seed=record["seed"],
        threads=record["threads"], run=record,
    )  # fmt: skip


class Begun(NamedTuple):
    """Where a run goes on: what was spent, and whether it takes the very steps that it would have taken."""

    steps: float
    seconds: float
    exact: bool
    cpu_seconds: float = 0.0


def _left(budget: Budget, begun: Begun) -> Budget:
    """What remains of a budget."""
    return budget._replace(
        seconds=None if budget.seconds is None else max(budget.seconds - begun.seconds, 0.0),
        steps=None if budget.steps is None else max(int(budget.steps - begun.steps), 0),
        cpu_seconds=None if budget.cpu_seconds is None else max(budget.cpu_seconds - begun.cpu_seconds, 0.0),
    )


def _save_agent(folder: Path, learner: Any) -> None:
    """Write `agent/` anew; what was there stays until the new one is complete."""
    partial = folder / ".agent"
    shutil.rmtree(partial, ignore_errors=True)
    learner.save(partial)
    shutil.rmtree(folder / "agent", ignore_errors=True)
    partial.rename(folder / "agent")


def _budget(planned: Mapping[str, Any], learner: Any, asked: Training) -> Budget:
    given = Budget(asked.seconds, asked.steps, asked.cpu_seconds)
    if given == Budget():
        found = Budget(**planned)
        return found if found != Budget() else learner.default_budget
    if any(limit is not None and not 0 < limit < math.inf for limit in given):
        raise UsageError("--steps, --seconds and --cpu-seconds must be positive.")
    return given


def _resumable(folder: Path | None, threads: int) -> dict[str, Any]:
    """The record of a training that can go on with so many threads."""
    if folder is None:
        raise UsageError("--resume needs --out DIR, the run folder to go on with.")
    record = load_run(folder)
    if record.get("kind") != "train":
        raise UsageError(f"{folder} holds no training ({record.get('kind')!r}); only training can be resumed.")
    if threads not in (1, record["threads"]):
        raise UsageError(
            f"{folder} was started with {record['threads']} thread(s), not {threads}, and results depend on it; leave "
            "--threads out."
        )
    return record


def _resume(folder: Path, learner: Any, budget: Budget) -> Begun:
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
        exact = learner.load_training(newest, _left(budget, begun))
    keep_metrics(folder, progress["steps"])
    return begun._replace(exact=exact)


def _checkpoint(folder: Path, learner: Any, begun: Begun) -> None:
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


def _fit(run: Run, plan: Plan, begun: Begun, save_every: float) -> bool | None:
    """Fit with progress, metrics and checkpoints; whether it was interrupted, None if nothing was left to do."""
    budget = _left(plan.budget, begun)
    if any(limit is not None and limit <= 0 for limit in budget):
        return None
    plan.learner.prepare()
    watch = _Watch(run, plan.learner, begun, budget, save_every)
    previous = signal.signal(signal.SIGINT, watch.stop)
    try:
        rng = np.random.default_rng([plan.seed, int(begun.steps)])
        plan.learner.fit(plan.problem, plan.instances, rng, budget, watch)
    finally:
        signal.signal(signal.SIGINT, previous)
        watch.bar.close()
    _checkpoint(run.folder, plan.learner, watch.now())
    return watch.asked_to_stop


class _Watch:
    """What a learner calls while it is fitted: logs, shows, keeps checkpoints, and passes on that it should stop."""

    def __init__(self, run: Run, learner: Any, begun: Begun, budget: Budget, save_every: float) -> None:
        self.run, self.learner, self.begun, self.save_every = run, learner, begun, save_every
        self.clock, self.asked_to_stop = Clock(budget), False
        (total, self.unit), *_ = [(float(limit), name) for limit, name in zip(budget, Budget._fields, strict=True)
                                  if limit is not None] or [(0.0, "steps")]  # fmt: skip
        self.bar = Progress("training", total, self.unit.replace("_", " "))
        self.steps = self.seconds = 0.0  # now
        self.saved = begun.seconds  # when the last checkpoint was written

    def stop(self, signum: int, frame: Any) -> None:
        """Let the learner end after this rollout."""
        self.asked_to_stop = True
        say("stopping after this rollout; the weights are kept.")

    def now(self) -> Begun:
        """What is spent by now."""
        steps, seconds = max(self.steps, self.begun.steps), max(self.seconds, self.begun.seconds)
        return Begun(steps, seconds, True, self.begun.cpu_seconds + self.clock.cpu_seconds)

    def __call__(self, metrics: dict[str, float]) -> bool:
        self.steps = metrics["steps"] + self.begun.steps
        self.seconds = metrics["seconds"] + self.begun.seconds
        self.run.log({**metrics, "steps": self.steps, "seconds": self.seconds}, int(self.steps))
        note = "  ".join(
            f"{k.split('/')[-1]} {v:.3g}"
            for k, v in metrics.items()
            if k.startswith(("rollout/", "loss")) or k in SHOWN
        )
        done = {**metrics, "cpu_seconds": self.clock.cpu_seconds}
        self.bar.update(done[self.unit], note)
        if self.seconds - self.saved >= self.save_every:
            self.saved = self.seconds
            _checkpoint(self.run.folder, self.learner, self.now())
        return not self.asked_to_stop
