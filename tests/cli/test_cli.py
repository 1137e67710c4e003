"""The commands as a user types them: results and files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from public import ECOSYSTEM, needs_ecosystem

from sysgym import make_problem
from sysgym.chip_placement.render import HARD_FILL
from sysgym.core.solutions import read_solution

Run = Callable[..., subprocess.CompletedProcess[str]]
Inline = Callable[..., Any]


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


def test_a_placement_grows_in_an_animation(inline: Inline) -> None:
    inline("solve", "tiles/test-0", "-p", "ChipPlacement", "-a", "spiral", "-o", "x.plc")
    inline("render", "tiles/test-0", "x.plc", "-p", "ChipPlacement", "-o", "x.gif")
    problem = make_problem("ChipPlacement")
    chip = problem.load("tiles/test-0")
    pages = problem.frames(chip, read_solution(problem, chip, "x.plc"))
    assert len(pages) == 1 + 16 + 1 + 1  # none, the hard macros one by one, the soft ones, the nets
    blue = [int((page == HARD_FILL).all(axis=2).sum()) for page in pages]
    assert blue[0] == 0 and np.all(np.diff(blue[:17]) > 0)
    with Image.open("x.gif") as moving:
        assert moving.n_frames == len(pages)
        moving.seek(len(pages) - 1)
        assert moving.info["duration"] == 2000
        assert np.abs(np.asarray(moving.convert("RGB"), int) - pages[-1]).max() < 64
    large = problem.load("tiles:rows=9,columns=9,seed=1")
    rows = large.macros
    start = {"x": large.placement.x[rows], "y": large.placement.y[rows], "orientation": np.zeros(len(rows), np.int64)}
    assert 50 <= len(problem.frames(large, start)) <= 60


def test_lists_and_show_in_both_forms(inline: Inline) -> None:
    for what in ("problems", "agents", "instances", "boards"):
        rows = json.loads(inline("list", what, "--json").stdout)["rows"]
        assert rows and all(rows)
        assert str(next(iter(rows[0].values()))) in inline("list", what).stdout
    for name in ("Partitioning", "fm", "tiny", "tiny/grid-test", "ppo-refine", "partitioning-tiny-k2-v1"):
        found = json.loads(inline("show", name, "--json").stdout)
        assert found["text"].strip() in inline("show", name).stdout
    assert "eps = 0.03" in inline("show", "Partitioning").stdout
    assert [row["instance"] for row in json.loads(inline("list", "instances", "tiny/test", "--json").stdout)["rows"]]


def test_data_path(inline: Inline) -> None:
    path = inline("data", "path", "tiny/grid-test").stdout.strip()
    assert Path(path).is_file()
    assert {row["set"] for row in json.loads(inline("data", "list", "--json").stdout)["rows"]} >= {"tiny", "walshaw"}


@pytest.mark.parametrize(
    "area", ["partitioning", *(pytest.param(each, marks=pytest.mark.slow) for each in ("chip", "dataflow", "rollouts"))]
)
def test_bench_prints_ratios(area: str, sysgym: Run) -> None:
    found = json.loads(sysgym("bench", area, "--quick", "--json").stdout)
    rows = found["rows"]
    assert found["schema"] == "sysgym-bench/1" and len(rows) > 10 and all(row["value"] > 0 for row in rows)


def test_repeated_instances_add_up(inline: Inline) -> None:
    found = json.loads(
        inline("evaluate", "-a", "ldg", "--instances", "tiny/grid-test", "--instances", "tiny/delaunay-test",
               "--seeds", "1", "--json").stdout
    )  # fmt: skip
    assert {row["instance"] for row in found["rows"]} == {"tiny/grid-test", "tiny/delaunay-test"}


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


def interrupted(process: Any, started: Callable[[], bool]) -> None:
    """Press Ctrl-C once a command is at work; it must end by that, with a sentence."""
    deadline = time.monotonic() + 60
    while not started() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert process.poll() is None
    while process.poll() is None and time.monotonic() < deadline:
        process.send_signal(signal.SIGINT)  # one that arrives inside a compiler's callback is lost
        time.sleep(0.5)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and "interrupted" in errors and "Traceback" not in errors, errors


def test_interrupting_an_evaluation(sysgym: Any, tmp_path: Path) -> None:
    process = sysgym.start("evaluate", "-a", "fm", "--instances", "tiny/test", "--seconds", "100", "--out", "e")
    interrupted(process, (tmp_path / "e" / "run.json").is_file)
    assert json.loads((tmp_path / "e" / "run.json").read_text())["status"] == "interrupted"


def test_interrupting_a_kernel_in_a_real_process(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "sysgym_zoo.cli", "solve", "delaunay:n=20000", "-a", "fm", "--seconds", "100"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )
    maps, begun = Path(f"/proc/{process.pid}/maps"), time.monotonic()

    def started() -> bool:
        """The command has loaded numba: it is past its imports."""
        if not maps.is_file():  # no Linux: wait long enough
            return time.monotonic() > begun + 6
        return "llvmlite" in maps.read_text()

    interrupted(process, started)


def test_an_unexpected_error_is_one_sentence(tmp_path: Path) -> None:
    """A plugin that raises something odd: no traceback unless SYSGYM_DEBUG asks for it."""
    code = (
        "import sys, sysgym_zoo.cli as cli, sysgym_zoo.lookup.catalogue as c\n"
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
    rows = {row["what"]: row["value"] for row in json.loads(sysgym("bench", "learning", "--json").stdout)["rows"]}
    head = "refine, start=grow, 120 moves: best / start cut, "
    trained = rows[head + "ppo-refine after 60,000 steps"]
    assert trained <= 0.8 and trained < rows[head + "random candidates"] - 0.1
    (mean,) = [value for what, value in rows.items() if what.startswith("gap / METIS: geometric mean")]
    assert mean <= 1.5


@pytest.mark.parametrize("words", [["--help"], ["list", "problems"], ["board", "show", "partitioning-tiny-k2-v1"]])
def test_cheap_commands_stay_cheap(words: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As a ratio to what cannot be avoided: importing typer, what prints its help and finds plugins; else gymnasium."""
    monkeypatch.setenv("SYSGYM_STORE", str(tmp_path / "boards.sqlite"))
    needed = "import typer.rich_utils, importlib.metadata" if words == ["--help"] else "import typer, gymnasium"
    import resource

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for _ in range(3):
        subprocess.run([sys.executable, "-c", needed], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    floor = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / 3
    assert cpu_seconds(*words) < 3 * floor


@needs_ecosystem
def test_a_published_ranking_is_audited(sysgym: Run) -> None:
    """CompilerGym's board: one entry misses a benchmark, two walltimes are not those of the rows."""
    files = [str(ECOSYSTEM / f"compilergym_llvm_instcount_{part}.csv") for part in ("results", "leaderboard")]
    found = sysgym("board", "audit", files[0], "--published", files[1], "--json", code=3)
    rows = {row["algorithm"]: row["problems"] for row in json.loads(found.stdout)["rows"]}
    assert len(rows) == 11 and sum(map(bool, rows.values())) == 3
    (refused,) = [text for name, text in rows.items() if "GATv2" in name]
    assert "22 of 23" in refused
    assert all("walltime" in text for name, text in rows.items() if text and "GATv2" not in name)
