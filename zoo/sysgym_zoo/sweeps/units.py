"""What a sweep is made of: runs whose id is the hash of what defines them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from sysgym.core.errors import UsageError
from sysgym.core.options import parse_pairs
from sysgym.core.registry import make_problem, options_of
from sysgym_agents.core import Budget
from sysgym_zoo.jobs.evaluate import checked_budget
from sysgym_zoo.jobs.plan import Plan, Training, planned
from sysgym_zoo.jobs.runs import describe_instances
from sysgym_zoo.jobs.selection import WEIGHTS, Wanted
from sysgym_zoo.lookup.finding import Clues, find_problem, split
from sysgym_zoo.lookup.naming import Choice, changed, choose
from sysgym_zoo.lookup.resolve import build_all, instance_names
from sysgym_zoo.lookup.trust import file_hashes
from sysgym_zoo.sweeps.files import Ask, pairs

DEFINES = ("problem", "agent", "instances", "seed", "threads", "budget", "eval")  # a training, of its record
TOLD = ("set", "steps", "seconds", "cpu_seconds", "threads", "instances", "recipe")  # of a training, by its label


@dataclass(frozen=True)
class Unit:
    """One run of a sweep: plain data, so that any process can carry it out."""

    id: str
    kind: str  # train or evaluate
    label: str  # what tables call its agent: the same for every seed of a training
    words: Mapping[str, Any]  # the flags of its command, one value each
    threads: int = 1
    needs: str = ""  # the id of the training whose model it evaluates
    trained: Mapping[str, Any] = field(default_factory=dict)  # the words of that

    def folder(self, root: Path) -> Path:
        """Its run folder."""
        return root / "runs" / self.id


def units_of(asks: Sequence[Ask]) -> list[Unit]:
    """The runs of what is asked for, trainings before what needs them, each once; UsageError where one cannot be."""
    for kept in (_planned, _problem, _instances):
        kept.cache_clear()  # files may have changed since
    found: dict[str, Unit] = {}
    known: dict[int, Unit] = {}  # of the trainings, by the ask
    for ask in asks:
        try:
            unit = _training(ask) if ask.kind == "train" else _evaluation(ask, known.get(id(ask.trained)))
        except UsageError as error:
            raise UsageError(f"{ask.kind} {_said(ask.words)}: {error}") from error
        known[id(ask)] = unit
        found.setdefault(unit.id, unit)
    return list(found.values())


def digest(definition: Mapping[str, Any]) -> str:
    """The id of what defines a run: 16 hexadecimal digits of the SHA-256 of its canonical JSON.

    >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    True
    """
    text = json.dumps(definition, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _said(words: Mapping[str, Any]) -> str:
    flat = [pair for key, value in words.items() for pair in (pairs(value) if isinstance(value, dict) else [])]
    flat += [f"{key}={value}" for key, value in words.items() if not isinstance(value, dict)]
    return " ".join(flat)


def training_of(
    words: Mapping[str, Any], out: Path | None = None, resume: bool = False, track: Sequence[str] = ()
) -> Training:
    """What `sysgym train` is asked for by the words of a unit."""
    texts: dict[str, Any] = {key: words.get(key) for key in ("agent", "problem", "instances", "recipe")}
    limits: dict[str, Any] = {key: words.get(key) for key in ("steps", "seconds", "cpu_seconds")}
    wanted = Wanted(words.get("eval_instances"), words.get("eval_every"), words.get("stop_after"))
    return Training(
        **texts, **limits, options=pairs(words.get("options")), changes=pairs(words.get("set")), out=out,
        seed=words.get("seed", 0), threads=words.get("threads", 1), evaluation=wanted, resume=resume,
        track=track,
    )  # fmt: skip


@lru_cache(maxsize=4096)
def _planned(words: str) -> tuple[Plan, dict[str, Any]]:
    """The plan of a training, and its record: of all its seeds."""
    plan = planned(training_of(json.loads(words)))
    return plan, plan.record()


def _plan_of(words: Mapping[str, Any]) -> tuple[Plan, dict[str, Any]]:
    return _planned(json.dumps({key: value for key, value in words.items() if key != "seed"}, sort_keys=True))


def _training(ask: Ask) -> Unit:
    plan, record = _plan_of(ask.words)
    seed = ask.words.get("seed", 0)
    definition = {"kind": "train", **{key: record[key] for key in DEFINES}, "seed": seed}
    weights = _weights(choose(ask.words["agent"])) if "agent" in ask.words else ""
    if weights:
        definition["from"] = weights
    name = plan.agent["recipe"] if plan.agent["options"] else plan.agent["name"]
    told = [key for key in ask.swept if key.partition(".")[0] in TOLD]
    label = " ".join([name, *(f"{key.rpartition('.')[2]}={_at(ask.words, key)}" for key in told)])
    words = {**ask.words, "problem": plan.problem_id}  # resolved: whoever carries it out need not look again
    return Unit(digest(definition), "train", label, words, plan.threads)


def _at(words: Mapping[str, Any], path: str) -> Any:
    head, _, key = path.partition(".")
    return words[head][key] if key else words[head]


def _weights(choice: Choice) -> str:
    """The hash of the weights that a word names; '' where it names none."""
    if choice.weights is None:
        return ""
    return hashlib.sha256((choice.weights / WEIGHTS).read_bytes()).hexdigest()


@lru_cache(maxsize=4096)
def _problem(name: str, options: str) -> Any:
    """The problem of a name and of options as JSON, the same object each time."""
    return make_problem(name, **json.loads(options))


@lru_cache(maxsize=4096)
def _instances(problem: Any, names: str) -> list[dict[str, str]]:
    return describe_instances(problem, [problem.load(name) for name in instance_names(problem, names)])


def _evaluation(ask: Ask, training: Unit | None) -> Unit:
    words = ask.words
    budget = checked_budget(Budget(words.get("seconds"), words.get("steps"), words.get("cpu_seconds")))
    definition: dict[str, Any] = {
        "kind": "evaluate", "seeds": words.get("seeds", 1), "threads": words.get("threads", 1),
        "budget": budget._asdict(), "ablate": words.get("ablate", False),
    }  # fmt: skip
    if training is not None:
        plan, _ = _plan_of(training.words)
        named = plan.problem_id
        options = options_of(plan.problem)
        options |= parse_pairs(pairs(words.get("options")), type(plan.problem), plan.problem.name)
        problem = _problem(named, json.dumps(options, sort_keys=True))
        label = training.label + (" (best)" if words.get("model") == "best" else "")
        agent: dict[str, Any] = {"trained": training.id, "model": words.get("model", "last")}
    else:
        if "agent" not in words:
            raise UsageError("an evaluation needs an agent; add agent = NAME, or put it into a [[train.evaluate]].")
        given = words.get("instances")
        clues = Clues(words.get("problem"), [words["agent"]], "", split(given), None, pairs(words.get("options")))
        changes = pairs(words.get("set"))
        named = find_problem(clues)
        built, _ = build_all(clues._replace(problem=named), changes)
        problem = _problem(named, json.dumps(options_of(built), sort_keys=True))
        choice = changed([choose(words["agent"])], changes)[0]
        told = [key for key in ask.swept if key.partition(".")[0] in set(TOLD) - {"instances"}]
        label = " ".join([choice.word, *(f"{key.rpartition('.')[2]}={_at(words, key)}" for key in told)])
        agent = {
            "name": choice.agent, "recipe": choice.recipe, "hyper": {**choice.hyper, **choice.changes},
            "own": dict(choice.own), "weights": _weights(choice),
        }  # fmt: skip
    definition |= {
        "agent": agent,
        "problem": {
            "name": problem.name, "version": problem.version, "options": options_of(problem),
            "files": file_hashes(type(problem), options_of(problem)),
        },
        "instances": _instances(problem, words.get("instances") or problem.default_instances),
    }  # fmt: skip
    needs = "" if training is None else training.id
    words = {**words, "problem": named}
    return Unit(
        digest(definition), "evaluate", label, words, words.get("threads", 1), needs,
        {} if training is None else training.words,
    )  # fmt: skip
