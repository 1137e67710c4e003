"""The centre names no problem and no agent, and asks for things in few arguments or one request."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROOTS = ("envs", "agents", "zoo", "leaderboards")
FAMILIES = {  # folders that may name a problem; helper packages may not
    "partitioning", "chip_placement", "device_placement", "graph_optimization", "dataflow", "accelerator_design",
    "clustering", "nmt_decoding", "decoding", "nmt_architecture", "response_decoding",
}  # fmt: skip
FREE = {"bench", "embed", "examples"}
MOST = 7  # parameters by position
NAMES_AGENTS = {"make_agent", "agent_class", "make", "choose", "build_agent"}  # whose first argument is an agent's name


def sources() -> Iterator[tuple[Path, ast.Module]]:
    for root in ROOTS:
        for path in sorted((ROOT / root).rglob("*.py")):
            yield path.relative_to(ROOT), ast.parse(path.read_text())


def central() -> list[tuple[Path, ast.Module]]:
    """Files that belong to no family, but for benchmarks, embeddings and examples."""
    found = [(path, tree) for path, tree in sources() if not {*path.parts} & (FAMILIES | FREE)]
    assert len(found) > 60
    return found


def constants(tree: ast.Module) -> Iterator[ast.Constant]:
    """Texts that are no docstrings."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    bodies = [node.body for node in ast.walk(tree) if isinstance(node, documented) and node.body]
    skipped = {id(body[0].value) for body in bodies if isinstance(body[0], ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped:
            yield node


def test_no_problem_is_named() -> None:
    from sysgym.core.registry import problem_registry

    short = [name.rpartition("-v")[0] for name in problem_registry.entries()]
    pattern = re.compile(rf"(?<![A-Za-z])({'|'.join(short)})(?![A-Za-z])")
    named = [f"{path}:{node.lineno}: {node.value}" for path, tree in central() for node in constants(tree)
             if pattern.search(node.value)]  # fmt: skip
    assert short and not named, named


def test_no_agent_is_named() -> None:
    from sysgym_agents.core import agent_registry
    from sysgym_zoo.lookup.recipes import recipe_names

    names, found = {*agent_registry.entries(), *recipe_names()}, []
    for path, tree in central():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            given = [*(node.args[:1] if called in NAMES_AGENTS else ()),
                     *(item.value for item in node.keywords if item.arg in ("agent", "agents"))]  # fmt: skip
            words = [word for item in given for word in ast.walk(item) if isinstance(word, ast.Constant)]
            found += [f"{path}:{node.lineno}: {word.value}" for word in words if word.value in names]
        texts = [node.value for node in constants(tree)]
        found += [f"{path}: {text}" for text in texts if re.search(rf"--agent ({'|'.join(names)})\b", text)]
    assert len(names) > 20 and not found, found


def test_calls_take_few_arguments() -> None:
    long = []
    for path, tree in sources():
        if path.parts[0] not in ("zoo", "leaderboards"):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                count = len(node.args.posonlyargs) + len(node.args.args)
                command = any("typer" in ast.unparse(item) for item in [*node.args.args] if item.annotation) or any(
                    ast.unparse(item).startswith("command(") for item in node.decorator_list
                )
                if count > MOST and not command:
                    long.append(f"{path}:{node.lineno}: {node.name} takes {count}")
    assert not long, long


def test_capabilities_are_declared_not_probed() -> None:
    """No `hasattr` and no `getattr` with a default on problems and agents in the command line and the leaderboards."""
    probed, allowed = [], {"tracing", "plugins.py", "console.py", "report.py", "boards.py", "doctor.py", "store.py"}
    for path, tree in sources():
        if path.parts[0] not in ("zoo", "leaderboards") or {*path.parts} & allowed:
            continue
        for node in ast.walk(tree):
            name = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
            if name == "hasattr" or (name == "getattr" and len(node.args) == 3):
                probed.append(f"{path}:{node.lineno}")
    assert not probed, probed
