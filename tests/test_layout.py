"""Who may import whom, what stays cheap to import, and what the wheel must hold."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "sysgym": ROOT / "envs" / "sysgym",
    "sysgym_agents": ROOT / "agents" / "sysgym_agents",
    "sysgym_zoo": ROOT / "zoo" / "sysgym_zoo",
    "sysgym_leaderboards": ROOT / "leaderboards" / "sysgym_leaderboards",
}
MAY_IMPORT = {
    "sysgym": {"sysgym"},
    "sysgym_agents": {"sysgym", "sysgym_agents"},
    "sysgym_leaderboards": {"sysgym", "sysgym_leaderboards"},
    "sysgym_zoo": {"sysgym", "sysgym_agents", "sysgym_leaderboards", "sysgym_zoo"},
}
SHARED = {"core", "graphs", "dataflow", "search", "text", "data"}


def imports(file: Path) -> set[str]:
    """Dotted names that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            found.add(node.module or "")
    return found


def files() -> list[tuple[str, Path]]:
    return [(package, file) for package, folder in PACKAGES.items() for file in sorted(folder.rglob("*.py"))]


def test_arrows_point_one_way() -> None:
    assert len(files()) > 40
    for package, file in files():
        for name in imports(file):
            top = name.split(".")[0]
            if top in MAY_IMPORT:
                assert top in MAY_IMPORT[package], f"{file} imports {name}"


def test_problems_never_import_each_other() -> None:
    for _, file in files():
        parts = file.relative_to(ROOT).parts
        if parts[:2] != ("envs", "sysgym") or len(parts) < 4:
            continue
        for name in imports(file):
            if name.startswith("sysgym.") and len(name.split(".")) > 2:
                target = name.split(".")[1]
                assert target in SHARED or target == parts[2], f"{file} imports {name}"
                assert parts[2] not in SHARED or target in SHARED, f"{file} imports {name}"


def test_environments_and_leaderboards_never_name_torch() -> None:
    for package, file in files():
        if package in ("sysgym", "sysgym_leaderboards"):
            assert not {n.split(".")[0] for n in imports(file)} & {"torch", "stable_baselines3", "sb3_contrib"}, file


@pytest.mark.parametrize(
    ("arguments", "absent"),
    [
        (["--help"], {"torch", "numba", "numpy", "gymnasium"}),
        (["list", "problems"], {"torch", "numba"}),
        (["list", "agents"], {"torch", "numba"}),
        (["board", "show", "partitioning-tiny-k2-v1"], {"torch", "numba"}),
    ],
)
def test_cheap_commands_import_nothing_heavy(arguments: list[str], absent: set[str], tmp_path: Path) -> None:
    code = (
        "import sys; from sysgym_zoo.cli import app\n"
        "try: app(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        f"print('LOADED', sorted({absent!r} & set(sys.modules)))"
    )
    environment = {**__import__("os").environ, "SYSGYM_STORE": str(tmp_path / "boards.sqlite")}
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=environment)
    assert done.stdout.splitlines()[-1] == "LOADED []", done.stderr


def test_public_names_exist() -> None:
    import sysgym
    import sysgym_agents
    import sysgym_leaderboards

    for module in (sysgym, sysgym_agents, sysgym_leaderboards):
        assert list(module.__all__) == sorted(set(module.__all__))
        assert all(getattr(module, name) is not None for name in module.__all__)


def test_entry_points_name_things_that_exist() -> None:
    from sysgym.core.registry import problem_registry
    from sysgym_agents.core import agent_registry

    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    assert set(declared["sysgym.problems"]) <= set(problem_registry.names())
    assert set(declared["sysgym.agents"]) <= set(agent_registry.names())
    for registry in (problem_registry, agent_registry):
        for name in registry.names():
            assert registry.get(name).__doc__, name


def test_every_package_is_typed_and_every_file_documented() -> None:
    for package, folder in PACKAGES.items():
        assert (folder / "py.typed").is_file(), package
    for _, file in files():
        assert ast.get_docstring(ast.parse(file.read_text())), file


def test_public_functions_are_documented() -> None:
    bare = []
    for _, file in files():
        for node in ast.walk(ast.parse(file.read_text())):
            if (
                isinstance(node, ast.ClassDef | ast.FunctionDef)
                and not node.name.startswith("_")
                and node.name not in ("forward", "backward")  # torch.autograd.Function says what they are
            ):
                protocol = isinstance(node, ast.FunctionDef) and isinstance(node.body[-1], ast.Expr)
                nested = isinstance(node, ast.FunctionDef) and not _top_level(file, node)
                if not ast.get_docstring(node) and not protocol and not nested:
                    bare.append(f"{file.name}:{node.name}")
    assert not bare


def _top_level(file: Path, wanted: ast.FunctionDef) -> bool:
    """Whether a function stands in a module or a class, not in another function."""
    tree = ast.parse(file.read_text())
    holders: list[ast.AST] = [tree, *(node for node in ast.walk(tree) if isinstance(node, ast.ClassDef))]
    return any(
        isinstance(child, ast.FunctionDef) and child.lineno == wanted.lineno
        for holder in holders
        for child in ast.iter_child_nodes(holder)
    )


def test_no_machine_path_is_written_down() -> None:
    pattern = re.compile(r"(?<![\w.])/(?:work|root|home|tmp|opt)/")
    for _, file in files():
        assert not pattern.search(file.read_text()), file
