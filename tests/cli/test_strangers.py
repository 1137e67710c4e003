"""Somebody else's run folder opens no file that the user did not name, and takes no more memory than there is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mutations import check, mutated, mutated_json
from safetensors.torch import save_file

import sysgym
from sysgym import UsageError
from sysgym.core.errors import Notice
from sysgym.core.options import file_hashes
from sysgym.core.registry import problem_class
from sysgym.core.solutions import made_for, made_with, write_solution
from sysgym.graphs.generate import generate_graph
from sysgym.graphs.io import format_metis
from sysgym_agents.core import Budget, make_agent
from sysgym_agents.learning import memory
from sysgym_zoo.jobs.plan import Training, planned
from sysgym_zoo.jobs.report import options_text
from sysgym_zoo.jobs.runs import keep_metrics
from sysgym_zoo.jobs.selection import Selection
from sysgym_zoo.lookup.finding import Clues
from sysgym_zoo.lookup.resolve import find_and_build
from sysgym_zoo.lookup.trust import file_options, foreign_instances, refuse_changed, refuse_options
from sysgym_zoo.sweeps.files import pairs

Inline = Callable[..., Any]
GAP = ("train", "-a", "gap", "--set", "hidden=8", "--steps", "20", "--save-every", "0", "--out", "run")
DEVICES = {"devices": [{"kind": "gpu", "speed": 1.0, "capacity": 16e9}, {"kind": "cpu", "speed": 0.5}],
           "bandwidth": [[0, 12], [12, 0]], "latency_ns": 10000, "link_mode": "pair"}  # fmt: skip
PLACER = ("-a", "gdp", "-p", "DevicePlacement", "--set", "hidden=8", "--set", "heads=2", "--set", "samples=4")


@pytest.fixture(autouse=True)
def files(tmp_path: Path) -> None:
    for name, seed in (("mine.graph", 1), ("eval.graph", 2), ("other.graph", 3)):
        (tmp_path / name).write_text(format_metis(generate_graph(f"delaunay:n=30,seed={seed}")))
    (tmp_path / "cluster.json").write_text(json.dumps(DEVICES))


def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that readers open from now on."""
    seen: list[str] = []
    read = Path.open

    def watched(path: Path, *words: Any, **more: Any) -> Any:
        seen.append(path.name)
        return read(path, *words, **more)

    monkeypatch.setattr(Path, "open", watched)
    return seen


def test_instances_of_a_run_are_opened_only_if_the_user_names_them(
    inline: Inline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = (*GAP, "--instances", "mine.graph", "--eval-instances", "eval.graph", "--eval-every", "20")
    first = json.loads(inline(*trained, "--json").stdout)
    on = ("train", "--resume", "--out", "run", "--steps", "40")
    seen = opened(monkeypatch)
    refused = inline(*on, code=2).stderr
    assert "'mine.graph', which is no registered instance" in refused and "--instances FILE" in refused
    assert "mine.graph" not in seen
    refused = inline(*on, "--instances", "mine.graph", code=2).stderr
    assert "--eval-instances FILE" in refused and "eval.graph" not in seen
    wrong = inline(*on, "--instances", "other.graph", code=2).stderr
    assert "--instances other.graph is not what run was started with (mine.graph)" in wrong
    (tmp_path / "mine.graph").rename(tmp_path / "moved.graph")  # the content counts
    named = ("--instances", "moved.graph", "--eval-instances", "eval.graph")
    again = json.loads(inline(*on, *named, "--json").stdout)
    assert again["instances"][0]["hash"] == first["instances"][0]["hash"] and again["status"] == "done"


def test_files_in_the_folder_and_registered_names_need_no_word(inline: Inline, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "mine.graph").rename(tmp_path / "data" / "mine.graph")
    inline(*GAP[:-1], "data/run", "--instances", "data/mine.graph;tiny/grid-train;delaunay:n=20,seed=7")
    shutil.move(tmp_path / "data" / "mine.graph", tmp_path / "data" / "run" / "mine.graph")
    file = tmp_path / "data" / "run" / "run.json"
    file.write_text(file.read_text().replace("data/mine.graph", "data/run/mine.graph"))
    assert inline("train", "--resume", "--out", "data/run", "--steps", "40").exit_code == 0


@pytest.mark.parametrize("name", [
    "/etc/passwd", "../x.graph", "x.graph", "mine.graph", ".", "tiny/absent", "no\\where", "a\0b", "\ud800", "x" * 5000,
    "tiny", "",
])  # fmt: skip
def test_what_is_neither_registered_nor_a_recipe_may_be_a_file(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    problem = sysgym.make_problem("Partitioning")
    assert foreign_instances(problem, ["tiny/grid-test", "delaunay:n=20,seed=1", name], Path("run")) == [name]
    (tmp_path / "delaunay:n=20,seed=1").write_text("")
    assert foreign_instances(problem, ["delaunay:n=20,seed=1"], Path("run")) == ["delaunay:n=20,seed=1"]


def test_options_of_a_run_open_no_file_that_the_user_did_not_name(
    inline: Inline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In `solve`, `evaluate` and `train`, from a trained agent and in a run that goes on."""
    graph, named = "layered:depth=3,width=3,seed=1", ("-O", "devices=cluster.json")
    inline("train", *PLACER, *named, "--instances", graph, "--steps", "4", "--out", "run")
    seen = opened(monkeypatch)
    commands = {
        "solve": ("solve", graph, "-a", "run"), "evaluate": ("evaluate", "-a", "run", "--instances", graph),
        "train": ("train", "-a", "run", "--instances", graph, "--steps", "4"),
        "resume": ("train", "--resume", "--out", "run", "--steps", "8"),
    }  # fmt: skip
    for words in commands.values():
        refused = inline(*words, code=2).stderr
        assert "run was made with devices='cluster.json'" in refused and "-O devices=FILE" in refused
    assert "cluster.json" not in seen
    assert inline(*commands["solve"], *named, "-o", "made.json").exit_code == 0
    assert "leave -O out" in inline(*commands["resume"], "-O", "devices=2", code=2).stderr
    assert inline(*commands["resume"], *named).exit_code == 0
    (tmp_path / "cluster.json").write_text(json.dumps({**DEVICES, "latency_ns": 1}))
    later = (*commands["resume"][:-1], "12")
    assert "cluster.json (devices) has changed since the run began" in inline(*later, *named, code=2).stderr
    with pytest.warns(Notice, match="made.json was made with another file for devices; this is about the one that is"):
        find_and_build(Clues("DevicePlacement", (), "", [graph], Path("made.json"), [named[1]]))


@pytest.mark.filterwarnings("ignore:.* holds no times on a CPU")
def test_a_solution_is_of_the_file_that_was_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not of what has that name when the answer is written."""
    monkeypatch.chdir(tmp_path)
    problem = sysgym.make_problem("DevicePlacement", devices="cluster.json")
    graph = problem.load("layered:depth=3,width=3,seed=1")
    made, answer = made_with(problem), {"placement": problem.job(graph).single}
    (tmp_path / "cluster.json").write_text(json.dumps({**DEVICES, "latency_ns": 1}))
    write_solution(problem, graph, answer, tmp_path / "made.json", made)
    assert made_for(tmp_path / "made.json").files == made["files"] and len(made["files"]["devices"]) == 64


@pytest.mark.parametrize("files", [{"devices": 5}, None, {"devices": "1" * 64 + "," + "2" * 64}])
def test_hashes_in_a_record_are_shown_as_they_are(files: Any) -> None:
    shown = options_text({"name": "DevicePlacement", "options": {"devices": "a.json"}, "files": files})
    said = {None: "", 5: " of sha256 5"}.get(files and files["devices"], " of sha256 11111111,22222222")
    assert shown == f"devices=a.json{said}"


def test_evaluations_on_files_of_equal_names_are_told_apart(inline: Inline, tmp_path: Path) -> None:
    words = ("evaluate", "-a", "single", "--instances", "layered:depth=3,width=3,seed=1", "--seeds", "1", "--out")
    named = ("-O", "devices=cluster.json")
    inline(*words, "one", *named)
    (tmp_path / "cluster.json").write_text(json.dumps({**DEVICES, "latency_ns": 1}))
    inline(*words, "two", *named)
    rows = json.loads(inline("report", "one", "two", "--json").stdout)["rows"]
    assert len({row["on"] for row in rows}) == 2 and all("cluster.json of sha256 " in row["on"] for row in rows)


def test_lists_of_files_are_named_by_the_user_too(tmp_path: Path) -> None:
    """Of options that are lists, as records keep them: one file outside of the folder is enough."""
    kind, folder = problem_class("ChipPlacement"), tmp_path / "run"
    folder.mkdir()
    for file in (tmp_path / "out.lef", folder / "in.lef"):
        file.write_text(file.name)
    inside, both = [str(folder / "in.lef")], [str(folder / "in.lef"), str(tmp_path / "out.lef")]
    assert file_options(kind, {"lef": inside, "grid": 3}, folder) == {}
    assert file_options(kind, {"lef": both}, folder) == {"lef": tuple(both)}
    with pytest.raises(
        UsageError, match=r"was made with lef='.*in\.lef,.*out\.lef'; a file that a record names is only"
    ):
        refuse_options(kind, {"lef": both}, folder)
    kept = file_hashes(kind, {"lef": tuple(both)})
    refuse_changed(kind, {"lef": both}, kept)
    (tmp_path / "out.lef").write_text("changed")
    with pytest.raises(UsageError, match=r"out\.lef \(lef\) has changed since the run began"):
        refuse_changed(kind, {"lef": both}, kept)
    assert pairs({"lef": ("a", "b"), "k": 4}) == ["lef=a,b", "k=4"]


# ------------------------------------------------------------------------------------------------ memory


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with a hundred megabytes left."""
    monkeypatch.setattr(memory, "available", lambda: 1e8)


@pytest.mark.parametrize(("agent", "hyper", "lower"), [
    ("ppo", {"n_steps": 10**7}, "num_envs, n_steps or batch_size"),
    ("maskable-ppo", {"n_steps": 10**4, "num_envs": 4096}, "num_envs, n_steps or batch_size"),
    ("recurrent-ppo", {"n_steps": 10**4, "num_envs": 64}, "num_envs, n_steps or batch_size"),
    ("a2c", {"n_steps": 10**6}, "num_envs or n_steps"), ("dqn", {"buffer_size": 10**7}, "buffer_size or batch_size"),
])  # fmt: skip
def test_buffers_that_are_too_large_are_a_sentence(agent: str, hyper: dict[str, Any], lower: str, small: None) -> None:
    problem = sysgym.make_problem("Partitioning", mode="assign")
    learner = make_agent(agent, hidden=8, **hyper)
    with pytest.raises(UsageError, match=rf"would take about .* GiB of memory, and there are 0\.1 GiB; lower {lower}"):
        learner.fit(problem, [problem.load("tiny/grid-train")], np.random.default_rng(0), Budget(steps=10))


def test_many_environments_of_a_large_graph_are_a_sentence(small: None) -> None:
    problem = sysgym.make_problem("Partitioning", mode="assign")
    graph = problem.load("delaunay:n=3000,seed=1")
    with pytest.raises(UsageError, match=r"4096 environments of 3000 nodes would take about .*; lower num_envs"):
        make_agent("ppo", num_envs=4096).fit(problem, [graph], np.random.default_rng(0), Budget(steps=10))


@pytest.mark.parametrize("packed", [True, False])
def test_the_estimate_of_a_rollout_is_near_what_it_takes(packed: bool) -> None:
    """Of a buffer that was filled by a training, in bytes of its arrays and compressed parts."""
    from sysgym_agents.general.sb3.memory import step_bytes
    from sysgym_agents.general.sb3.training import make_vector

    problem = sysgym.make_problem("Partitioning", mode="refine", k=4)
    env = make_vector(problem, [problem.load("tiny/delaunay-train")], 4, "improvement", 2)
    space: Any = env.observation_space
    first = env.reset()
    assert step_bytes(space, False) == sum(value[0].nbytes for value in first.values())
    if packed:
        from sysgym_agents.general.sb3.buffers import PackedObservations

        shapes = {key: part.shape for key, part in space.spaces.items()}
        store = PackedObservations(64, 4, shapes, {key: part.dtype for key, part in space.spaces.items()})
        rng = np.random.default_rng(0)
        for step in range(64):
            masks = np.stack(env.env_method("action_masks"))
            store.put(step, first)
            env.step_async(np.array([rng.choice(np.flatnonzero(mask)) for mask in masks]))
            first = env.step_wait()[0]
        assert 0.2 < 64 * 4 * (step_bytes(space, True) + 48) / store.nbytes < 5


@pytest.mark.parametrize(("agent", "hyper"), [
    ("gdp", {"tune_samples": 2**16, "tune": 1}), ("hdp", {"groupings": 1024, "placements": 1024}),
    ("placeto", {"episodes": 1024}),
])  # fmt: skip
def test_counts_of_samples_in_somebodys_agent_are_bounded_by_memory(
    agent: str, hyper: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = sysgym.make_problem("DevicePlacement")
    graph = problem.load("layered:depth=3,width=3,seed=1")
    own = {"hidden": 8, **({"heads": 2, "samples": 4} if agent == "gdp" else {})}
    learner = make_agent(agent, **own)
    learner.fit(problem, [graph], np.random.default_rng(0), Budget(steps=4))
    learner.save(tmp_path)
    file = tmp_path / "agent.json"
    told = json.loads(file.read_text())
    file.write_text(json.dumps({**told, "hyper": {**told["hyper"], **hyper}}))
    found = make_agent(agent)
    found.load(tmp_path)
    monkeypatch.setattr(memory, "available", lambda: 1e5)
    with pytest.raises(UsageError, match=r"GiB of memory, and there are 0\.0 GiB; lower "):
        found.solve(problem, graph, np.random.default_rng(0), Budget())


@pytest.mark.parametrize("agent", ["ppo", "qrdqn", "recurrent-ppo"])
def test_a_network_is_no_larger_than_its_weights_whatever_their_shapes(agent: str, tmp_path: Path) -> None:
    """One long thin tensor, and as many as there are layers, are no network of that width and depth."""
    learner = make_agent(agent, hidden=4096, layers=64)
    learner._weights = {str(i): torch.zeros(1, 4096 if i == 0 else 1) for i in range(64)}
    (tmp_path / "agent.json").write_text(json.dumps({"agent": agent, "hyper": dict(learner.hyper), "steps": 1}))
    save_file(learner._weights, tmp_path / "model.safetensors")
    with pytest.raises(UsageError, match=r"does not fit agent\.json, which says hidden=4096 and layers=64"):
        make_agent(agent).load(tmp_path)


def test_what_is_left_is_the_least_of_all_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "max").write_text("5000000000\n")
    (tmp_path / "current").write_text("4999999000\n")
    monkeypatch.setattr(memory, "GROUPS", ((str(tmp_path / "max"), str(tmp_path / "current")),))
    assert memory.available() == 1000
    (tmp_path / "max").write_text("max\n")
    assert memory.available() > 10**6


# ------------------------------------------------------------------------------------------------ damaged records


@pytest.mark.parametrize("count", [100, pytest.param(10_000, marks=pytest.mark.full)])
@pytest.mark.parametrize("file", ["run.json", "metrics.jsonl"])
def test_mutations_of_an_evaluated_training_are_refused_or_planned(
    file: str, count: int, inline: Inline, tmp_path: Path
) -> None:
    inline(*GAP, "--instances", "tiny/grid-train", "--eval-instances", "tiny/grid-valid", "--eval-every", "20")
    path = tmp_path / "run" / file

    def use(content: bytes) -> None:
        path.write_bytes(content)
        plan = planned(Training(resume=True, out=tmp_path / "run"))
        if file == "metrics.jsonl" and plan.schedule is not None:
            keep_metrics(tmp_path / "run", 20)
            Selection(tmp_path / "run", plan.schedule, plan.problem, "gap").resume(20)

    check(use, path.read_bytes(), mutated_json if file == "run.json" else mutated, count)
