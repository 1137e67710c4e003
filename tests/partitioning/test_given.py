"""Fixed nodes and start partitions: in the judge, the modes and the agents."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest

from sysgym import UsageError, make_problem
from sysgym.core.env import ProblemEnv
from sysgym.core.errors import MissingDependency, Notice
from sysgym.core.observation import first_legal
from sysgym.core.problem import content_hash
from sysgym.core.solutions import write_solution
from sysgym.graphs.csr import Graph
from sysgym.graphs.generate import generate_graph
from sysgym.partitioning.given import STARTS
from sysgym.partitioning.problem import Partitioning
from sysgym_agents.core import Budget, make_agent

Inline = Callable[..., Any]
NODES = 40
FIXED = {3: 0, 17: 1, 18: 2, 25: 0, 39: 2}


@pytest.fixture
def fixed(tmp_path: Path) -> str:
    """A file as hMETIS writes it."""
    path = tmp_path / "fix.txt"
    path.write_text("\n".join(str(FIXED.get(node, -1)) for node in range(NODES)) + "\n")
    return str(path)


def problem_with(fixed: str, **options: Any) -> Partitioning:
    made: Any = make_problem("Partitioning", k=3, eps=0.1, fixed=fixed, **options)
    return made


def kept(part: Any) -> bool:
    return all(part[node] == label for node, label in FIXED.items())


RECIPE = f"delaunay:n={NODES},seed=2"


def test_the_judge_names_fixed_nodes_that_were_moved(fixed: str) -> None:
    problem = problem_with(fixed)
    graph = problem.load(RECIPE)
    part = np.arange(NODES) % 3
    part[list(FIXED)] = list(FIXED.values())
    plain: Any = make_problem("Partitioning", k=3, eps=0.1)
    found, without = problem.judge(graph, {"part": part}), plain.judge(plain.load(RECIPE), {"part": part})
    assert found.metrics["moved"] == 0 and found.feasible and found.cost == without.cost
    part[17], part[39] = 0, 1
    found = problem.judge(graph, {"part": part})
    assert not found.feasible and found.metrics["moved"] == 2 and found.metrics["excess"] == pytest.approx(2 / NODES)
    assert found.violations == ("2 fixed nodes lie in another part, the first is node 17 in 0 instead of 1",)
    assert problem.reference_costs(graph) == {} and content_hash(graph) != content_hash(plain.load(RECIPE))


def test_parts_with_fixed_nodes_keep_their_names(fixed: str) -> None:
    problem: Any = make_problem("Partitioning", k=5, fixed=fixed)
    graph = problem.load(RECIPE)
    part = np.full(NODES, 4)
    part[list(FIXED)] = list(FIXED.values())
    part[0] = 3
    same = problem.canonical(graph, {"part": part})["part"]
    assert kept(same) and same[0] == 3 and same[1] == 4
    swapped = np.select([part == 3, part == 4], [4, 3], part)
    assert (problem.canonical(graph, {"part": swapped})["part"] == same).all()


@pytest.mark.parametrize("seed", range(6))
def test_the_limit_can_be_reached_with_what_is_fixed(seed: int) -> None:
    rng = np.random.default_rng(seed)
    graph = replace(generate_graph(f"delaunay:n=8,seed={seed}"), vwgt=rng.integers(1, 9, 8))
    given = np.where(rng.random(8) < 0.4, rng.integers(0, 2, 8), -1).astype(np.int32)
    given[0] = -1
    problem: Any = make_problem("Partitioning", k=2, eps=0)
    graph = replace(graph, fixed=given)
    options = [(0, 1) if label < 0 else (label,) for label in given.tolist()]
    parts = [np.array(part) for part in itertools.product(*options)]
    feasible = [part for part in parts if problem.judge(graph, {"part": part}).feasible]
    lightest = min(np.bincount(part, graph.vwgt, 2).max() for part in parts)
    assert feasible and problem.limit(graph) >= lightest
    best = min(problem.judge(graph, {"part": part}).cost for part in feasible)
    answer = make_agent("fm").solve(problem, graph, np.random.default_rng(0), Budget())
    verdict = problem.judge(graph, answer)
    assert verdict.feasible and best <= verdict.cost <= 2 * best + 1


STARTED = [{**variant, "start": "grow"} for variant in Partitioning.variants]
STARTED += [
    {"mode": "refine", "moves": moves, "start": start} for moves in ("raw", "candidates") for start in STARTS[1:]
]


@pytest.mark.parametrize("variant", STARTED, ids=str)
def test_no_mode_moves_a_fixed_node(fixed: str, variant: dict[str, Any]) -> None:
    env = ProblemEnv("Partitioning", instance=RECIPE, k=3, eps=0.1, fixed=fixed, **variant)
    _, info = env.reset(seed=1)
    over, steps = False, 0
    while not over:
        mask = env.action_masks()
        action = env.action_space.sample(_as_mask(env, mask)) if steps % 3 else first_legal(env.action_space, mask)
        observation, _, over, _, info = env.step(action)
        steps += 1
        assert env.observation_space.contains(observation)
    assert info["judged"] and info["verdict"]["metrics"]["moved"] == 0
    if variant["mode"] == "assign":
        assert steps == NODES - len(FIXED)


def _as_mask(env: ProblemEnv, mask: Any) -> Any:
    """The mask as gymnasium's `sample` takes it."""
    space: Any = env.action_space
    if not hasattr(space, "nvec"):
        return mask.astype(np.int8)
    ends = np.cumsum(space.nvec)
    return tuple(part.astype(np.int8) for part in np.split(mask, ends[:-1]))


def test_moving_a_fixed_node_is_illegal(fixed: str) -> None:
    env = ProblemEnv("Partitioning", instance=RECIPE, k=3, eps=0.1, fixed=fixed, moves="raw")
    env.reset(seed=0)
    assert not env.action_masks()[17]
    *_, info = env.step(np.array([17, 0]))
    assert info["illegal"]
    with pytest.raises(UsageError, match="must keep its fixed nodes; it moves 3"):
        env.reset(options={"solution": {"part": np.zeros(NODES, np.int32)}})


def test_batches_and_single_environments_agree(fixed: str) -> None:
    import gymnasium as gym

    for moves in ("raw", "candidates"):
        vector: Any = gym.make_vec("sysgym/Partitioning-v0", num_envs=3, vectorization_mode="vector_entry_point",
                                   instances=[RECIPE], k=3, eps=0.1, fixed=fixed, moves=moves)  # fmt: skip
        observation, _ = vector.reset(seed=0)
        problem = problem_with(fixed, moves=moves)
        graph = problem.load(RECIPE)
        state = problem.dynamics.start(graph, np.random.default_rng(0))
        mask = problem.dynamics.mask(graph, state, problem.size(graph))
        if moves == "raw":
            assert (observation["action_mask"] == mask).all() and not mask[list(FIXED)].any()
        if moves == "raw":
            _, rewards, terminated, _, infos = vector.step(np.array([[17, 0], [3, 1], [4, 1]]))
            assert terminated.tolist() == [True, True, False] and infos["illegal"].tolist() == [True, True, False]
            assert (rewards[:2] < rewards[2]).all()
        vector.close()


AGENTS = ("fm", "ldg", "fennel", "spectral", "spectral-fm", "gap", "random", "greedy", "first", "mtkahypar")


@pytest.mark.parametrize("name", AGENTS)
def test_agents_keep_fixed_nodes(fixed: str, name: str) -> None:
    problem = problem_with(fixed)
    graph = problem.load(RECIPE)
    budget = Budget(steps=20) if name == "gap" else Budget()
    try:
        answer = make_agent(name).solve(problem, graph, np.random.default_rng(0), budget)
    except MissingDependency:
        pytest.skip(f"{name} is not installed")
    verdict = problem.judge(graph, answer)
    assert verdict.metrics["moved"] == 0 and kept(answer["part"])
    if name in ("fm", "spectral-fm", "mtkahypar", "gap"):
        assert verdict.feasible


@pytest.mark.parametrize("name", ["metis", "kahip"])
def test_agents_that_cannot_keep_them_say_so(fixed: str, name: str) -> None:
    pytest.importorskip({"metis": "pymetis"}.get(name, name))
    problem = problem_with(fixed)
    with pytest.raises(UsageError, match=f"agent '{name}' cannot keep nodes of .* fixed; choose 'fm' or 'mtkahypar'"):
        make_agent(name).solve(problem, problem.load(RECIPE), np.random.default_rng(0), Budget())


@pytest.mark.parametrize("fixes", [False, True])
@pytest.mark.parametrize("name", ["fm", "mtkahypar"])
def test_a_given_start_is_improved(tmp_path: Path, fixed: str, name: str, fixes: bool) -> None:
    plain: Any = make_problem("Partitioning", k=3, eps=0.1, **({"fixed": fixed} if fixes else {}))
    recipe = RECIPE if fixes else "delaunay:n=600,seed=1"
    graph = plain.load(recipe)
    first = make_agent("spectral").solve(plain, graph, np.random.default_rng(0), Budget())
    start = tmp_path / "start.part"
    write_solution(plain, graph, first, start)
    problem: Any = make_problem("Partitioning", k=3, eps=0.1, start=str(start), fixed=plain.fixed)
    graph = problem.load(recipe)
    assert (graph.start == first["part"]).all() and content_hash(graph) == content_hash(plain.load(recipe))
    env = ProblemEnv(problem, instance=graph)
    env.reset(seed=0)
    before = problem.judge(graph, first)
    assert (env.state.part[: graph.nodes] == first["part"]).all()
    try:
        answer = make_agent(name).solve(problem, graph, np.random.default_rng(0), Budget())
    except MissingDependency:
        pytest.skip(f"{name} is not installed")
    after = problem.judge(graph, answer)
    assert after.feasible and (after.cost < before.cost or not before.feasible)
    with pytest.warns(Notice, match="agent 'ldg' does not improve a given partition"):
        make_agent("ldg").solve(problem, graph, np.random.default_rng(0), Budget())
    with pytest.raises(UsageError, match="mode 'assign' starts from nothing"):
        ProblemEnv("Partitioning", instance=recipe, k=3, mode="assign", start=str(start)).reset(seed=0)


def test_ids_of_the_file_name_fixed_nodes(tmp_path: Path) -> None:
    (tmp_path / "edges.txt").write_text("101 102\n102 104\n101 104\n104 200\n")
    (tmp_path / "fix").write_text("% two of them\n200 1\n101 0  # here\n")
    problem: Any = make_problem("Partitioning", k=2, fixed=str(tmp_path / "fix"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Notice)
        graph = problem.load(str(tmp_path / "edges.txt"))
    assert graph.given.tolist() == [0, -1, -1, 1]
    verdict = problem.judge(graph, {"part": np.array([1, 1, 0, 0])})
    assert "node 101 in 1 instead of 0" in verdict.violations[0]
    adopted = problem.load(nx.relabel_nodes(nx.path_graph(201), {}))
    assert adopted.given[200] == 1 and adopted.given[101] == 0


def test_a_graph_from_elsewhere_must_be_loaded(fixed: str) -> None:
    problem, graph = problem_with(fixed), generate_graph(RECIPE)
    with pytest.raises(UsageError, match=r"was not loaded with the files .* pass it through problem\.load"):
        problem.judge(graph, {"part": np.zeros(NODES, int)})
    assert isinstance(graph, Graph) and kept(problem.load(graph).given)
    assert make_problem("Partitioning").load(graph) is graph


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("0\n-1\n", "holds 2 lines for the 40 nodes of delaunay:n=40,seed=2; give a part or -1 for each, or lines"),
        ("3 0\n4 x\n", "line 2: expected the part of a node or -1 on each line, or 'id part' on each, got '4 x'"),
        ("3 0\n4\n", "line 2: expected the part of a node or -1 on each line"),
        ("3 2\n", "line 1: 2 is no part; expected 0 to 1, or -1 for a free node"),
        ("3 0\n\n99 1\n", "line 3: node 99 is none of delaunay:n=40,seed=2"),
        ("3 0\n3 1\n", "line 2: node 3 is named twice"),
        ("0\n" * 40, "fixes all 40 nodes of delaunay:n=40,seed=2; leave one free at least"),
        ("", "holds 0 lines for the 40 nodes"),
    ],
)
def test_wrong_files_of_fixed_nodes(tmp_path: Path, inline: Inline, text: str, sentence: str) -> None:
    path = tmp_path / "fix.txt"
    path.write_text(text)
    found = inline("solve", RECIPE, "-p", "Partitioning", "-O", "k=2", "-O", f"fixed={path}", code=2)
    assert sentence in found.stderr


def test_wrong_starts(tmp_path: Path, inline: Inline, fixed: str) -> None:
    found = inline("solve", RECIPE, "-p", "Partitioning", "-O", "start=gros", code=2)
    assert "unknown start 'gros'. Did you mean 'grow'?" in found.stderr
    assert "or the file of a partition to start from" in found.stderr
    start = tmp_path / "start.part"
    start.write_text("0\n" * NODES)
    found = inline(
        "solve", RECIPE, "-p", "Partitioning", "-O", "k=3", "-O", f"fixed={fixed}", "-O", f"start={start}", code=2
    )
    assert f"{start} puts node 17 into part 0, where 1 is fixed for it (3 such nodes); change one" in found.stderr
    start.write_text("0\n" * 7)
    assert "7" in inline("solve", RECIPE, "-p", "Partitioning", "-O", f"start={start}", code=2).stderr
