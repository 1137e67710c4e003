"""What a sweep is made of: runs whose id is the hash of what defines them."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from sysgym.core.errors import UsageError
from sysgym.core.options import file_hashes, parse_pairs
from sysgym.core.registry import make_problem, options_of
from sysgym_agents.core import Budget, agent_class
from sysgym_agents.general.sb3.stored import SUFFIX
from sysgym_agents.learning.devices import check as check_device
from sysgym_zoo.jobs.console import clean
from sysgym_zoo.jobs.evaluate import checked_budget
from sysgym_zoo.jobs.plan import Plan, Training, planned
from sysgym_zoo.jobs.runs import describe_instances
from sysgym_zoo.jobs.selection import WEIGHTS, Wanted
from sysgym_zoo.lookup.finding import Clues, find_problem, split
from sysgym_zoo.lookup.naming import OF_MODULE, Choice, changed, choose
from sysgym_zoo.lookup.resolve import build_all, instance_names
from sysgym_zoo.sweeps.files import Ask, pairs

DEFINES = ("problem", "agent", "instances", "seed", "threads", "budget", "eval")  # a training, of its record
UNTOLD = ("seed", "problem", "agent", "recipe")  # by what is added to a label


@dataclass(frozen=True)
class Unit:
    """One run of a sweep: plain data, so that any process can carry it out."""

    id: str
    kind: str  # train or evaluate
    label: str  # what tables call its agent: the same for every seed of a training, and for nothing else there
    family: str  # the hash of what defines it but for the seed of the training
    place: str  # the hash of what is solved: the same for all that stand in one table
    words: Mapping[str, Any]  # the flags of its command, one value each
    threads: int = 1
    needs: str = ""  # the id of the training whose model it evaluates
    trained: Mapping[str, Any] = field(default_factory=dict)  # the words of that
    definition: Mapping[str, Any] = field(default_factory=dict)  # what its id is the hash of

    def folder(self, root: Path) -> Path:
        """Its run folder."""
        return root / "runs" / self.id


def units_of(asks: Sequence[Ask]) -> list[Unit]:
    """The runs of what is asked for, trainings before what needs them, each once; UsageError where one cannot be."""
    for kept in (_planned, _problem, _instances):
        kept.cache_clear()  # files may have changed since
    trainings = [ask for ask in asks if ask.kind == "train"]
    made = _distinct([_tried(ask, None) for ask in trainings])
    known = {id(ask): unit for ask, unit in zip(trainings, made, strict=True)}
    others = [ask for ask in asks if ask.kind != "train"]
    evaluations = _distinct([_tried(ask, known.get(id(ask.trained))) for ask in others])
    known |= {id(ask): unit for ask, unit in zip(others, evaluations, strict=True)}
    found: dict[str, Unit] = {}
    for ask in asks:
        found.setdefault(known[id(ask)].id, known[id(ask)])
    return list(found.values())


def _tried(ask: Ask, training: Unit | None) -> Unit:
    """The unit of an ask; UsageError says which one it is of."""
    try:
        return _training(ask) if ask.kind == "train" else _evaluation(ask, training)
    except UsageError as error:
        raise UsageError(f"{ask.kind} {_said(ask.words)}: {error}") from error


def _distinct(units: Sequence[Unit]) -> list[Unit]:
    """The units, with labels that tell apart what is not the same: those that agree get what differs beside them."""
    alike: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = {}
    for unit in units:
        words = {**{f"train.{key}": value for key, value in flat(unit.trained).items()}, **flat(unit.words)}
        alike.setdefault((unit.label, unit.place), {}).setdefault(unit.family, words)
    return [replace(unit, label=_told_apart(unit, alike[unit.label, unit.place])) for unit in units]


def _told_apart(unit: Unit, families: Mapping[str, Mapping[str, Any]]) -> str:
    """Its label, with every word in which some of these families differ."""
    mine = families[unit.family]
    known = dict.fromkeys(key for words in families.values() for key in words if key.rpartition(".")[2] not in UNTOLD)
    differ = [key for key in known if any(words.get(key) != mine.get(key) for words in families.values())]
    label = " ".join([unit.label, *(f"{_short(key)}={mine[key]}" for key in differ if key in mine)])
    same = [name for name, words in families.items() if all(words.get(key) == mine.get(key) for key in differ)]
    return label if same == [unit.family] else f"{label} ({same.index(unit.family) + 1})"


def _short(key: str) -> str:
    """A word of a label: without the table it is in, but for that of a model's training."""
    return ("train." if key.startswith("train.") else "") + key.rpartition(".")[2]


def flat(words: Mapping[str, Any]) -> dict[str, Any]:
    """Words with the entries of tables under `table.entry`.

    >>> flat({"steps": 4, "set": {"hidden": 8}})
    {'steps': 4, 'set.hidden': 8}
    """
    found: dict[str, Any] = {}
    for key, value in words.items():
        found |= (
            {f"{key}.{inner}": each for inner, each in value.items()} if isinstance(value, Mapping) else {key: value}
        )
    return found


def digest(definition: Mapping[str, Any]) -> str:
    """The id of what defines a run: 16 hexadecimal digits of the SHA-256 of its canonical JSON.

    >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    True
    """
    text = json.dumps(clean(definition), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _said(words: Mapping[str, Any]) -> str:
    return " ".join(f"{key.rpartition('.')[2]}={value}" for key, value in flat(words).items())


def training_of(
    words: Mapping[str, Any], out: Path | None = None, resume: bool = False, track: Sequence[str] = ()
) -> Training:
    """What `sysgym train` is asked for by the words of a unit."""
    texts: dict[str, Any] = {key: words.get(key) for key in ("agent", "problem", "instances", "recipe")}
    limits: dict[str, Any] = {key: words.get(key) for key in ("steps", "seconds", "cpu_seconds")}
    wanted = Wanted(words.get("eval_instances"), words.get("eval_every"), words.get("stop_after"))
    return Training(
        **texts, **limits, options=pairs(words.get("options")), changes=pairs(words.get("set")), out=out,
        seed=words.get("seed", 0), threads=words.get("threads", 1), device=words.get("device", "auto"),
        evaluation=wanted, resume=resume,
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
    agent = {key: value for key, value in record["agent"].items() if key != "started_from"}
    definition = {"kind": "train", **{key: record[key] for key in DEFINES}, "agent": agent, **_device(ask.words)}
    if "agent" in ask.words:
        definition["from"] = _contents(choose(ask.words["agent"]))
    name = plan.agent["recipe"] if plan.agent["options"] else plan.agent["name"]
    words = {**ask.words, "problem": plan.problem_id}  # resolved: whoever carries it out need not look again
    family = digest({**definition, "seed": None})
    definition = plain_data({**definition, "seed": seed})
    place = digest(record["problem"])
    return Unit(digest(definition), "train", name, family, place, words, plan.threads, definition=definition)


def agent_of(choice: Choice) -> dict[str, Any]:
    """What defines an agent that solves as it is: hyper-parameters, and the contents of its file."""
    return {
        "name": choice.agent, "recipe": choice.recipe, "hyper": {**choice.hyper, **choice.changes},
        "own": dict(choice.own), "contents": _contents(choice),
    }  # fmt: skip


def plain_data(value: Mapping[str, Any]) -> dict[str, Any]:
    """The same as JSON has it."""
    return dict(json.loads(json.dumps(clean(value))))


def _device(words: Mapping[str, Any]) -> dict[str, str]:
    """The device that was asked for, as results depend on it; nothing for `auto`. UsageError for another word."""
    asked = words.get("device", "auto")
    check_device(asked)
    return {} if asked == "auto" else {"device": asked}


def _contents(choice: Choice) -> str:
    """The hash of the weights, of the file, or of the code that an agent's word names; '' for a registered name."""
    file = None
    if choice.weights is not None:
        file = choice.weights / WEIGHTS
    elif choice.word.endswith(SUFFIX):
        file = Path(choice.word)
    elif OF_MODULE.fullmatch(choice.word):
        file = Path(inspect.getfile(agent_class(choice.word)))
    return "" if file is None else hashlib.sha256(file.read_bytes()).hexdigest()


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
        **_device(words),
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
        label = choice.word
        agent = agent_of(choice)
    definition |= {
        "agent": agent,
        "problem": {
            "name": problem.name, "version": problem.version, "options": options_of(problem),
            "files": file_hashes(type(problem), options_of(problem)),
        },
        "instances": _instances(problem, words.get("instances") or problem.default_instances),
    }  # fmt: skip
    words = {**words, "problem": named}
    place = digest({key: definition[key] for key in ("problem", "instances", "ablate")})
    definition, threads = plain_data(definition), words.get("threads", 1)
    name = digest(definition)
    if training is None:
        return Unit(name, "evaluate", label, name, place, words, threads, definition=definition)
    family = digest({**definition, "agent": {**agent, "trained": training.family}})
    return Unit(
        name, "evaluate", label, family, place, words, threads, training.id, training.words, definition
    )  # fmt: skip
