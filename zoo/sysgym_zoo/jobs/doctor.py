"""`sysgym doctor`: is everything in place?"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

from sysgym.core import data
from sysgym.core.errors import UsageError
from sysgym.core.problem import Dynamics
from sysgym.core.registry import failures, make_problem, parse_id, problem_registry
from sysgym_agents.core import Learner, agent_registry, is_learner, make_agent
from sysgym_leaderboards import board_names, load_board
from sysgym_zoo.jobs.runs import hardware, versions
from sysgym_zoo.lookup import benchmarks, recipes, trained

FOR_DEVELOPERS = ("dev", "all")  # extras that no user lacks


def _row(check: str, status: str, detail: str) -> dict[str, Any]:
    return {"check": check, "status": status, "detail": detail}


def _writable(folder: Path) -> bool:
    """Whether files can be made in a folder, or it can be made."""
    try:
        while not folder.exists():
            folder = folder.parent
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def lacking(thing: Any, contract: Any) -> list[str]:
    """Members of a Protocol that an object does not have."""
    wanted = {name for base in contract.__mro__ for name in (*getattr(base, "__annotations__", ()), *vars(base))}
    return sorted(name for name in wanted if name[0] != "_" and not hasattr(thing, name))


def _wrong_problem(name: str) -> str:
    """What is wrong with a registered problem, or ''."""
    _, short, number = parse_id(name)
    problem = make_problem(name)
    if (problem.name, problem.version) != (short, number):
        return f"it is registered as {name!r} but calls itself {problem.name}-v{problem.version}"
    problem.instance_sets()
    if problem.reads is not None:
        problem.reads("", b"")
    missing = lacking(problem.dynamics, Dynamics)
    return f"its action mode lacks {', '.join(missing)}" if missing else ""


def _wrong_agent(name: str) -> str:
    """What is wrong with a registered agent, or ''."""
    agent = make_agent(name)
    missing = lacking(agent, Learner) if is_learner(agent) else []
    return f"it has fit, but lacks {', '.join(missing)}" if missing else ""


def _wrong_board(name: str) -> str:
    """What is wrong with an installed board: loading it says so, and its instances must exist."""
    return "" if load_board(name).instance_names() else "it names no instance"


def _registered() -> list[dict[str, Any]]:
    """Every problem and agent is imported, built and compared with its contract; boards and recipes are read."""
    rows = []
    for what, names, examine in (
        ("problem", problem_registry.names(), _wrong_problem), ("agent", agent_registry.names(), _wrong_agent),
        ("board", board_names(), _wrong_board), ("recipe", recipes.recipe_names(), recipes.fault),
        ("benchmark", sorted(benchmarks.areas()), benchmarks.fault),
        ("trained agent", trained.trained_names(), trained.fault),
    ):  # fmt: skip
        wrong = {name: _examined(examine, name) for name in names}
        rows += [_row(f"{what} {name}", "broken", text) for name, text in wrong.items() if text]
        if not any(wrong.values()):
            rows.append(_row(f"{what}s", "ok", f"{len(wrong)} registered, each can be used"))
    return rows


def _examined(examine: Callable[[str], str], name: str) -> str:
    try:
        return examine(name)
    except UsageError as error:
        return str(error)
    except Exception as error:  # the constructor of a plugin may raise anything
        return f"it cannot be built ({type(error).__name__}: {error})"


def _commands(count: int, wrong: Mapping[str, str]) -> list[dict[str, Any]]:
    rows = [_row(f"command {name.split(' = ')[0]}", "broken", text) for name, text in wrong.items()]
    return rows or [_row("commands", "ok", f"{count} registered, each can be used")]


def _refused(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Registrations that were left out, unless a row names them already."""
    shown = {row["check"].split()[-1] for row in rows}
    return [_row(f"plugin {k}", "broken", v) for k, v in failures.items() if k.split(" = ")[0] not in shown]


def extras() -> dict[str, list[str]]:
    """Packages behind each optional extra of the installed distribution."""
    found: dict[str, list[str]] = {}
    for line in requires("sysgym") or []:
        match = re.match(r"""([\w.-]+).*;.*extra == ["']([\w-]+)["']""", line)
        if match and match[2] not in FOR_DEVELOPERS:
            found.setdefault(match[2], []).append(match[1])
    return found


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _optional() -> list[dict[str, Any]]:
    rows = []
    for extra, packages in extras().items():
        absent = [package for package in packages if _version(package) is None]
        if absent:
            how = f"pip install 'sysgym[{extra}]'"
            rows.append(_row(f"extra {extra}", "absent", f"optional, without {', '.join(absent)}: {how}"))
        else:
            rows.append(_row(f"extra {extra}", "ok", ", ".join(f"{name} {_version(name)}" for name in packages)))
    return rows


def _public_data() -> dict[str, Any]:
    """What the folder named by SYSGYM_DATA holds of the public data sets."""
    named, check = os.environ.get(data.ENVIRONMENT_VARIABLE), data.ENVIRONMENT_VARIABLE
    if not named:
        return _row(check, "absent", "optional: a folder with public data sets")
    if not Path(named).is_dir():
        return _row(check, "broken", f"{named} is no folder")
    files = []
    for name in problem_registry.names():
        try:
            sets = make_problem(name).instance_sets().values()
        except Exception:  # reported as a broken problem
            continue
        files += [file for group in sets if group.source == "public" for entry in group.entries for file in entry.files]
    here = sum(any(Path(named) in path.parents and path.is_file() for path in data.candidates(file)) for file in files)
    detail = f"{named} holds {here} of {len(files)} public files"
    if here or not files:
        return _row(check, "ok", detail)
    return _row(check, "broken", f"{detail}; it should hold {files[0].topic}/{files[0].path}, for one")


def _small_training() -> bytes:
    """The weights after a few steps of a small network, always the same."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Linear(16, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1))
        optimizer = torch.optim.Adam(net.parameters())
        for _ in range(10):
            optimizer.zero_grad()
            net(torch.randn(256, 16)).square().mean().backward()
            optimizer.step()
        return b"".join(weights.detach().numpy().tobytes() for weights in net.parameters())


def _determinism() -> dict[str, Any]:
    import torch

    threads = f"with {torch.get_num_threads()} thread(s)"
    if _small_training() == _small_training():
        return _row("determinism", "ok", f"training twice with one seed gives the same bits {threads}")
    return _row(
        "determinism", "broken", f"training twice with one seed gives different bits {threads}; use --threads 1"
    )


def _kernels() -> dict[str, Any]:
    """Where compiled kernels are kept, and how many of the suite's are there already."""
    import sysgym_agents  # noqa: F401 - its folder is found by its place
    from sysgym import compiled

    found = [compiled.kept_kernels(package) for package in ("sysgym", "sysgym_agents")]
    folders = [folder for folder, _ in found if folder is not None]
    if len(folders) < len(found):
        where = compiled.root().absolute()
        return _row("kernel cache", "broken", f"{where} is not writable; kernels are compiled in every process")
    held = f"{sum(count for _, count in found)} compiled kernels in {' and '.join(folder.name for folder in folders)}"
    return _row("kernel cache", "ok", f"{folders[0].parent.absolute()} is writable, with {held}")


def _devices() -> dict[str, Any]:
    """What networks can be computed on."""
    from sysgym_agents.learning.devices import finding

    return _row("devices", "ok", f"the CPU; {finding()}")


def checks(commands: tuple[int, Mapping[str, str]]) -> list[dict[str, Any]]:
    """One row a check: ok, absent (an optional part) or broken; `commands` are how many, and what is wrong."""
    from sysgym_leaderboards.store import default_path

    rows = [_row("versions", "ok", ", ".join(f"{k} {v}" for k, v in versions().items()))]
    machine = hardware()
    threads = os.environ.get("OMP_NUM_THREADS", "unset")
    rows.append(_row("hardware", "ok", f"{machine['processor']}, {machine['cores']} cores, OMP_NUM_THREADS={threads}"))
    found = [*_registered(), *_commands(*commands)]
    rows += [*found, *_refused(found), *_optional(), _public_data()]
    folders = {"data cache": data.cache_folder(), "leaderboard store": default_path().parent, "runs": Path("runs")}
    for what, folder in folders.items():
        writable = _writable(folder)
        rows.append(
            _row(what, "ok" if writable else "broken", f"{folder.absolute()} is {'' if writable else 'not '}writable")
        )
    return [*rows, _devices(), _kernels(), _determinism()]
