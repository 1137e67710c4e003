"""Folders from strangers: runs, agents and checkpoints that somebody else wrote give an answer or one sentence."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mutations import check, mutated, mutated_json
from safetensors.torch import load_file, save_file

import sysgym
from sysgym import UsageError
from sysgym_agents.core import Budget, make_agent
from sysgym_zoo.jobs.evaluate import How, evaluate
from sysgym_zoo.jobs.packing import pack_runs
from sysgym_zoo.jobs.plan import Training
from sysgym_zoo.jobs.report import report
from sysgym_zoo.jobs.runs import keep_metrics
from sysgym_zoo.jobs.train import train
from sysgym_zoo.lookup.naming import choose
from sysgym_zoo.lookup.records import checkpoints, load_progress, load_run
from sysgym_zoo.lookup.resolve import build_agent

BOARD = "partitioning-tiny-k2-v1"
SMALL = {"hidden": 8, "trials": 1, "groups": 4, "grouper": 4, "warm": 1, "n_steps": 8, "batch_size": 16, "num_envs": 2}
LEARNERS = {
    "gap": ("Partitioning", {"k": 4}, "tiny/grid-test"), "ppo": ("Partitioning", {"mode": "assign"}, "tiny/grid-test"),
    "edge-gnn": ("ChipPlacement", {"mode": "sequential"}, "tiles:rows=1,columns=1,seed=1"),
    "gdp": ("DevicePlacement", {}, "layered:depth=3,width=3,seed=1"),
    "hdp": ("DevicePlacement", {}, "layered:depth=3,width=3,seed=1"),
    "placeto": ("DevicePlacement", {}, "layered:depth=3,width=3,seed=1"),
}  # fmt: skip
FILES = {"agent.json": mutated_json, "model.safetensors": mutated}
RESUMED = {**FILES, "training.json": mutated_json, "training.safetensors": mutated, "progress.json": mutated_json}
Folder = Callable[[str], Path]


def hyper(agent: str) -> dict[str, Any]:
    from sysgym.core.options import option_table
    from sysgym_agents.core import agent_class

    known = option_table(agent_class(agent))
    return {key: value for key, value in SMALL.items() if key in known}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """The folder of a run of an agent, trained for a moment; made once."""
    home = tmp_path_factory.mktemp("trained")

    def made(agent: str) -> Path:
        problem, options, instance = LEARNERS[agent]
        out = home / agent
        if not out.exists():
            train(Training(
                agent=agent, problem=problem, options=[f"{key}={value}" for key, value in options.items()],
                instances=instance, changes=[f"{key}={value}" for key, value in hyper(agent).items()], steps=16,
                out=out, save_every=0,
            ))  # fmt: skip
            if agent == "gap":  # half of its training is to come
                file = checkpoints(out)[-1] / "training.json"
                file.write_text(json.dumps({**json.loads(file.read_text()), "iterations": 32}))
        return out

    return made


@pytest.fixture
def copied(trained: Folder, tmp_path: Path) -> Folder:
    """A copy of a run's folder, to be changed."""

    def made(agent: str) -> Path:
        return Path(shutil.copytree(trained(agent), tmp_path / agent))

    return made


@pytest.fixture
def evaluated(tmp_path: Path) -> Path:
    """The folder of an evaluation."""
    problem = sysgym.make_problem("Partitioning", k=2)
    asked = How(seeds=2, out=tmp_path / "evaluated")
    folder, _ = evaluate(problem, [build_agent("ldg", problem)], [problem.load("tiny/grid-test")], asked)
    return folder


def into(file: Path, use: Callable[[], Any]) -> Callable[[bytes], None]:
    """Use a folder with a content of one of its files."""

    def act(content: bytes) -> None:
        file.write_bytes(content)
        use()

    return act


def solved(agent: str, folder: Path) -> None:
    """Load an agent from its folder and let it solve an instance, for a moment."""
    problem_name, options, instance = LEARNERS[agent]
    problem, found = sysgym.make_problem(problem_name, **options), make_agent(agent)
    found.load(folder)
    graph = problem.load(instance)
    problem.judge(graph, found.solve(problem, graph, np.random.default_rng(0), Budget(seconds=0.001, steps=1)))


def counted(default: int) -> Any:
    return pytest.mark.parametrize("count", [default, pytest.param(20 * default, marks=pytest.mark.full)])


@counted(40)
@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("agent", LEARNERS)
def test_mutations_of_an_agent_are_refused_or_solve(agent: str, file: str, count: int, copied: Folder) -> None:
    path = copied(agent) / "agent" / file
    check(into(path, lambda: solved(agent, path.parent)), path.read_bytes(), FILES[file], count)


def gone_on(agent: str, folder: Path) -> None:
    """Go on from the newest checkpoint of a run, for a moment."""
    problem_name, options, instance = LEARNERS[agent]
    problem, found = sysgym.make_problem(problem_name, **options), make_agent(agent, **hyper(agent))
    newest = checkpoints(folder)[-1]
    keep_metrics(folder, load_progress(newest / "progress.json")["steps"])
    found.load(newest)
    found.load_training(newest, Budget(steps=16))
    found.fit(problem, [problem.load(instance)], np.random.default_rng(0), Budget(seconds=0.01, steps=1))


@counted(20)
@pytest.mark.parametrize("file", RESUMED)
@pytest.mark.parametrize("agent", ["gap", "ppo"])
def test_mutations_of_a_checkpoint_are_refused_or_go_on(agent: str, file: str, count: int, copied: Folder) -> None:
    folder = copied(agent)
    path = checkpoints(folder)[-1] / file
    check(into(path, lambda: gone_on(agent, folder)), path.read_bytes(), RESUMED[file], count)


@counted(500)
def test_mutations_of_the_record_of_a_training(count: int, copied: Folder) -> None:
    folder = copied("gap")
    file = folder / "run.json"

    def use() -> None:
        choice = choose(str(folder))
        sysgym.make_problem(choice.problem, **choice.options)
        make_agent(choice.agent, **choice.hyper)

    check(into(file, use), file.read_bytes(), mutated_json, count)


@counted(500)
@pytest.mark.parametrize(("file", "mutate"), [("run.json", mutated_json), ("metrics.jsonl", mutated)])
def test_mutations_of_an_evaluation(file: str, mutate: Any, count: int, evaluated: Path, tmp_path: Path) -> None:
    path = evaluated / file

    def use() -> None:
        text = report([evaluated])[1]
        assert text.replace("\n", "").isprintable()

    check(into(path, use), path.read_bytes(), mutate, count)


@pytest.mark.parametrize("agent", LEARNERS)
def test_a_large_network_is_refused_before_it_is_built(agent: str, copied: Folder) -> None:
    folder = copied(agent) / "agent"
    found = json.loads((folder / "agent.json").read_text())
    for change in ({"hidden": 1024}, {"hidden": 10**9}, {"hidden": True}, {"hidden": "8"}, {"hidden": -1}):
        (folder / "agent.json").write_text(json.dumps({**found, "hyper": {**found["hyper"], **change}}))
        started = time.process_time()
        with pytest.raises(UsageError, match=r"does not fit agent\.json|hidden of agent"):
            make_agent(agent).load(folder)
        assert time.process_time() - started < 1


def test_weights_are_finite_and_of_the_shapes_of_the_network(copied: Folder) -> None:
    folder = copied("gap") / "agent"
    file = folder / "model.safetensors"
    good = load_file(file)
    name = next(iter(good))
    for change, sentence in (
        ({name: good[name] * float("nan")}, "numbers that are not finite"),
        ({name: good[name].to(torch.complex64)}, "numbers that are not finite"),
        ({name: good[name].reshape(1, *good[name].shape)}, "does not fit agent.json"),
        ({"another": good[name].clone()}, "does not fit agent.json"),
    ):
        save_file({**good, **change}, file)
        with pytest.raises(UsageError, match=sentence):
            make_agent("gap").load(folder)


@pytest.mark.parametrize("agent", ["gap", "ppo"])
def test_the_state_of_an_optimiser_has_the_shapes_of_its_parameters(agent: str, copied: Folder) -> None:
    folder = copied(agent)
    file = checkpoints(folder)[-1] / "training.safetensors"
    good = load_file(file)
    name = next(key for key in good if key.endswith("/exp_avg"))
    save_file({**good, name: torch.zeros(7)}, file)
    with pytest.raises(UsageError, match="does not fit this agent and problem"):
        gone_on(agent, folder)


# ------------------------------------------------------------------------------------------------ names and links


@pytest.mark.parametrize(
    "name", ["../secret.npz", "solutions/../../secret.npz", "/etc/passwd", "solutions/out.npz", ""]
)
def test_names_in_a_record_stay_in_the_folder(name: str, evaluated: Path, tmp_path: Path) -> None:
    shutil.copy(evaluated / "solutions" / "0.npz", tmp_path / "secret.npz")
    (evaluated / "solutions" / "out.npz").symlink_to(tmp_path / "secret.npz")
    file = evaluated / "metrics.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    file.write_text("".join(json.dumps({**row, "solution": name}) + "\n" for row in rows))
    with pytest.raises(UsageError, match=r"which is not in it|a link that leads out of"):
        pack_runs([evaluated], BOARD, tmp_path / "x.zip", None, ["a"], "", "CC0-1.0")


@pytest.mark.parametrize("name", ["agent", "checkpoints", "metrics.jsonl", "agent/agent.json"])
def test_links_out_of_a_run_are_refused(name: str, copied: Folder, tmp_path: Path) -> None:
    folder = copied("gap")
    (folder / name).rename(tmp_path / "elsewhere")
    (folder / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match=f"{name} is a link that leads out of"):
        load_run(folder)
    (tmp_path / "elsewhere").rename(folder / "kept")
    (folder / name).unlink()
    os.symlink(folder / "kept", folder / name)  # one within is none of our business
    load_run(folder)


@pytest.mark.parametrize(("change", "sentence"), [
    ({"threads": 10**9}, "threads is 1000000000"), ({"seed": -1}, "seed is -1"), ({"seed": 1.5}, "seed is 1.5"),
    ({"budget": {"steps": "16"}}, "budget.steps is '16'"), ({"instances": ["x"]}, r"instances\[0\] is no object"),
    ({"agent": {"name": "gap", "hyper": []}}, r"agent.hyper is \[\]"), ({"agent": 3}, "agent is no object"),
    ({"budget": {"seconds": -1}}, "budget.seconds is -1"), ({"budget": {"hours": 1}}, "budget.hours is 1"),
])  # fmt: skip
def test_a_record_says_which_entry_is_wrong(change: dict[str, Any], sentence: str, copied: Folder) -> None:
    file = copied("gap") / "run.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(UsageError, match=rf"is no record of a run \({sentence}\)"):
        load_run(file.parent)


def test_names_that_are_no_steps_are_no_checkpoints(copied: Folder) -> None:
    folder = copied("gap")
    good = checkpoints(folder)
    for name in ("1x", "9" * 40, "\u0661", "-5"):
        (folder / "checkpoints" / name).mkdir()
        (folder / "checkpoints" / name / "progress.json").write_text("{}")
    assert checkpoints(folder) == good


def test_text_of_a_record_reaches_no_terminal_as_it_is(evaluated: Path, inline: Callable[..., Any]) -> None:
    evil = "\x1b[31mred\u202e\x07\ud800"
    for file in (evaluated / "metrics.jsonl", evaluated / "run.json"):
        file.write_text(file.read_text().replace('"ldg"', json.dumps(evil)).replace("tiny/grid-test", "\\u001b[2J"))
    shown = inline("report", str(evaluated))
    for text in (shown.stdout, shown.stderr):
        assert text.replace("\n", "").isprintable()
    assert "\\x1b[31mred\\u202e\\x07\\ud800" in shown.stdout
