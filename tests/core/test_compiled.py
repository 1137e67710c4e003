"""Compiled kernels are kept, and never those of other sources: an edit in any file counts in the next process."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from sysgym import compiled
from sysgym.compiled import njit

PACKAGE = {
    "__init__.py": "",
    "constants.py": "STEP = 1\nTABLE = (1, 2)\n",  # no kernel stands in it
    "parts/__init__.py": "",
    "parts/shift.py": "BY = 0\n",
    "inner.py": "from sysgym.compiled import njit\n\n@njit\ndef inner(x):\n    return x + 10\n",
    "outer.py": "from sysgym.compiled import njit\nfrom toykernels import inner\n"
    "import toykernels.parts.shift\n"
    "from numba.extending import register_jitable\n"
    "from toykernels.constants import STEP, TABLE\n\n"
    "@register_jitable\ndef helper(x):\n    return x + 0\n\n"
    "@njit\ndef outer(x):\n    return helper(inner.inner(x)) + STEP + TABLE[1] + toykernels.parts.shift.BY\n",
}
RUN = (  # prints the value and how many signatures of `outer` and `inner` were compiled
    "import sys; from toykernels.outer import outer; from toykernels.inner import inner; outer(int(sys.argv[1]))\n"
    "missed = [sum(f.stats.cache_misses.values()) for f in (outer, inner) if hasattr(f, 'stats')]\n"
    "print(outer(int(sys.argv[1])), *missed)"
)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package outside the suite with two kernels in two files, and constants in a third."""
    folder = tmp_path / "toykernels"
    folder.mkdir()
    (folder / "parts").mkdir()
    for name, text in PACKAGE.items():
        (folder / name).write_text(text)
    return folder


def run(package: Path, argument: int = 100, **environment: str) -> list[int]:
    settings = {**os.environ, "XDG_CACHE_HOME": str(package.parent / "cache"), "PYTHONPATH": str(package.parent)}
    settings |= {"PYTHONDONTWRITEBYTECODE": "1", **environment}  # edits within one second have one time stamp
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", RUN, str(argument)], env=settings, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return [int(word) for word in done.stdout.split()]


def edit(file: Path, old: str, new: str) -> None:
    """Change a file, but not its time."""
    text, times = file.read_text(), file.stat()
    assert old in text
    file.write_text(text.replace(old, new))
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_an_edit_in_another_kernels_file_counts_at_once_and_a_second_run_is_warm(package: Path) -> None:
    assert run(package) == [113, 1, 1]
    edit(package / "inner.py", "x + 10", "x + 50")
    assert run(package)[0] == 153
    edit(package / "inner.py", "x + 50", "x + 10")
    assert run(package) == [113, 0, 0]  # undone: the first code is still there, and right


def test_an_edit_in_a_file_without_kernels_counts_at_once(package: Path) -> None:
    assert run(package) == [113, 1, 1]
    edit(package / "constants.py", "STEP = 1", "STEP = 7")
    edit(package / "constants.py", "(1, 2)", "(1, 3)")
    assert run(package)[:2] == [120, 1]
    edit(package / "parts" / "shift.py", "BY = 0", "BY = 1000")  # named through its package
    edit(package / "outer.py", "x + 0", "x + 2000")  # a helper that is no kernel of its own
    assert run(package)[0] == 3120


def test_two_processes_compile_at_the_same_time(package: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda argument: run(package, argument)[0], (100, 2**40)))
    assert found == [113, 2**40 + 13]
    assert run(package) == [113, 0, 0]


def test_without_a_writable_folder_kernels_are_compiled_anew(package: Path) -> None:
    (package.parent / "file").write_text("in the way")
    for _ in range(2):
        assert run(package, XDG_CACHE_HOME=str(package.parent / "file")) == [113, 1, 1]
    assert run(package, NUMBA_DISABLE_JIT="1") == [113]


def test_damaged_code_is_compiled_anew(package: Path) -> None:
    run(package)
    (file,) = (package.parent / "cache").rglob("toykernels.outer.outer-*")
    file.write_bytes(file.read_bytes()[:-1])
    assert run(package) == [113, 1, 0]
    assert run(package) == [113, 0, 0]


def test_a_users_own_cache_is_left_alone(package: Path) -> None:
    mine = package.parent / "mine"
    edit(package / "outer.py", "@njit\n", "import numba\n@numba.njit(cache=True)\n")
    assert run(package, NUMBA_CACHE_DIR=str(mine)) == [113, 1, 1]
    names = {path.name.split("-")[0] for path in mine.rglob("*.nbc")}
    assert names == {"outer.outer"}
    assert list((package.parent / "cache").rglob("toykernels.inner.inner-*"))


def test_old_folders_are_pruned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for age in range(8):
        for name in (f"toy-{age}", f"toy-tools-{age}"):
            folder = compiled.root() / name
            folder.mkdir(parents=True)
            (folder / "a.kernel").write_text("")
            os.utime(folder, (1000 - age, 1000 - age))
    compiled.prune("toy")
    left = {path.name for path in compiled.root().iterdir()}
    assert left == {f"toy-{age}" for age in range(compiled.KEPT)} | {f"toy-tools-{age}" for age in range(8)}


def test_options_and_constants_are_part_of_the_key() -> None:
    one, two = (set(compiled.ingredients(f.py_func, f.targetoptions, set())) for f in (plain, fast))  # type: ignore[attr-defined]
    assert one != two
    assert any("float64(3,)" in text for text in compiled.ingredients(plain.py_func, {}, set()))  # type: ignore[attr-defined]
    assert isinstance(plain._cache, compiled.KernelCache)  # type: ignore[attr-defined]
    assert plain(2.0) == fast(2.0) == 6.0


WEIGHTS = np.ones(3)


@njit
def plain(x: float) -> float:
    return x * WEIGHTS.sum()


@njit(fastmath=True)
def fast(x: float) -> float:
    return x * WEIGHTS.sum()


def test_every_kernel_of_the_suite_is_kept() -> None:
    """No kernel of ours is compiled by numba's own decorator."""
    root = Path(compiled.__file__).parents[2]
    files = [path for part in ("envs", "agents", "zoo", "leaderboards") for path in (root / part).rglob("*.py")]
    using = [path for path in files if "njit" in path.read_text() and path != Path(compiled.__file__)]
    assert len(using) > 15
    assert [path.name for path in using if "from numba import" in path.read_text()] == []
