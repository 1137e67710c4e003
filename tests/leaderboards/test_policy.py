"""The division `policy`: an agent is submitted as data, and the judge runs it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sysgym.core.errors import UsageError
from sysgym_agents.core import Budget, make_agent
from sysgym_agents.portable import files_of, generator, player
from sysgym_leaderboards import load_board, pack
from sysgym_leaderboards.archive import read_zip, write_zip
from sysgym_leaderboards.board import Board
from sysgym_leaderboards.submissions import Answer, read_bytes
from sysgym_leaderboards.verify_worker import report_on
from sysgym_zoo.jobs.packing import pack_runs

ABOUT = {"agent": "mine", "created": "2026-01-31T12:00:00Z"}


@pytest.fixture(scope="module")
def board() -> Board:
    return replace(load_board("decoding-names-policy-v1"), id="names-v1", instances=("ar2en/valid-0",), seeds=2)


def described(name: str, **hyper: Any) -> dict[str, bytes]:
    return {"agent.json": json.dumps({"agent": name, "hyper": hyper}).encode()}


def judged(board: Board, files: Mapping[str, bytes], folder: Path) -> dict[str, Any]:
    path = pack(folder / "it.zip", board, ABOUT, {}, files)
    return report_on(path.read_bytes(), board)[0]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A small learner, trained for a moment."""
    problem = load_board("decoding-names-policy-v1").make_problem()
    agent = make_agent("trainable-greedy", hidden=8, batch=32)
    agent.fit(problem, [problem.load("ar2en/valid-1")], np.random.default_rng(0), Budget(steps=20))
    return files_of("trainable-greedy", agent, {}, {})


def test_an_agent_is_run_and_its_answers_are_judged(board: Board, trained: dict[str, bytes], tmp_path: Path) -> None:
    """The rows are what the agent answers here; what is stored is the agent, from which they come again."""
    problem = board.make_problem()
    instance = problem.load("ar2en/valid-0")
    for files in (trained, described("sampling", temperature=0.7)):
        path = pack(tmp_path / "it.zip", board, ABOUT, {}, files)
        report, packed = report_on(path.read_bytes(), board)
        assert report["accepted"] and report["unchanged"] == (files is trained) and not report["reason"]
        assert [(row["instance"], row["seed"]) for row in report["rows"]] == [
            ("ar2en/valid-0", 0),
            ("ar2en/valid-0", 1),
        ]
        again, other = report_on(packed, board)
        assert again["rows"] == report["rows"] and other == packed and again["unchanged"]
        assert set(read_zip(packed)) == {"submission.json", *(f"agent/{name}" for name in files)}
        for row in report["rows"]:
            solution, _ = player(files).play(problem, instance, row["seed"])
            assert row["cost"] == problem.judge(instance, solution).cost and row["claimed"] is None
    drawn = make_agent("sampling", temperature=0.7).solve(problem, instance, generator(instance, 1), Budget())
    assert report["rows"][1]["cost"] == problem.judge(instance, drawn).cost != report["rows"][0]["cost"]


@pytest.mark.attack("An agent chooses another model, or another measure, by the options of its mode")
def test_a_mode_of_its_own_is_played_and_nothing_else_is_chosen(board: Board, tmp_path: Path) -> None:
    files = {**described("first"), "options.json": b'{"k": 4, "state": false}'}
    assert judged(board, files, tmp_path)["accepted"]
    for options in ('{"score": "model"}', '{"model": "dialogue"}', '{"references": "/etc/passwd"}'):
        report = judged(board, {**files, "options.json": options.encode()}, tmp_path)
        key = next(iter(json.loads(options)))
        assert (
            f"options.json sets '{key}'; an agent may choose its action mode alone, by k, mode, state"
            in report["reason"]
        )


@pytest.mark.attack("An agent sees the references, names a file in a hyper-parameter, or hides a pickle in its weights")
@pytest.mark.parametrize(
    ("files", "match"),
    [
        (described("oracle"), "agent 'oracle' is a bound, and may not compete"),
        (described("nobody"), "unknown agent 'nobody'"),
        (described("beam", width=10**6), "width"),
        (described("beam", convention="/etc/passwd"), "convention='/etc/passwd', which may be a file; leave it out"),
        (described("trainable-greedy"), "must be trained, and there is no model.safetensors"),
        (described("metis"), "solves Partitioning, not NMTDecoding"),
        ({"agent.json": b"[]"}, "agent.json must be an object that names its 'agent'"),
        ({"agent.json": b"{"}, "no valid JSON"),
        ({"agent.json": b'{"agent": "beam", "hyper": [1]}'}, "must hold hyper-parameters by name"),
        ({**described("beam"), "model.safetensors": b"x"}, "'beam' does not learn, so it has no model.safetensors"),
        ({**described("beam"), "options.json": b"[1]"}, "options.json must be an object of options"),
        ({**described("trainable-greedy"), "model.safetensors": b"\x80\x04cposix\nsystem\n"}, "holds no weights"),
    ],
)
def test_what_is_no_agent_here_is_refused(board: Board, files: dict[str, bytes], match: str, tmp_path: Path) -> None:
    report = judged(board, files, tmp_path)
    assert not report["accepted"] and match in report["reason"] and "Traceback" not in report["reason"]


@pytest.mark.attack("An agent takes more time than the board gives")
def test_an_agent_that_takes_too_long_is_refused(board: Board, tmp_path: Path) -> None:
    short = replace(board, seconds=1e-3)
    report = judged(short, described("beam"), tmp_path)
    assert "CPU seconds for ar2en/valid-0 with seed 0; the board gives 0.001" in report["reason"]
    path = pack(tmp_path / "it.zip", short, ABOUT, {}, described("beam"))
    assert report_on(path.read_bytes(), short, pace=1e6)[0]["accepted"]  # as where an entry is judged again


@pytest.mark.attack("An agent asks for more judged candidates than the board gives")
def test_an_agent_is_run_with_the_steps_of_the_board(tmp_path: Path) -> None:
    """Its own hyper-parameter counts for nothing then, and the rows are those of an evaluation with that budget."""
    board = replace(load_board("device-configurations-65-policy-v1"), id="few-v1", instances=("layered/test-1",),
                    seeds=2, steps=20)  # fmt: skip
    problem = board.make_problem()
    graph, agent = problem.load("layered/test-1"), make_agent("sa-device", metis=False)
    wanted = [problem.judge(graph, agent.solve(problem, graph, generator(graph, seed), Budget(steps=20))).cost
              for seed in range(2)]  # fmt: skip
    for steps in (5, 4000):
        report = judged(board, described("sa-device", metis=False, steps=steps), tmp_path)
        assert report["accepted"] and [row["cost"] for row in report["rows"]] == wanted
    free = replace(board, steps=0)
    assert free.hash != board.hash
    better = judged(free, described("sa-device", metis=False), tmp_path)
    assert sum(row["cost"] for row in better["rows"]) < sum(wanted)


@pytest.mark.attack("Bytes in an agent's files that nobody reads give it endlessly many hashes")
def test_bytes_that_nobody_reads_are_not_kept(board: Board, trained: dict[str, bytes], tmp_path: Path) -> None:
    """An agent has one form, whatever stands beside what is read."""
    odd = {"agent.json": b'{"hyper": {"width": 2},\n "junk": "zzz", "agent": "beam"}', "options.json": b"{ }"}
    tidy = described("beam", width=2)
    told = json.loads(trained["agent.json"])
    other = {**trained, "agent.json": json.dumps({**told, "junk": "z" * 999}).encode()}
    for one, two in ((odd, tidy), (other, trained)):
        packed = [
            report_on(pack(tmp_path / "it.zip", board, ABOUT, {}, files).read_bytes(), board)[1] for files in (one, two)
        ]
        assert packed[0] == packed[1]


def test_weights_of_a_strange_kind_are_a_sentence(board: Board, trained: dict[str, bytes], tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load, save

    tensors = load(trained["model.safetensors"])
    tensors["enter.bias"] = tensors["enter.bias"].to(torch.float8_e5m2)
    report = judged(board, {**trained, "model.safetensors": save(tensors)}, tmp_path)
    assert "the submitted agent cannot be used" in report["reason"] and "Traceback" not in report["reason"]


def test_what_the_judge_lacks_is_no_fault_of_a_submission(
    board: Board, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from sysgym.core.errors import MissingDependency
    from sysgym_agents.decoding.classical import Beam

    def lacks(*_: Any) -> Any:
        raise MissingDependency("it needs a package")

    for method in ("prepare", "solve"):
        with monkeypatch.context() as patch:
            patch.setattr(Beam, method, lacks)
            report = judged(board, described("beam"), tmp_path)
        assert "more than is installed here: it needs a package" in report["usage"] and not report["reason"]


@pytest.mark.attack("Solutions enter a board that runs agents, or code travels with an agent")
def test_agents_and_solutions_are_not_mixed_up(board: Board, trained: dict[str, bytes], tmp_path: Path) -> None:
    solutions = replace(load_board("decoding-names-v1"), id="names-v1", instances=("ar2en/valid-0",))
    with pytest.raises(UsageError, match="takes solutions, and the submission holds an agent"):
        pack(tmp_path / "it.zip", solutions, ABOUT, {}, trained)
    answer = Answer({"text": np.zeros(1, np.int64)})
    with pytest.raises(UsageError, match="runs agents itself: it takes an agent's files"):
        pack(tmp_path / "it.zip", board, ABOUT, dict.fromkeys(board.pairs(), answer))
    path = pack(tmp_path / "it.zip", board, ABOUT, {}, trained)
    members = read_zip(path.read_bytes())
    table = json.loads(members["submission.json"])
    digest = hashlib.sha256(members["agent/agent.json"]).hexdigest()
    for change, more, match in (
        ({"policy": {"agent.json": digest}}, {}, "'agent/model.safetensors', which submission.json does not list"),
        ({"policy": {"model.safetensors": digest}}, {}, "policy must be an object of agent.json"),
        ({"policy": {**table["policy"], "agent.json": "0" * 64}}, {}, "agent/agent.json does not have the sha256"),
        ({"policy": {**table["policy"], "run.py": digest}}, {}, "policy must be an object of agent.json"),
        ({"answers": [{}]}, {}, "answers must be an empty list"),
        ({}, {"agent/run.py": b"import os"}, "the zip holds 'agent/run.py'; expected only"),
    ):
        data = write_zip({**members, "submission.json": json.dumps({**table, **change}).encode(), **more})
        report = report_on(data, board)[0]
        assert not report["accepted"] and match in report["reason"], report["reason"]
    assert read_bytes(path.read_bytes()).policy == trained


def test_an_agent_is_packed_by_its_name(tmp_path: Path) -> None:
    path = pack_runs([Path("nmt-beam2")], "decoding-names-policy-v1", tmp_path / "it.zip", None, ["Ada"], "", "CC0-1.0")
    found = read_bytes(path.read_bytes())
    assert found.about["agent"] == "nmt-beam2" and json.loads(found.policy["agent.json"]) == {
        "agent": "beam", "hyper": {"width": 2},
    }  # fmt: skip
    for runs, match in (([Path("beam"), Path("mbr")], "runs one agent"), ([Path("oracle")], "may not compete")):
        with pytest.raises(UsageError, match=match):
            pack_runs(runs, "decoding-names-policy-v1", tmp_path / "other.zip", None, [], "", "")
