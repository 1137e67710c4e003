"""`sysgym train`: a Learner, a budget, a run folder."""

from __future__ import annotations

import math
import signal
from pathlib import Path
from typing import Any

import numpy as np

from sysgym import UsageError, content_hash, make_problem
from sysgym.core.registry import keyword_options, options_of, problem_class
from sysgym_agents.core import Budget, agent_class, check_fits, is_learner, make_agent
from sysgym_zoo.console import Progress, say
from sysgym_zoo.recipes import default_recipe, load_recipe
from sysgym_zoo.resolve import instance_names, load_run, parse_pairs
from sysgym_zoo.runs import Run, describe_instances, fresh_folder, set_threads

CHECKPOINT_SECONDS = 30.0


def train(
    problem: str, agent: str | None, options: list[str], instances: str | None, recipe: str | None, changes: list[str],
    steps: int | None, seconds: float | None, seed: int, threads: int, out: Path | None, resume: bool,
) -> tuple[Path, dict[str, Any]]:  # fmt: skip
    """Train and record a run; its folder and record. An interrupted run keeps its weights and ends as `interrupted`."""
    if resume and (changes or recipe):
        raise UsageError("--resume goes on with the hyper-parameters of the run; leave --set and --recipe out.")
    plan = _resumed_plan(out) if resume else load_recipe(recipe) if recipe else {}
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
    for item, graph in zip(plan.get("recorded", []), loaded, strict=False):
        if content_hash(graph) != item["hash"]:
            raise UsageError(f"{item['name']} has changed since the run began; start anew with another --out.")
    budget = _budget(plan, learner, steps, seconds)
    set_threads(threads)
    done_steps, done_seconds = 0.0, 0.0
    if resume and out is not None:
        seed = plan["seed"]
        done_steps, done_seconds = _resume(out, learner, name)
        folder = out
    else:
        folder = fresh_folder(out, f"{built.name}-{name}-s{seed}", ", or go on with --resume")
    record = {
        "kind": "train",
        "problem": {"name": built.name, "version": built.version, "options": options_of(built)},
        "agent": {"name": name, "recipe": recipe, "hyper": hyper},
        "instances": describe_instances(built, loaded),
        "seed": seed,
        "threads": threads,
        "budget": budget._asdict(),
    }
    if resume:
        earlier = {key: plan["run"].get(key) for key in ("started", "seconds", "cpu_seconds", "status")}
        record["resumed_at"] = {"steps": done_steps, "seconds": done_seconds}
        record["earlier"] = [*plan["run"].get("earlier", []), earlier]
    with Run(folder, record, tensorboard=True) as run:
        left = Budget(
            None if budget.seconds is None else max(budget.seconds - done_seconds, 0.0),
            None if budget.steps is None else max(int(budget.steps - done_steps), 0),
        )
        interrupted = _fit(run, learner, built, loaded, seed, left, done_steps, done_seconds)
        if interrupted is None:
            say(f"{folder} has used its budget already; give more --steps or --seconds to go on.")
        else:
            learner.save(folder / "agent")
        run.finish("interrupted" if interrupted else "done")
    return folder, run.record


def _budget(plan: dict[str, Any], learner: Any, steps: int | None, seconds: float | None) -> Budget:
    if steps is None and seconds is None:
        planned = Budget(**plan.get("budget", {}))
        return planned if planned != Budget() else learner.default_budget  # type: ignore[no-any-return]
    if (steps is not None and steps < 1) or (seconds is not None and not 0 < seconds < math.inf):
        raise UsageError("--steps and --seconds must be positive.")
    return Budget(seconds, steps)


def _resumed_plan(folder: Path | None) -> dict[str, Any]:
    """What a run folder was started with, in the shape of a recipe, and its seed."""
    if folder is None:
        raise UsageError("--resume needs --out DIR, the run folder to go on with.")
    record = load_run(folder)
    if record.get("kind") != "train":
        raise UsageError(f"{folder} is a {record.get('kind')} run, only training can be resumed.")
    return {
        "agent": record["agent"]["name"],
        "options": record["problem"]["options"],
        "hyper": record["agent"]["hyper"],
        "recorded": record["instances"],
        "instances": [item["name"] for item in record["instances"]],
        "run": record,
        "budget": record["budget"],
        "seed": record["seed"],
    }


def _resume(folder: Path, learner: Any, name: str) -> tuple[float, float]:
    """Load the newest weights of a run folder; the steps and seconds that they took."""
    record = load_run(folder)
    if record["agent"]["name"] != name:
        raise UsageError(f"{folder} is no training run of {name!r}; resume it with the agent it was started with.")
    checkpoints = sorted((folder / "checkpoints").glob("*/progress.json"), key=lambda p: int(p.parent.name))
    if not checkpoints:
        raise UsageError(f"{folder} holds no checkpoint yet; start anew with another --out.")
    progress = load_progress(checkpoints[-1])
    learner.load(checkpoints[-1].parent)
    return progress["steps"], progress["seconds"]


def load_progress(file: Path) -> dict[str, float]:
    """Steps and seconds of a checkpoint."""
    from sysgym.core.solutions import parse_json

    found: dict[str, float] = parse_json(file.read_bytes())
    return found


def _checkpoint(folder: Path, learner: Any, steps: float, seconds: float) -> None:
    import json

    target = folder / "checkpoints" / str(int(steps))
    learner.save(target)
    (target / "progress.json").write_text(json.dumps({"steps": steps, "seconds": seconds}) + "\n")


def _fit(
    run: Run, learner: Any, problem: Any, instances: list[Any], seed: int, budget: Budget, steps: float, seconds: float
) -> bool | None:
    """Fit with progress, metrics and checkpoints; whether it was interrupted, None if nothing was left to do."""
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
        if row["seconds"] - max(last[0], seconds) >= CHECKPOINT_SECONDS:
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
