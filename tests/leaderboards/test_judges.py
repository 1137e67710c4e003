"""Who judged: the judge in a certificate, the hash of its code, reserved names, rows of two judges."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import sysgym
from sysgym_leaderboards import Board, Store, rank
from sysgym_leaderboards.judge import _imports, _texts, code_hash, judge_of
from sysgym_leaderboards.publish.export import board_report
from sysgym_leaderboards.publish.site import board_page
from sysgym_leaderboards.ranking import apart
from sysgym_leaderboards.verify import judging_environment

pytestmark = pytest.mark.usefixtures("forked_judge")

Edited = Callable[..., bytes]


@pytest.fixture
def real_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judges are processes of their own, as for users."""
    monkeypatch.setattr(import_module("sysgym_leaderboards.verify"), "subprocess", subprocess)


def test_a_certificate_names_its_judge(submit: Any, packed: bytes, board: Board) -> None:
    judge = submit(packed).judge
    assert judge == judge_of(board.make_problem())
    assert (judge.distribution, judge.version, len(judge.code)) == ("sysgym", sysgym.__version__, 64)


def hash_of(folder: Path, **files: str) -> str:
    """The hash that a package with these files gives its problem's class, in a fresh process."""
    package = folder / "judged_plugin"
    shutil.rmtree(package, ignore_errors=True)
    package.mkdir()
    for name, text in {"__init__": "", **files}.items():
        (package / f"{name}.py").write_text(text)
    code = "from judged_plugin.problem import P; from sysgym_leaderboards.judge import code_hash; print(code_hash(P))"
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    return done.stdout.strip()


def test_the_hash_is_over_code_not_over_comments(tmp_path: Path) -> None:
    problem = "from judged_plugin.kernels import f\nclass P:\n    def judge(self): return f(1)\n"
    lazy = "class P:\n    def judge(self):\n        from . import kernels\n        return kernels.f(1)\n"
    pictures = lazy + "    def render(self):\n        from .drawing import draw\n        return draw\n"
    files = {"problem": problem, "kernels": "def f(x):\n    return x + 1\n", "drawing": "draw = 1\n"}
    base = hash_of(tmp_path, **files)
    described = '"""What f is."""\n# one more\ndef f(x):\n    """Sum."""\n\n    return (x +\n        1)  # yes\n'
    assert hash_of(tmp_path, **{**files, "kernels": described}) == base
    assert hash_of(tmp_path, **{**files, "drawing": "draw = 2\n"}) == base  # nobody imports it
    assert hash_of(tmp_path, **{**files, "kernels": "def f(x):\n    return x + 2\n"}) != base
    late = hash_of(tmp_path, **{**files, "problem": lazy})
    assert hash_of(tmp_path, **{**files, "problem": lazy, "kernels": "def f(x):\n    return x\n"}) != late
    drawn = hash_of(tmp_path, **{**files, "problem": pictures})
    assert drawn != late
    assert hash_of(tmp_path, **{**files, "problem": pictures, "drawing": "draw = 2\n"}) == drawn


def test_every_kernel_of_a_judge_is_in_its_hash() -> None:
    """The modules that the chip judge runs through are reached from its class, those of the shell are not."""
    import sysgym.chip_placement.problem as module

    found, todo = set[str](), [module.__name__]
    while todo:
        name = todo.pop()
        if name not in found and name.startswith("sysgym.") and (spec := sysgym.core.registry.find_spec(name)):
            found.add(name)
            tree = ast.parse(Path(str(spec.origin)).read_text())
            todo += [item for item in _imports(tree, name, str(spec.origin).endswith("__init__.py")) if item.count(".")]
            todo = [item for item in todo if not item.rpartition(".")[2][:1].isupper() and "." in item]
            todo = [item for item in todo if _is_module(item)]
    assert {"sysgym.chip_placement.cost", "sysgym.chip_placement.kernels", "sysgym.compiled"} <= found
    assert not found & {"sysgym.core.env", "sysgym.core.vector", "sysgym.core.rewards"}


def _is_module(name: str) -> bool:
    try:
        return sysgym.core.registry.find_spec(name) is not None
    except ImportError:
        return False


def test_constants_count_and_positions_do_not() -> None:
    def text(source: str) -> list[str]:
        return list(_texts(ast.parse(source)))

    assert text("x=1") == text("\n\nx  =  1  # one") and text("x = 1") != text("x = 1.0") != text("x = True")
    assert text("def f():\n  'doc'\n  return 'a'") == text("def f(): return 'a'") != text("def f(): return 'b'")
    assert code_hash(type(sysgym.make_problem("Partitioning"))) == code_hash(type(sysgym.make_problem("Partitioning")))


SHADOW = """
from dataclasses import replace
from sysgym.partitioning.problem import Partitioning as _P
class Partitioning(_P):
    def judge(self, instance, solution):
        return replace(super().judge(instance, solution), feasible=True, cost=1.0, violations=())
"""


@pytest.mark.attack("A package earlier on the path registers a built-in problem with a judge of its own")
@pytest.mark.parametrize("called", ["shadow-part", "sysgym"])
def test_a_package_cannot_take_a_name_of_the_suite(called: str, tmp_path: Path) -> None:
    """Wherever it stands on the path, and if it calls itself sysgym."""
    (tmp_path / "shadow_part.py").write_text(SHADOW)
    info = tmp_path / f"{called.replace('-', '_')}-99.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {called}\nVersion: 99.0\n")
    (info / "entry_points.txt").write_text("[sysgym.problems]\nPartitioning-v0 = shadow_part:Partitioning\n")
    code = (
        "import sysgym; from sysgym.core.registry import failures; from sysgym_leaderboards.judge import judge_of; "
        "p = sysgym.make_problem('Partitioning'); print(type(p).__module__, judge_of(p).distribution, failures)"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.startswith("sysgym.partitioning.problem sysgym ")
    assert called == "sysgym" or "a name that sysgym reserves" in done.stdout


@pytest.mark.attack("Variables of the environment change how the verification process starts or compiles")
def test_the_worker_sees_a_few_named_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NUMBA_DISABLE_JIT", "LD_PRELOAD", "PYTHONSTARTUP", "SECRET"):
        monkeypatch.setenv(name, "x")
    found = judging_environment()
    assert not {"NUMBA_DISABLE_JIT", "LD_PRELOAD", "PYTHONSTARTUP", "SECRET"} & {*found}
    assert found["SYSGYM_KERNELS"].endswith("judge-kernels") and found["NUMBA_NUM_THREADS"] == "1" and "PATH" in found


@pytest.mark.attack("A changed judge's verdicts are listed among those of the true one")
def test_rows_of_two_judges_stand_apart_until_they_are_judged_again(
    toy_board: Callable[..., Board],
    toy_pack: Callable[..., Path],
    toy_file: Path,
    tmp_path: Path,
    real_judge: None,
) -> None:
    board, other = toy_board(), tmp_path / "other_toy.py"
    other.write_text(toy_file.read_text().replace("float(instance.value[choice])", "float(instance.value[choice]) / 2"))
    ours, theirs = (Store(tmp_path / "s.sqlite", imports=[str(file)]) for file in (toy_file, other))
    assert ours.submit(toy_pack(board, 1, agent="first"), board).accepted
    assert theirs.submit(toy_pack(board, 2, agent="second"), board).accepted
    entries = ours.entries(board)
    assert [line.agent for line in rank(board, entries)] == ["first"]
    (line,) = apart(board, entries)
    assert (line.number, line.agent) == (2, "second") and line.judge.startswith("no package (code ")
    page = board_page(board_report(ours, board), [])
    assert "Judged elsewhere" in page and line.judge in page
    (changed,) = ours.rejudge(board)
    assert changed.number == 2 and ours.head()[0] == 3 and ours.check_chain() == [] and ours.reverify(board) == []
    assert len(rank(board, ours.entries(board))) == 2 and not apart(board, ours.entries(board))
    assert ours.rejudge(board) == [] and ours.head()[0] == 3
    assert [item.judge == changed.certificate.judge for item in ours.certificates(2)] == [True, False]


def test_a_differing_verdict_is_recorded(
    toy_board: Callable[..., Board],
    toy_pack: Callable[..., Path],
    toy_file: Path,
    tmp_path: Path,
    real_judge: None,
) -> None:
    board, other = toy_board(), tmp_path / "other_toy.py"
    other.write_text(toy_file.read_text().replace("float(instance.value[choice])", "float(instance.value[choice]) / 2"))
    theirs, ours = (Store(tmp_path / "s.sqlite", imports=[str(file)]) for file in (other, toy_file))
    assert theirs.submit(toy_pack(board, 1, agent="half"), board).rows[0].cost == 1.5
    sentence = ours.reverify(board)[0]
    assert "judged by no package" in sentence and "cost was 1.5, is 3.0" in sentence
    ours.rejudge(board)
    assert ours.reverify(board) == [] and rank(board, ours.entries(board))[0].results[0].cost == 3.0
