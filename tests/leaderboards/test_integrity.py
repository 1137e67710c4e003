"""Nothing on a board but what `judge` said: mutations, a changed judge, edited stores, kills, and the source itself."""

from __future__ import annotations

import ast
import hashlib
import io
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from zips import members_of, zip_of

import sysgym_leaderboards
from sysgym_leaderboards import Answer, Board, Certificate, Entry, Store, geometric_mean, load_board, pack, rank, verify
from sysgym_leaderboards.certificates import parse_judge, parse_row
from sysgym_leaderboards.verify_worker import report_on

pytestmark = pytest.mark.usefixtures("forked_judge")

SOURCE = Path(sysgym_leaderboards.__file__).parent


# ---------------------------------------------------------------------------------------------- mutations


@pytest.fixture(scope="module")
def rolled(board: Board, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A valid submission with another solution for each instance."""
    problem, answers = board.make_problem(), {}
    for turn, (name, seed) in enumerate(board.pairs()):
        graph = problem.load(name)
        part = np.roll(np.arange(graph.nodes) >= graph.nodes // 2, 8 * turn).astype(np.int64)
        answers[name, seed] = Answer({"part": part}, problem.judge(graph, {"part": part}).cost)
    return pack(tmp_path_factory.mktemp("rolled") / "a.zip", board, {"agent": "rolled"}, answers).read_bytes()


def mutate_claim(rng: random.Random, manifest: Any, members: dict[str, bytes]) -> None:
    answer, other = rng.choice(manifest["answers"]), rng.choice(manifest["answers"])
    cost = answer["cost"]
    answer["cost"] = rng.choice([cost - 1, cost + 1, cost * 0.5, cost * (1 + 1e-10), 0, -cost, None, other["cost"]])


def mutate_solution(rng: random.Random, manifest: Any, members: dict[str, bytes]) -> None:
    answer = rng.choice(manifest["answers"])
    path = f"solutions/{answer['instance']}/{answer['seed']}/part.npy"
    part = np.load(io.BytesIO(members[path]))
    first, second = rng.sample(range(len(part)), 2)
    kind = rng.randrange(6)
    if kind == 0:
        part[first] = 1 - part[first]
    elif kind == 1:
        part[[first, second]] = part[[second, first]]
    elif kind == 2:
        part[first] = rng.choice([-1, 2, 2**40])
    elif kind == 3:
        part = 1 - part
    elif kind == 4:
        part = part[:-1]
    else:
        part = np.load(io.BytesIO(members[f"solutions/{rng.randrange(4)}/0/part.npy"]))
    stream = io.BytesIO()
    np.save(stream, part)
    members[path] = stream.getvalue()
    if rng.random() < 0.8:
        answer["files"] = {"part.npy": hashlib.sha256(members[path]).hexdigest()}
    if rng.random() < 0.5:
        answer["cost"] = None


def mutate_instance(rng: random.Random, manifest: Any, members: dict[str, bytes]) -> None:
    item, other = rng.sample(manifest["instances"], 2)
    kind = rng.randrange(5)
    if kind == 0:
        item["name"], other["name"] = other["name"], item["name"]
    elif kind == 1:
        item["hash"], other["hash"] = other["hash"], item["hash"]
    elif kind == 2:
        item["name"] = rng.choice(["tiny/delaunay-train", "tiny/grid-test", "delaunay:n=64", "", "x"])
    elif kind == 3:
        item["hash"] = item["hash"][:-1] + "0"
    else:
        rng.choice(manifest["answers"])["instance"] = rng.randrange(5)


def mutate_id(rng: random.Random, manifest: Any, members: dict[str, bytes]) -> None:
    key = rng.choice(["board", "board_hash", "problem", "schema", "options", "seed", "agent"])
    if key == "seed":
        rng.choice(manifest["answers"])["seed"] = rng.choice([1, -1, True, 0])
    elif key == "options":
        manifest["options"] = rng.choice([{"k": 2, "eps": 0.3}, {"k": 3, "eps": 0.03}, {"k": 2}, {}])
    else:
        text = manifest[key]
        place = rng.randrange(len(text))
        manifest[key] = text[:place] + rng.choice("a0v-") + text[place + 1 :]


MUTATIONS = {
    "claim": mutate_claim, "solution": mutate_solution, "instance": mutate_instance, "id": mutate_id,
}  # fmt: skip


@pytest.mark.parametrize("what", MUTATIONS)
def test_a_mutation_is_rejected_or_judged_truly(what: str, rolled: bytes, board: Board) -> None:
    """Whatever is changed, an accepted row has the cost that `judge` gives to the arrays in the file."""
    rng, problem, outcomes = random.Random(what), board.make_problem(), []
    graphs = {name: problem.load(name) for name in board.instance_names()}
    for _ in range(100):
        members = members_of(rolled)
        manifest = json.loads(members["submission.json"])
        MUTATIONS[what](rng, manifest, members)
        members["submission.json"] = json.dumps(manifest).encode()
        report, _ = report_on(zip_of(members), board)
        outcomes.append(report["accepted"])
        if not report["accepted"]:
            assert report["reason"]
            continue
        rows = [parse_row(row) for row in report["rows"]]
        truth = {}
        for index, item in enumerate(manifest["instances"]):
            part = np.load(io.BytesIO(members[f"solutions/{index}/0/part.npy"]))
            truth[item["name"]] = problem.judge(graphs[item["name"]], {"part": part})
        assert {row.instance: (row.feasible, row.cost) for row in rows} == {
            name: (verdict.feasible, verdict.cost) for name, verdict in truth.items()
        }
        certificate = Certificate(
            board.id, board.hash, "", instances=tuple(graphs), rows=tuple(rows), accepted=True,
            judge=parse_judge(report["judge"]),
        )  # fmt: skip
        (line,) = rank(board, [Entry(1, board.id, certificate, "", "", "")])
        judged = [v.cost / row.reference for row in rows if (v := truth[row.instance]).feasible]
        assert line.score == pytest.approx(
            geometric_mean([*judged, *[board.penalty] * (len(rows) - len(judged))]), rel=1e-9
        )
    assert 0 < sum(outcomes) < 60


# ---------------------------------------------------------------------------------------------- a changed judge

DEARER = """
from sysgym.core.problem import Verdict
from sysgym.partitioning.problem import Partitioning

true = Partitioning.judge


def judge(self, instance, solution):
    found = true(self, instance, solution)
    return Verdict(found.feasible, 3 * found.cost + 1000, found.metrics, found.violations)


Partitioning.judge = judge
"""


def test_a_changed_judge_changes_the_board(rolled: bytes, board: Board, tmp_path: Path) -> None:
    """Every number of a certificate follows the judge: there is no second implementation of the cost."""
    (tmp_path / "dearer.py").write_text(DEARER)
    (tmp_path / "a.zip").write_bytes(rolled)
    members = members_of(rolled)
    manifest = json.loads(members["submission.json"])
    for answer in manifest["answers"]:
        answer["cost"] = None
    silent = zip_of({**members, "submission.json": json.dumps(manifest).encode()})
    (tmp_path / "b.zip").write_bytes(silent)
    changed = [str(tmp_path / "dearer.py")]
    store = Store(tmp_path / "s.sqlite")
    true, silently = store.submit(tmp_path / "a.zip", board), store.submit(tmp_path / "b.zip", board)
    assert true.accepted and silently.accepted and store.reverify() == []
    assert not verify(tmp_path / "a.zip", board, imports=changed).accepted  # its claims are false now
    other = Store(tmp_path / "t.sqlite", imports=changed)
    dearer = other.submit(tmp_path / "b.zip", board)
    assert dearer.accepted
    assert [row.cost for row in dearer.rows] == [3 * row.cost + 1000 for row in true.rows]
    assert rank(board, other.entries(board))[0].score > rank(board, store.entries(board))[0].score
    found = Store(store.path, imports=changed).reverify()
    assert any(text.startswith("entry 1 (rolled): it was accepted, now:") for text in found)
    assert sum("entry 2 (rolled)" in text and "cost was" in text for text in found) == 4


def imports_of(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def test_boards_know_no_problem() -> None:
    """They import the contracts only, so they cannot compute a cost in a way of their own."""
    for file in SOURCE.rglob("*.py"):
        for name in imports_of(file):
            if name.split(".")[0] == "sysgym":
                assert name == "sysgym" or name.startswith("sysgym.core."), f"{file} imports {name}"


def test_nothing_on_this_path_reads_pickles_or_runs_text() -> None:
    core = Path(sys.modules["sysgym.core.solutions"].__file__ or "")
    files = [*SOURCE.rglob("*.py"), core]
    assert len(files) > 10
    for file in files:
        modules = {name.split(".")[0] for name in imports_of(file)}
        assert not modules & {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "torch", "yaml"}, file
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            assert called not in ("eval", "exec", "compile", "__import__", "np.load", "numpy.load"), (file, called)
            for keyword in node.keywords:
                if keyword.arg == "allow_pickle":
                    assert isinstance(keyword.value, ast.Constant) and keyword.value.value is False, file


# ---------------------------------------------------------------------------------------------- edited stores


def command(*words: str) -> Any:
    from typer.testing import CliRunner

    from sysgym_zoo.cli import app

    return CliRunner().invoke(app, [*words])


@pytest.fixture(scope="module")
def recorded(rolled: bytes, packed: bytes, board: Board, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of a store with two accepted submissions and a rejected one between them."""
    folder = tmp_path_factory.mktemp("recorded")
    store = Store(folder / "s.sqlite")
    for data, accepted in ((rolled, True), (b"x", False), (packed, True)):
        (folder / "a.zip").write_bytes(data)
        assert store.submit(folder / "a.zip", board).accepted is accepted
    return store.path.read_bytes()


@pytest.mark.parametrize(
    "change",
    [
        "",
        "number = 9",
        "board = 'other-v1'",
        "accepted = 0",
        "submission = (SELECT submission FROM entry WHERE number = 1)",
        "certificate = replace(certificate, '\"cost\": 8.0', '\"cost\": 7.0')",
        "certificate = replace(certificate, 'halves', 'thieves')",
        "certificate = 'x'",
        "created = '2020-01-01T00:00:00Z'",
        f"previous = '{'1' * 64}'",
        f"hash = '{'1' * 64}'",
    ],
)
def test_the_command_finds_an_edit_of_any_column(recorded: bytes, tmp_path: Path, change: str) -> None:
    path = tmp_path / "s.sqlite"
    path.write_bytes(recorded)
    if change:
        with closing(sqlite3.connect(path)) as db:
            for name in ("entry_no_update", "entry_no_delete", "entry_no_replace"):
                db.execute(f"DROP TRIGGER {name}")
            db.execute(f"UPDATE entry SET {change} WHERE number = 3")
            db.commit()
        assert path.read_bytes() != recorded
    done = command("board", "verify", "--store", str(path))
    assert done.exit_code == (3 if change else 0), done.output
    assert not change or "entry 3" in done.output or "entries 3 to 8" in done.output


# ---------------------------------------------------------------------------------------------- kills


def children(pid: int) -> set[int]:
    """Processes started by a process."""
    try:
        return {int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
    except OSError:
        return set()


def gone(pid: int, seconds: float = 5) -> bool:
    """Whether a process ends soon; a zombie that nobody waits for has ended."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state in "ZX":
            return True
        time.sleep(0.02)
    return False


needs_proc = pytest.mark.skipif(not Path(f"/proc/{os.getpid()}/task").is_dir(), reason="reads /proc")


def start(folder: Path, *words: str, **environment: str) -> subprocess.Popen[bytes]:
    """A command that hears Ctrl-C, whatever started the tests."""
    return subprocess.Popen(
        [sys.executable, "-m", "sysgym_zoo.cli", *words],
        cwd=folder, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip


@needs_proc
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_command_leaves_no_worker(
    how: signal.Signals, recorded: bytes, board: Board, toy_plugin: Path, toy_board: Callable[..., Board],
    toy_pack: Callable[..., Path], tmp_path: Path,
) -> None:  # fmt: skip
    """The verification process is in the middle of a judge that would take ten minutes."""
    path, file, reached = tmp_path / "s.sqlite", tmp_path / "toy.toml", tmp_path / "reached"
    path.write_bytes(recorded)
    table = toy_board(behave=f"sleep:{reached}").as_dict()
    options = table.pop("options")
    lines = [f"{key} = {json.dumps(value)}" for key, value in table.items()]
    file.write_text("\n".join([*lines, "[options]", *(f"{k} = {json.dumps(v)}" for k, v in options.items())]))
    pack_file = toy_pack(load_board(file))
    process = start(
        tmp_path, "submit", str(pack_file), "--board", str(file), "--store", str(path),
        PYTHONPATH=str(toy_plugin),
    )  # fmt: skip
    until = time.monotonic() + 60
    while not reached.exists() and time.monotonic() < until and process.poll() is None:
        time.sleep(0.02)
    workers = children(process.pid)
    assert reached.exists() and len(workers) == 1
    process.send_signal(how)
    try:
        assert process.wait(30) != 0
    finally:
        process.kill()
        process.wait()
    assert all(gone(pid) for pid in workers)
    assert path.read_bytes() == recorded and Store(path).reverify(board) == []


@needs_proc
def test_kills_at_any_moment_leave_the_store_whole(rolled: bytes, board: Board, tmp_path: Path) -> None:
    path, started = tmp_path / "s.sqlite", time.monotonic()
    (tmp_path / "a.zip").write_bytes(rolled)
    start(tmp_path, "submit", "a.zip", "--store", "other.sqlite").wait()
    whole = time.monotonic() - started
    for attempt in range(5):
        process, workers = start(tmp_path, "submit", "a.zip", "--store", str(path)), set[int]()
        until = time.monotonic() + whole * (attempt + 2) / 6
        while time.monotonic() < until and process.poll() is None:
            workers |= children(process.pid)
            time.sleep(0.01)
        process.kill()
        process.wait()
        assert all(gone(pid) for pid in workers)
        store = Store(path)
        assert store.check_chain() == [] and store.head()[0] in (0, 1)
    (tmp_path / "b.zip").write_bytes(rolled)
    store = Store(path)
    assert store.submit(tmp_path / "b.zip", board).accepted or store.head()[0] == 1
    assert [entry.number for entry in store.entries(board)] == [1] and store.reverify() == []


def test_the_source_is_where_we_look() -> None:
    assert (SOURCE / "verify_worker.py").is_file() and (SOURCE / "store.py").is_file()
