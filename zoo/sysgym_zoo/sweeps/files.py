"""The file of a sweep: tables of trainings and evaluations, each the product of its lists.

    compare = "fm"                    # the agent that tables compare with; default: the first of each

    [[train]]
    agent = ["gap", "ppo-refine"]     # a list is an axis: a run for every combination
    problem = "Partitioning"
    instances = "tiny/train"          # one set, or names joined by ;
    options = { k = [2, 4] }          # of the problem
    set = { hidden = [16, 32] }       # hyper-parameters
    seeds = 5                         # 0..4; or seed = [7, 8]
    steps = 200
    [[train.evaluate]]                # of each trained model
    instances = ["tiny/valid", "tiny/test"]
    seeds = 2
    cpu_seconds = 1
    ablate = true                     # beside its fresh weights, its rule and classical agents

    [[evaluate]]
    agent = ["fm", "metis"]
    instances = ["tiny/valid", "tiny/test"]
    seeds = 2

    [slurm]                           # what the queue is told (submitit's parameters)
    slurm_partition = "cpu"
    timeout_min = 240

Keys are the flags of `sysgym train` and `sysgym evaluate`.
"""

from __future__ import annotations

import itertools
import math
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sysgym.core.data import read_file
from sysgym.core.errors import UsageError, reading, unknown

MOST_BYTES = 2**20
MOST_RUNS = 100_000
MOST_COUNT = 10**9  # steps, seeds, threads
COUNTS = ("seed", "seeds", "steps", "threads", "eval_every", "stop_after")
TIMES = ("seconds", "cpu_seconds")
TEXTS = ("agent", "problem", "recipe", "instances", "eval_instances", "model", "device")
PAIRS = ("options", "set")
TRAIN = {
    "agent", "problem", "recipe", "instances", "options", "set", "steps", "seconds", "cpu_seconds", "seed", "seeds",
    "threads", "device", "eval_instances", "eval_every", "stop_after", "evaluate",
}  # fmt: skip
EVALUATE = {
    "agent", "problem", "instances", "options", "set", "steps", "seconds", "cpu_seconds", "seeds", "threads", "device",
    "ablate",
}  # fmt: skip
OF_TRAINED = EVALUATE - {"agent", "problem", "set"} | {"model"}
MODELS = ("last", "best")  # of a training


@dataclass(frozen=True)
class Ask:
    """One run that a file asks for, as words: the flags of a command with one value each."""

    kind: str  # train or evaluate
    words: Mapping[str, Any]  # options and set are tables
    trained: Ask | None = None  # the training whose model is evaluated


@dataclass(frozen=True)
class Sweep:
    """What a file says."""

    file: Path
    asks: tuple[Ask, ...]
    compare: str = ""
    slurm: Mapping[str, Any] = field(default_factory=dict)


def load_sweep(file: Path) -> Sweep:
    """What a file asks for; UsageError if it is malformed, or asks for nothing."""
    with reading(f"sweep {file}"):
        try:
            said = tomllib.loads(read_file(file, MOST_BYTES).decode())
        except UnicodeDecodeError as error:
            raise UsageError(f"sweep {file} cannot be read: {error}.") from error
        except tomllib.TOMLDecodeError as error:
            raise UsageError(f"sweep {file}: {error}.") from error
    for key in said:
        if key not in ("compare", "train", "evaluate", "slurm"):
            raise unknown(f"key of sweep {file}", key, ("compare", "train", "evaluate", "slurm"))
    compare, slurm = said.get("compare", ""), said.get("slurm", {})
    if not isinstance(compare, str) or not isinstance(slurm, dict):
        raise UsageError(f"sweep {file}: compare must be the name of an agent, and slurm a table.")
    asks = []
    for name, place in _tables(file, said, "train"):
        asks += _trainings(place, name)
    for name, place in _tables(file, said, "evaluate"):
        asks += [Ask("evaluate", words) for words in _product(name, place, EVALUATE)]
    if not asks:
        raise UsageError(
            f"sweep {file} asks for no run; add a table [[train]] or [[evaluate]] (`sysgym sweep --help`)."
        )
    if len(asks) > MOST_RUNS:
        raise UsageError(f"sweep {file} asks for {len(asks)} runs, at most {MOST_RUNS} are taken; split it.")
    return Sweep(file, tuple(asks), compare, slurm)


def _tables(file: object, said: Mapping[str, Any], key: str) -> list[tuple[str, dict[str, Any]]]:
    """The tables of a name, each with what messages call it."""
    found = said.get(key, [])
    if not isinstance(found, list) or not all(isinstance(table, dict) for table in found):
        raise UsageError(f"{file}: {key} must be tables, each begun by a line [[{key}]].")
    return [(f"{file}: [[{key}]] number {number}", table) for number, table in enumerate(found, 1)]


def _trainings(said: Mapping[str, Any], name: str) -> list[Ask]:
    """The trainings of a table, and the evaluations of each."""
    found = []
    evaluated = _tables(name, said, "evaluate")
    for words in _product(name, {key: value for key, value in said.items() if key != "evaluate"}, TRAIN):
        training = Ask("train", words)
        found.append(training)
        for inner, table in evaluated:
            for asked in _product(inner, table, OF_TRAINED):
                if asked.get("model", "last") not in MODELS:
                    raise unknown(f"model of {inner}", asked["model"], MODELS)
                if asked.get("model") == "best" and "eval_every" not in words:
                    raise UsageError(f'{inner}: model = "best" needs eval_instances and eval_every in the training.')
                found.append(Ask("evaluate", asked, training))
    return found


def _product(name: str, said: Mapping[str, Any], known: set[str]) -> Iterator[dict[str, Any]]:
    """One value for each key, for every combination of those that have several."""
    axes: dict[tuple[str, ...], Sequence[Any]] = {}
    for key, value in said.items():
        if key not in known:
            raise unknown(f"key of {name}", key, known)
        if key in PAIRS:
            if not isinstance(value, dict):
                raise UsageError(f"{name}: {key} must be a table such as {{ key = 1 }}, got {value!r}.")
            axes |= {(key, inner): _values(f"{name}: {key}.{inner}", each) for inner, each in value.items()}
        else:
            axes[key,] = [_checked(f"{name}: {key}", key, each) for each in _values(f"{name}: {key}", value)]
    if "set" in said and "agent" not in said and "recipe" not in said:
        raise UsageError(f"{name}: set needs an agent or a recipe.")
    if "seeds" in known and "seed" in known and ("seeds",) in axes:
        counts = axes.pop(("seeds",))
        if len(counts) > 1 or ("seed",) in axes:
            raise UsageError(f"{name}: give seeds = N for the seeds 0 to N-1, or seed = [...], not both.")
        axes["seed",] = range(counts[0])
    count = math.prod(map(len, axes.values()))
    if count > MOST_RUNS:
        raise UsageError(f"{name} asks for {count} runs, at most {MOST_RUNS} are taken; split it.")
    for chosen in itertools.product(*axes.values()):
        words: dict[str, Any] = {}
        for path, value in zip(axes, chosen, strict=True):
            if len(path) == 1:
                words[path[0]] = value
            else:
                words.setdefault(path[0], {})[path[1]] = value
        yield words


def _values(what: str, value: Any) -> list[Any]:
    """The values of an axis; a single value is an axis of one."""
    values = value if isinstance(value, list) else [value]
    if not values or not all(isinstance(each, str | int | float) for each in values):
        raise UsageError(f"{what} must be a number, text, true or false, or a list of at least one, got {value!r}.")
    if len({repr(each) for each in values}) < len(values):
        raise UsageError(f"{what} names a value twice: {value!r}.")
    return values


def _checked(what: str, key: str, value: Any) -> Any:
    """A value of the type that its key has."""
    least, most = (0, 2**63 - 1) if key == "seed" else (1, MOST_COUNT)
    number = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf
    whole = isinstance(value, int) and number and least <= value <= most
    right, wanted = {
        **dict.fromkeys(COUNTS, (whole, f"a whole number from {least} to {most}")),
        **dict.fromkeys(TIMES, (number and value > 0, "a finite number above 0")),
        **dict.fromkeys(TEXTS, (isinstance(value, str) and value != "", "a text")),
        "ablate": (isinstance(value, bool), "true or false"),
    }[key]
    if not right:
        raise UsageError(f"{what} must be {wanted}, got {value!r}.")
    return value


def pairs(table: Mapping[str, Any] | None) -> list[str]:
    """A table as `key=value` words.

    >>> pairs({"k": 4, "repair": True})
    ['k=4', 'repair=true']
    """

    def shown(value: Any) -> str:
        if isinstance(value, list | tuple):
            return ",".join(map(str, value))
        return str(value).lower() if isinstance(value, bool) else str(value)

    return [f"{key}={shown(value)}" for key, value in (table or {}).items()]
