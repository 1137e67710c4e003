"""Boards: what is solved, on which instances, how often, against which reference. One TOML file each, named by its id.

Another package offers its boards with an entry point in the group `sysgym.boards` whose value is a package that holds
the files (`my-boards = "my_package"`).
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import sysgym
from sysgym.core.errors import UsageError, unknown
from sysgym.core.instances import expand, find_entry
from sysgym.core.problem import AnyProblem
from sysgym.core.registry import find_files

FOLDER = Path(__file__).parent / "boards"
BOARDS = "sysgym.boards"
DIVISIONS = ("solutions", "policy")  # what is compared: answers, by any computation; agents, which are run again
BOARD_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,79}-v[0-9]{1,4}")
FLOOR = 0.01
_MAX_FILE = 2**20


@dataclass(frozen=True)
class Board:
    """A ranking over fixed instances. Any change of its content is a new board (`-v2`).

    On a board of the division `policy` a submission is an agent as data, which the judge runs: what the agent takes for
    an instance may be `seconds` of CPU time then. `penalty` is the ratio to the reference that an infeasible or missing
    answer counts, and the most that a feasible one counts; `floor` the least. `seconds` is the time that an agent
    should need for an instance (not enforced else). `steps` is the budget that an agent is run with there, in what
    agents count as steps: judged candidates; 0 is none.
    """

    id: str
    title: str
    problem: str  # with its version, such as "Knapsack-v0"
    options: Mapping[str, Any]  # of the problem
    instances: tuple[str, ...]  # instances, SET or SET/SPLIT names
    seeds: int  # every instance is answered with the seeds 0..seeds-1
    division: str
    reference: str  # key into problem.reference_costs(instance)
    penalty: float
    seconds: float
    floor: float = FLOOR  # the least that a ratio counts, so that no single instance decides
    steps: int = 0
    freedom: str = ""  # of the solutions, where the problem compares several apart: judged as it leaves them

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON, as `parse_board` takes it."""
        return {**asdict(self), "options": dict(self.options), "instances": list(self.instances)}

    @cached_property
    def hash(self) -> str:
        """SHA-256 over the content of the board."""
        table = self.as_dict()
        if self.floor == FLOOR:  # which boards did not always state
            del table["floor"]
        for key in ("freedom", "steps"):
            if not table[key]:
                del table[key]
        text = json.dumps(table, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def make_problem(self) -> Any:
        """The problem with the board's options."""
        return sysgym.make_problem(self.problem, **self.options)

    def freedom_in(self, problem: AnyProblem) -> str:
        """The freedom of its solutions: the one stated, else the only one; '' where the problem knows none."""
        known = problem.freedoms
        if self.freedom and self.freedom not in known:
            raise UsageError(f"board {self.id}: {unknown(f'freedom of {problem.name}', self.freedom, known)}")
        if not self.freedom and len(known) > 1:
            raise UsageError(
                f"board {self.id}: solutions of {problem.name} are compared apart by their freedom, and the board "
                f"names none; add freedom = one of {', '.join(known)}."
            )
        return self.freedom or next(iter(known), "")

    def instance_names(self, problem: AnyProblem | None = None) -> list[str]:
        """Names of the instances, sets expanded, in the board's order."""
        problem = problem if problem is not None else self.make_problem()
        names = expand(problem.instance_sets(), self.instances)
        twice = first_twice(names)
        if twice is not None:
            raise UsageError(f"board {self.id}: the instance {twice!r} is named twice.")
        return names

    def pairs(self, problem: AnyProblem | None = None) -> list[tuple[str, int]]:
        """Every (instance, seed) that a submission answers."""
        return [(name, seed) for name in self.instance_names(problem) for seed in range(self.seeds)]

    def instance_hashes(self, problem: AnyProblem | None = None) -> dict[str, str]:
        """Content hash of each instance: from the index of its set, otherwise computed."""
        problem = problem if problem is not None else self.make_problem()
        return {name: instance_hash(problem, name) for name in self.instance_names(problem)}


def first_twice(names: Iterable[str]) -> str | None:
    """The first name that occurs for the second time, or None.

    >>> first_twice(["a", "b", "b", "a"])
    'b'
    """
    seen: set[str] = set()
    return next((name for name in names if name in seen or seen.add(name)), None)  # type: ignore[func-returns-value]


def instance_hash(problem: AnyProblem, name: str) -> str:
    """Content hash of a named instance; it is loaded only if no index knows it."""
    entry = find_entry(problem.instance_sets(), name)
    return entry.hash if entry else sysgym.content_hash(problem.load(name))


@lru_cache(maxsize=1)
def _files() -> dict[str, Path]:
    """Board files by id: those shipped, and those in packages named by entry points."""
    return find_files(BOARDS, [FOLDER], "board")


def board_names() -> list[str]:
    """Ids of the boards that are installed, the suite's and those of other packages."""
    return sorted(_files())


def load_board(name: str | Path) -> Board:
    """An installed board by id, or any board from a `.toml` file; UsageError says what is wrong with it."""
    if str(name).endswith(".toml"):
        return _read(Path(name))
    if str(name) not in board_names():
        raise unknown("board", name, board_names())
    board = _read(_files()[str(name)])
    if board.id != str(name):
        raise UsageError(f"the file {name}.toml holds the board {board.id!r}; a board's file is named by its id.")
    return board


def _read(path: Path) -> Board:
    try:
        with path.open("rb") as stream:
            content = stream.read(_MAX_FILE + 1)
    except OSError as error:
        raise UsageError(f"cannot read the board {path}: {error.strerror or error}.") from error
    if len(content) > _MAX_FILE:
        raise UsageError(f"{path} is larger than {_MAX_FILE} bytes, no board is.")
    try:
        table = tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:  # a number of thousands of digits is no TOMLDecodeError
        raise UsageError(f"{path} is no valid TOML: {error}.") from error
    return parse_board(table, str(path))


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _names(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(v, str) and v for v in value)


def _text(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 200 and value.isprintable()


_CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "id": (lambda v: isinstance(v, str) and bool(BOARD_ID.fullmatch(v)), "a name like 'partitioning-tiny-k2-v1'"),
    "title": (_text, "a line of text"),
    "problem": (_text, "a problem with its version, like 'Knapsack-v0'"),
    "options": (lambda v: isinstance(v, Mapping), "a table of the problem's options"),
    "instances": (_names, "a list of instance or set names"),
    "seeds": (lambda v: type(v) is int and 1 <= v <= 100, "a whole number from 1 to 100"),
    "division": (lambda v: v in DIVISIONS, f"one of {', '.join(DIVISIONS)}"),
    "reference": (_text, "a key of the problem's reference costs, like 'metis'"),
    "penalty": (lambda v: _number(v) and v >= 1, "a number of at least 1"),
    "seconds": (lambda v: _number(v) and v > 0, "a positive number"),
    "floor": (lambda v: _number(v) and 0 < v <= 1, "a ratio above 0, up to 1"),
    "steps": (lambda v: type(v) is int and 0 <= v <= 10**12, "a whole number of judged candidates, 0 for no limit"),
    "freedom": (lambda v: v == "" or _text(v), "one of the problem's freedoms, where it has some"),
}


def parse_board(table: Mapping[str, Any], source: str) -> Board:
    """A board from plain data; `source` is named in errors."""
    for key in table:
        if key not in _CHECKS:
            raise UsageError(f"{source}: {unknown('key of a board', key, _CHECKS)}")
    values = {"options": {}, "floor": FLOOR, "freedom": "", "steps": 0, **table}
    for field in fields(Board):
        check, expected = _CHECKS[field.name]
        if field.name not in values:
            raise UsageError(f"{source}: the key {field.name!r} is missing; expected {expected}.")
        if not check(values[field.name]):
            raise UsageError(f"{source}: {field.name} must be {expected}, got {values[field.name]!r}.")
    if values["steps"] and values["division"] != "policy":
        raise UsageError(
            f"{source}: steps can be counted only where the judge runs the agent; set division = 'policy', or leave "
            "steps out."
        )
    for option, value in values["options"].items():
        if not isinstance(value, str | int | float | bool) or (isinstance(value, float) and not math.isfinite(value)):
            raise UsageError(f"{source}: the option {option} must be text, a number or true/false, got {value!r}.")
    numbers = {key: float(values[key]) for key in ("penalty", "seconds", "floor")}
    return Board(**{**values, **numbers, "instances": tuple(values["instances"])})
