"""`sysgym tune`: a study from what is asked for, its processes, and what it found."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sysgym import UsageError, content_hash
from sysgym.core.errors import shortened, unknown
from sysgym.core.options import file_hashes
from sysgym.core.registry import options_of
from sysgym_agents.core import Budget
from sysgym_agents.learning.devices import check as check_device
from sysgym_zoo.jobs.console import clean, say
from sysgym_zoo.jobs.plan import Plan, Training, planned
from sysgym_zoo.jobs.runs import versions
from sysgym_zoo.jobs.selection import Wanted, refuse_test
from sysgym_zoo.lookup.finding import sets_of
from sysgym_zoo.lookup.naming import choose, learner_class
from sysgym_zoo.lookup.recipes import load_recipe
from sysgym_zoo.tuning.files import FIRST_SEED, JOURNAL, LOCKS, MOST, STUDY, alone, read_facts, read_report, write_json
from sysgym_zoo.tuning.pool import Place, run
from sysgym_zoo.tuning.space import space_of
from sysgym_zoo.tuning.study import PRUNERS, SAMPLERS, Study, absolute, library

MAY_CHANGE = ("trials", "started", "name", "versions", "schema")  # when a study goes on
NAMED = {"solved": "option", "files": "the file of option"}  # facts whose names say little
SHARE = 10  # a training is evaluated so often unless it is said how often


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What `sysgym tune` is asked for; what is not said is the recipe's or the agent's to say."""

    word: str  # an agent, a recipe, or a recipe's file
    problem: str | None = None
    options: Sequence[str] = ()
    instances: str | None = None
    valid: str | None = None  # what models are evaluated on
    every: int | None = None
    changes: Sequence[str] = ()  # hyper-parameters that are fixed
    space: Sequence[str] = ()
    steps: int | None = None  # of each training
    cpu_seconds: float | None = None
    seeds: int = 2
    trials: int = 30
    threads: int = 1
    device: str = "auto"  # where networks are computed
    seed: int = 0
    sampler: str = "tpe"
    pruner: str = "median"
    storage: str | None = None


def tune(asked: Asked, folder: Path, workers: int = 1, place: Place | None = None) -> Study:
    """Begin a study in a folder, or go on with the one that is there, and work on it until its trials are finished.

    place: makes the backend where several processes run. UsageError where a test split is named, or another study is
    in the folder.
    """
    library()
    if workers < 1:
        raise UsageError(f"--workers must be at least 1, got {workers}.")
    facts = facts_of(asked)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {folder}: {error.strerror or error}.") from error
    with alone(folder):
        facts = begun(folder, facts)
        study = Study(folder, facts)  # before anything is written: a storage that cannot be used leaves nothing behind
        if not (folder / STUDY).is_file() or read_facts(folder) != facts:
            write_json(folder / STUDY, facts)
        study.begin()
    if not study.over:
        try:
            run(folder, workers, place)
        except KeyboardInterrupt:
            say(f"stopped after {len(study.finished())} of {study.facts['trials']} trials; the same command goes on.")
            raise
    return study


def facts_of(asked: Asked) -> dict[str, Any]:
    """What a study is about, with every name resolved and every instance checked."""
    for flag, value, most in (("--trials", asked.trials, MOST), ("--seeds", asked.seeds, FIRST_SEED)):
        if not 1 <= value <= most:
            raise UsageError(f"{flag} must be from 1 to {most}, got {value}.")
    for what, said, known in (("sampler", asked.sampler, SAMPLERS), ("pruner", asked.pruner, PRUNERS)):
        if said not in known:
            raise unknown(what, said, known)
    check_device(asked.device)
    plan = planned(_training(asked, Wanted(), Budget()))  # with what the recipe says of budget and evaluations
    budget = _budget(asked, plan)
    trained = asked.instances or _trained(plan, asked)
    refuse_test(plan.problem, plan.instances, "--instances")
    evaluation = _evaluation(asked, plan, budget, trained)
    plan = planned(_training(asked, evaluation, budget, trained))  # refuses what cannot be evaluated
    assert plan.schedule is not None
    fixed = [change.partition("=")[0] for change in asked.changes]
    hyper = plan.agent["hyper"]
    space = space_of(learner_class(plan.agent["name"]), hyper, fixed, asked.space, plan.agent["name"])
    return {
        "schema": "sysgym-study/1", "name": secrets.token_hex(8), "word": asked.word, "agent": plan.agent["name"],
        "recipe": plan.agent["recipe"], "problem": plan.problem_id, "options": list(asked.options),
        "changes": list(asked.changes), "instances": trained,
        "eval": {"instances": evaluation.instances, "every": evaluation.every},
        "budget": {"steps": budget.steps, "cpu_seconds": budget.cpu_seconds}, "seeds": asked.seeds,
        "trials": asked.trials, "threads": asked.threads, "sampler": asked.sampler, "pruner": asked.pruner,
        "seed": asked.seed, "storage": asked.storage and absolute(asked.storage), "space": space,
        "shipped": {name: hyper[name] for name in space}, "versions": versions() | {"optuna": library().__version__},
        "hashes": {"train": [content_hash(item) for item in plan.instances],
                   "valid": [content_hash(item) for item in plan.schedule.instances]},
        "hyper": clean({name: value for name, value in hyper.items() if name not in space}),  # fixed: the recipe's, too
        "solved": clean(options_of(plan.problem)), "files": file_hashes(type(plan.problem), options_of(plan.problem)),
        "device": asked.device, "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }  # fmt: skip


def begun(folder: Path, facts: dict[str, Any]) -> dict[str, Any]:
    """The facts of the study in a folder: these where there is none yet; UsageError where it is another one.

    It may go on with more trials, unless its winner was shown a test set already. `alone` must be held.
    """
    if not (folder / STUDY).is_file():
        strangers = [path.name for path in folder.iterdir() if path.name not in (LOCKS, JOURNAL)]
        if strangers:
            raise UsageError(f"{folder} holds other files ({shortened(', '.join(strangers), 60)}); name a new folder.")
        return facts
    known = read_facts(folder)
    for key, value in facts.items():
        if key == "storage" and known[key] and value and absolute(known[key]) == value:
            known[key] = value  # an older study kept the path as it was typed
        if key not in MAY_CHANGE and known.get(key, value) != value:
            what, (then, now) = NAMED.get(key, key), (known[key], value)
            while isinstance(then, dict) and isinstance(now, dict):
                inner = next(name for name in {**then, **now} if then.get(name) != now.get(name))
                what, then, now = f"{what} {inner}", then.get(inner), now.get(inner)
            raise UsageError(
                f"{folder} holds a study with {what} {_short(then)}, not {_short(now)}; ask for the same again, or "
                "name a new --study folder."
            )
    if facts["trials"] < known["trials"]:
        raise UsageError(f"{folder} holds a study of {known['trials']} trials; ask for as many, or for more.")
    if facts["trials"] > known["trials"]:
        if read_report(folder) is not None:
            raise UsageError(
                f"the winner of {folder} was reported on a test set already, and to tune further would use what it "
                "showed; start a new study."
            )
        known["trials"] = facts["trials"]
    return known


def _short(value: Any) -> str:
    return shortened(str(value), 80)


def _training(
    asked: Asked, evaluation: Wanted, budget: Budget, trained: str | None = None
) -> Training:  # fmt: skip
    """A training of what is shipped."""
    recipe = asked.word.endswith(".toml")
    if not recipe and choose(asked.word).run is not None:
        raise UsageError(f"{asked.word} is a run that is trained already; name an agent or a recipe to tune.")
    return Training(
        agent=None if recipe else asked.word, recipe=asked.word if recipe else None, problem=asked.problem,
        options=asked.options, instances=trained or asked.instances, changes=asked.changes, steps=budget.steps,
        cpu_seconds=budget.cpu_seconds, seed=FIRST_SEED, threads=asked.threads, device=asked.device,
        evaluation=evaluation,
    )  # fmt: skip


def _budget(asked: Asked, plan: Plan) -> Budget:
    """What each training may spend; UsageError where only the wall clock tells, which trials side by side disturb."""
    said = Budget(None, asked.steps, asked.cpu_seconds)
    found = said if said != Budget() else plan.budget._replace(seconds=None)
    if found == Budget():
        raise UsageError(
            "trials are compared at an equal budget that no other process disturbs; add --steps N or --cpu-seconds S "
            "for each training."
        )
    return found


def _trained(plan: Plan, asked: Asked) -> str:
    """The instances that a training takes where the user names none."""
    recipe = load_recipe(plan.agent["recipe"]) if plan.agent["recipe"] else None
    return (recipe and recipe.instances) or plan.learner.default_instances or plan.problem.default_instances


def _evaluation(asked: Asked, plan: Plan, budget: Budget, trained: str) -> Wanted:
    """On what models are evaluated, and every how many steps; UsageError where nothing says it."""
    shipped = load_recipe(plan.agent["recipe"]).eval if plan.agent["recipe"] else {}
    valid = asked.valid or shipped.get("instances")
    if valid is None:
        name, _, split = trained.partition("/")
        sets: Mapping[str, Any] = sets_of(plan.problem)
        if split != "train" or name not in sets or not sets[name].names("valid"):
            raise UsageError(f"{trained} has no valid split to choose on; add --eval-instances SET.")
        valid = f"{name}/valid"
    every = asked.every or shipped.get("every")
    if every is None and budget.steps is None:
        raise UsageError("nothing says how often a training is evaluated; add --eval-every N (in steps).")
    wanted = Wanted(valid, every or max(1, (budget.steps or 0) // SHARE), None)
    say(f"trials are evaluated on {wanted.instances} every {wanted.every} steps.")
    return wanted
