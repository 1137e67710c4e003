"""What a training is asked for, and the same with every name resolved: of a new run, or of one that goes on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sysgym import UsageError, content_hash, make_problem
from sysgym.core.errors import announce, shortened
from sysgym.core.options import file_hashes, keyword_options, parse_pairs
from sysgym.core.problem import AnyProblem
from sysgym.core.registry import options_of, problem_class
from sysgym_agents.core import Budget, check_fits, make_agent
from sysgym_zoo.jobs.runs import describe_instances
from sysgym_zoo.jobs.selection import NOTHING, Schedule, Wanted, check_counts, refuse_test, schedule_of
from sysgym_zoo.lookup.finding import Clues, find_problem, split
from sysgym_zoo.lookup.naming import Choice, choose, learner_class, mode_keys, of_recipe, resumed_choice
from sysgym_zoo.lookup.recipes import Recipe, default_recipe, load_recipe
from sysgym_zoo.lookup.records import load_run
from sysgym_zoo.lookup.resolve import instance_names
from sysgym_zoo.lookup.trust import file_options, refuse_changed, refuse_instances, refuse_options

CHECKPOINT_SECONDS = 30.0
LENGTH = "iterations"  # the hyper-parameter that is a learner's usual number of steps


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
    device: str = "auto"  # where networks are computed
    out: Path | None = None
    resume: bool = False
    save_every: float = CHECKPOINT_SECONDS  # seconds between checkpoints
    evaluation: Wanted = NOTHING  # on which instances, every how many steps
    track: Sequence[str] = ()  # trackers beside TensorBoard; a run that goes on keeps those that it had


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
    device: str = "auto"  # where networks are computed
    moved: bool = False  # whether that is another one than the run was started on, or one that gives no same bits
    schedule: Schedule | None = None  # of evaluations
    run: Mapping[str, Any] = field(default_factory=dict)  # the record of the run that goes on

    def record(self) -> dict[str, Any]:
        """What the run folder says of it."""
        problem = self.problem
        return {
            "kind": "train",
            "problem": {
                "id": self.problem_id, "name": problem.name, "version": problem.version, "options": options_of(problem),
                "files": file_hashes(type(problem), options_of(problem)),
            },
            "agent": dict(self.agent),
            "instances": describe_instances(problem, list(self.instances)),
            "seed": self.seed,
            "threads": self.threads,
            "budget": self.budget._asdict(),
            "eval": self.schedule and self.schedule.record(problem),
        }  # fmt: skip


def planned(asked: Training) -> Plan:
    """The plan of what is asked for: of a new run, or of one that goes on."""
    return _going_on(asked) if asked.resume else _fresh(asked)


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
    started, given = choice.options if choice.run else chosen.options, parse_pairs(asked.options, kind, named)
    if choice.run:
        refuse_options(kind, {key: value for key, value in started.items() if key not in given}, choice.run)
    problem = make_problem(named, **{**started, **given})
    defaults = {key: parameter.default for key, parameter in keyword_options(factory).items()}
    usual = choice.hyper if choice.run else chosen.hyper
    changes = parse_pairs(asked.changes, factory, f"agent {choice.agent!r}")
    hyper = {**defaults, **usual, **changes}
    learner = make_agent(choice.agent, **hyper)
    check_fits(choice.agent, learner, problem)
    if choice.weights is not None:
        learner.load(choice.weights)
    wanted = asked.instances or chosen.instances or learner.default_instances or problem.default_instances
    own = set(choice.own if choice.run else recipe.options) & mode_keys(problem)
    agent = {
        "name": choice.agent, "recipe": choice.recipe or chosen.name or None,
        "options": {key: getattr(problem, key) for key in own}, "hyper": hyper,
        **({"started_from": str(choice.word)} if choice.run else {}),
    }  # fmt: skip
    loaded = [problem.load(item) for item in instance_names(problem, wanted)]
    if choice.run and not asked.instances:
        before = [item["name"] for item in load_run(choice.run)["instances"]]
        if before != [item.name for item in loaded]:
            announce(f"{choice.word} was trained on {shortened(', '.join(before), 80)}; this training is on {wanted}.")
    budget = _budget(_lasting(chosen.budget, changes, asked), learner, asked)
    schedule = schedule_of(asked.evaluation.over(chosen.eval), problem, budget, loaded)
    return Plan(
        learner=learner, agent=agent, problem_id=named, problem=problem, instances=loaded, budget=budget,
        seed=asked.seed, threads=asked.threads, device=asked.device, schedule=schedule,
    )  # fmt: skip


def _going_on(asked: Training) -> Plan:
    """The plan of a run that goes on: what it was started with, and the budget that is asked for now."""
    for flag, given in (
        ("--set", asked.changes), ("--recipe", asked.recipe), ("--eval-every", asked.evaluation.every is not None),
    ):  # fmt: skip
        if given:
            raise _left_out(flag)
    folder, record = _resumable(asked.out, asked.threads)
    device, moved = resumed_device(folder, record.get("device", {}).get("device", "cpu"), asked.device)
    choice, told = resumed_choice(record), record["problem"]
    if asked.agent and (lambda c: (c.agent, c.recipe))(choose(asked.agent)) != (choice.agent, choice.recipe):
        raise UsageError(
            f"{asked.out} is no training run of {asked.agent!r}; resume it with the agent it was started with."
        )
    named = told.get("id", told["name"])
    _check_options(asked, named, choice, (folder, told.get("files", {})))
    problem = make_problem(named, **choice.options)
    learner = make_agent(choice.agent, **choice.hyper)
    check_fits(choice.agent, learner, problem)
    loaded = _again(problem, record["instances"], asked.instances, (folder, "--instances"))
    agent = {**record["agent"], "name": choice.agent, "recipe": choice.recipe or record["agent"].get("recipe")}
    return Plan(
        learner=learner, agent={**agent, "options": dict(choice.own)}, problem_id=named, problem=problem,
        instances=loaded, budget=_budget(record["budget"], learner, asked), seed=record["seed"],
        threads=record["threads"], device=device, moved=moved, run=record,
        schedule=_scheduled(asked, record, problem, folder),
    )  # fmt: skip


def _left_out(flag: str) -> UsageError:
    return UsageError(f"--resume goes on with what the run was started with; leave {flag} out.")


def _check_options(asked: Training, named: str, choice: Choice, run: tuple[Path, Mapping[str, str]]) -> None:
    """UsageError unless the user names the very files that options of the run name, and no other option.

    run: its folder, and the hashes of those files.
    """
    folder, hashes = run
    kind = problem_class(named)
    given = parse_pairs(asked.options, kind, named)
    files = file_options(kind, choice.options, folder)
    if any(files.get(key) != value for key, value in given.items()):
        raise _left_out("-O")
    refuse_options(kind, {key: value for key, value in choice.options.items() if key not in given}, folder)
    refuse_changed(kind, choice.options, hashes)


def _again(
    problem: AnyProblem, told: Sequence[Mapping[str, str]], given: str | None, run: tuple[Path, str]
) -> list[Any]:
    """The instances of a run, from the files that the user names where they are files; UsageError if they changed."""
    folder, flag = run
    names = [item["name"] for item in told]
    if given is None:
        refuse_instances(problem, names, folder, flag)
    loaded = [problem.load(name) for name in (names if given is None else instance_names(problem, given))]
    hashes = [content_hash(item) for item in loaded]
    if given is not None and hashes != [item["hash"] for item in told]:
        raise UsageError(
            f"{flag} {given} is not what {folder} was started with ({', '.join(names)}); leave {flag} out."
        )
    for name, digest, item in zip(names, hashes, told, strict=True):
        if digest != item["hash"]:
            raise UsageError(f"{name} has changed since the run began; start anew with another --out.")
    return loaded


def _scheduled(asked: Training, record: Mapping[str, Any], problem: AnyProblem, folder: Path) -> Schedule | None:
    """The evaluations of a run that goes on; after how many without a better one to stop may be said anew."""
    told, wanted = record.get("eval"), asked.evaluation
    check_counts(wanted)
    if told is None:
        if wanted != NOTHING:
            raise UsageError(f"{folder} was started without evaluations; leave --eval-instances and --stop-after out.")
        return None
    loaded = _again(problem, told["instances"], wanted.instances, (folder, "--eval-instances"))
    refuse_test(problem, loaded)
    return Schedule(loaded, told["every"], told["stop_after"] if wanted.stop_after is None else wanted.stop_after)


def _lasting(planned: Mapping[str, Any], changes: Mapping[str, Any], asked: Training) -> Mapping[str, Any]:
    """The budget of a recipe, or as many steps as the user sets; `--steps` counts before both."""
    return {"steps": changes[LENGTH]} if LENGTH in changes and asked.steps is None else planned


def _budget(planned: Mapping[str, Any], learner: Any, asked: Training) -> Budget:
    given = Budget(asked.seconds, asked.steps, asked.cpu_seconds)
    if given == Budget():
        found = Budget(**planned)
        return found if found != Budget() else learner.default_budget
    if any(limit is not None and not 0 < limit < math.inf for limit in given):
        raise UsageError("--steps, --seconds and --cpu-seconds must be positive.")
    return given


def resumed_device(folder: Path, before: str, asked: str) -> tuple[str, bool]:
    """Where a run that was trained on a device goes on, and whether that may take other steps; UsageError where it
    cannot go on there: results depend on it.
    """
    from sysgym_agents.learning.devices import accelerator, check

    check(asked)
    if before == "cpu":
        if asked == "cuda":
            raise UsageError(f"{folder} was trained on the CPU, and results depend on it; leave --device out.")
        return "cpu", False
    there = accelerator() is not None
    if there and asked == "cpu":
        raise UsageError(f"{folder} was trained on {before!r}, and results depend on it; leave --device out.")
    if not there and asked != "cpu":
        raise UsageError(
            f"{folder} was trained on {before!r}, and torch finds no such device here; --device cpu goes on from its "
            "last checkpoint, with other steps than there."
        )
    return "auto" if there else "cpu", True


def _resumable(folder: Path | None, threads: int) -> tuple[Path, dict[str, Any]]:
    """The folder and the record of a training that can go on with so many threads."""
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
    return folder, record
