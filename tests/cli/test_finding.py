"""Which problem a command is about is told by the data, an agent, a recipe or a run; where it is not, one sentence."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sysgym import UsageError, make_problem, problem_ids
from sysgym.core.errors import SysgymError
from sysgym_zoo.lookup.finding import Clues, find_problem, first_bytes, usable
from sysgym_zoo.lookup.naming import choose, make, mode_keys

Inline = Callable[..., Any]
ALL = ", ".join(sorted(name.removeprefix("sysgym/").rpartition("-v")[0] for name in problem_ids()))


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of every kind that a problem reads, and of some that none does."""
    folder, packaged = tmp_path_factory.mktemp("files"), Path(str(files("sysgym") / "data"))
    graph = make_problem("DevicePlacement").load("layered/test-0")
    (folder / "placement.json").write_text(json.dumps({"placement": [0] * graph.nodes}))
    zeros = {"placement": [0] * graph.nodes, "priority": [0] * graph.nodes, "fusion": [0] * graph.nodes}
    (folder / "joint.json").write_text(json.dumps(zeros))
    np.savez(folder / "joint.npz", **{key: np.array(value) for key, value in zeros.items()})
    data = next((packaged / "dataflow" / "layered").glob("test-0.json.gz")).read_bytes()
    (folder / "model.json.gz").write_bytes(data)
    (folder / "model.json").write_bytes(gzip.decompress(data))
    netlist = (packaged / "chip" / "designs" / "mempool_tile_NanGate45.pb.txt.gz").read_bytes()
    (folder / "netlist.pb.txt").write_bytes(gzip.decompress(netlist))
    (folder / "renamed.txt").write_bytes(gzip.decompress(netlist))
    for name, text in {
        "a.graph": "2 1\n2\n1\n", "b.mtx": "%%MatrixMarket", "c.txt": "# edges\n0 1\n", "d.el": "0 1\n",
        "e.txt": "Hello\n", "f.block": "x", "g.aux": "x", "h.csv": "a,b\nc,d\n",
        "p.csv": "1,2\n3,4\n", "i.txt.gz": "0 1\n",
    }.items():  # fmt: skip
        (folder / name).write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return folder


@pytest.mark.parametrize(
    ("word", "problem"),
    [
        ("a.graph", "Partitioning"), ("b.mtx", "Partitioning"), ("c.txt", "Partitioning"), ("d.el", "Partitioning"),
        ("i.txt.gz", "Partitioning"), ("none.graph", "Partitioning"), ("delaunay:n=50", "Partitioning"),
        ("tiny/grid-test", "Partitioning"), ("tiny/test", "Partitioning"), ("tiny", "Partitioning"),
        ("netlist.pb.txt", "ChipPlacement"), ("renamed.txt", "ChipPlacement"), ("f.block", "ChipPlacement"),
        ("g.aux", "ChipPlacement"), ("tiles:rows=3,columns=3", "ChipPlacement"), ("tiles/test", "ChipPlacement"),
        ("model.json", "DevicePlacement"), ("model.json.gz", "DevicePlacement"), ("seeds", "DevicePlacement"),
        ("layered:depth=4", "DevicePlacement"), ("p.csv", "Clustering"), ("moons:n=40", "Clustering"),
    ],
)  # fmt: skip
def test_data_tells_the_problem(word: str, problem: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here)
    assert find_problem(Clues(data=[word])) == problem


@pytest.mark.parametrize(
    ("clues", "problem"),
    [
        (Clues(agents=["gap"]), "Partitioning"),
        (Clues(agents=["gdp"]), "DevicePlacement"),
        (Clues(agents=["go"], data=["seeds"]), "DevicePlacement"),
        (Clues(agents=["dataflow-go"]), "GraphOptimization"),
        (Clues(agents=["ppo-place"]), "ChipPlacement"),
        (Clues(agents=["random", "fm"]), "Partitioning"),
        (Clues(recipe_problem="GraphOptimization"), "GraphOptimization"),
        (Clues(data=["model.json"], solution=Path("joint.json")), "GraphOptimization"),
        (Clues(data=["model.json"], solution=Path("joint.npz")), "GraphOptimization"),
        (Clues(data=["model.json"], solution=Path("placement.json")), "DevicePlacement"),
        (Clues(data=["model.json"], solution=Path("none.json")), "DevicePlacement"),
        (Clues("GraphOptimization", data=["model.json"]), "GraphOptimization"),
        (Clues(data=["tiny/grid-test"], agents=["heft"]), "Partitioning"),  # which is then refused by name
    ],
)
def test_what_else_tells_it(clues: Clues, problem: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here)
    assert find_problem(clues) == problem


@pytest.mark.parametrize(
    ("clues", "sentence"),
    [
        (Clues(), f"no problem is named; add -p NAME, one of {ALL}."),
        (Clues(agents=["ppo"]), f"'ppo' fits several problems ({ALL}); add -p NAME."),
        (Clues(agents=["sa-device"]), "'sa-device' fits several problems (DevicePlacement, GraphOptimization); add -p"),
        (Clues(data=["h.csv"]), f"no problem is known by the file h.csv; add -p NAME, one of {ALL}."),
        (Clues(data=["e.txt"]), "no problem is known by the file e.txt"),
        (Clues(data=["tiny", "tiles"]), "different problems (tiny is of Partitioning; tiles is of ChipPlacement)"),
        (Clues(data=["tny/grid-test"]), "unknown instance 'tny/grid-test'. Did you mean 'tiny/grid-test'?"),
        (Clues("Partitoning"), "Did you mean 'Partitioning'"),
        (Clues(agents=["meetis"]), "Did you mean 'metis'"),
        (Clues(agents=["ppo-refin"]), "Did you mean 'ppo-refine'"),
    ],
)
def test_where_nothing_tells_it(clues: Clues, sentence: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here)
    with pytest.raises(UsageError) as error:
        find_problem(clues)
    assert sentence in str(error.value) and len(str(error.value).splitlines()) == 1


def test_commands_without_a_problem(inline: Inline, here: Path) -> None:
    assert "by analytic" not in inline("solve", "tiles/test-0", "-a", "spiral").stdout
    assert "by expert" in inline("solve", str(here / "model.json"), "-a", "expert").stdout
    assert "groups" in inline("judge", str(here / "model.json"), str(here / "joint.json"), "--json").stdout
    sets = {row["set"]: row["problem"] for row in json.loads(inline("list", "instances", "--json").stdout)["rows"]}
    assert sets["tiny"] == "Partitioning" and sets["tiles"] == "ChipPlacement" and sets["seeds"] == "DevicePlacement"
    assert json.loads(inline("list", "instances", "seeds", "--json").stdout)["rows"]
    assert inline("data", "path", "layered/test-0").stdout.strip().endswith(".json.gz")
    assert {row["problem"] for row in json.loads(inline("data", "list", "--json").stdout)["rows"]} == {*sets.values()}


def test_a_recipe_is_an_agents_name(inline: Inline) -> None:
    small = ("--steps", "32", "--set", "n_steps=8", "--set", "num_envs=2", "--set", "hidden=8")
    record = json.loads(inline("train", "-a", "ppo-assign", *small, "--out", "a", "--json").stdout)
    assert (record["agent"]["name"], record["agent"]["recipe"]) == ("maskable-ppo", "ppo-assign")
    assert record["agent"]["options"] == {"mode": "assign"} and record["problem"]["options"]["mode"] == "assign"
    assert record["problem"]["options"]["k"] == 4 and record["agent"]["hyper"]["layers"] == 0
    inline("train", "-a", "ppo-refine", *small, "--instances", "tiny/train", "--out", "r")
    both = ("evaluate", "-a", "a", "-a", "r", "-a", "ldg", "--instances", "tiny/test", "--seeds", "1", "--json")
    found = json.loads(inline(*both).stdout)  # each in its own mode
    assert {line["agent"] for line in found["summary"]} == {"ppo-assign (a)", "ppo-refine (r)", "ldg"}
    assert "Partitioning-v0 (mode=assign, k=4" in inline("report", found["run"]).stdout
    again = json.loads(inline("train", "--out", "a", "--resume", "--steps", "64", "-a", "ppo-assign", "--json").stdout)
    assert again["agent"] == record["agent"] and again["status"] == "done"
    said = inline("train", "--out", "a", "--resume", "-a", "maskable-ppo", code=2).stderr
    assert "resume it with the agent it was started with" in said
    tuned = json.loads(inline("train", "-a", "r", "--steps", "32", "--out", "t", "--json").stdout)
    assert tuned["agent"]["started_from"] == "r" and tuned["agent"]["recipe"] == "ppo-refine"
    assert tuned["weights_sha256"] != json.loads(Path("r/run.json").read_text())["weights_sha256"]
    assert "leave --set out" in inline("train", "-a", "r", "--set", "hidden=9", code=2).stderr
    said = inline("train", "-a", "ppo-refine", "--recipe", "ppo-assign", code=2).stderr
    assert "--agent ppo-refine is a recipe already; leave --recipe ppo-assign out." in said
    assert "knows nothing before it is trained" in inline("solve", "tiny/grid-test", "-a", "ppo-refine", code=2).stderr
    assert json.loads(inline("show", "r", "--json").stdout)["run"]["agent"]["recipe"] == "ppo-refine"
    assert '"agent": "maskable-ppo"' in inline("show", "ppo-refine").stdout


def test_default_recipes_and_modes() -> None:
    from sysgym_zoo.lookup.recipes import default_recipe, load_recipe, recipe_names

    assert default_recipe("Partitioning", "gap").name == "partitioning-gap"
    assert default_recipe("Partitioning", "maskable-ppo").name == ""  # three recipes, none of them says default
    assert default_recipe("DevicePlacement", "maskable-ppo").options["mode"] == "sequential"
    defaults = [(r.agent, r.problem) for r in map(load_recipe, recipe_names()) if r.default]
    assert defaults and len(set(defaults)) == len(defaults)
    assert mode_keys(make_problem("Partitioning")) == {"mode", "moves"}
    for name in recipe_names():  # a recipe of an agent that is for any problem says which mode it plays
        choice = choose(name)
        general = not make(choice.agent).problems
        assert not general or set(choice.own) & mode_keys(make_problem(choice.problem)), name


def test_every_problem_says_what_it_reads() -> None:
    for name, problem in usable().items():
        if problem.reads is not None:
            assert problem.reads("what.xyz", b"\x00\x01") is False, name
            for word in ("", ".", "x" * 5000, "a/b", "name:=", "\udcff.txt"):
                assert isinstance(problem.reads(word, b"\xff" * 50), bool)


def test_a_pipe_is_not_read_to_find_its_problem(tmp_path: Path) -> None:
    """Its bytes come only once; and opening one waits for whoever writes."""
    pipe = tmp_path / "x.graph"
    os.mkfifo(pipe)
    assert first_bytes(str(pipe)) == b"" and find_problem(Clues(data=[str(pipe)])) == "Partitioning"


def test_an_error_of_a_wrong_name_is_one_of_ours() -> None:
    with pytest.raises(SysgymError):
        choose("")
