"""The shells, the registry, solutions on disk and the data registry: what users meet first."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import sysgym
from sysgym import InvalidSolution, UsageError, make_problem
from sysgym.core import data
from sysgym.core.data import DataFile
from sysgym.core.env import ProblemEnv
from sysgym.core.instances import expand
from sysgym.core.registry import failures, options_of, problem_registry, with_options
from sysgym.core.solutions import parse_json, parse_npy, read_solution, write_solution


@pytest.mark.parametrize(
    ("keywords", "sentence"),
    [
        ({"mod": "refine"}, "unknown option of Partitioning-v0 'mod'. Did you mean 'mode'"),
        ({"mode": "refin"}, "unknown mode 'refin'. Did you mean 'refine'"),
        ({"k": 1}, "option k must be a whole number from 2"),
        ({"k": 2.5}, "option k must be a whole number"),
        ({"eps": -1}, "option eps must be a number"),
        ({"obs": "ful"}, "unknown observation form 'ful'. Did you mean 'full'"),
        ({"reward": "finl"}, "unknown reward 'finl'. Did you mean 'final'"),
        ({"instance": "walshaw/add21"}, "Did you mean 'walshaw/add20'"),
        ({"instance": "nowhere.graph"}, "nowhere.graph cannot be read: No such file"),
        ({"instances": ""}, "no instance is named"),
        ({"instance": "tiny/grid-test", "instances": "tiny"}, "not both"),
        ({"instance": "delaunay:n=100", "max_nodes": 50}, "has 100 nodes .* padded to 50"),
        ({"instances": 5}, "`instances` must be a set's name or a list"),
        ({"instance": 3}, "an instance is a name, a file or an instance object, got 3"),
        ({"instance": "x" * 5000}, "unknown instance"),
        ({"render_mode": "human"}, "unknown render mode 'human'"),
    ],
)
def test_bad_arguments_get_one_sentence(keywords: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        ProblemEnv("Partitioning-v0", **keywords)


def test_make_without_importing_sysgym_first() -> None:
    env = gym.make("sysgym:sysgym/Partitioning-v0", instance="tiny/grid-test", mode="assign", k=3)
    observation, _ = env.reset(seed=1)
    assert observation["candidates"].shape == (3, 4)


def test_names_of_problems() -> None:
    for name in ("Partitioning", "Partitioning-v0", "sysgym/Partitioning-v0", "sysgym:sysgym/Partitioning-v0"):
        assert make_problem(name).name == "Partitioning"
    with pytest.raises(UsageError, match=r"unknown problem 'Partitoin'\. Did you mean 'Partitioning'"):
        make_problem("Partitoin")


def test_options_round_trip() -> None:
    problem = make_problem("Partitioning", k=5, mode="assign")
    assert options_of(with_options(problem, eps=0.1)) == {**options_of(problem), "eps": 0.1}


def test_smaller_instances_are_padded_and_masked() -> None:
    env = ProblemEnv("Partitioning", instance="tiny/grid-test", max_nodes=100, max_edges=400)
    observation, _ = env.reset(seed=0)
    nodes, edges = observation["node_mask"].sum(), observation["edge_mask"].sum()
    assert (nodes, edges) == (env.instance.nodes, len(env.instance.adjncy))
    assert not observation["nodes"][nodes:].any() and not observation["edges"][edges:].any()
    links = set(zip(*observation["edge_index"][:, :edges].tolist(), strict=True))
    assert links == set(zip(env.instance.sources.tolist(), env.instance.adjncy.tolist(), strict=True))
    with pytest.raises(UsageError, match="pass larger max_nodes"):
        env.reset(options={"instance": "delaunay:n=500"})


def test_a_visited_instance_is_never_sampled_later() -> None:
    env = ProblemEnv("Partitioning", instances="tiny/train", obs="dynamic")
    expected = []
    for seed in range(10):
        env.reset(seed=seed)
        expected.append(env.instance.name)
    observation, _ = env.reset(options={"instance": "grid:n=16"})
    assert env.instance.name == "grid:n=16" and observation in env.observation_space
    for seed in range(10):
        env.reset(seed=seed)
        assert env.instance.name == expected[seed]


def test_awkward_graphs_play_in_every_mode() -> None:
    from sysgym.graphs import from_edges
    from sysgym_agents import Budget, make_agent

    graphs = [
        from_edges("no weight", 4, [0, 1, 2], [1, 2, 3], None, [0, 0, 0, 0]),
        from_edges("one node", 1, [], []),
        from_edges("no edges", 5, [], []),
        from_edges("heavy", 3, [0, 1], [1, 2], [7, 1], [100, 1, 1]),
    ]
    for variant in ({"mode": "oneshot"}, {"mode": "assign"}, {"mode": "refine"}, {"mode": "refine", "moves": "raw"}):
        for k in (2, 7):
            problem = make_problem("Partitioning", k=k, **variant)
            for graph in graphs:
                solution = make_agent("random").solve(problem, graph, np.random.default_rng(0), Budget())
                assert np.isfinite(problem.judge(graph, solution).cost)


def test_dynamic_and_static_make_the_full_observation() -> None:
    full = ProblemEnv("Partitioning", instance="tiny/grid-test", mode="assign", pe=2)
    split = ProblemEnv("Partitioning", instance="tiny/grid-test", mode="assign", pe=2, obs="dynamic")
    whole, part = full.reset(seed=3)[0], split.reset(seed=3)[0]
    static = split.static_observation()
    assert np.array_equal(whole["nodes"], np.concatenate([static["nodes"], part["dynamic"]], axis=1))
    assert all(np.array_equal(whole[key], static[key]) for key in ("edges", "edge_index", "edge_mask", "node_mask"))
    names = ("weight", "degree", "pe0", "pe1", *full.dynamics.node_features)
    assert whole["nodes"].shape[1] == len(names)


def test_a_broken_plugin_is_reported_not_fatal(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import EntryPoint

    from sysgym.core.registry import Registry, register_environments
    from sysgym_zoo.jobs.doctor import checks

    entries = {
        **problem_registry.entries(),
        "Broken-v0": EntryPoint("Broken-v0", "no_such_module:Thing", "sysgym.problems"),
        "nameless": EntryPoint("nameless", "no_such_module:Thing", "sysgym.problems"),
    }
    monkeypatch.setattr(Registry, "entries", lambda self: entries if self is problem_registry else {})
    register_environments()
    try:
        assert "is no environment id" in failures["nameless = no_such_module:Thing"]
        with pytest.raises(
            UsageError, match="'Broken-v0' is registered by 'no_such_module:Thing' but cannot be imported"
        ):
            gym.make("sysgym/Broken-v0")
        rows = {row["check"]: row for row in checks((0, {}))}
        assert rows["problem Broken-v0"]["status"] == "broken"
    finally:
        failures.clear()
        del gym.registry["sysgym/Broken-v0"]


@pytest.mark.parametrize("ending", [".json", ".npz", ".npy", ".part", ".txt"])
def test_solutions_round_trip(ending: str, tmp_path: Path) -> None:
    problem = make_problem("Partitioning", k=3)
    graph = problem.load("tiny/grid-test")
    part = np.random.default_rng(0).integers(0, 3, graph.nodes)
    file = tmp_path / f"x{ending}"
    write_solution(problem, graph, {"part": part}, file)
    assert np.array_equal(read_solution(problem, graph, file)["part"], part)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("x.json", b"{", "no valid JSON"),
        ("x.json", b'{"part": [NaN]}', "NaN is not a JSON number"),
        ("x.json", b'{"part": [0], "part": [1]}', "'part' occurs twice"),
        ("x.json", b"[" * 100_000, "no valid JSON"),
        ("x.json", b'{"parts": [0]}', "expected the arrays part, got parts"),
        ("x.npy", b"\x93NUMPY\x01\x00\x05\x00{    ", r"no usable \.npy"),
        ("x.npy", b"garbage", r"no usable \.npy"),
        ("x.npz", b"garbage", r"no usable \.npz"),
        ("x.part", b"0\n1\nx\n", "line 3: expected one part id, got 'x'"),
        ("x.part", b"0\n99999999999999999999999\n", "has shape"),
    ],
)
def test_damaged_solution_files(name: str, content: bytes, sentence: str, tmp_path: Path) -> None:
    problem = make_problem("Partitioning")
    graph = problem.load("tiny/grid-test")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidSolution, match=sentence):
        read_solution(problem, graph, tmp_path / name)


def test_object_arrays_are_never_unpickled(tmp_path: Path) -> None:
    marker = tmp_path / "ran"

    class Bomb:
        def __reduce__(self) -> Any:
            return (marker.write_text, ("x",))

    file = tmp_path / "x.npy"
    np.save(file, np.array([Bomb()], dtype=object), allow_pickle=True)
    with pytest.raises(InvalidSolution, match="type is object"):
        parse_npy(file.read_bytes())
    assert not marker.exists()
    with pytest.raises(InvalidSolution):
        parse_json(b'{"a": Infinity}')


def test_sets_expand_in_order() -> None:
    sets = make_problem("Partitioning").instance_sets()
    assert expand(sets, "tiny/test;delaunay/test-0;mine.graph")[-2:] == ["delaunay/test-0", "mine.graph"]
    assert len(expand(sets, "tiny")) == 12
    with pytest.raises(UsageError, match="the set 'networks/train' is empty"):
        expand(sets, "networks/train")


def test_embedded_instances_have_the_content_that_the_index_promises() -> None:
    problem = make_problem("Partitioning")
    for group in problem.instance_sets().values():
        if group.source == "embedded":
            for entry in group.entries:
                graph = problem.load(entry.name)
                assert (graph.nodes, graph.edges) == (entry.nodes, entry.edges)
                assert sysgym.content_hash(graph) == entry.hash
                peer = "mtkahypar" if group.name == "netlists" else "metis"
                assert any(peer in row for row in entry.references.values())


def test_splits_share_no_graph() -> None:
    for group in make_problem("Partitioning").instance_sets().values():
        seen: dict[str, str] = {}
        for entry in group.entries:
            assert seen.setdefault(entry.hash, entry.split) == entry.split


def test_public_instances_match_the_index(public_data: Path) -> None:
    problem = make_problem("Partitioning")
    for name in ("walshaw/add20", "networks/lesmis", "compgraph/alexnet_train.weighted"):
        assert problem.load(name).name == name
    references = make_problem("Partitioning", k=2, eps=0.05).reference_costs(problem.load("walshaw/data"))
    assert references["archive"] == 181 and next(iter(references)) == "metis"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A web server on this machine that serves one file."""
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "a.graph").write_bytes(b"2 1\n2\n1\n")
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{web.server_port}/a.graph"
        web.shutdown()


def test_download_with_checksum_into_the_cache(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(data.ENVIRONMENT_VARIABLE, raising=False)
    monkeypatch.setattr(data, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    content = b"2 1\n2\n1\n"
    file = DataFile("partitioning", "set/a.graph.gz", hashlib.sha256(content).hexdigest(), False, server)
    with pytest.raises(UsageError, match="run `sysgym data get set`"):
        data.read(file)
    path = data.download(file)
    assert path == tmp_path / "cache" / "partitioning" / "set" / "a.graph"
    assert data.read(file) == content == path.read_bytes()
    assert data.download(file) == path
    wrong = DataFile("partitioning", "set/b.graph.gz", "0" * 64, False, server)
    with pytest.raises(UsageError, match="other content than its checksum promises"):
        data.download(wrong)
    assert data.find(wrong) is None
    path.write_bytes(b"edited")
    with pytest.raises(UsageError, match="has the checksum"):
        data.read(file)
    with pytest.raises(UsageError, match="has no public address"):
        data.download(DataFile("partitioning", "set/c.graph.gz", "0" * 64, False))


def test_data_folder_comes_before_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"2 1\n2\n1\n"
    monkeypatch.setattr(data, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setenv(data.ENVIRONMENT_VARIABLE, str(tmp_path / "mine"))
    file = DataFile("partitioning", "set/a.graph.gz", hashlib.sha256(content).hexdigest(), False)
    target = tmp_path / "mine" / "partitioning" / "set" / "a.graph.gz"
    target.parent.mkdir(parents=True)
    target.write_bytes(gzip.compress(content))
    assert data.find(file) == target and data.read(file) == content


def test_index_is_plain_json() -> None:
    from importlib.resources import files

    text = (files("sysgym") / "data" / "partitioning" / "index.json").read_text()
    graphs = {"tiny", "delaunay", "families", "walshaw", "networks", "compgraph", "operations"}
    assert graphs | {"netlists", "ispd98"} == set(json.loads(text))


def test_no_option_is_called_name() -> None:
    """Not even by a record that somebody wrote: it is an unknown option like any other."""
    with pytest.raises(sysgym.UsageError, match="unknown option of Partitioning-v0 'name'"):
        sysgym.make_problem("Partitioning", **{"name": "x"})
