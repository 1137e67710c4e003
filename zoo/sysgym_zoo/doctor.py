"""`sysgym doctor`: is everything in place?"""

from __future__ import annotations

import os
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sysgym.core import data
from sysgym.core.errors import UsageError
from sysgym.core.registry import Registry, failures, problem_registry
from sysgym_agents.core import agent_registry
from sysgym_zoo.runs import hardware, versions

OPTIONAL = {"pymetis": "partitioners", "kahip": "partitioners"}


def _row(check: str, status: str, detail: str) -> dict[str, Any]:
    return {"check": check, "status": status, "detail": detail}


def _writable(folder: Path) -> bool:
    while not folder.exists():
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _registered(what: str, registry: Registry) -> list[dict[str, Any]]:
    rows = []
    for name in registry.names():
        try:
            registry.get(name)
        except UsageError as error:
            rows.append(_row(f"{what} {name}", "broken", str(error)))
    if not rows:
        rows.append(_row(f"{what}s", "ok", f"{len(registry.names())} registered, all of them import"))
    return rows


def checks() -> list[dict[str, Any]]:
    """One row a check: ok, absent (an optional part) or broken."""
    rows = [_row("versions", "ok", ", ".join(f"{k} {v}" for k, v in versions().items()))]
    machine = hardware()
    threads = os.environ.get("OMP_NUM_THREADS", "unset")
    rows.append(_row("hardware", "ok", f"{machine['processor']}, {machine['cores']} cores, OMP_NUM_THREADS={threads}"))
    rows += _registered("problem", problem_registry) + _registered("agent", agent_registry)
    shown = {row["check"].split()[-1] for row in rows}
    rows += [_row(f"plugin {k}", "broken", v) for k, v in failures.items() if k.split(" = ")[0] not in shown]
    for package, extra in OPTIONAL.items():
        if find_spec(package):
            rows.append(_row(package, "ok", "installed"))
        else:
            rows.append(_row(package, "absent", f"optional: pip install 'sysgym[{extra}]'"))
    named = os.environ.get(data.ENVIRONMENT_VARIABLE)
    if named is None:
        rows.append(_row("SYSGYM_DATA", "absent", "optional: a folder with public data sets"))
    else:
        found = Path(named).is_dir()
        rows.append(_row("SYSGYM_DATA", "ok" if found else "broken", named if found else f"{named} is no folder"))
    from sysgym_leaderboards.store import default_path

    for what, folder in (("cache folder", data.cache_folder()), ("leaderboard store", default_path().parent)):
        rows.append(_row(what, "ok" if _writable(folder) else "broken", str(folder)))
    return rows
