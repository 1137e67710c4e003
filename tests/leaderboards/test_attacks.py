"""Forged, broken and hostile submissions against `sysgym submit`, and against `Store.submit` under `python -O`.

The cases stand in `tests/support/attacks.py`.
`python -O test_attacks.py FOLDER` runs the table where assertions do not exist.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attacks import BOARD, CASES, MARKER, OBJECTS, SPRUNG, TRAP, Manifest, npy, rewrite
from forked import ForkedModule

from sysgym_leaderboards import Answer, Store, load_board, pack, rank
from sysgym_leaderboards.publish.export import board_report
from sysgym_leaderboards.publish.site import board_page

pytestmark = pytest.mark.usefixtures("forked_judge")


def one_sentence(reason: str, words: str) -> bool:
    return words in reason and "\n" not in reason and 10 < len(reason) < 600 and reason.endswith((".", "...", "!"))


def rejected(store: Store, data: bytes, words: str, file: Path) -> str:
    """Submit from Python; '' or what went wrong. One rejection may be recorded, nothing else."""
    file.write_bytes(data)
    before, listed = store.head()[0], store.entries(BOARD)
    certificate = store.submit(file, BOARD)
    if certificate.accepted:
        return "it was accepted"
    if not one_sentence(certificate.reason, words):
        return f"the reason is {certificate.reason!r}"
    if store.head()[0] > before + 1 or store.entries(BOARD) != listed or store.check_chain():
        return "the store was changed"
    return ""


def valid(folder: Path) -> bytes:
    """A valid submission with true claims."""
    board = load_board(BOARD)
    problem, answers = board.make_problem(), {}
    for turn, (name, seed) in enumerate(board.pairs()):
        graph = problem.load(name)
        part = np.roll(np.arange(graph.nodes) >= graph.nodes // 2, 8 * turn).astype(np.int64)
        answers[name, seed] = Answer({"part": part}, problem.judge(graph, {"part": part}).cost)
    manifest = {"agent": "halves", "created": "2026-01-31T12:00:00Z"}
    return pack(folder / "good.zip", board, manifest, answers).read_bytes()


@pytest.fixture(autouse=True)
def no_trap_springs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    yield
    assert not SPRUNG.exists()


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return valid(tmp_path_factory.mktemp("good"))


@pytest.fixture(scope="module")
def filled(good: bytes, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with one honest entry; every attack goes to it."""
    folder = tmp_path_factory.mktemp("attacks")
    (folder / "a.zip").write_bytes(good)
    store = Store(folder / "s.sqlite")
    assert store.submit(folder / "a.zip", BOARD).accepted
    return store


def command(*words: str) -> Any:
    """Exit code and output of `sysgym WORDS`, in this process."""
    from typer.testing import CliRunner

    from sysgym_zoo.cli import app

    done = CliRunner().invoke(app, [*words])
    assert isinstance(done.exception, SystemExit | None)
    return done


def test_the_list_is_long_enough_and_published() -> None:
    """`python tests/leaderboards/attacks_page.py` writes the page anew."""
    from importlib.util import module_from_spec, spec_from_file_location

    assert len(CASES) >= 25
    spec = spec_from_file_location("attacks_page", Path(__file__).with_name("attacks_page.py"))
    assert spec and spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PAGE.read_text() == module.page()


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", CASES)
def test_an_attack_is_refused_by_the_command(name: str, good: bytes, filled: Store, tmp_path: Path) -> None:
    attack, words = CASES[name]
    (tmp_path / "x.zip").write_bytes(attack(good))
    count, entries = filled.head()[0], filled.entries(BOARD)
    done = command("submit", str(tmp_path / "x.zip"), "--board", BOARD, "--store", str(filled.path))
    assert done.exit_code == 3
    assert one_sentence(done.output.strip(), words), done.output
    assert filled.head()[0] == count + 1 and filled.entries(BOARD) == entries


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", ["cut off", "pickle as manifest", "board is a file", "zip bomb that lies"])
def test_a_file_that_names_no_board_is_refused_too(name: str, good: bytes, filled: Store, tmp_path: Path) -> None:
    """Without --board, the submission is opened to find its board."""
    (tmp_path / "x.zip").write_bytes(CASES[name][0](good))
    before = filled.head()
    done = command("submit", str(tmp_path / "x.zip"), "--store", str(filled.path))
    assert done.exit_code == 3 and one_sentence(done.output.strip(), CASES[name][1]) and filled.head() == before


@pytest.mark.attack("A submission is sent again")
def test_a_replay_is_refused(good: bytes, filled: Store, tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(good)
    before = filled.head()
    assert filled.submit(tmp_path / "x.zip", BOARD).reason == f"this submission is on {BOARD} already, as entry 1."
    done = command("submit", str(tmp_path / "x.zip"), "--store", str(filled.path))
    assert done.exit_code == 3 and "already, as entry 1" in done.output and filled.head() == before


@pytest.mark.attack("A hard instance is left out")
def test_22_of_23_instances_are_refused(tmp_path: Path) -> None:
    """What CompilerGym's board let through."""
    sets = ["delaunay/train", "delaunay/test", "tiny/test", "tiny/grid-train", "tiny/delaunay-train", "tiny/grid-valid"]
    (tmp_path / "wide.toml").write_text(
        'id = "wide-v1"\ntitle = "Wide"\nproblem = "Partitioning-v0"\ndivision = "solutions"\nseeds = 1\n'
        f'reference = "metis"\npenalty = 2\nseconds = 1\ninstances = {json.dumps(sets)}\n[options]\nk = 2\neps = 0.03\n'
    )
    board = load_board(tmp_path / "wide.toml")
    problem = board.make_problem()
    assert len(board.pairs()) == 23
    halves = {}
    for name, seed in board.pairs():
        graph = problem.load(name)
        halves[name, seed] = Answer({"part": (np.arange(graph.nodes) >= graph.nodes // 2).astype(np.int64)})
    whole = pack(tmp_path / "whole.zip", board, {"agent": "halves"}, halves).read_bytes()
    words = ("--board", str(tmp_path / "wide.toml"), "--store", str(tmp_path / "s.sqlite"))
    assert command("submit", str(tmp_path / "whole.zip"), *words).exit_code == 0

    def drop(manifest: Manifest, members: dict[str, bytes]) -> None:
        manifest["answers"].pop()
        del members["solutions/22/0/part.npy"]

    (tmp_path / "part.zip").write_bytes(rewrite(drop)(whole))
    done = command("submit", str(tmp_path / "part.zip"), *words)
    assert done.exit_code == 3
    assert "22 of 23 (instance, seed) pairs are answered, missing: tiny/grid-valid seed 0." in done.output
    assert len(Store(tmp_path / "s.sqlite").entries(board)) == 1


@pytest.mark.attack("A copy under another name, with other types and files")
def test_a_copy_under_another_name_is_credited_to_the_first(good: bytes, tmp_path: Path) -> None:
    """Other file, other types and forms of the same arrays: it is listed as a copy, never ahead."""

    def disguise(manifest: Manifest, members: dict[str, bytes]) -> None:
        manifest["agent"] = "thief"
        for index, (kind, file) in enumerate([("npy", "part.npy"), ("json", "part.json"), ("npy", "part.npy")]):
            values = np.load(io.BytesIO(members.pop(f"solutions/{index}/0/part.npy")))
            data = npy(values.astype(np.uint8)) if kind == "npy" else json.dumps(values.tolist()).encode()
            members[f"solutions/{index}/0/{file}"] = data
            manifest["answers"][index]["files"] = {file: hashlib.sha256(data).hexdigest()}

    store = Store(tmp_path / "s.sqlite")
    for name, data in (("a", good), ("b", rewrite(disguise)(good))):
        (tmp_path / f"{name}.zip").write_bytes(data)
        assert store.submit(tmp_path / f"{name}.zip", BOARD).accepted
    first, copy = rank(load_board(BOARD), store.entries(BOARD))
    assert (first.agent, first.same_as, copy.agent, copy.same_as) == ("halves", None, "thief", 1)
    assert "the same solutions as entry 1, halves" in board_page(board_report(store, load_board(BOARD)), [])


def test_the_store_verifies_after_all_of_it(filled: Store) -> None:
    done = command("board", "verify", "--store", str(filled.path))
    assert done.exit_code == 0 and "entries verified" in done.output


@pytest.mark.slow
def test_the_whole_table_without_assertions(tmp_path: Path) -> None:
    """`python -O`, in the verification process too."""
    environment = {**os.environ, "PYTHONOPTIMIZE": "1", MARKER: str(tmp_path / "marker")}
    environment["PYTHONPATH"] = str(Path(__file__).parents[1] / "support")
    environment |= {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(tmp_path / "bytecode")}  # compile once
    done = subprocess.run(
        [sys.executable, "-O", __file__, str(tmp_path)], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == f"{len(CASES)} attacks refused, debug False, optimize 1"
    assert not (tmp_path / "marker").exists()


def test_the_trap_works() -> None:
    pickle.loads(TRAP)
    assert SPRUNG.read_text() == "it ran"
    SPRUNG.unlink()
    np.load(io.BytesIO(OBJECTS), allow_pickle=True)
    SPRUNG.unlink()


def main(folder: Path) -> None:
    """Run the table; print what was accepted, or how many attacks were refused.

    The valid submission is judged in a process of its own, the attacks in forks of this one: without assertions too.
    """
    good, store = valid(folder), Store(folder / "s.sqlite")
    if not store.submit(folder / "good.zip", BOARD).accepted:
        raise SystemExit("the valid submission was refused")
    sys.modules["sysgym_leaderboards.verify"].subprocess = ForkedModule  # type: ignore[attr-defined]

    def attack(name: str) -> str:
        own = Store(folder / f"{hash(name)}.sqlite")
        make, words = CASES[name]
        found = rejected(own, make(good), words, folder / f"{hash(name)}.zip")
        return f"{name}: {found}" if found else ""

    with ThreadPoolExecutor(2) as pool:
        problems = [line for line in pool.map(attack, CASES) if line]
    print("\n".join(problems))
    if problems or store.reverify() or store.check_chain():
        raise SystemExit(1)
    print(f"{len(CASES)} attacks refused, debug {__debug__}, optimize {sys.flags.optimize}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
