"""Who may import whom, who may name whom, what stays cheap to import, and what every file has."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import networkx as nx
import pytest

ROOT = Path(__file__).parents[1]
SOURCES = {"sysgym": "envs", "sysgym_agents": "agents", "sysgym_zoo": "zoo", "sysgym_leaderboards": "leaderboards"}
MAY_IMPORT = {
    "sysgym": {"sysgym"},
    "sysgym_agents": {"sysgym", "sysgym_agents"},
    "sysgym_leaderboards": {"sysgym", "sysgym_leaderboards"},
    "sysgym_zoo": set(SOURCES),
}
SHARED = {  # folders that are no family: each may import those before it, families may import all
    "sysgym": ("core", "graphs", "dataflow", "search", "text", "data"),
    "sysgym_agents": ("learning", "general"),
}
FREE = {"examples", "bench", "embed", "tools", "models"}  # of the zoo: about some family
DEMO = "sysgym_zoo.examples.demo"  # of which a command is made
LARGEST = 15  # modules of a folder


@cache
def modules() -> dict[str, Path]:
    """Every module of the four packages by its dotted name."""
    found = {}
    for package, root in SOURCES.items():
        for file in (ROOT / root / package).rglob("*.py"):
            parts = file.relative_to(ROOT / root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    assert len(found) > 150 and {name.split(".")[0] for name in found} == set(SOURCES)
    return found


@cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


@cache
def imports(module: str) -> frozenset[str]:
    """Modules and packages that a module imports, wherever in it, for types alone too."""
    found = set()
    for node in ast.walk(tree(modules()[module])):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in modules() else node.module or "")
    return frozenset(found)


def place(module: str) -> tuple[str, str]:
    """The package and the folder in it, "" for modules of the package itself."""
    parts = module.split(".")
    folder = parts[1] if len(parts) > 2 or (len(parts) == 2 and modules()[module].name == "__init__.py") else ""
    return parts[0], folder


def families(package: str) -> set[str]:
    """Folders of a package that are about some problems."""
    return {place(module)[1] for module in modules() if place(module)[0] == package} - {"", *SHARED[package]}


def crossings() -> Iterator[tuple[str, str]]:
    """Every import of one of our modules by another."""
    for module in modules():
        for name in imports(module):
            if name in modules() and name != module:
                yield module, name


# ------------------------------------------------------------------------------------------------ imports


def test_arrows_point_one_way() -> None:
    seen = list(crossings())
    assert len(seen) > 500
    for module, name in seen:
        assert name.split(".")[0] in MAY_IMPORT[module.split(".")[0]], f"{module} imports {name}"


def test_families_never_import_each_other_and_nothing_shared_imports_a_family() -> None:
    assert len(families("sysgym")) >= 4 and len(families("sysgym_agents")) >= 3
    everyone = families("sysgym") | families("sysgym_agents")
    for module, name in crossings():
        (package, own), (target_package, target) = place(module), place(name)
        if package not in SHARED or target_package not in SHARED:
            continue
        said = f"{module} imports {name}"
        if own in everyone:
            assert target not in everyone or target == own or target in SHARED["sysgym"], said
        else:
            assert target not in everyone, said
            if package == target_package and target and own:
                assert SHARED[package].index(target) <= SHARED[package].index(own), said


def test_the_centre_of_zoo_and_leaderboards_imports_no_family() -> None:
    everyone = families("sysgym") | families("sysgym_agents") | {"graphs", "dataflow"}
    checked = 0
    for module, name in crossings():
        package, own = place(module)
        if package in ("sysgym_zoo", "sysgym_leaderboards") and own not in FREE:
            checked += 1
            target_package, target = place(name)
            assert target_package not in SHARED or target not in everyone, f"{module} imports {name}"
            inside = target_package == "sysgym_zoo" and target in FREE and name.count(".") > 1
            assert not inside or name == DEMO, f"{module} imports {name}"
    assert checked > 50


def test_no_module_of_a_family_is_named_in_a_text_of_the_centre() -> None:
    """Nothing is imported by a name in quotes past the tests above."""
    everyone = sorted(families("sysgym") | families("sysgym_agents"))
    pattern = re.compile(rf"\bsysgym(?:_agents)?\.(?:{'|'.join(everyone)})\b")
    for module, file in modules().items():
        package, own = place(module)
        if own in FREE or (package in SHARED and own in everyone):
            continue
        for text in texts(tree(file), told(tree(file))):
            assert not pattern.search(text.value), f"{module}:{text.lineno} {text.value!r}"


def test_no_files_import_each_other_in_a_circle() -> None:
    graph = nx.DiGraph(crossings())
    assert not [sorted(circle) for circle in nx.strongly_connected_components(graph) if len(circle) > 1]


def test_environments_and_leaderboards_never_name_torch() -> None:
    for module in modules():
        if module.split(".")[0] in ("sysgym", "sysgym_leaderboards"):
            tops = {name.split(".")[0] for name in imports(module)}
            assert not tops & {"torch", "stable_baselines3", "sb3_contrib"}, module


# ------------------------------------------------------------------------------------------------ names


@cache
def registered(group: str) -> frozenset[str]:
    """Names in an entry-point group of our own distribution."""
    return frozenset(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"][group])


def texts(node: ast.AST, skipped: frozenset[int] = frozenset()) -> Iterator[ast.Constant]:
    """String constants below a node that are no docstrings and no values of `recommended_agent`."""
    for child in ast.walk(node):
        if isinstance(child, ast.Constant) and isinstance(child.value, str) and id(child) not in skipped:
            yield child


def told(module: ast.Module) -> frozenset[int]:
    """Constants that are documentation, a recommendation, or a class's own name."""
    found = set()
    for node in ast.walk(module):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and node.body:
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                found.add(id(first.value))
        for each in node.body if isinstance(node, ast.ClassDef) else ():
            targets = each.targets if isinstance(each, ast.Assign) else [getattr(each, "target", None)]
            if any(isinstance(target, ast.Name) and target.id in ("recommended_agent", "name") for target in targets):
                found |= {id(child) for child in ast.walk(each) if isinstance(child, ast.Constant)}
    return frozenset(found)


def test_no_problem_is_named_outside_its_own_family() -> None:
    problems = {name.rpartition("-v")[0] for name in registered("sysgym.problems")}
    assert len(problems) >= 4
    pattern = re.compile(rf"(?<![\w-])(?:{'|'.join(sorted(problems))})(?![\w])")
    faults = []
    for module, file in modules().items():
        package, own = place(module)
        if own in FREE or (package in SHARED and own in families(package)) or own == "dataflow":
            continue
        documented = told(tree(file))
        faults += [f"{module}:{text.lineno} {text.value[:60]!r}" for text in texts(tree(file), documented)
                   if pattern.search(text.value)]  # fmt: skip
    assert not faults


def test_no_agent_is_named_in_the_centre() -> None:
    """A text that is nothing but an agent's name, given as an argument or kept in a constant."""
    agents = registered("sysgym.agents")
    assert len(agents) > 20
    words = {"single", "blocks", "random", "gap", "first"}  # of plain English (a column "gap")
    words |= {"kahip", "mtkahypar", "tpe"}  # packages too, and a way to sample hyper-parameters
    faults = []
    for module, file in modules().items():
        package, own = place(module)
        if own in FREE or (package in SHARED and own in families(package)) or own == "dataflow":
            continue
        documented = told(tree(file))
        faults += [f"{module}:{text.lineno} {text.value!r}" for text in texts(tree(file), documented)
                   if text.value in agents - words]  # fmt: skip
    assert not faults


# ------------------------------------------------------------------------------------------------ order


def test_folders_are_small_and_no_module_stands_beside_a_folder_of_its_name() -> None:
    folders: dict[Path, list[str]] = {}
    for file in modules().values():
        folders.setdefault(file.parent, []).append(file.stem)
    assert len(folders) > 15
    for folder, names in folders.items():
        assert len(names) <= LARGEST, f"{folder} holds {len(names)} modules"
        for name in names:
            assert not (folder / name).is_dir(), f"{folder / name} is a module and a folder"


def test_no_function_takes_more_than_seven_arguments() -> None:
    """Kernels that are called at every step, commands, and keyword-only options may."""
    long = []
    for module, file in modules().items():
        for node in ast.walk(tree(file)):
            if not isinstance(node, ast.FunctionDef):
                continue
            marks = " ".join(ast.unparse(mark) for mark in node.decorator_list)
            names = [each.arg for each in (*node.args.posonlyargs, *node.args.args)]
            count = len(names) - (names[:1] in (["self"], ["cls"]))
            if count > 7 and not re.search(r"njit|command\(", marks) and not is_door(module, node):
                long.append(f"{module}.{node.name}: {count}")
    assert not long


def is_door(module: str, node: ast.FunctionDef) -> bool:
    """What Gymnasium calls, whose arguments are keywords by its own convention, and what typer calls."""
    commands = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["sysgym.commands"]
    of_gymnasium = module in ("sysgym.core.env", "sysgym.core.vector") and node.name == "__init__"
    return of_gymnasium or f"{module}:{node.name}" in commands.values()


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

    assert registered("sysgym.problems") <= set(problem_registry.names())
    assert registered("sysgym.agents") <= set(agent_registry.names())
    for registry in (problem_registry, agent_registry):
        for name in registry.names():
            assert registry.get(name).__doc__, name


def test_every_package_is_typed_and_every_file_documented() -> None:
    for package, root in SOURCES.items():
        assert (ROOT / root / package / "py.typed").is_file(), package
    for file in modules().values():
        assert ast.get_docstring(tree(file)), file


def test_public_functions_are_documented() -> None:
    bare = []
    for module, file in modules().items():
        holders: list[ast.AST] = [
            tree(file),
            *(node for node in ast.walk(tree(file)) if isinstance(node, ast.ClassDef)),
        ]
        for node in (child for holder in holders for child in ast.iter_child_nodes(holder)):
            if not isinstance(node, ast.ClassDef | ast.FunctionDef) or node.name.startswith("_"):
                continue
            protocol = isinstance(node, ast.FunctionDef) and isinstance(node.body[-1], ast.Expr)
            of_torch = node.name in ("forward", "backward")  # torch.autograd.Function says what they are
            if not ast.get_docstring(node) and not protocol and not of_torch:
                bare.append(f"{module}.{node.name}")
    assert not bare


def test_no_machine_path_is_written_down() -> None:
    pattern = re.compile(r"(?<![\w.])/(?:work|root|home|tmp|opt)/")
    for file in modules().values():
        assert not pattern.search(file.read_text()), file
