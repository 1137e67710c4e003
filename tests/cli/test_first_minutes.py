"""What a newcomer and a script meet first: completion, JSON, exit codes, terminals, the doctor."""

from __future__ import annotations

import json
import os
import re
import select
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.main import get_command

from sysgym_agents import Budget
from sysgym_agents.core import agent_registry, register_agent
from sysgym_zoo.cli import app
from sysgym_zoo.cli.complete import join_words

Inline = Callable[..., Any]
Run = Callable[..., subprocess.CompletedProcess[str]]
COMMAND = [sys.executable, "-m", "sysgym_zoo.cli"]
TINY = "partitioning-tiny-k2-v1"
SETTINGS = ("NO_COLOR", "FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS", "CLICOLOR_FORCE")  # a CI may set them
PLAIN = {key: value for key, value in os.environ.items() if key not in SETTINGS}


# ------------------------------------------------------------------------------------------------ completion


def complete(sysgym: Run, *words: str) -> list[str]:
    """What bash is offered for the last word; words as bash has split them."""
    asked = {"_SYSGYM_COMPLETE": "complete_bash", "COMP_WORDS": "\n".join(words), "COMP_CWORD": str(len(words) - 1)}
    done = sysgym(**asked)
    assert not done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("line", "offered", "others"),
    [
        ("sysgym tr", {"train"}, {"solve"}),
        ("sysgym solve -p P", {"Partitioning"}, set()),
        ("sysgym solve tiny/g", {"tiny/grid-test", "tiny/grid-train"}, {"delaunay/test-0"}),
        ("sysgym evaluate --instances delaunay/t", {"delaunay/test", "delaunay/train-0"}, {"tiny"}),
        ("sysgym solve -a m", {"metis", "maskable-ppo"}, {"fm"}),
        ("sysgym train -a ", {"ppo-refine", "gap"}, {"fm", "metis"}),
        ("sysgym train -a gap --set s", {"solve_iterations="}, {"hidden="}),
        ("sysgym train --recipe ", {"partitioning-gap"}, set()),
        ("sysgym solve -O ", {"k=", "eps=", "mode=refine", "moves=raw"}, set()),
        ("sysgym solve -O mode =", {"assign", "oneshot", "refine"}, {"raw"}),
        ("sysgym solve -O mode = r", {"refine"}, {"assign"}),
        ("sysgym solve -O k = 3 -O mo", {"mode=", "moves=raw"}, {"k="}),
        ("sysgym board show ", {TINY}, {"fm"}),
        ("sysgym board export --format ", {"html", "json", "csv"}, set()),
        ("sysgym bench ", {"partitioning", "learning", "chip"}, set()),
        ("sysgym data get wal", {"walshaw", "walshaw/add20"}, {"tiny"}),
        ("sysgym show ", {"Partitioning", "fm", "tiny", "tiny/test", TINY, "partitioning-gap"}, set()),
        ("sysgym solve -p Nope -O ", set(), {"k="}),
    ],
)
def test_bash_completes_registered_names(line: str, offered: set[str], others: set[str], sysgym: Run) -> None:
    found = set(complete(sysgym, *line.split(" ")))
    assert offered <= found and not others & found, found


def test_words_that_bash_has_split() -> None:
    assert join_words(["sysgym", "solve", "delaunay", ":", "n", "=", "3"]) == (["sysgym", "solve"], "delaunay:n=", "3")
    assert join_words(["sysgym", "solve", "-O", "k=2"]) == (["sysgym", "solve", "-O"], "", "k=2")
    assert join_words(["sysgym", "solve", "-O", "k", "=", "2", ""]) == (["sysgym", "solve", "-O", "k=2"], "", "")


def test_completion_in_a_real_bash(tmp_path: Path) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash here")
    program = tmp_path / "sysgym"
    program.write_text(f'#!/bin/sh\nexec {shlex.join(COMMAND)} "$@"\n')
    program.chmod(0o755)
    script = 'eval "$(_SYSGYM_COMPLETE=source_bash sysgym)"; COMP_WORDS=(sysgym solve -O mode = re); COMP_CWORD=5\n'
    script += '_sysgym_completion sysgym; echo "${COMPREPLY[@]}"'
    path = f"{tmp_path}{os.pathsep}{PLAIN['PATH']}"
    done = subprocess.run([bash, "--norc", "-c", script], capture_output=True, text=True, env={**PLAIN, "PATH": path})
    assert done.stdout.strip() == "refine", done.stderr


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_completion_in_other_shells(shell: str, sysgym: Run) -> None:
    source = sysgym(_SYSGYM_COMPLETE=f"source_{shell}")
    assert "sysgym" in source.stdout and not source.stderr
    asked = {"_SYSGYM_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_ARGS": "sysgym solve -O mode=re"}
    done = sysgym(**asked, _TYPER_COMPLETE_FISH_ACTION="get-args")
    assert "mode=refine" in done.stdout and "assign" not in done.stdout


def test_completion_imports_nothing_heavy() -> None:
    code = (
        "import sys; from sysgym_zoo.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'numba', 'stable_baselines3'} & set(sys.modules)), file=sys.stderr)"
    )
    for words in (
        ["solve", ""],
        ["show", ""],
        ["bench", ""],
        ["train", "-a", "gap", "--set", ""],
        ["submit", "--board", ""],
    ):
        line = ["sysgym", *words]
        asked = {"_SYSGYM_COMPLETE": "complete_bash", "COMP_WORDS": "\n".join(line), "COMP_CWORD": str(len(line) - 1)}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**PLAIN, **asked})
        assert done.stderr.strip() == "[]" and len(done.stdout.splitlines()) > 1, (words, done.stderr)


# ------------------------------------------------------------------------------------------------ JSON


def commands(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """Every command of the application with its full name."""
    for name, found in group.commands.items():
        if hasattr(found, "commands"):
            yield from commands(found, f"{before}{name} ")
        else:
            yield f"{before}{name}", found


def test_every_command_can_print_json() -> None:
    found = dict(commands(get_command(app)))
    assert len(found) > 20
    for name, command in found.items():
        assert "--json" in [word for parameter in command.params for word in parameter.opts], name


JSON = {  # in this order: what one makes, the next ones use
    "list problems": "list problems",
    "list agents": "list agents",
    "list recipes": "list recipes",
    "list instances": "list instances tiny/test",
    "list boards": "list boards",
    "list scalars": "list scalars",
    "show": "show Partitioning",
    "data list": "data list",
    "data get": "data get tiny/grid-test",
    "data path": "data path tiny/grid-test",
    "solve": "solve tiny/grid-test -o x.part",
    "judge": "judge tiny/grid-test x.part",
    "render": "render tiny/grid-test x.part -o x.png",
    "group": "group cell.pb.txt -o out.pb.txt --width 9 --height 9 --columns 3 --groups cell.groups",
    "trace": "trace sysgym_zoo.models:vgg16 --arg batch=1 -o g.json",
    "train": "train -a ppo-refine --steps 64 --set n_steps=8 --set num_envs=2 --instances tiny/train --out trained",
    "evaluate": "evaluate -a ldg --instances tiny/test --seeds 1 --out e",
    "report": "report e",
    "pack": f"pack e --board {TINY} -o e.zip",
    "submit": "submit e.zip",
    "board list": "board list",
    "board show": f"board show {TINY}",
    "board verify": "board verify",
    "board export": "board export --out site",
    "board audit": "board audit rows.csv",
    "board rejudge": "board rejudge",
    "board authors": "board authors 1 --author Ada",
    "board name": "board name 1 Anonymous",
    "board withdraw": "board withdraw 1",
}
CELL = 'node {\n name: "S"\n attr {\n key: "type"\n value {\n placeholder: "stdcell"\n }\n }\n}\n'
ELSEWHERE = {
    "demo",
    "bench",
    "doctor",
    "plot",
    "tune",
    "sweep run",
    "sweep plan",
    "sweep status",
}  # they take longer, or an extra; their own tests read their JSON


@pytest.mark.usefixtures("forked_judge")
def test_json_is_all_that_stdout_holds(inline: Inline) -> None:
    assert {name for name, _ in commands(get_command(app))} - set(JSON) <= ELSEWHERE
    Path("rows.csv").write_text("algorithm,benchmark,reward,walltime_s\na,x,1.5,2\na,y,1.5,3\n")
    Path("cell.pb.txt").write_text(CELL), Path("cell.groups").write_text("0\n")
    schemas = {}
    for name, line in JSON.items():
        found = json.loads(inline(*shlex.split(line), "--json").stdout)
        assert isinstance(found, dict) and re.fullmatch(r"sysgym-[a-z-]+/\d+", found["schema"]), name
        schemas[name] = found["schema"]
    assert schemas.pop("solve") == schemas.pop("judge") == "sysgym-verdict/1"
    assert schemas.pop("board authors") == schemas.pop("board name") == schemas.pop("board withdraw")
    assert schemas.pop("list boards") == schemas.pop("board list")
    assert schemas.pop("render") == schemas.pop("pack") == schemas.pop("board export") == "sysgym-files/1"
    assert len(set(schemas.values())) == len(schemas)
    wrong = inline("solve", "nope", "--json", code=2)
    assert not wrong.stdout and wrong.stderr.startswith("sysgym: unknown instance")
    refused = inline("submit", "cell.pb.txt", "--board", TINY, "--json", code=3).stdout
    assert not json.loads(refused)["accepted"]


# ------------------------------------------------------------------------------------------------ exit codes


class Stub:
    """An agent that fails in a chosen way."""

    problems = ()
    error: type[BaseException] = RuntimeError

    def solve(self, problem: Any, instance: Any, rng: np.random.Generator, budget: Budget) -> Any:
        raise self.error("out of luck")


@pytest.fixture
def stub() -> Iterator[type[Stub]]:
    register_agent("stub", Stub)
    yield Stub
    del agent_registry.local["stub"]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("solve tiny/grid-test", 0),
        ("evaluate --instances tiny/test -a stub --out e", 1),
        ("solve tiny/grid-tst", 2),
        ("solve", 2),
        ("judge tiny/grid-test all-in-one.json", 3),
        ("submit all-in-one.json", 3),
    ],
)
def test_exit_codes(line: str, code: int, stub: type[Stub], inline: Inline, tmp_path: Path) -> None:
    (tmp_path / "all-in-one.json").write_text(json.dumps({"part": [0] * 64}))
    inline(*line.split(), code=code)
    if code == 1:
        assert json.loads((tmp_path / "e" / "run.json").read_text())["status"] == "failed"


@pytest.mark.parametrize(
    ("error", "code"), [(KeyboardInterrupt, 130), (ImportError, 1), (OSError, 1), (MemoryError, 1)]
)
def test_exit_code_of_an_error(
    error: type[BaseException], code: int, stub: type[Stub], inline: Inline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stub, "error", error)
    said = inline("solve", "tiny/grid-test", "-a", "stub", code=code).stderr
    assert len(said.splitlines()) == 1 and said.startswith("sysgym: ")


def test_exit_code_of_a_missing_package(inline: Inline, monkeypatch: pytest.MonkeyPatch) -> None:
    for agent, package in (("metis", "pymetis"), ("kahip", "kahip")):
        monkeypatch.setitem(sys.modules, package, None)
        said = inline("solve", "tiny/grid-test", "-a", agent, code=4).stderr
        assert said == f"sysgym: agent '{agent}' needs {package}: pip install 'sysgym[partitioners]'.\n"


# ------------------------------------------------------------------------------------------------ terminals

TRAIN = [
    "train",
    "-a",
    "ppo-refine",
    "--seconds",
    "1",
    "--set",
    "n_steps=8",
    "--set",
    "num_envs=2",
    "--instances",
    "tiny/train",
]


def on_terminal(sysgym: Any, *words: str, **environment: str) -> str:
    """What a command writes to a terminal."""
    pty, termios = pytest.importorskip("pty"), pytest.importorskip("termios")
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (40, 120))
    process = sysgym.start(*words, terminal=os.ttyname(slave), TERM="xterm-256color", **environment)
    seen, deadline = b"", time.monotonic() + 120
    while time.monotonic() < deadline:
        if select.select([master], [], [], 0.05)[0]:
            seen += os.read(master, 65536)
        elif process.poll() is not None:
            break
    os.close(slave)
    os.close(master)
    assert process.wait(60) in (0, 2)
    return seen.decode()


def test_plain_text_where_there_is_no_terminal(sysgym: Run, real_sysgym: Run) -> None:
    for run, words in (
        (real_sysgym, ["--help"]), (sysgym, ["train", "--help"]), (sysgym, ["list", "problems"]), (sysgym, ["trian"]),
        (sysgym, TRAIN),
    ):  # fmt: skip
        done = run(*words, code=2 if words == ["trian"] else 0)
        for text in (done.stdout, done.stderr):
            assert "\x1b" not in text and "\r" not in text and "it/s" not in text and "%|" not in text, words


def test_colours_and_bars_on_a_terminal(sysgym: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    colour = re.compile(r"\x1b\[[0-9;]*[39][0-7]")
    for name in (*SETTINGS, "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    assert colour.search(on_terminal(sysgym, "--help"))
    assert not colour.search(on_terminal(sysgym, "--help", NO_COLOR="1"))
    assert not colour.search(on_terminal(sysgym, "trian", NO_COLOR="1"))
    for quiet in ({}, {"NO_COLOR": "1"}):
        shown = on_terminal(sysgym, *TRAIN, **quiet)
        assert "training:" in shown and "\r" in shown and not colour.search(shown)


# ------------------------------------------------------------------------------------------------ doctor


def diagnosis(inline: Inline, code: int = 0) -> dict[str, dict[str, Any]]:
    return {row["check"]: row for row in json.loads(inline("doctor", "--json", code=code).stdout)["rows"]}


def test_doctor_finds_all_in_place(inline: Inline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SYSGYM_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    found = diagnosis(inline)
    extras = (
        "onnx", "searches", "tune", "plots", "huggingface", "rl-zoo3", "torchrl", "minari", "wandb", "mlflow", "ray",
        "slurm",
    )  # fmt: skip
    for extra in extras:  # a checkout may be older than an extra
        found.pop(f"extra {extra}", None)
    assert list(found) == [
        "versions", "hardware", "problems", "agents", "boards", "recipes", "benchmarks", "trained agents", "commands",
        "extra partitioners", "SYSGYM_DATA", "data cache", "leaderboard store", "runs", "devices",
        "kernel cache", "determinism",
    ]  # fmt: skip
    assert {row["status"] for row in found.values()} <= {"ok", "absent"}
    assert "torch" in found["versions"]["detail"] and "OMP_NUM_THREADS=1" in found["hardware"]["detail"]
    assert found["SYSGYM_DATA"]["status"] == "absent" and "same bits" in found["determinism"]["detail"]
    assert "the CPU; torch" in found["devices"]["detail"]
    assert str(tmp_path / "runs") in found["runs"]["detail"]
    assert re.search(r"is writable, with \d+ compiled kernels in sysgym-\w+ and sys", found["kernel cache"]["detail"])
    assert "each can be used" in inline("doctor").stdout


def test_doctor_names_what_is_missing(inline: Inline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sysgym_zoo.jobs import doctor

    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SYSGYM_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "file"))
    monkeypatch.setenv("SYSGYM_STORE", "")
    (tmp_path / "runs").write_text("in the way")
    monkeypatch.setattr(doctor, "_version", lambda package: None if package == "kahip" else "1.0")
    bits = iter((b"one", b"two"))
    monkeypatch.setattr(doctor, "_small_training", lambda: next(bits))
    found = diagnosis(inline, code=1)
    assert found["extra partitioners"] == {
        "check": "extra partitioners",
        "status": "absent",
        "detail": "optional, without kahip: pip install 'sysgym[partitioners]'",
    }
    for check, words in (
        ("SYSGYM_DATA", "public files; it should hold chip/"),
        ("data cache", "is not writable"),
        ("leaderboard store", "is not writable"),
        ("runs", "is not writable"),
        ("determinism", "gives different bits with"),
    ):
        assert found[check]["status"] == "broken" and words in found[check]["detail"], found[check]
    monkeypatch.setattr(doctor, "_small_training", bytes)
    monkeypatch.setenv("SYSGYM_DATA", str(tmp_path / "nowhere"))
    assert "nowhere is no folder" in diagnosis(inline, code=1)["SYSGYM_DATA"]["detail"]


def test_doctor_counts_public_data(inline: Inline, public_data: Path) -> None:
    found = diagnosis(inline)["SYSGYM_DATA"]
    assert found["status"] == "ok" and re.search(r"holds (\d+) of \d+ public files", found["detail"])
