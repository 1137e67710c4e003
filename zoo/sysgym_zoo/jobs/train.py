"""`sysgym train`: a Learner, a budget, a run folder."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import signal
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sysgym import UsageError, content_hash, make_problem
from sysgym.core.options import keyword_options
from sysgym.core.registry import options_of, problem_class
from sysgym_agents.core import Budget, agent_class, check_fits, is_learner, make_agent
from sysgym_zoo.jobs.console import Progress, say
from sysgym_zoo.jobs.recipes import default_recipe, load_recipe
from sysgym_zoo.jobs.resolve import instance_names, load_run, parse_pairs
from sysgym_zoo.jobs.runs import Run, describe_instances, fresh_folder, keep_metrics, set_threads

CHECKPOINT_SECONDS = 30.0


def train(
    problem: str, agent: str | None, options: list[str], instances: str | None, recipe: str | None, changes: list[str],
    steps: int | None, seconds: float | None, seed: int, threads: int, out: Path | None, resume: bool,
    save_every: float = CHECKPOINT_SECONDS,
) -> tuple[Path, dict[str, Any]]:  # fmt: skip
    """Train and record a run; its folder and record. An interrupted run keeps its weights and ends as `interrupted`.

    `resume` goes on from the newest checkpoint, which is written every `save_every` seconds.
    """
    if resume:
        for flag, given in (("--set", changes), ("--recipe", recipe), ("-O", options), ("--instances", instances)):
            if given:
                raise UsageError(f"--resume goes on with what the run was started with; leave {flag} out.")
        plan = _resumed_plan(out, threads)
        problem, threads = plan["problem"], plan["threads"]
    else:
        plan = load_recipe(recipe) if recipe else {}
    if plan.get("problem", problem) != problem and problem_class(problem) is not problem_class(plan["problem"]):
        raise UsageError(f"recipe {recipe} is for {plan['problem']}, not {problem}.")
    name = agent or plan.get("agent")
    if name is None:
        raise UsageError("no agent is named; give --agent, such as --agent ppo-refine, or a --recipe that names one.")
    factory = agent_class(name)
    if not is_learner(factory):
        raise UsageError(f"agent {name!r} does not learn; use it with `sysgym solve` or `sysgym evaluate`.")
    built_class = problem_class(problem)
    plan = plan or default_recipe(make_problem(problem).name, name)
    built = make_problem(problem, **(plan.get("options", {}) | parse_pairs(options, built_class, problem)))
    defaults = {key: parameter.default for key, parameter in keyword_options(factory).items()}
    hyper = defaults | plan.get("hyper", {}) | parse_pairs(changes, factory, f"agent {name!r}")
    learner = make_agent(name, **hyper)
    check_fits(name, learner, built)
    wanted = instances or plan.get("instances") or learner.default_instances or built.default_instances
    loaded = [built.load(item) for item in instance_names(built, wanted)]
    for item, graph in zip(plan.get("recorded", []), loaded if resume else [], strict=True):
        if content_hash(graph) != item["hash"]:
            raise UsageError(f"{item['name']} has changed since the run began; start anew with another --out.")
    budget = _budget(plan, learner, steps, seconds)
    set_threads(threads)
    begun = Begun(0.0, 0.0, exact=True)
    if resume and out is not None:
        seed, folder = plan["seed"], out
        begun = _resume(out, learner, name, budget)
    else:
        folder = fresh_folder(out, f"{built.name}-{name}-s{seed}", ", or go on with --resume")
    record = {
        "kind": "train",
        "problem": {"id": problem, "name": built.name, "version": built.version, "options": options_of(built)},
        "agent": {"name": name, "recipe": recipe, "hyper": hyper},
        "instances": describe_instances(built, loaded),
        "seed": seed,
        "threads": threads,
        "budget": budget._asdict(),
    }
    if resume:
        earlier = {key: plan["run"].get(key) for key in ("started", "seconds", "cpu_seconds", "status")}
        record["resumed_at"] = begun._asdict()
        record["earlier"] = [*plan["run"].get("earlier", []), earlier]
    with Run(folder, record, tensorboard=True) as run:
        left = _left(budget, begun.steps, begun.seconds)
        interrupted = _fit(run, learner, built, loaded, seed, left, begun, save_every)
        if interrupted is None:
            say(f"{folder} has used its budget already; give more --steps or --seconds to go on.")
        _save_agent(folder, learner)
        weights = (folder / "agent" / "model.safetensors").read_bytes()
        run.finish("interrupted" if interrupted else "done", weights_sha256=hashlib.sha256(weights).hexdigest())
    return folder, run.record


class Begun(NamedTuple):
    """Where a run goes on: what was spent, and whether it takes the very steps that it would have taken."""

    steps: float
    seconds: float
    exact: bool


def _left(budget: Budget, steps: float, seconds: float) -> Budget:
    """What remains of a budget."""
    return Budget(
        None if budget.seconds is None else max(budget.seconds - seconds, 0.0),
        None if budget.steps is None else max(int(budget.steps - steps), 0),
    )


def _save_agent(folder: Path, learner: Any) -> None:
    """Write `agent/` anew; what was there stays until the new one is complete."""
    partial = folder / ".agent"
    shutil.rmtree(partial, ignore_errors=True)
    learner.save(partial)
    shutil.rmtree(folder / "agent", ignore_errors=True)
    partial.rename(folder / "agent")


def _budget(plan: dict[str, Any], learner: Any, steps: int | None, seconds: float | None) -> Budget:
    if steps is None and seconds is None:
        planned = Budget(**plan.get("budget", {}))
        return planned if planned != Budget() else learner.default_budget  # type: ignore[no-any-return]
    if (steps is not None and steps < 1) or (seconds is not None and not 0 < seconds < math.inf):
        raise UsageError("--steps and --seconds must be positive.")
    return Budget(seconds, steps)


def _resumed_plan(folder: Path | None, threads: int) -> dict[str, Any]:
    """What a run folder was started with, in the shape of a recipe, its seed and threads."""
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
    return {
        "problem": record["problem"].get("id", record["problem"]["name"]),
        "threads": record["threads"],
        "agent": record["agent"]["name"],
        "options": record["problem"]["options"],
        "hyper": record["agent"]["hyper"],
        "recorded": record["instances"],
        "instances": [item["name"] for item in record["instances"]],
        "run": record,
        "budget": record["budget"],
        "seed": record["seed"],
    }


def _resume(folder: Path, learner: Any, name: str, budget: Budget) -> Begun:
    """Load the newest checkpoint of a run folder, and forget the metrics that came after it."""
    record = load_run(folder)
    if record["agent"]["name"] != name:
        raise UsageError(f"{folder} is no training run of {name!r}; resume it with the agent it was started with.")
    checkpoints = sorted((folder / "checkpoints").glob("[0-9]*/progress.json"), key=lambda p: int(p.parent.name))
    if not checkpoints:
        say(f"{folder} holds no checkpoint yet, it starts from the beginning.")
        keep_metrics(folder, 0)
        return Begun(0.0, 0.0, exact=True)
    newest = checkpoints[-1].parent
    progress = load_progress(checkpoints[-1])
    learner.load(newest)
    exact = (newest / "training.json").is_file()
    if exact:
        exact = learner.load_training(newest, _left(budget, progress["steps"], progress["seconds"]))
    keep_metrics(folder, progress["steps"])
    return Begun(progress["steps"], progress["seconds"], exact)


def load_progress(file: Path) -> dict[str, float]:
    """Steps and seconds of a checkpoint."""
    from sysgym.core.solutions import parse_json

    found: dict[str, float] = parse_json(file.read_bytes())
    return found


def _checkpoint(folder: Path, learner: Any, steps: float, seconds: float) -> None:
    """Write `checkpoints/STEPS`, whole or not at all; only the newest one keeps the state to go on exactly from."""
    target, partial = folder / "checkpoints" / str(int(steps)), folder / "checkpoints" / ".partial"
    if target.exists():
        return
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    learner.save(partial)
    if hasattr(learner, "save_training"):
        learner.save_training(partial)
    (partial / "progress.json").write_text(json.dumps({"steps": steps, "seconds": seconds}) + "\n")
    partial.rename(target)
    for file in target.parent.glob("*/training.*"):
        if file.parent != target:
            file.unlink()


def _fit(
    run: Run, learner: Any, problem: Any, instances: list[Any], seed: int, budget: Budget, begun: Begun,
    save_every: float,
) -> bool | None:  # fmt: skip
    """Fit with progress, metrics and checkpoints; whether it was interrupted, None if nothing was left to do."""
    steps, seconds, _ = begun
    if (budget.seconds is not None and budget.seconds <= 0) or (budget.steps is not None and budget.steps <= 0):
        return None
    asked_to_stop = False
    by_time = budget.seconds is not None
    total = float(budget.seconds or budget.steps or 0)
    bar = Progress("training", total, "seconds" if by_time else "steps")
    last = [0.0, 0.0, 0.0]  # seconds at the last checkpoint; steps and seconds now

    def stop(signum: int, frame: Any) -> None:
        nonlocal asked_to_stop
        asked_to_stop = True
        say("stopping after this rollout; the weights are kept.")

    def callback(metrics: dict[str, float]) -> bool:
        row = {**metrics, "steps": metrics["steps"] + steps, "seconds": metrics["seconds"] + seconds}
        run.log(row, int(row["steps"]))
        note = "  ".join(
            f"{k.split('/')[-1]} {v:.3g}" for k, v in metrics.items() if k.startswith(("rollout/", "loss"))
        )
        bar.update(metrics["seconds"] if by_time else metrics["steps"], note)
        last[1:] = [row["steps"], row["seconds"]]
        if row["seconds"] - max(last[0], seconds) >= save_every:
            last[0] = row["seconds"]
            _checkpoint(run.folder, learner, row["steps"], row["seconds"])
        return not asked_to_stop

    previous = signal.signal(signal.SIGINT, stop)
    try:
        learner.fit(problem, instances, np.random.default_rng([seed, int(steps)]), budget, callback)
    finally:
        signal.signal(signal.SIGINT, previous)
        bar.close()
    _checkpoint(run.folder, learner, max(last[1], steps), max(last[2], seconds))
    return asked_to_stop
