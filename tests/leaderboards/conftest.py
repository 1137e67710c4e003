"""A board of tiny graphs, a good submission to it, and a toy problem whose judge can misbehave."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from zips import members_of, zip_of

from sysgym_leaderboards import Answer, Board, Store, load_board, pack

TOY = '''
import os, sys, time
from dataclasses import dataclass
import numpy as np
import sysgym
from sysgym.core.solutions import check_arrays

@dataclass(frozen=True)
class Instance:
    name: str
    value: np.ndarray  # (4,) int64

class Toy:
    """Choose one of four values. cost = the value."""
    name, version, recommended_agent, default_instances = "Toy", 0, "none", "a"
    variants = ({},)
    generate = size = static = describe = lambda *_: None  # it is only judged
    dynamics = reads = adopt = parse_solution = format_solution = named_solution = legend = None
    frames = timeline = canonical = beside = None
    restrict = None
    solution_endings = lambda self, instance: ()
    choice_names, secondary, sealed, precision, freedoms, published, tradeoff = (), False, False, 0.0, {}, (), ()
    def __init__(self, *, behave="well"): self.behave = behave
    def instance_sets(self): return {}
    def load(self, name): return Instance(name, np.array([4, 2, 0, -3]) + len(name))
    def solution_arrays(self, instance): return {"choice": sysgym.ArraySpec((1,), "int", 0, 3, "the choice")}
    def reference_costs(self, instance): return {"best": float(instance.value.min())}
    def render(self, instance, solution): return np.full((4, 6, 3), 200, np.uint8)
    def judge(self, instance, solution):
        choice = int(check_arrays(self.solution_arrays(instance), solution)["choice"][0])
        if self.behave == "exit": os._exit(0)
        if self.behave == "crash": raise ZeroDivisionError("a slip in the judge")
        if self.behave == "spin":
            while True: pass
        if self.behave.startswith("sleep"):
            if ":" in self.behave: open(self.behave.split(":")[1], "w").close()
            time.sleep(600)
        if self.behave == "memory": np.ones(2**31)
        if self.behave.startswith("disk"): open(self.behave.split(":")[1], "wb").write(bytes(100 * 2**20))
        if self.behave == "kill": os.kill(os.getpid(), 9)
        if self.behave == "print": print('{"accepted": true}'); os.write(1, b"nonsense")
        cost = float("nan") if self.behave == "nan" else float(instance.value[choice])
        if self.behave == "reject": return sysgym.Verdict(False, float("inf"), {}, ("never good",))
        return sysgym.Verdict(True, cost, {"choice": float(choice), "odd": float("inf")})

sysgym.register_problem("LeaderboardToy-v0", Toy)
'''


@pytest.fixture(scope="session")
def board() -> Board:
    return load_board("partitioning-tiny-k2-v1")


@pytest.fixture(scope="session")
def halves(board: Board) -> dict[tuple[str, int], Answer]:
    """The first half of the nodes against the second: feasible on every tiny graph, with true claims."""
    problem, found = board.make_problem(), {}
    for name, seed in board.pairs():
        graph = problem.load(name)
        part = (np.arange(graph.nodes) >= graph.nodes // 2).astype(np.int64)
        found[name, seed] = Answer({"part": part}, problem.judge(graph, {"part": part}).cost, 0.5, 1)
    return found


@pytest.fixture(scope="session")
def packed(board: Board, halves: Any, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    manifest = {"agent": "halves", "authors": ["A. Tester"], "created": "2026-01-31T12:00:00Z", "threads": 1}
    return pack(tmp_path_factory.mktemp("packed") / "halves.zip", board, manifest, halves).read_bytes()


@pytest.fixture
def edited(packed: bytes) -> Callable[..., bytes]:
    """The good submission with its manifest changed by a function and members replaced, added or removed (None)."""

    def edit(change: Callable[[dict[str, Any]], Any] | None = None, **options: Any) -> bytes:
        members = members_of(packed)
        manifest = json.loads(members["submission.json"])
        if change:
            change(manifest)
        members["submission.json"] = json.dumps(manifest).encode()
        for name, data in options.get("members", {}).items():
            members[name] = data
        return zip_of({name: data for name, data in members.items() if data is not None})

    return edit


@pytest.fixture(scope="session")
def toy_plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PYTHONPATH with the toy problem as an installed package: its entry point is its registration."""
    folder = tmp_path_factory.mktemp("plugin")
    (folder / "leaderboard_toy.py").write_text(TOY.replace("sysgym.register_problem", "# "))
    (folder / "leaderboard_toy-1.0.dist-info").mkdir()
    (folder / "leaderboard_toy-1.0.dist-info" / "METADATA").write_text("Name: leaderboard-toy\nVersion: 1.0\n")
    (folder / "leaderboard_toy-1.0.dist-info" / "entry_points.txt").write_text(
        "[sysgym.problems]\nLeaderboardToy-v0 = leaderboard_toy:Toy\n"
    )
    return folder


@pytest.fixture(scope="session")
def toy_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A module that registers the toy problem; it is imported here too, as `pack` needs it."""
    path = tmp_path_factory.mktemp("toy") / "leaderboard_toy.py"
    path.write_text(TOY)
    spec = spec_from_file_location("leaderboard_toy", path)
    assert spec and spec.loader
    module: ModuleType = module_from_spec(spec)
    sys.modules["leaderboard_toy"] = module
    spec.loader.exec_module(module)
    return path


@pytest.fixture
def toy_board(toy_file: Path) -> Callable[..., Board]:
    def make(**changes: Any) -> Board:
        behave = changes.pop("behave", "well")
        fields: dict[str, Any] = {
            "id": "toy-v1", "title": "Toy", "problem": "LeaderboardToy-v0", "options": {"behave": behave},
            "instances": ("a", "bb"), "seeds": 2, "division": "solutions", "reference": "best", "penalty": 2.0,
            "seconds": 1.0,
        }  # fmt: skip
        return Board(**{**fields, **changes})

    return make


@pytest.fixture
def toy_pack(tmp_path: Path, toy_board: Callable[..., Board]) -> Callable[..., Path]:
    """Pack the same choice for every instance and seed."""

    def make(board: Board, choice: int = 0, agent: str = "chooser", **claims: Any) -> Path:
        answers = {pair: Answer({"choice": np.array([choice])}, **claims) for pair in board.pairs()}
        manifest = {"agent": agent, "created": "2026-01-31T12:00:00Z"}
        return pack(tmp_path / f"{agent}-{choice}.zip", board, manifest, answers)

    return make


@pytest.fixture
def submit(tmp_path: Path, board: Board) -> Callable[..., Any]:
    """Submit bytes, or answers under a name, to the store `s.sqlite`."""

    def do(what: bytes | Mapping[tuple[str, int], Answer], agent: str = "someone", **about: Any) -> Any:
        path = tmp_path / f"{agent}.zip"
        if isinstance(what, bytes):
            path.write_bytes(what)
        else:
            pack(path, board, {"agent": agent, "created": "2026-01-31T12:00:00Z", **about}, what)
        return Store(tmp_path / "s.sqlite").submit(path, board)

    return do


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "s.sqlite")


@pytest.fixture(scope="session")
def other_answers(board: Board, halves: Any) -> Callable[[int], dict[tuple[str, int], Answer]]:
    """Other feasible answers to every instance: the halves, moved along by some nodes."""

    def make(by: int) -> dict[tuple[str, int], Answer]:
        problem, found = board.make_problem(), {}
        for name, seed in halves:
            part = np.roll(halves[name, seed].arrays["part"], by)
            found[name, seed] = Answer({"part": part}, problem.judge(problem.load(name), {"part": part}).cost)
        return found

    return make
