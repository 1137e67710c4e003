"""The action modes on hypergraphs: states against a fresh count, costs against the judge, gains against moves."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from hypergraphs import as_nets, weighted

from sysgym.core.errors import UsageError
from sysgym.core.registry import make_problem
from sysgym.graphs.generate import generate_graph
from sysgym.graphs.netlists import generate_hypergraph
from sysgym.partitioning.problem import Partitioning
from sysgym_agents.general.random import sample_action

VARIANTS = [variant for variant in Partitioning.variants if variant["mode"] != "multilevel"]  # which refuses them
KEPT = ("conn", "counts", "placed", "near", "load")


@pytest.mark.parametrize("objective", ["cut", "km1"])
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_states_are_what_a_fresh_count_gives_at_every_step(variant, objective) -> None:
    for seed in range(3):
        graph = weighted(seed) if seed else generate_hypergraph("netlist:n=60,seed=1")
        env = gym.make("sysgym/Partitioning-v0", instance=graph, k=3, objective=objective, eps=0.1, **variant)
        mode = env.unwrapped.problem.dynamics.nets
        rng, over = np.random.default_rng(seed), False
        observation, _ = env.reset(seed=seed)
        while not over:
            action = sample_action(rng, env.action_space, observation["action_mask"])
            observation, _, over, _, _ = env.step(action)
            state = env.unwrapped.state
            fresh = mode.fresh(graph, state.part.copy(), 1)
            assert all(np.array_equal(getattr(fresh, name), getattr(state, name)) for name in KEPT)
            assert fresh.f[0] == state.f[0]
        problem = env.unwrapped.problem
        assert problem.judge(graph, mode.solution(graph, state)).cost == mode.cost(graph, state)


@pytest.mark.parametrize("objective", ["cut", "km1"])
@pytest.mark.parametrize("eps", [0.0, 0.3])
def test_listed_gains_are_what_the_moves_and_swaps_save(objective, eps) -> None:
    swaps = moves = 0
    for seed in range(6):
        graph = generate_hypergraph(f"netlist:n=48,pins=4,seed={seed}")
        problem = make_problem("Partitioning", k=3, eps=eps, objective=objective)
        mode = problem.dynamics.nets
        state = mode.start(graph, np.random.default_rng(seed))
        for _ in range(10):
            listed = np.flatnonzero(state.cand_node >= 0)
            for i in listed:
                after = mode.copy(state)
                if after.s[0] == 0:
                    continue
                mode.step(graph, after, int(i))
                degree = graph.degree[state.cand_node[i]]
                if state.cand_other[i] >= 0:
                    degree = degree + graph.degree[state.cand_other[i]]
                gain = state.cand_x[i, 0] * degree
                assert gain == pytest.approx(state.f[0] - after.f[0], abs=1e-3)
                moves, swaps = moves + (state.cand_other[i] < 0), swaps + (state.cand_other[i] >= 0)
            if not len(listed):
                break
            state = mode.step(graph, state, int(listed[0]))
    assert swaps > 20 if eps == 0 else moves > 100


def test_fixed_nodes_keep_their_part_in_every_mode(tmp_path) -> None:
    graph = "netlist:n=40,seed=2"
    file = tmp_path / "my.fix"
    file.write_text("0 1\n7 0\n20 1\n")
    for variant in VARIANTS:
        env = gym.make("sysgym/Partitioning-v0", instance=graph, fixed=str(file), eps=0.2, **variant)
        observation, _ = env.reset(seed=0)
        rng, over, info = np.random.default_rng(0), False, {}
        while not over:
            observation, _, over, _, info = env.step(sample_action(rng, env.action_space, observation["action_mask"]))
        assert info["verdict"]["metrics"]["moved"] == 0


def test_observations_tell_nets_from_nodes() -> None:
    graph = generate_hypergraph("netlist:n=40,seed=2")
    problem = make_problem("Partitioning", pe=2)
    static = problem.static(graph)
    assert static["nodes"].shape == (40 + graph.edges, 4)
    assert (static["nodes"][:40, 0] >= 0).all() and (static["nodes"][40:, 0] == -1).all()
    source, target = static["edge_index"]
    assert len(source) == 2 * len(graph.pins) and ((source < 40) != (target < 40)).all()
    state = problem.dynamics.start(graph, np.random.default_rng(0))
    rows = problem.dynamics.nodes(graph, state)
    cut = sum(len({int(state.part[v]) for v in graph.pins[a:b]}) > 1
              for a, b in zip(graph.net_ptr, graph.net_ptr[1:], strict=False))  # fmt: skip
    assert rows.shape == (40 + graph.edges, 5) and rows[40:, 4].sum() == cut


def test_one_environment_may_play_graphs_and_hypergraphs_but_a_vector_of_them_may_not() -> None:
    both = [generate_hypergraph("netlist:n=40,seed=2"), generate_graph("delaunay:n=40,seed=2")]
    env = gym.make("sysgym/Partitioning-v0", instances=both)
    for instance in both:
        observation, _ = env.reset(seed=0, options={"instance": instance})
        assert observation in env.observation_space
    with pytest.raises(UsageError, match="plays graphs or hypergraphs"):
        vector = gym.make_vec(
            "sysgym/Partitioning-v0", num_envs=8, vectorization_mode="vector_entry_point", instances=both
        )
        vector.reset(seed=0)


def test_a_graph_and_its_edges_as_nets_are_the_same_task() -> None:
    """Moves of `refine`: the same costs, whichever kernels play them."""
    graph = generate_graph("delaunay:n=40,seed=3")
    nets = as_nets(graph)
    problem = make_problem("Partitioning", k=3, moves="raw", start="random", steps=200)
    modes, rng = problem.dynamics, np.random.default_rng(0)
    mine, other = (modes.start(i, np.random.default_rng(4)) for i in (graph, nets))
    for _ in range(200):
        action = np.array([rng.integers(40), rng.integers(3)])
        mine, other = modes.step(graph, mine, action), modes.step(nets, other, action)
        assert np.array_equal(mine.conn, other.conn) and mine.f.tolist() == other.f.tolist()
