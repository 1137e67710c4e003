"""The commands as a user types them: results, files, JSON and the sentences of errors."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Run = Callable[..., subprocess.CompletedProcess[str]]


def cpu_seconds(*words: str) -> float:
    """CPU seconds of one command, the least of three."""
    import resource

    found = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "sysgym_zoo.cli", *words], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(found)


def test_solve_judge_render_on_a_file(sysgym: Run, tmp_path: Path) -> None:
    (tmp_path / "path.txt").write_text("0 1\n1 2\n2 3\n")
    solved = sysgym("solve", "path.txt", "-o", "x.part", "--json")
    row = json.loads(solved.stdout)
    wanted = {
        "problem",
        "instance",
        "instance_hash",
        "agent",
        "seed",
        "feasible",
        "cost",
        "metrics",
        "violations",
        "seconds",
        "cpu_seconds",
    }
    assert wanted <= set(row) and (row["agent"], row["cost"], row["feasible"]) == ("fm", 1.0, True)
    assert sorted((tmp_path / "x.part").read_text().split()) == ["0", "0", "1", "1"]
    judged = json.loads(sysgym("judge", "path.txt", "x.part", "--json").stdout)
    assert judged["cost"] == 1.0 and judged["instance_hash"] == row["instance_hash"] and wanted <= set(judged)
    sysgym("render", "path.txt", "x.part", "-o", "x.png")
    assert np.asarray(Image.open(tmp_path / "x.png")).shape == (700, 640, 3)
    (tmp_path / "bad.part").write_text("0\n0\n0\n1\n")
    infeasible = sysgym("judge", "path.txt", "bad.part", code=3)
    assert "INFEASIBLE" in infeasible.stdout and "part 0 weighs 3, the limit at eps=0.03 is 2" in infeasible.stdout
    printed = json.loads(sysgym("solve", "path.txt", "--json").stdout)
    (tmp_path / "again.json").write_text(json.dumps(printed))
    assert json.loads(sysgym("judge", "path.txt", "again.json", "--json").stdout)["cost"] == 1.0


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["solve", "nope"], 2, "unknown instance 'nope'"),
        (["solve", "tiny/grid-tst"], 2, "Did you mean 'tiny/grid-test'"),
        (["solve", "tiny/grid-test", "-O", "kk=2"], 2, "unknown option of Partitioning 'kk'. Did you mean 'k'"),
        (["solve", "tiny/grid-test", "-O", "k"], 2, "expected key=value, got 'k'"),
        (["solve", "tiny/grid-test", "-O", "k=two"], 2, "option k of Partitioning must be int, got 'two'"),
        (["solve", "tiny/grid-test", "-p", "Partition"], 2, "unknown problem 'Partition'. Did you mean 'Partitioning'"),
        (["solve", "tiny/grid-test", "-a", "mtis"], 2, "unknown agent 'mtis'. Did you mean 'metis'"),
        (["solve", "tiny/grid-test", "-a", "ppo"], 2, "agent 'ppo' knows nothing before it is trained"),
        (["solve", "tiny/grid-test", "-a", "."], 2, "is no run folder: it holds no run.json"),
        (["solve", "tiny/grid-test", "-o", "no/such/x.json"], 2, "the folder no/such does not exist"),
        (["judge", "tiny/grid-test", "none.part"], 2, "cannot read the solution file none.part: No such file"),
        (["judge", "tiny/grid-test", "text.part"], 3, "line 1: expected one part id, got 'hello'"),
        (["judge", "text.graph", "text.part"], 2, "text.graph, line 1: the header must be"),
        (["train", "--agent", "metis"], 2, "agent 'metis' does not learn"),
        (["train"], 2, "no agent is named"),
        (["train", "--agent", "ppo-refine", "--set", "hiden=3"], 2, "Did you mean 'hidden'"),
        (["train", "--agent", "ppo-refine", "--steps", "0"], 2, "must be positive"),
        (["train", "--agent", "ppo-refine", "--out", "taken"], 2, "taken exists already"),
        (["train", "--agent", "ppo-refine", "--resume"], 2, "--resume needs --out"),
        (["train", "--agent", "ppo-refine", "--recipe", "nope"], 2, "unknown recipe 'nope'"),
        (
            ["train", "--agent", "dqn", "-O", "mode=oneshot", "--steps", "9"],
            2,
            "DQN cannot act in Partitioning in mode",
        ),
        (["evaluate", "--agent", "fm", "--agent", "fm"], 2, "an agent is named twice"),
        (["evaluate", "--instances", ""], 2, "no instance is named"),
        (["train", "--agent", "ppo-refine", "--seconds", "nan"], 2, "must be positive"),
        (["train", "--agent", "ppo", "--set", "n_steps=0"], 2, "n_steps of PPO must be a whole number from 2, got 0"),
        (["train", "--agent", "ppo", "--set", "learning_rate=nan"], 2, "learning_rate of PPO must be a number from 0"),
        (["train", "--agent", "ppo", "--recipe", "bad.toml"], 2, "recipe bad.toml: hyper must be a table, got 3"),
        (["train", "--agent", "ppo", "--recipe", "bytes.toml"], 2, "recipe bytes.toml cannot be read"),
        (["train", "--out", "taken", "--resume", "--set", "hidden=3"], 2, "leave --set and --recipe out"),
        (["solve", "tiny/grid-test", "-o", "taken/x/y.json"], 2, "the folder taken/x does not exist"),
        (["solve", "tiny/grid-test", "-o", "folder.json"], 2, "cannot write folder.json: Is a directory"),
        (["solve", "x" * 5000], 2, "unknown instance"),
        (["solve", "tiny/grid-test", "-a", "listed"], 2, "is no record of a run"),
        (["report", "evaluated"], 2, "the rows of evaluated cannot be read"),
        (["judge", "tiny/grid-test", "/dev/zero"], 3, "no solution is"),
        (["evaluate", "--seeds", "0"], 2, "--seeds must be at least 1"),
        (["evaluate", "--instances", "tiny/tst"], 2, "unknown instance 'tiny/tst'"),
        (["report", "taken"], 2, "taken is no run folder"),
        (["bench", "nothing"], 2, "unknown bench area 'nothing'"),
        (["data", "path", "walshaw"], 2, "'walshaw' is a set; name one instance"),
        (["data", "get", "walsha"], 2, "unknown data set 'walsha'. Did you mean 'walshaw'"),
        (["show", "meetis"], 2, "Did you mean 'metis'"),
        (["board", "show", "nope"], 2, "unknown board 'nope'"),
        (["board", "export"], 2, "no board has an entry yet"),
        (["submit", "none.zip"], 2, "cannot read the submission none.zip"),
        (["submit", "text.part", "--board", "partitioning-tiny-k2-v1"], 3, "rejected on partitioning-tiny-k2-v1"),
        (["pack", "taken", "--board", "partitioning-tiny-k2-v1"], 2, "taken is no run folder"),
        (["nonsense"], 2, "No such command"),
    ],
)
def test_errors_are_one_sentence(words: list[str], code: int, sentence: str, sysgym: Run, tmp_path: Path) -> None:
    (tmp_path / "text.part").write_text("hello\n")
    (tmp_path / "text.graph").write_text("hello\n")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "x").write_text("")
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "bad.toml").write_text("hyper = 3\n")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    for name, text in (("listed", "[]"), ("evaluated", '{"kind": "evaluate", "problem": {}, "status": "done"}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(text)
    done = sysgym(*words, code=code)
    assert sentence in done.stderr + done.stdout


def test_missing_wheel_exits_with_four(sysgym: Run, tmp_path: Path) -> None:
    (tmp_path / "pymetis.py").write_text("raise ImportError('not here')\n")
    done = sysgym("solve", "tiny/grid-test", "-a", "metis", code=4, PYTHONPATH=str(tmp_path))
    assert "pip install 'sysgym[partitioners]'" in done.stderr


def test_lists_and_show_in_both_forms(sysgym: Run) -> None:
    for what in ("problems", "agents", "instances", "boards"):
        rows = json.loads(sysgym("list", what, "--json").stdout)
        assert rows and all(rows)
        assert str(next(iter(rows[0].values()))) in sysgym("list", what).stdout
    for name in ("Partitioning", "fm", "tiny", "tiny/grid-test", "partitioning-ppo-refine", "partitioning-tiny-k2-v1"):
        found = json.loads(sysgym("show", name, "--json").stdout)
        assert found["text"].strip() in sysgym("show", name).stdout
    assert "eps = 0.03" in sysgym("show", "Partitioning").stdout
    assert [row["instance"] for row in json.loads(sysgym("list", "instances", "tiny/test", "--json").stdout)]


def test_doctor(sysgym: Run) -> None:
    rows = json.loads(sysgym("doctor", "--json").stdout)
    assert {"versions", "problems", "agents"} <= {row["check"] for row in rows}
    assert not [row for row in rows if row["status"] == "broken"]
    broken = sysgym("doctor", code=1, SYSGYM_DATA="nowhere/at/all")
    assert "is no folder" in broken.stdout


def test_data_path(sysgym: Run) -> None:
    path = sysgym("data", "path", "tiny/grid-test").stdout.strip()
    assert Path(path).is_file()
    assert {row["set"] for row in json.loads(sysgym("data", "list", "--json").stdout)} >= {"tiny", "walshaw"}


def test_bench_prints_ratios(sysgym: Run) -> None:
    rows = json.loads(sysgym("bench", "--quick", "--json").stdout)
    assert len(rows) > 10 and all(row["value"] > 0 for row in rows)


def test_contradicting_runs_are_refused(sysgym: Run) -> None:
    for k in ("2", "3"):
        sysgym(
            "train",
            "-a",
            "ppo-refine",
            "-O",
            f"k={k}",
            "-O",
            "eps=0.2",
            "--instances",
            "tiny/train",
            "--steps",
            "64",
            "--set",
            "n_steps=8",
            "--out",
            f"k{k}",
        )
        sysgym("evaluate", "-a", "ldg", "-O", f"k={k}", "--instances", "tiny/test", "--seeds", "1", "--out", f"e{k}")
    refused = sysgym("evaluate", "-a", "k2", "-a", "k3", "--instances", "tiny/test", code=2)
    assert "k2 was trained with k=2, k3 with k=3; choose by -O k=..." in refused.stderr
    sysgym("evaluate", "-a", "k2", "-a", "k3", "--instances", "tiny/test", "-O", "k=2", "--seeds", "1")
    mixed = sysgym("pack", "e2", "e3", "--board", "partitioning-tiny-k2-v1", code=2)
    assert "is for k=2, the run used k=3" in mixed.stderr
    twice = sysgym("pack", "e2", "e2", "--board", "partitioning-tiny-k2-v1", code=2)
    assert "twice; name one of them" in twice.stderr


def test_interrupting_a_kernel_or_an_evaluation(tmp_path: Path) -> None:
    for words in (
        ["solve", "delaunay:n=20000", "-a", "fm", "--seconds", "100"],
        ["evaluate", "-a", "fm", "--instances", "tiny/test", "--seconds", "100", "--out", "e"],
    ):
        process = subprocess.Popen(
            [sys.executable, "-m", "sysgym_zoo.cli", *words],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
        )
        time.sleep(6)
        deadline = time.monotonic() + 40
        while process.poll() is None and time.monotonic() < deadline:
            process.send_signal(signal.SIGINT)  # one that arrives inside a compiler's callback is lost
            time.sleep(2)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 130 and "interrupted" in errors and "Traceback" not in errors, errors
    assert json.loads((tmp_path / "e" / "run.json").read_text())["status"] == "interrupted"


def test_an_unexpected_error_is_one_sentence(tmp_path: Path) -> None:
    """A plugin that raises something odd: no traceback unless SYSGYM_DEBUG asks for it."""
    code = (
        "import sys, sysgym_zoo.cli as cli, sysgym_zoo.catalogue as c\n"
        "def broken(): raise RuntimeError('first line\\nsecond')\n"
        "c.problem_rows = broken; cli.app(['list', 'problems'])"
    )
    for debug in ("", "1"):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "SYSGYM_DEBUG": debug}
        )
        assert done.returncode == 1 and "unexpected RuntimeError: first line; this is a defect" in done.stderr
        assert ("Traceback" in done.stderr) == bool(debug)


@pytest.mark.slow
def test_learners_reach_their_bars(sysgym: Run) -> None:
    pytest.importorskip("pymetis")
    rows = {row["what"]: row["value"] for row in json.loads(sysgym("bench", "learning", "--json").stdout)}
    head = "refine, start=grow, 120 moves: best / start cut, "
    trained = rows[head + "ppo-refine after 60 s"]
    assert trained <= 0.8 and trained < rows[head + "random candidates"] - 0.1
    (mean,) = [value for what, value in rows.items() if what.startswith("gap / METIS: geometric mean")]
    assert mean <= 1.5


@pytest.mark.parametrize("words", [["--help"], ["list", "problems"], ["board", "show", "partitioning-tiny-k2-v1"]])
def test_cheap_commands_stay_cheap(words: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As a ratio to what cannot be avoided: importing typer, for the others also gymnasium."""
    monkeypatch.setenv("SYSGYM_STORE", str(tmp_path / "boards.sqlite"))
    needed = "import typer" if words == ["--help"] else "import typer, gymnasium"
    import resource

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for _ in range(3):
        subprocess.run([sys.executable, "-c", needed], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    floor = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / 3
    assert cpu_seconds(*words) < 3 * floor
