"""Who judged: the distribution that a problem comes from, its version, and a hash of the code that judges.

The hash is over code, not over comments, docstrings or layout, and over no fact of the machine: two installations of
the same sources have the same hash, whatever their Python. It covers the problem's module and all modules of the suite
and of the problem's own package that those import, kernels among them, but for what no verdict depends on (pictures).
Libraries from elsewhere (numpy, numba) do not count.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import sysgym
from sysgym.core.errors import UsageError
from sysgym.core.registry import OWN, OWN_PACKAGES, parse_id, problem_registry

WORKER = "sysgym_leaderboards.verify_worker"  # it compares claims and checks arrays; what it imports does neither
GROUND = tuple(f"sysgym.core.{name}" for name in ("instances", "problem", "solutions"))  # every verdict stands on them
NOBODY = "no package"
UNJUDGED = ("dynamics", "frames", "legend", "render", "timeline")  # methods of a problem that no verification calls
_Function = ast.FunctionDef | ast.AsyncFunctionDef
_SILENT = ("ctx", "kind", "type_comment")  # fields that change nothing


@dataclass(frozen=True)
class Judge:
    """What decides about a problem's solutions. Two are the same if distribution and code are."""

    distribution: str  # as pip names it; NOBODY for a problem that a program registered itself
    version: str
    code: str  # SHA-256

    def same(self, other: Judge | None) -> bool:
        """Whether verdicts of both may stand in one ranking."""
        return other is not None and (self.distribution, self.code) == (other.distribution, other.code)

    def __str__(self) -> str:
        return f"{' '.join(filter(None, (self.distribution, self.version)))} (code {self.code[:12]})"


def judge_of(problem: Any) -> Judge:
    """The judge of a problem, as it is installed here; UsageError if its source cannot be read."""
    cls: Any = type(problem)
    return _judge_of(cls, f"{problem.name}-v{problem.version}")


@lru_cache(maxsize=64)
def _judge_of(cls: type, name: str) -> Judge:
    package = cls.__module__.partition(".")[0]
    code = code_hash(cls)
    if package in OWN_PACKAGES:
        return Judge(OWN, sysgym.__version__, code)
    for known, entry in problem_registry.entries().items():
        if parse_id(known)[1:] == parse_id(name)[1:] and known not in problem_registry.local and entry.dist:
            return Judge(entry.dist.name, entry.dist.version, code)
    return Judge(NOBODY, "", code)


def code_hash(cls: type) -> str:
    """SHA-256 over the code that judges solutions of a problem's class, see above."""
    try:
        start = Path(inspect.getfile(cls))
        trees = {cls.__module__: _tree(start)}
    except (OSError, TypeError) as error:
        raise UsageError(
            f"the source of {cls.__module__}.{cls.__qualname__} cannot be read, which names it."
        ) from error
    own = {"sysgym", cls.__module__.partition(".")[0]}
    todo = [*GROUND, *_imports(trees[cls.__module__], cls.__module__, start.name == "__init__.py")]
    while todo:
        module = todo.pop()
        if module in trees or module == "sysgym" or module.partition(".")[0] not in own:
            continue
        path = _path(module)
        if path is None:
            continue
        trees[module] = _tree(path)
        todo += _imports(trees[module], module, path.name == "__init__.py")
    worker = _path(WORKER)
    assert worker is not None
    trees[WORKER] = _tree(worker)
    digest = hashlib.sha256()
    # the name of a module that a program registered itself may be any
    for name, tree in sorted(trees.items(), key=lambda item: (item[0] != cls.__module__, item[0])):
        digest.update(f"\n{'' if name == cls.__module__ else name}\n".encode())
        for text in _texts(tree):
            digest.update(text.encode() + b"\n")
    return digest.hexdigest()


def _path(module: str) -> Path | None:
    """The source of a module, nothing but its package imported; None if it is no module."""
    package, *rest = module.split(".")
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        return None
    if not spec.submodule_search_locations:
        return None if rest else Path(spec.origin)
    base = Path(spec.origin).parent.joinpath(*rest)
    found = [path for path in (base.with_suffix(".py"), base / "__init__.py") if rest and path.is_file()]
    return found[0] if found else (None if rest else Path(spec.origin))


@lru_cache(maxsize=512)
def _tree(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_bytes())
    except SyntaxError as error:
        raise UsageError(f"{path.name} is no Python source ({error.msg}).") from error


def _imports(tree: ast.AST, module: str, package: bool) -> Iterator[str]:
    """Names of modules that a module may import, at its top or inside functions; some of them are no modules."""
    above = module.split(".") if package else module.split(".")[:-1]
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = above[: len(above) - node.level + 1] if node.level else []
            place = ".".join([*base, *([node.module] if node.module else [])])
            yield place
            yield from (f"{place}.{alias.name}" for alias in node.names)
        elif not (isinstance(node, _Function) and node.name in UNJUDGED):
            yield from _imports(node, module, package)


def _texts(node: ast.AST) -> Iterator[str]:
    """What an abstract syntax tree says, without positions, docstrings and empty fields."""
    yield type(node).__name__
    for name, value in ast.iter_fields(node):
        if value is None or value == [] or name in _SILENT:
            continue
        yield name
        parts = value if isinstance(value, list) else [value]
        if name == "body" and isinstance(node, ast.Module | ast.ClassDef | _Function) and _is_docstring(parts[0]):
            parts = parts[1:]
        for part in parts:
            if isinstance(part, ast.AST):
                yield from _texts(part)
            else:
                yield f"{type(part).__name__} {part!r}"
        yield "."


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
