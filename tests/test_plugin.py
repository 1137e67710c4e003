"""A third-party package in an environment of its own: used like the built-in problems, and harmless when broken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PLUGIN = ROOT / "tests" / "plugin"
BOARD = "knapsack-small-v1"
Run = Callable[..., subprocess.CompletedProcess[str]]


def execute(words: list[str], folder: Path, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a process in a folder with a leaderboard store of its own."""
    settings = {**os.environ, "SYSGYM_STORE": str(folder / "boards.sqlite"), **environment}
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, env=settings)
    assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The interpreter of a fresh environment that sees ours, with the plugin installed by pip, offline."""
    pytest.importorskip("hatchling")
    pytest.importorskip("pip")
    home = tmp_path_factory.mktemp("plugin") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    found = home / ("Scripts" if os.name == "nt" else "bin") / "python"
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = subprocess.run([found, "-c", where], capture_output=True, text=True, check=True).stdout.strip()
    # not --system-site-packages: that shows the base interpreter's packages, not those of the environment we run in
    ours = sysconfig.get_path("purelib")
    Path(packages, "ours.pth").write_text(f"import site; site.addsitedir({ours!r})\n")
    pip = [str(found), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    execute([*pip, "--no-index", "--no-deps", "--no-build-isolation", str(PLUGIN)], home)
    return str(found)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the commands run; what one test made, the next one uses."""
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def sysgym(python: str, folder: Path, warm: Callable[..., Any]) -> Run:
    """The command line of that environment, its commands forked from one process of that interpreter."""
    return forked(warm(python), folder)


def forked(server: Any, folder: Path) -> Run:
    """Run commands of a warm process in a folder with a leaderboard store of its own."""

    def run(*words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = server.run(list(words), folder, {**os.environ, "SYSGYM_STORE": str(folder / "boards.sqlite")})
        assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done

    return run


def rows(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return json.loads(done.stdout)["rows"]


def test_listed_and_documented(sysgym: Run) -> None:
    assert {row["id"]: row["recommended"] for row in rows(sysgym("list", "problems", "--json"))}[
        "sysgym/Knapsack-v0"
    ] == "knapsack-rule"
    kinds = {row["agent"]: row["kind"] for row in rows(sysgym("list", "agents", "-p", "Knapsack", "--json"))}
    assert kinds["knapsack-rule"] == kinds["maskable-ppo"] == "learner" and "fm" not in kinds
    (group,) = rows(sysgym("list", "instances", "-p", "Knapsack", "--json"))
    assert (group["set"], group["source"], group["test"]) == ("small", "generated", 3)
    assert len(rows(sysgym("list", "instances", "-p", "Knapsack", "small/test", "--json"))) == 3
    for name, words in (("Knapsack", "fill = 0.5"), ("knapsack-rule", "sigma = 0.3"), ("small/test-0", "of Knapsack")):
        assert words in sysgym("show", name).stdout
    assert rows(sysgym("data", "list", "-p", "Knapsack", "--json"))[0]["here"] == 9
    assert "is generated when it is used" in sysgym("data", "get", "small", "-p", "Knapsack", code=2).stderr
    assert "is generated when it is used" in sysgym("data", "path", "small/test-0", "-p", "Knapsack", code=2).stderr
    assert not [row for row in rows(sysgym("doctor", "--json")) if row["status"] == "broken"]


@pytest.fixture(scope="module")
def trained(sysgym: Run, folder: Path) -> Path:
    """The folder with three runs: of the plugin's learner, and of two general ones."""
    on = ("-p", "Knapsack")
    sysgym("train", *on, "-a", "knapsack-rule", "--steps", "30", "--set", "sigma=0.5", "--out", "rule")
    small = ("--steps", "128", "--set", "n_steps=16", "--set", "hidden=8")
    sysgym("train", *on, "-a", "maskable-ppo", *small, "--out", "masked")
    sysgym("train", *on, "-a", "ppo", *small, "--out", "plain")
    return folder


def test_trained_evaluated_submitted_and_ranked(sysgym: Run, trained: Path) -> None:
    assert (trained / "rule" / "agent" / "model.safetensors").is_file()
    on = ("-p", "Knapsack")
    agents = ["-a", "rule", "-a", "masked", "-a", "plain", "-a", "random"]
    done = sysgym("evaluate", *on, *agents, "--instances", "small/test", "--seeds", "2", "--out", "eval", "--json")
    summary = json.loads(done.stdout)["summary"]
    best = summary[0]
    assert best["agent"] == "knapsack-rule (rule)" and 1 <= best["ratio"] < 1.05  # costs are negative: lower is better
    assert all(line["ratio"] >= best["ratio"] and line["feasible"] == "100 %" for line in summary)
    assert "Knapsack-v0 on small, 3 instances, 2 seeds" in sysgym("report", "eval").stdout
    for line in (summary[0], summary[-1]):
        sysgym("pack", "eval", "--board", BOARD, "--agent", line["agent"], "-o", f"{line['agent']}.zip")
        accepted = sysgym("submit", f"{line['agent']}.zip")
        assert "6 solutions judged, 6 feasible" in accepted.stdout
    ranking = rows(sysgym("board", "show", BOARD, "--json"))
    assert ranking[0]["agent"] == "knapsack-rule (rule)" and len(ranking) == 2
    assert ranking[0]["score"] == pytest.approx(best["ratio"])
    assert "2 entries verified" in sysgym("board", "verify").stdout
    file = str(PLUGIN / "sysgym_knapsack" / f"{BOARD}.toml")
    assert rows(sysgym("board", "show", file, "--json")) == ranking
    assert "site/index.html" in sysgym("board", "export", BOARD, "--out", "site").stdout


def test_solved_judged_and_drawn(sysgym: Run, folder: Path) -> None:
    (folder / "mine.txt").write_text("10 5\n9 5\n1 4\n")
    assert "cost -10, feasible" in sysgym("solve", "mine.txt", "-p", "Knapsack", "-o", "x.json").stdout
    sysgym("judge", "mine.txt", "x.json", "-p", "Knapsack", "-O", "fill=0.5")
    sysgym("render", "mine.txt", "x.json", "-p", "Knapsack", "-o", "x.png")
    (folder / "all.json").write_text('{"packed": [1, 1, 1]}')
    heavy = sysgym("judge", "mine.txt", "all.json", "-p", "Knapsack", code=3)
    assert "the sack weighs 14, it holds 7" in heavy.stdout
    assert "Did you mean 'small/test-0'" in sysgym("solve", "small/tst-0", "-p", "Knapsack", code=2).stderr
    assert "Did you mean 'fill'" in sysgym("solve", "mine.txt", "-p", "Knapsack", "-O", "fil=1", code=2).stderr
    assert (
        "solves Partitioning, not Knapsack" in sysgym("solve", "mine.txt", "-p", "Knapsack", "-a", "fm", code=2).stderr
    )


def test_its_recipe_benchmark_and_command(sysgym: Run, folder: Path) -> None:
    kinds = {row["agent"]: row["kind"] for row in rows(sysgym("list", "agents", "-p", "Knapsack", "--json"))}
    assert kinds["knapsack-careful"] == "recipe" and "ppo-refine" not in kinds
    sysgym("train", "-a", "knapsack-careful", "--steps", "3", "--out", "careful")
    record = json.loads((folder / "careful" / "run.json").read_text())
    assert record["problem"]["options"] == {"fill": 0.4} and record["agent"]["hyper"]["sigma"] == 0.1
    assert (record["agent"]["name"], record["agent"]["recipe"]) == ("knapsack-rule", "knapsack-careful")
    assert "cost -" in sysgym("solve", "small/test-0", "-a", "careful").stdout  # the run tells the problem
    assert "knapsack" in {row["area"] for row in rows(sysgym("bench", "--json"))}
    (line,) = rows(sysgym("bench", "knapsack", "--quick", "--json"))
    assert line["what"] == "one answer of knapsack-rule" and line["met"]
    assert "weigh" in sysgym("--help").stdout
    weight = json.loads(sysgym("weigh", "small/test-0", "--json").stdout)["weight"]
    assert weight > 0 and sysgym("weigh", "small/test-0").stdout == f"{weight}\n"
    assert "Did you mean 'weigh'" in sysgym("weih", code=2).stderr
    assert "Did you mean 'small/test-0'" in sysgym("weigh", "small/tst-0", code=2).stderr


def test_made_by_gymnasium(python: str, tmp_path: Path) -> None:
    code = (
        "import gymnasium as gym; env = gym.make('sysgym:sysgym/Knapsack-v0', instance='random:seed=7', fill=0.3)\n"
        "env.reset(seed=0); over = False\n"
        "while not over: _, _, over, _, info = env.step(int(env.unwrapped.action_masks().argmax()))\n"
        "assert info['verdict']['feasible'], info"
    )
    execute([python, "-W", "error", "-c", code], tmp_path)


def test_covered_by_the_contract_tests() -> None:
    """They run over it in this process; see `cases` and `tests/contract`."""
    import cases

    assert {"sysgym/Knapsack-v0"} <= {case.name for case in cases.CASES}
    assert {("knapsack-rule", "sysgym/Knapsack-v0")} <= cases.learner_table() and "knapsack-rule" in cases.AGENTS


# ------------------------------------------------------------------------------------------------ broken packages

MODULES = {
    "raises_plugin": "raise ImportError('no module named nowhere')",
    "exits_plugin": "import sys\nsys.exit('licence expired')",
    "hollow_plugin": "class Hollow:\n    name = 'Hollow'\n\nclass Idle:\n    problems = ()\n\nclass Half:\n"
    "    problems = ()\n    def solve(self, *_): ...\n    def fit(self, *_): ...",
    "dull_plugin": "areas = 3",
    "crash_plugin": "from sysgym.partitioning.problem import Partitioning\n\nclass Crash(Partitioning):\n"
    "    def __init__(self): raise RuntimeError('no GPU')\n\nclass Other(Partitioning):\n    version = 3\n\n"
    "class Blind(Partitioning):\n    name = 'Blind'\n    def instance_sets(self): raise OSError('no disk')\n"
    "    @staticmethod\n    def reads(name, head): raise KeyError(name)\n",
}
PROBLEMS = {
    "Raises-v0": ("raises_plugin:Thing", "cannot be imported (ImportError: no module named nowhere)"),
    "Exits-v0": ("exits_plugin:Thing", "cannot be imported (SystemExit: licence expired)"),
    "Absent-v0": ("hollow_plugin:Thing", "cannot be imported (AttributeError"),
    "Hollow-v0": (
        "hollow_plugin:Hollow",
        "which lacks adopt, beside, canonical, choice_names, default_instances, describe,",
    ),
    "Crash-v0": ("crash_plugin:Crash", "it cannot be built (RuntimeError: no GPU)"),
    "Blind-v0": ("crash_plugin:Blind", "it cannot be built (OSError: no disk)"),
    "Other-v0": ("crash_plugin:Other", "registered as 'Other-v0' but calls itself Partitioning-v3"),
    "nameless": ("hollow_plugin:Hollow", "is no environment id"),
}
AGENTS = {
    "idle": ("hollow_plugin:Idle", "which lacks solve; repair or uninstall that package"),
    "half": (
        "hollow_plugin:Half",
        "it has fit, but lacks load, save",
    ),
}

COMMANDS = {
    "raising": ("raises_plugin:run", "which cannot be imported (ImportError: no module named nowhere)"),
    "number": ("dull_plugin:areas", "which is a int, not a function"),
    "train": ("dull_plugin:areas", "'train' is a command of sysgym already"),
    "group": ("dull_plugin:areas", "'group' is already sysgym_zoo.tools.group:group"),
}
AREAS = {
    "dull": ("dull_plugin", "which has no function rows(quick)"),
    "raised": ("raises_plugin", "which cannot be imported (ImportError"),
    "chip": ("dull_plugin", "is sysgym_zoo.bench.chip already"),
}
BOARDS = ("half-v1", "partitioning-tiny-k2-v1")  # the second one is the suite's: it counts, the plugin's does not
RECIPES = {
    "lonely": "about = 'nobody'",
    "fm": "agent = 'fm'",  # an agent's name
    "ppo-refine": "agent = 'fm'",  # the suite's recipe counts
    "rebel": "agent = 'fm'\nproblem = 'Partitioning'\n[options]\nk = 1",
}


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PYTHONPATH with a package that has nothing but mistakes."""
    packages = tmp_path_factory.mktemp("broken")
    for name, text in MODULES.items():
        (packages / f"{name}.py").write_text(text + "\n")
    info = packages / "sysgym_broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: sysgym-broken\nVersion: 1.0\n")
    (packages / "board_plugin").mkdir()
    for board in BOARDS[:2]:
        (packages / "board_plugin" / f"{board}.toml").write_text("id = 'another-v1'\n")
    (packages / "recipe_plugin").mkdir()
    for recipe, text in RECIPES.items():
        (packages / "recipe_plugin" / f"{recipe}.toml").write_text(text + "\n")
    boards = {"boards": ("board_plugin",), "nowhere": ("no_such_package",)}
    recipes = {"recipes": ("recipe_plugin",)}
    groups = (
        ("sysgym.problems", PROBLEMS), ("sysgym.agents", AGENTS), ("sysgym.boards", boards),
        ("sysgym.recipes", recipes), ("sysgym.commands", COMMANDS), ("sysgym.benchmarks", AREAS),
    )  # fmt: skip
    lines = [f"[{group}]\n" + "".join(f"{name} = {row[0]}\n" for name, row in table.items()) for group, table in groups]
    (info / "entry_points.txt").write_text("\n".join(lines))
    return packages


@pytest.fixture(scope="module")
def path(packages: Path) -> str:
    return os.pathsep.join(filter(None, [str(packages), os.environ.get("PYTHONPATH")]))


@pytest.fixture(scope="module")
def broken(packages: Path, path: str, warm: Callable[..., Any]) -> Run:
    """The command line where that package is installed as well."""
    return forked(warm(options=("-W", "ignore"), PYTHONPATH=path), packages)


def test_doctor_names_every_broken_plugin(broken: Run) -> None:
    found = {row["check"]: row for row in rows(broken("doctor", "--json", code=1))}
    for name, (_, sentence) in {**PROBLEMS, **AGENTS}.items():
        (row,) = [row for check, row in found.items() if name in check.split()]
        assert row["status"] == "broken" and sentence in row["detail"], row
    for name, (_, sentence) in {**COMMANDS, **AREAS}.items():
        told = [row for check, row in found.items() if name in check.split() and sentence in row["detail"]]
        assert told and all(row["status"] == "broken" for row in told), name
    assert "it names no agent" in found["recipe lonely"]["detail"]
    assert "k must be a whole number from 2" in found["recipe rebel"]["detail"]
    assert "an agent is called 'fm' already" in found["plugin fm in recipe_plugin"]["detail"]
    assert "exists already" in found["plugin ppo-refine in recipe_plugin"]["detail"]
    assert "the key 'title' is missing" in found["board half-v1"]["detail"]
    assert "exists already" in found["plugin partitioning-tiny-k2-v1 in board_plugin"]["detail"]
    assert "no such package" in found["plugin nowhere = no_such_package"]["detail"]


def test_the_rest_works_beside_broken_plugins(broken: Run, packages: Path, path: str) -> None:
    about = {row["id"]: row["about"] for row in rows(broken("list", "problems", "--json"))}
    assert "BROKEN" in about["sysgym/Hollow-v0"] and "BROKEN" not in about["sysgym/Partitioning-v0"]
    kinds = {row["agent"]: row["kind"] for row in rows(broken("list", "agents", "--json"))}
    assert (kinds["idle"], kinds["fm"]) == ("broken", "baseline")
    listed = broken("board", "list", "--json")
    assert "partitioning-tiny-k2-v1" in {row["board"] for row in rows(listed)} and "half-v1.toml" in listed.stderr
    assert "BROKEN" in broken("--help").stdout and "group" in broken("--help").stdout
    assert "repair or uninstall it" in broken("raising", "--any", "thing", code=2).stderr
    assert "Missing" in broken("group", code=2).stderr and "partitioning" in broken("bench").stdout
    assert "of Partitioning" in broken("show", "tiny/grid-test").stdout
    assert "cannot be imported" in broken("show", "Raises", code=2).stderr
    assert "which lacks solve" in broken("solve", "tiny/grid-test", "-a", "idle", code=2).stderr
    assert "which lacks adopt, beside, canonical" in broken("solve", "tiny/grid-test", "-p", "Hollow", code=2).stderr
    assert "feasible" in broken("solve", "tiny/grid-test").stdout
    code = (
        "import gymnasium as gym, sysgym\n"
        "gym.make('sysgym/Partitioning-v0', instance='tiny/grid-test').reset(seed=0)\n"
        "for name in ('Raises', 'Exits', 'Hollow'):\n"
        "    try: gym.make(f'sysgym/{name}-v0')\n"
        "    except sysgym.UsageError as error: print(error)"
    )
    done = execute([sys.executable, "-W", "ignore", "-c", code], packages, PYTHONPATH=path)
    assert done.stdout.count("is registered by") == 3
