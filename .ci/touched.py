"""Print words for `pytest -m full -k`: the problems that the last change touched, or nothing.

The change is what HEAD has and the main branch has not; on the main branch itself, the last commit. A problem is
touched if a file of its family changed (in any of the four packages or the tests), or one of a package that it imports.
"""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
SHARED = re.compile(  # what every problem hangs on
    r"envs/sysgym/core/|agents/sysgym_agents/(core|learning|general)|leaderboards/|tests/(contract|support|plugin)/"
    r"|pyproject.toml|constraints.txt|\.ci/"
)


def git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""


def changed_files() -> list[str] | None:
    """Paths that the change touched; None if git cannot tell."""
    base = git("merge-base", "HEAD", "origin/main")
    if not base or base == git("rev-parse", "HEAD"):
        base = git("rev-parse", "HEAD~1")
    return git("diff", "--name-only", base, "HEAD").splitlines() if base else None


def packages_of(family: str) -> set[str]:
    """A family's folder and the other folders of `envs/sysgym` that its files name."""
    text = "".join(file.read_text() for file in (ROOT / "envs" / "sysgym" / family).rglob("*.py"))
    return {family, *re.findall(r"sysgym\.(\w+)", text)} - {"core", "data"}


def touched(changed: list[str] | None) -> list[str]:
    """Names of the problems to test in full."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["sysgym.problems"]
    families = {name: place.split(".")[1] for name, place in declared.items()}
    if changed is None or any(SHARED.match(path) for path in changed):
        return sorted(families)
    folders = {part for path in changed for part in path.split("/")[:-1]}
    return sorted(name for name, family in families.items() if packages_of(family) & folders)


if __name__ == "__main__":
    print(" or ".join(touched(changed_files())))
