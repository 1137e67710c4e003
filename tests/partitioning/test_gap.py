"""GAP: what its network does not depend on, its contract, and what its training is worth."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from sysgym.core.errors import UsageError
from sysgym.graphs.csr import Graph, from_edges
from sysgym.graphs.generate import generate_graph
from sysgym.partitioning.problem import Partitioning
from sysgym_agents.core import Budget, Learner, make_agent
from sysgym_agents.partitioning.anchors import anchor_distances, closeness, embedding, evened
from sysgym_agents.partitioning.gap import GAP
from sysgym_agents.partitioning.gap_model import GapNet, level_logits, make_example, slots

QUICK = {"hidden": 16, "iterations": 120, "ks": "2,4", "coarsest": 200}
BEATS_RANDOM, BEATS_BREADTH_FIRST = 0.25, 0.8  # largest shares of their cuts that count as having learnt
SMALL = [generate_graph("delaunay:n=100,seed=1")]
TRANSFER_BAR, LOOSEST = 1.5, 0.2  # cut over METIS' (geometric mean) and imbalance, before repair


def tiny() -> Graph:
    """Six weighted nodes; node 5 is isolated."""
    return from_edges("tiny", 6, [0, 0, 1, 2, 3], [1, 2, 2, 3, 4], [3, 1, 2, 5, 4], [1, 2, 3, 1, 2, 4])


def test_levelling_evens_out_expected_and_rounded_weights() -> None:
    rng = np.random.default_rng(0)
    logits = torch.tensor(rng.standard_normal((500, 4)) * 2 + np.array([3, 0, 0, -2]), dtype=torch.float32)
    weight = torch.tensor(rng.integers(1, 5, 500), dtype=torch.float32)
    share = weight.sum() / 4
    expected = weight @ torch.softmax(level_logits(logits, weight, 30), dim=1)
    assert float((expected / share - 1).abs().max()) < 0.01
    rounded = np.bincount(evened(logits.numpy(), weight.numpy(), 40), weight.numpy(), 4)
    assert rounded.max() / float(share) < 1.05
    assert np.array_equal(evened(logits.numpy(), weight.numpy(), 0), logits.argmax(dim=1).numpy())


@pytest.fixture(scope="module")
def trained() -> GAP:
    torch.set_num_threads(1)
    return quickly_trained()


def quickly_trained() -> GAP:
    agent = GAP(**QUICK)
    graphs = [generate_graph(f"delaunay:n={n},seed={n}") for n in (300, 400, 500)]
    agent.fit(Partitioning(k=4), graphs, np.random.default_rng(7), Budget())
    return agent


def breadth_first(graph: Graph, parts: int) -> np.ndarray:
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import breadth_first_order

    matrix = csr_matrix((graph.adjwgt, graph.adjncy, graph.xadj), (graph.nodes, graph.nodes))
    part = np.zeros(graph.nodes, np.int64)
    part[breadth_first_order(matrix, 0, return_predecessors=False)] = np.arange(graph.nodes) * parts // graph.nodes
    return part


def test_training_on_small_graphs_pays_on_larger_unseen_ones(trained: GAP) -> None:
    problem = Partitioning(k=4)
    for name in ("delaunay:n=1500,seed=91", "delaunay:n=3000,seed=92"):
        graph = generate_graph(name)
        mine = problem.judge(graph, {"part": trained.predict(problem, graph)})
        scattered = np.random.default_rng(0).permutation(graph.nodes) % 4
        assert mine.metrics["imbalance"] <= LOOSEST
        assert mine.cost <= BEATS_RANDOM * problem.judge(graph, {"part": scattered}).cost
        assert mine.cost <= BEATS_BREADTH_FIRST * problem.judge(graph, {"part": breadth_first(graph, 4)}).cost


def test_the_same_seed_gives_the_same_weights(trained: GAP) -> None:
    again = quickly_trained()
    state = again.net.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in trained.net.state_dict().items())


def test_weights_survive_saving(trained: GAP, tmp_path) -> None:
    graph, problem = generate_graph("delaunay:n=700,seed=93"), Partitioning(k=4)
    trained.save(tmp_path / "first")
    loaded = GAP()
    loaded.load(tmp_path / "first")
    loaded.save(tmp_path / "second")
    assert np.array_equal(trained.predict(problem, graph), loaded.predict(problem, graph))
    for name in ("agent.json", "model.safetensors"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    assert len(list((tmp_path / "first").iterdir())) == 2


def answered(net: GapNet, graph: Graph, points: np.ndarray, k: int = 3) -> np.ndarray:
    """Logits (N, k) of a pass with anchors from a fixed seed."""
    example = make_example(graph, points)
    with torch.no_grad():
        return net(slots(example, points.shape[1], k, np.random.default_rng(1), 8), example)[-1].numpy()


def test_signs_of_the_eigenvectors_do_not_matter(trained: GAP) -> None:
    """Bit by bit; and rotations of them neither, but for rounding."""
    graph = generate_graph("delaunay:n=300,seed=94")
    points, rng = embedding(graph, 4), np.random.default_rng(0)
    plain = answered(trained.net, graph, points)
    for _ in range(4):
        assert np.array_equal(plain, answered(trained.net, graph, points * rng.choice([-1.0, 1.0], 4)))
    turn = np.linalg.qr(rng.standard_normal((4, 4)))[0]
    np.testing.assert_allclose(plain, answered(trained.net, graph, points @ turn), atol=1e-3)


def test_parts_and_nodes_have_no_order(trained: GAP) -> None:
    """Anchors in another order permute the logits' columns; nodes with other numbers permute their rows."""
    graph, rng = generate_graph("geometric:n=120,seed=3"), np.random.default_rng(0)
    points = embedding(graph, 4)
    example = make_example(graph, points)
    seen = slots(example, 4, 5, np.random.default_rng(1), 8)
    columns, rows = rng.permutation(5), rng.permutation(graph.nodes)
    number = np.argsort(rows)  # new number of each node
    once = graph.sources < graph.adjncy
    other = from_edges("other", graph.nodes, number[graph.sources[once]], number[graph.adjncy[once]])
    with torch.no_grad():
        plain = trained.net(seen, example)[-1]
        torch.testing.assert_close(trained.net(seen[:, columns], example)[-1], plain[:, columns], atol=1e-4, rtol=1e-4)
        moved = trained.net(seen[rows], make_example(other, points[rows]))[-1]
    torch.testing.assert_close(moved, plain[rows], atol=1e-4, rtol=1e-4)


def test_anchors_find_clusters_by_weight() -> None:
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(c, 0.05, (40, 2)) for c in ((0, 0), (3, 0), (0, 3))])
    distances = anchor_distances(points, np.ones(120), 3, rng)
    label = distances.argmin(axis=1)
    assert [len(set(label[i : i + 40])) for i in (0, 40, 80)] == [1, 1, 1] and len(set(label)) == 3
    anchors = np.stack([points[label == p].mean(axis=0) for p in range(3)])
    np.testing.assert_allclose(distances, ((points[:, None] - anchors) ** 2).sum(axis=2), atol=1e-9)
    near = closeness(distances)
    assert np.array_equal(near.argmax(axis=1), label) and near.min() >= -1 and near.max() <= 1
    heavy = anchor_distances(points, np.where(np.arange(120) < 1, 1e6, 1.0), 1, rng)  # one node outweighs all
    assert heavy[0, 0] < 1e-3


def test_small_components_take_no_eigenvectors() -> None:
    mesh = generate_graph("delaunay:n=200,seed=5")
    once = mesh.sources < mesh.adjncy
    u, v = np.append(mesh.sources[once], [200, 201]), np.append(mesh.adjncy[once], [201, 202])
    whole = from_edges("with a path", 204, u, v)  # a path of three nodes, and one alone
    points = embedding(whole, 4)
    assert not points[200:].any()
    np.testing.assert_allclose(points[:200], embedding(mesh, 4), atol=1e-8)
    halves = from_edges("halves", 6, [0, 1, 3, 4], [1, 2, 4, 5])  # neither is the main one by more than half
    assert embedding(halves, 2)[3:].any()


@pytest.mark.parametrize("k", [2, 3, 7, 40])
def test_one_network_splits_into_any_number_of_parts(trained: GAP, k: int) -> None:
    problem, graph = Partitioning(k=k), generate_graph("delaunay:n=1000,seed=96")
    verdict = problem.judge(graph, trained.solve(problem, graph, np.random.default_rng(0), Budget()))
    scattered = problem.judge(graph, {"part": np.random.default_rng(0).permutation(graph.nodes) % k})
    assert verdict.feasible and verdict.cost < 0.6 * scattered.cost


@pytest.mark.parametrize("agent", ["gap", "spectral-fm"])
def test_a_limit_of_time_is_used_and_kept(agent: str, trained: GAP, monkeypatch) -> None:
    """By a clock that ticks once a look: guesses on new clusters go on, the best is never worse than the first."""
    from sysgym_agents.partitioning import coarse

    problem, graph = Partitioning(k=4), generate_graph("delaunay:n=900,seed=97")
    solver = trained if agent == "gap" else make_agent(agent)
    made, real = [], coarse.once
    monkeypatch.setattr(coarse, "once", lambda *given: made.append(real(*given)) or made[-1])
    monkeypatch.setattr(coarse.Clock, "share", property(lambda clock: min(len(made) / 3, 1.0)))
    verdict = problem.judge(graph, solver.solve(problem, graph, np.random.default_rng(0), Budget(cpu_seconds=1.0)))
    assert len(made) == 3 and verdict.feasible
    assert verdict.cost == min(problem.judge(graph, {"part": part}).cost for part in made)
    monkeypatch.setattr(coarse.Clock, "share", property(lambda clock: 1.0))  # nothing is left from the start
    made.clear()
    hurried = problem.judge(graph, solver.solve(problem, graph, np.random.default_rng(0), Budget(cpu_seconds=0.0)))
    assert len(made) == 1 and hurried.feasible


def test_restarts_are_made_without_a_limit_too(monkeypatch) -> None:
    from sysgym_agents.partitioning import coarse

    problem, graph = Partitioning(k=4), generate_graph("delaunay:n=900,seed=97")
    costs = [
        problem.judge(graph, make_agent("spectral-fm", **how).solve(problem, graph, np.random.default_rng(0), Budget()))
        for how in ({}, {"restarts": 4})
    ]
    assert costs[1].cost <= costs[0].cost
    levels = coarse.coarsened(graph, 100, 10**9, np.random.default_rng(0))
    assert levels.graphs[-1].nodes < 150 and len(levels.clusters) == len(levels.graphs) - 1
    part = np.arange(levels.graphs[-1].nodes) % 4
    for clusters in reversed(levels.clusters):
        part = part[clusters]
    coarse_cut = problem.judge(levels.graphs[-1], {"part": np.arange(levels.graphs[-1].nodes) % 4}).cost
    assert problem.judge(graph, {"part": part}).cost == coarse_cut  # a coarse cut is the cut of what it stands for


def test_solving_repairs_to_the_limit(trained: GAP) -> None:
    problem, graph = Partitioning(k=4), generate_graph("delaunay:n=1000,seed=95")
    solution = trained.solve(problem, graph, np.random.default_rng(0), Budget())
    verdict = problem.judge(graph, solution)
    assert verdict.feasible
    assert verdict.cost <= problem.judge(graph, {"part": trained.predict(problem, graph)}).cost * 1.1


@pytest.mark.parametrize(
    "graph", [tiny(), from_edges("alone", 1, [], []), generate_graph("grid:n=30")], ids=lambda g: g.name
)
def test_without_weights_it_learns_the_instance_itself(graph: Graph) -> None:
    agent, problem = GAP(solve_iterations=60, hidden=16), Partitioning(k=2)
    parts = [agent.solve(problem, graph, np.random.default_rng(3), Budget())["part"] for _ in range(2)]
    assert np.array_equal(*parts)
    assert agent.net is None
    problem.judge(graph, {"part": parts[0]})


def test_budget_and_callback_stop_training() -> None:
    graphs, heard = [generate_graph("delaunay:n=100,seed=1")], []
    agent = GAP(hidden=8)

    def listen(metrics: dict[str, float]) -> bool:
        heard.append(metrics["steps"])
        return len(heard) < 3

    agent.fit(Partitioning(k=3), graphs, np.random.default_rng(0), Budget(), listen)
    assert heard == [20, 40, 60]
    heard.clear()
    agent.fit(Partitioning(k=3), graphs, np.random.default_rng(0), Budget(steps=50), listen)
    assert heard == [20, 40, 50]  # the last step always


def fitted(steps: int, **hyper) -> tuple[GAP, list[float]]:
    """A small agent for k=3 after so many steps, and the steps that its callback heard of."""
    agent, heard = GAP(hidden=8, **hyper), []
    agent.fit(
        Partitioning(k=3), SMALL, np.random.default_rng(0), Budget(steps=steps), lambda m: not heard.append(m["steps"])
    )
    return agent, heard


@pytest.mark.parametrize(("steps", "hyper"), [(7, {}), (45, {}), (45, {"iterations": 10}), (41, {"trials": 30})])
def test_a_budget_of_steps_is_the_number_of_steps(steps: int, hyper: dict[str, int]) -> None:
    assert fitted(steps, **hyper)[1] == [*range(20, steps, 20), steps]


def test_the_iterations_end_with_a_callback_too() -> None:
    heard = []
    agent = GAP(hidden=8, iterations=33)
    agent.fit(Partitioning(k=3), SMALL, np.random.default_rng(0), Budget(), lambda m: not heard.append(m["steps"]))
    assert heard == [20, 33]


def test_fitting_goes_on_from_weights(tmp_path, monkeypatch) -> None:
    agent, _ = fitted(60)
    agent.save(tmp_path)
    loaded = GAP()
    loaded.load(tmp_path)
    before = {name: tensor.clone() for name, tensor in loaded.net.state_dict().items()}
    monkeypatch.setattr("sysgym_agents.partitioning.gap_train._fresh", lambda *_: pytest.fail("a new initialisation"))
    loaded.fit(Partitioning(k=3), SMALL, np.random.default_rng(1), Budget(steps=1))
    moved = [(tensor - before[name]).abs().max() for name, tensor in loaded.net.state_dict().items()]
    assert 0 < max(moved) <= 1.01 * loaded.hyper["learning_rate"]  # one step of Adam
    loaded.fit(Partitioning(k=5), SMALL, np.random.default_rng(1), Budget(steps=1))  # for other numbers too


@pytest.fixture(scope="module")
def whole() -> GAP:
    """Trained for 200 steps without a stop."""
    agent, graphs = GAP(hidden=8, trials=3), [generate_graph(f"delaunay:n=60,seed={s}") for s in range(2)]
    agent.fit(Partitioning(k=2), graphs, np.random.default_rng(3), Budget(steps=200))
    return agent


@pytest.mark.parametrize("stop", [20, 40, 120])
def test_training_goes_on_exactly_where_it_was_saved(stop: int, whole: GAP, tmp_path) -> None:
    """Within the second trial, within the last, and in the main part; the new agent gets nothing but the folder."""
    problem, graphs = Partitioning(k=2), [generate_graph(f"delaunay:n=60,seed={s}") for s in range(2)]
    first = GAP(hidden=8, trials=3)
    assert not first.save_training(tmp_path)

    def save(row: dict[str, float]) -> bool:
        if row["steps"] == stop:
            first.save(tmp_path)
            first.save_training(tmp_path)
        return row["steps"] < stop

    first.fit(problem, graphs, np.random.default_rng(3), Budget(steps=200), save)
    second = GAP()
    second.load(tmp_path)
    assert not second.load_training(tmp_path, Budget(steps=1000))  # another schedule
    assert second.load_training(tmp_path, Budget(steps=200 - stop))
    steps = []
    second.fit(
        problem, graphs, np.random.default_rng(9), Budget(steps=200 - stop), lambda r: not steps.append(r["steps"])
    )
    assert steps[-1] == 200 - stop
    weights = [agent.net.state_dict() for agent in (whole, second)]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    text = (tmp_path / "training.json").read_text()
    (tmp_path / "training.json").write_text('{"iterations": "many"}')
    with pytest.raises(UsageError, match="the state of another training"):
        second.load_training(tmp_path, Budget())
    (tmp_path / "training.json").write_text(text)
    wider = GAP(hidden=16, trials=3)
    wider.load_training(tmp_path, Budget(steps=200 - stop))
    with pytest.raises(UsageError, match="does not fit this agent and problem"):
        wider.fit(problem, graphs, np.random.default_rng(9), Budget(steps=200 - stop))


def test_the_callback_can_save_what_there_is(tmp_path) -> None:
    agent = GAP(hidden=8)
    agent.fit(
        Partitioning(k=3), SMALL, np.random.default_rng(0), Budget(steps=5), lambda _: agent.save(tmp_path) or True
    )
    again = GAP()
    again.load(tmp_path)
    assert again.weights().keys() == agent.weights().keys()


@pytest.mark.parametrize(
    ("file", "content", "sentence"),
    [
        ("model.safetensors", lambda data: data[:-7], "holds no weights"),
        ("model.safetensors", lambda data: data[:5], "holds no weights"),
        ("model.safetensors", lambda data: b"", "holds no weights"),
        ("model.safetensors", lambda data: b"\xff" * 100, "holds no weights"),
        ("model.safetensors", lambda data: data[:-4] + b"\x00\x00\xc0\x7f", "not finite"),
        ("agent.json", lambda data: b"[1, 2]", "must be an object"),
        ("agent.json", lambda data: b"{}", "must be an object"),
        ("agent.json", lambda data: b'{"hyper": [], "parts": 3}', "must be an object"),
        ("agent.json", lambda data: b'{"hyper": {}, "parts": "3"}', "must be an object"),
        ("agent.json", lambda data: data[:20], "no valid JSON"),
        ("agent.json", lambda data: data.replace(b"0.005", b"NaN"), "NaN is not a JSON number"),
        ("agent.json", lambda data: data.replace(b'"hidden"', b'"hiden"'), "Did you mean 'hidden'"),
        ("agent.json", lambda data: data.replace(b'"hidden": 8', b'"hidden": 9'), "does not fit agent.json"),
    ],
)
def test_damaged_weights_are_refused(file: str, content, sentence: str, tmp_path) -> None:
    fitted(2)[0].save(tmp_path)
    damaged = content((tmp_path / file).read_bytes())
    assert damaged != (tmp_path / file).read_bytes()
    (tmp_path / file).write_bytes(damaged)
    agent = GAP()
    with pytest.raises(UsageError, match=sentence):
        agent.load(tmp_path)
    assert agent.net is None


@pytest.mark.parametrize(
    "hyper",
    [
        {"learning_rate": float("nan")}, {"learning_rate": 0}, {"learning_rate": float("inf")}, {"balance": -1.0},
        {"balance": float("nan")}, {"balance": "2"}, {"learning_rate": True}, {"layers": -1}, {"hidden": 2.5},
        {"hidden": 10**9}, {"trials": 0}, {"repair": "no"}, {"ks": "2,1"}, {"ks": "two"}, {"ks": "2000"},
        {"coarsest": -1}, {"passes": 0},
    ],
)  # fmt: skip
def test_hyper_parameters_out_of_range(hyper: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=f"{next(iter(hyper))} of agent 'gap' must be"):
        GAP(**hyper)


def test_a_graph_without_nodes_is_refused(trained: GAP) -> None:
    none = Graph("none", *(np.zeros(size, np.int64) for size in (1, 0, 0, 0)))
    for act in (
        lambda: trained.predict(Partitioning(k=4), none),
        lambda: GAP().solve(Partitioning(k=2), none, np.random.default_rng(0), Budget()),
        lambda: GAP().fit(Partitioning(k=2), [none], np.random.default_rng(0), Budget(steps=1)),
    ):
        with pytest.raises(UsageError, match="none has no nodes"):
            act()


def test_what_cannot_be_done_is_said(trained: GAP, tmp_path) -> None:
    graph = generate_graph("delaunay:n=100,seed=1")
    with pytest.raises(UsageError, match="call fit or load first"):
        GAP().predict(Partitioning(k=2), graph)
    with pytest.raises(UsageError, match="train it first"):
        GAP().save(tmp_path)
    with pytest.raises(UsageError, match="holds no weights"):
        GAP().load(tmp_path)
    with pytest.raises(UsageError, match="hidden"):
        GAP(hidden=0)


def test_weights_of_one_number_of_parts_are_refused(trained: GAP, tmp_path) -> None:
    """Those of before 2026-11-28."""
    trained.save(tmp_path)
    file = tmp_path / "agent.json"
    file.write_text(file.read_text().replace('"hyper": {', '"parts": 4,\n "hyper": {"flips": true,'))
    agent = GAP()
    with pytest.raises(UsageError, match="the former agent 'gap', whose network splits into 4 parts alone; train it"):
        agent.load(tmp_path)
    assert agent.net is None


def test_it_is_a_learner_whose_listing_is_cheap() -> None:
    assert isinstance(make_agent("gap"), Learner)
    code = "import sys, sysgym_agents.partitioning.gap; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
def test_transfer_to_meshes_ten_times_as_large() -> None:
    pymetis = pytest.importorskip("pymetis")
    sizes = (400, 500, 600, 700, 800, 900, 1000, 1200)
    graphs = [generate_graph(f"delaunay:n={n},seed={seed}") for seed, n in enumerate(sizes, 101)]
    problem, agent = Partitioning(k=4), GAP()
    agent.fit(problem, graphs, np.random.default_rng(0), Budget())
    ratios = []
    for name in (
        "delaunay:n=4000,seed=21",
        "delaunay:n=5500,seed=22",
        "delaunay:n=8000,seed=23",
        "delaunay:n=10000,seed=24",
    ):
        graph = generate_graph(name)
        options = pymetis.Options(ufactor=30, seed=1)
        adjacency = pymetis.CSRAdjacency(graph.xadj, graph.adjncy)
        metis, _ = pymetis.part_graph(4, adjacency, recursive=False, options=options)
        verdict = problem.judge(graph, {"part": agent.predict(problem, graph)})
        assert verdict.metrics["imbalance"] <= LOOSEST
        ratios.append(verdict.cost / metis)
    assert np.exp(np.mean(np.log(ratios))) <= TRANSFER_BAR
