"""The mode `multilevel`: what stands is what is judged, its schedule is the kernels by hand, its budget is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sysgym.core.env import ProblemEnv
from sysgym.core.errors import UsageError
from sysgym.core.registry import make_problem
from sysgym.graphs.csr import from_edges
from sysgym.graphs.multilevel.balance_kernels import csr, rebalance
from sysgym.graphs.multilevel.bisection_kernels import bisect
from sysgym.graphs.multilevel.coarsening_kernels import cluster, contract
from sysgym.graphs.multilevel.refinement_kernels import PASSES, ROUNDS, improve, room_of
from sysgym.partitioning.multilevel import BALANCE, BISECT, CLUSTER, OPERATORS, PLAIN, SEARCH, SPOTS, UP
from sysgym_agents.core import Budget, make_agent
from sysgym_agents.general.random import sample_action

GRAPHS = ("delaunay:n=300,seed=1", "barabasi_albert:n=200,seed=2", "grid:n=144,seed=0", "stochastic_block:n=150,seed=3")


def made(graph: Any = GRAPHS[0], **options: Any) -> ProblemEnv:
    env = ProblemEnv("Partitioning", instance=graph, mode="multilevel", **options)
    env.reset(seed=3)
    return env


def use(env: ProblemEnv, op: int) -> None:
    """Play an operator wherever it is listed."""
    env.step(env.dynamics.listed(env.state).index(op))


def legal(env: ProblemEnv) -> set[int]:
    """The operators that the mask allows."""
    return {op for op, yes in zip(env.dynamics.listed(env.state), env.action_masks(), strict=True) if yes}


def cut_by_hand(graph: Any, part: Any) -> int:
    """Edge by edge."""
    total = 0
    for v in range(graph.nodes):
        for e in range(graph.xadj[v], graph.xadj[v + 1]):
            total += int(graph.adjwgt[e]) * (part[v] != part[graph.adjncy[e]])
    return total // 2


def uneven() -> Any:
    """A ring with chords and uneven weights, so that coarse parts can be too heavy."""
    rng = np.random.default_rng(5)
    u, v = np.arange(120), (np.arange(120) + 1) % 120
    u, v = np.concatenate([u, np.arange(60)]), np.concatenate([v, np.arange(60) + 60])
    return from_edges("uneven", 120, u, v, rng.integers(1, 9, len(u)), rng.integers(1, 30, 120))


@pytest.mark.parametrize("graph", [*GRAPHS, uneven()], ids=str)
@pytest.mark.parametrize(("k", "eps"), [(2, 0.0), (5, 0.03)])
def test_at_every_step_the_answer_is_feasible_and_costs_its_cut(graph: Any, k: int, eps: float) -> None:
    env, rng = made(graph, k=k, eps=eps), np.random.default_rng(0)
    seen: set[int] = set()
    for seed in range(3):
        env.reset(seed=seed)
        over = False
        while not over:
            action = sample_action(rng, env.action_space, env.action_masks())
            seen.add(env.dynamics.listed(env.state)[action])
            _, _, over, _, info = env.step(action)
            state, verdict = env.state, env.verdict()
            assert verdict.feasible and verdict.cost == env.dynamics.cost(env.instance, state)
            level = state.graphs[-1]
            if len(state.part):
                assert state.cut == cut_by_hand(level, state.part)
                assert state.heaviest == np.bincount(state.part, level.vwgt).max()
            assert level.total_node_weight == env.instance.total_node_weight
            assert state.work <= state.budget
        assert info["verdict"]["cost"] == cut_by_hand(env.instance, env.solution()["part"])
    assert seen >= {CLUSTER, PLAIN, BISECT, SEARCH, SPOTS, UP}


def test_the_first_listed_operators_are_the_schedule_by_hand() -> None:
    """The kernels one after the other, until the schedule has been through all levels once."""
    env = made(GRAPHS[0], k=4)
    graph, state = env.instance, env.state
    seed, limit = state.seed, env.problem.limit(graph)
    step = iter(range(1000))

    def chance() -> Any:
        return np.maximum(np.random.SeedSequence([seed, next(step)]).generate_state(1, np.uint64), 1)

    levels, work = [], 0
    most = max(int(min(1.5 * graph.total_node_weight / 120, limit / 2)), 1)
    finest = graph
    while graph.nodes > 120:
        arrays = csr(graph)
        coarse, count, read = cluster(arrays, graph.given, most, max(int(graph.nodes / 2.5), 120), False, chance())
        work += read + graph.nodes + len(graph.adjncy)
        levels.append((graph, coarse))
        graph = type(graph)("coarse", *contract(arrays, coarse, count))
    room = int(room_of(csr(graph), 4, limit))
    found = []
    for _ in range(4):
        part = np.zeros(graph.nodes, np.int32)
        work += bisect(csr(graph), part, 4, room, 0, chance()) + graph.nodes
        over = max(np.bincount(part, graph.vwgt, 4).max() - room, 0)
        found.append((over, cut_by_hand(graph, part), len(found), part))
    part = min(found)[3].copy()
    balanced = 0
    for coarse, level in [(None, graph), *((coarse, level) for level, coarse in reversed(levels))]:
        if coarse is not None:
            part = part[coarse]
            work += level.nodes
            next(step)  # going up draws nothing
        room = int(room_of(csr(level), 4, limit))
        allowed = limit if level is finest else room
        limits, rooms = np.full(4, allowed, np.int64), np.full(4, room, np.int64)
        if np.bincount(part, level.vwgt, 4).max() > allowed:
            former, balanced = part.copy(), balanced + 1
            rebalance(csr(level), part, 4, allowed)
            work += level.nodes + len(level.adjncy) + np.diff(level.xadj)[part != former].sum()
            next(step)
        for passes, rounds in ((PASSES, 0), (0, ROUNDS)):
            work += improve(csr(level), part, limits, rooms, np.zeros(5), passes, rounds, chance())[1] + level.nodes
    for _ in range(next(step)):
        env.step(0)
    assert len(env.state.graphs) == 1 and np.array_equal(env.state.part, part)
    assert env.state.work == work and levels and balanced


def test_first_plays_the_schedule_and_ends_where_cycles_change_nothing() -> None:
    problem = make_problem("Partitioning", mode="multilevel", k=4, work=10)
    graph = problem.load(GRAPHS[0])
    found = make_agent("first").solve(problem, graph, np.random.default_rng(1), Budget())
    env, over = ProblemEnv(problem, instance=graph), False
    env.reset(seed=int(np.random.default_rng(1).integers(2**31)))
    cuts = []
    while not over:
        assert env.dynamics.scheduled(env.state) == env.dynamics.listed(env.state)[0]
        _, _, over, _, _ = env.step(0)
        if len(env.state.graphs) == 1 and len(env.state.part):
            cuts.append(env.state.cut)
    assert np.array_equal(found["part"], env.solution()["part"])
    assert cuts == sorted(cuts, reverse=True) and env.state.work < env.state.budget
    assert env.state.still == 2 and env.state.cut == env.state.before  # the third cycle that changed nothing


@pytest.mark.parametrize("name", ["delaunay:n=125,seed=1", "erdos_renyi:n=150,seed=2"])
def test_the_schedule_may_always_be_played_where_clusters_hardly_shrink_a_graph(name: str) -> None:
    env = ProblemEnv("Partitioning", instances=[name], mode="multilevel", k=4)
    for seed in range(3):
        obs, _ = env.reset(seed=seed)
        ended = False
        while not ended:
            assert obs["action_mask"][0]
            obs, _, ended, _, info = env.step(0)
        assert env.state.work < env.state.budget and info["verdict"]["feasible"]


def test_masks() -> None:
    env = made(GRAPHS[0], k=4)
    assert legal(env) == {CLUSTER, PLAIN, BISECT}
    use(env, CLUSTER)
    assert legal(env) == {CLUSTER, PLAIN, BISECT, UP} and env.state.graph.nodes < 200
    use(env, UP)
    assert legal(env) == {CLUSTER, PLAIN, BISECT} and not len(env.state.clusters)
    use(env, PLAIN)
    use(env, BISECT)
    first = env.state.cut
    assert legal(env) - {BALANCE} == {CLUSTER, PLAIN, BISECT, SEARCH, SPOTS, UP}
    use(env, BISECT)
    assert env.state.cut <= first, "the better bisection is kept"
    while SEARCH in legal(env):
        before = env.state.cut
        use(env, SEARCH)
    assert env.state.cut == before and env.state.tried[SEARCH]
    assert not env.action_masks()[env.dynamics.listed(env.state).index(SEARCH)], "it changed nothing"
    use(env, UP)
    assert legal(env) - {BALANCE} == {CLUSTER, PLAIN, SEARCH, SPOTS}, "a new level has all searches, and is not the end"
    use(env, CLUSTER)
    while CLUSTER in legal(env) or PLAIN in legal(env):
        use(env, CLUSTER if CLUSTER in legal(env) else PLAIN)
    assert env.state.graph.nodes >= 16, "parts and at least 4 k nodes stay apart"


def test_what_does_not_fit_into_the_budget_is_undone() -> None:
    env = made(GRAPHS[0], k=4, work=1)
    over = False
    while not over:
        before, work = env.solution()["part"], env.state.work
        cut = env.dynamics.cost(env.instance, env.state)
        op = env.dynamics.listed(env.state)[0]
        _, _, over, _, info = env.step(0)
    assert op not in (UP,) and env.state.work == work <= env.state.budget
    assert np.array_equal(env.solution()["part"], before) and info["verdict"]["cost"] == cut
    tight, wide = made(GRAPHS[0], k=4, work=1).state.budget, made(GRAPHS[0], k=4, work=3).state.budget
    assert abs(wide - 3 * tight) <= 3
    assert made(GRAPHS[0], k=4, steps=5).problem.steps == 5
    env, over = made(GRAPHS[0], k=4, steps=5), False
    while not over:
        _, _, over, _, _ = env.step(0)
    assert env.state.steps == 5


def test_a_partition_costs_less_to_go_up_than_to_search() -> None:
    """Work of operators that can be counted without the kernels."""
    env = made(GRAPHS[0], k=4)
    graph = env.instance
    use(env, CLUSTER)
    coarse = env.state.graph
    assert graph.nodes + len(graph.adjncy) < env.state.work <= graph.nodes + 2 * len(graph.adjncy)
    use(env, BISECT)
    work = env.state.work
    use(env, SEARCH)
    assert env.state.work - work >= coarse.nodes + 2 * len(coarse.adjncy)  # the table, and the boundary once
    work = env.state.work
    use(env, UP)
    assert env.state.work - work == graph.nodes


def test_forks_are_independent_and_play_the_same() -> None:
    env = made(GRAPHS[1], k=3)
    for _ in range(6):
        env.step(0)
    saved = env.get_state()
    ends = []
    for _ in range(2):
        over = False
        while not over:
            _, _, over, _, _ = env.step(0)
        ends.append((env.solution()["part"].tolist(), env.state.work, env.state.steps))
        env.set_state(saved)
    assert ends[0] == ends[1] and env.state.steps == 6


def test_starts_and_fixed_nodes(tmp_path: Path) -> None:
    file = tmp_path / "my.fix"
    file.write_text("0 1\n7 0\n20 2\n")
    env = made(GRAPHS[2], k=3, fixed=str(file))
    over = False
    while not over:
        _, _, over, _, info = env.step(0)
    assert info["verdict"]["metrics"]["moved"] == 0 and info["verdict"]["feasible"]
    part = env.solution()["part"]
    env.reset(seed=0, options={"solution": {"part": part}})
    assert len(env.state.part) == env.instance.nodes and env.state.cost == cut_by_hand(env.instance, part)
    assert legal(env) == {CLUSTER, PLAIN, SEARCH, SPOTS}
    with pytest.raises(UsageError, match="must keep its fixed nodes"):
        env.reset(options={"solution": {"part": (part + 1) % 3}})


def test_hypergraphs_are_refused() -> None:
    env = ProblemEnv("Partitioning", instance="netlist:n=40,seed=2", mode="multilevel")
    with pytest.raises(UsageError, match="mode 'multilevel' plays graphs"):
        env.reset(seed=0)


def test_observations_say_where_one_is() -> None:
    env = made(GRAPHS[0], k=4)
    observation, _ = env.reset(seed=3)
    names = env.dynamics.global_features
    assert observation["globals"][names.index("divided")] == 0
    assert (
        observation["candidates"][0, len(OPERATORS)] == 1 and observation["candidates"][1:, len(OPERATORS)].sum() == 0
    )
    use(env, CLUSTER)
    use(env, BISECT)
    state = env.state
    rows = env.dynamics.nodes(env.instance, state)
    coarse, level = state.clusters[0], state.graph
    for v in (0, 17, 250):  # by hand, from the level's own arrays
        c = coarse[v]
        around = slice(level.xadj[c], level.xadj[c + 1])
        weight = np.bincount(state.part[level.adjncy[around]], level.adjwgt[around], 4) / level.adjwgt[around].sum()
        own = weight[state.part[c]]
        weight[state.part[c]] = 0
        assert rows[v, 1:3] == pytest.approx([own, weight.max()], abs=1e-6)
    values = dict(zip(names, env.dynamics.globals(env.instance, state), strict=True))
    assert values["divided"] == 1 and values["level"] == pytest.approx(0.1)
    assert values["cut"] == pytest.approx(state.cut / env.instance.total_edge_weight)
    assert values["work"] == pytest.approx(state.work / state.budget)
