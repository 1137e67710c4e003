"""`njit` for kernels: numba's, with compiled code kept in a folder named by a hash of all kernel sources.

numba's own cache looks at the time stamp of one file: an edit of a kernel that another file calls gives yesterday's
numbers. Here the folder is named by the sources of all kernels (those of `sysgym` and of the package that the function
stands in), the versions of numba, numpy and Python; and what is read from it must have been compiled from the same
code and the same constants, in whatever file they stand. A user's own numba functions and their caches are untouched.

>>> from sysgym.compiled import njit
>>> @njit
... def half(x: float) -> float:
...     return x / 2
>>> half(5)
2.5
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import shutil
import sys
import tempfile
import uuid
from collections.abc import Iterator
from enum import EnumType
from functools import cache, partial
from pathlib import Path
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any

import numba
import numpy as np
from numba.core.caching import _Cache
from numba.core.compiler import CompileResult
from numba.core.dispatcher import Dispatcher
from numba.core.event import Listener, register
from numba.core.serialize import dumps

from sysgym.resources import METER

KEPT = 4  # folders of a package, the one in use among them; older ones are deleted
ENDING = ".kernel"
ENVIRONMENT_VARIABLE = "SYSGYM_KERNELS"


class _Compiling(Listener):  # type: ignore[misc]
    """Tells the meter when numba compiles, or loads what is compiled."""

    def on_start(self, event: Any) -> None:
        METER.start()

    def on_end(self, event: Any) -> None:
        METER.end()


register("numba:compiler_lock", _Compiling())


def njit(function: Any = None, **options: Any) -> Any:
    """`numba.njit` with the suite's cache of compiled code; options are numba's, but for `cache`."""
    if function is None:
        return partial(_compiled_by_numba, options)
    return _compiled_by_numba(options, function)


def _compiled_by_numba(options: dict[str, Any], function: FunctionType) -> Any:
    dispatcher = numba.njit(**options)(function)
    folder = folder_of(function.__module__, function.__code__.co_filename)
    if folder is not None and isinstance(dispatcher, Dispatcher):  # a plain function under NUMBA_DISABLE_JIT
        dispatcher._cache = KernelCache(function, dispatcher.targetoptions, folder)  # type: ignore[attr-defined]
    return dispatcher


# ------------------------------------------------------------------------------------------------- where the code lies


def root() -> Path:
    """The folder that holds the folders of all sources and packages: `$SYSGYM_KERNELS`, or one in the user's cache."""
    if os.environ.get(ENVIRONMENT_VARIABLE):
        return Path(os.environ[ENVIRONMENT_VARIABLE])
    from platformdirs import user_cache_path

    return user_cache_path("sysgym") / "kernels"


def kernel_sources(package: str, file: str = "") -> list[Path]:
    """The files of a package that use njit; of a module in no package, the file itself."""
    folders = [Path(folder) for folder in getattr(sys.modules.get(package), "__path__", ())]
    files = sorted(path for folder in folders for path in folder.rglob("*.py")) or [Path(file)]
    return [path for path in files if path.is_file() and b"njit" in path.read_bytes()]


@cache
def folder_of(module: str, file: str) -> Path | None:
    """Folder of the code compiled from a module; None where there is no source or nothing can be written."""
    package = module.partition(".")[0]
    return _prepared(package, "" if getattr(sys.modules.get(package), "__path__", None) else file)


@cache
def _prepared(package: str, file: str) -> Path | None:
    own = kernel_sources(package, file)
    if not own:
        return None
    name = f"{package}-{_hash_of_sources((*kernel_sources('sysgym'), *own))}"
    try:
        folder = root() / name
        new = not folder.is_dir()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if hasattr(os, "getuid") and folder.stat().st_uid != os.getuid():  # what is read from it is run
            return None
        tempfile.TemporaryFile(dir=folder).close()
        os.utime(folder)  # in use
    except (OSError, RuntimeError):  # read-only, full, or no home folder
        return None
    if new:
        prune(package)
    return folder


def kept_kernels(package: str) -> tuple[Path | None, int]:
    """The folder in use for the kernels of a package, and how many compiled signatures lie in it."""
    folder = folder_of(package, "")
    return folder, len(list(folder.glob(f"*{ENDING}"))) if folder else 0


def _hash_of_sources(files: tuple[Path, ...]) -> str:
    found = hashlib.sha256(f"{numba.__version__} {np.__version__} {sys.version}".encode())
    for content in sorted({hashlib.sha256(path.read_bytes()).digest() for path in files}):
        found.update(content)
    return found.hexdigest()[:16]


def prune(package: str) -> None:
    """Delete a package's folders but the newest; a process that still uses one of them compiles anew."""

    def used(folder: Path) -> float:
        try:
            return folder.stat().st_mtime
        except OSError:  # another process has just deleted it
            return 0.0

    folders = [folder for folder in root().glob(f"{package}-*") if folder.name.rpartition("-")[0] == package]
    for folder in sorted(folders, key=used, reverse=True)[KEPT:]:
        shutil.rmtree(folder, ignore_errors=True)


# ------------------------------------------------------------------------------------------- what the code is made from


def _codes(code: CodeType) -> Iterator[CodeType]:
    """A code object and those of the functions and comprehensions within it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _described(value: Any, names: tuple[str, ...], seen: set[int]) -> Iterator[str]:
    """What numba freezes into the code of a function that uses a global value."""
    if isinstance(value, Dispatcher):
        yield from ingredients(value.py_func, value.targetoptions, seen)
    elif isinstance(value, FunctionType):  # such as a helper that numba compiles with what calls it
        yield from ingredients(value, {}, seen)
    elif isinstance(value, ModuleType):
        if id(value) not in seen:
            for name in names:
                if name in vars(value):
                    yield f"{value.__name__}.{name}"
                    yield from _described(vars(value)[name], names, seen | {id(value)})
    elif isinstance(value, EnumType):
        yield repr(list(value))
    elif isinstance(value, np.ndarray):
        yield f"{value.dtype}{value.shape}{hashlib.sha256(value.tobytes()).hexdigest()}"
    elif isinstance(value, tuple | list):
        yield f"{type(value).__qualname__}{len(value)}"
        for part in value:
            yield from _described(part, (), seen)
    elif isinstance(value, int | float | complex | str | bytes | np.generic | np.dtype | None):
        yield f"{type(value).__qualname__} {value!r}"
    else:
        yield f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value).__qualname__)}"
        yield str(getattr(value, "_fields", ""))


def ingredients(function: FunctionType, options: dict[str, Any], seen: set[int]) -> Iterator[str]:
    """Texts that change when the function, a kernel that it calls, or a constant that either uses changes."""
    if id(function) in seen:
        return
    seen.add(id(function))
    yield f"{function.__module__}.{function.__qualname__} {sorted(options.items())} {function.__defaults__}"
    scope = {**function.__globals__, **_enclosed(function)}
    for code in _codes(function.__code__):
        plain = [
            sorted(map(repr, constant)) if isinstance(constant, frozenset) else repr(constant)
            for constant in code.co_consts
            if not isinstance(constant, CodeType)
        ]
        yield f"{code.co_code.hex()} {code.co_names} {code.co_varnames} {plain}"
        for name in (*code.co_names, *code.co_freevars):
            if name in scope:
                yield name
                yield from _described(scope[name], code.co_names, seen)


def _enclosed(function: FunctionType) -> dict[str, Any]:
    """Values of the names that a function takes from the functions around it."""
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    return {name: cell.cell_contents for name, cell in cells if cell != CellType()}


def takes_functions(signature: Any) -> bool:
    """Whether an argument is a kernel itself: its type is another in every process, so nothing could be found again."""
    return any(isinstance(each, numba.types.Dispatcher | numba.types.FunctionType) for each in signature)


class KernelCache(_Cache):  # type: ignore[misc]
    """One file for each compiled signature of one function, written whole and read only if its content is complete.

    numba's own index of a function may mix up two signatures that two processes compile at the same time.
    """

    def __init__(self, function: FunctionType, options: dict[str, Any], folder: Path) -> None:
        self._function, self._options, self._folder = function, options, folder
        self._enabled = True

    @property
    def cache_path(self) -> str:
        """The folder, as numba's own caches tell it."""
        return str(self._folder)

    def enable(self) -> None:
        """Read and write from now on."""
        self._enabled = True

    def disable(self) -> None:
        """Neither read nor write from now on."""
        self._enabled = False

    def flush(self) -> None:
        """Forget the compiled code of this function."""
        for path in self._folder.glob(f"{self._name()}-*{ENDING}"):
            path.unlink(missing_ok=True)

    def _name(self) -> str:
        place = f"{self._function.__module__}.{self._function.__qualname__}".replace("<", "").replace(">", "")
        return place[-120:]

    def _key(self, signature: Any, codegen: Any) -> tuple[Any, ...]:
        flags = (numba.config.BOUNDSCHECK, numba.config.OPT, numba.config.DEBUGINFO_DEFAULT)
        return signature, codegen.magic_tuple(), flags, tuple(ingredients(self._function, self._options, set()))

    def _path(self, key: tuple[Any, ...]) -> Path:
        return self._folder / f"{self._name()}-{hashlib.sha256(repr(key).encode()).hexdigest()[:24]}{ENDING}"

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        """The compiled code of a signature, or None: then numba compiles it."""
        if not self._enabled or takes_functions(signature):
            return None
        target_context.refresh()
        key = self._key(signature, target_context.codegen())
        try:
            content = self._path(key).read_bytes()
        except OSError:
            return None
        if hashlib.sha256(content[32:]).digest() != content[:32]:  # cut short, say by a full disk
            return None
        found, payload = pickle.loads(content[32:])
        return CompileResult._rebuild(target_context, *payload) if found == key else None

    def save_overload(self, signature: Any, result: Any) -> None:
        """Keep compiled code, if it can be kept: it may hold addresses of this process, the disk may be full."""
        if not self._enabled or result.library.has_dynamic_globals or any(not x.can_cache for x in result.lifted):
            return
        if takes_functions(signature):
            return
        key = self._key(signature, result.codegen)
        content, path = dumps((key, result._reduce())), self._path(key)
        unfinished = path.with_name(f"{path.name}.{uuid.uuid4().hex[:16]}")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            unfinished.write_bytes(hashlib.sha256(content).digest() + content)
            unfinished.replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                unfinished.unlink(missing_ok=True)
