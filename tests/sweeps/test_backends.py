"""Processes of this machine: warm from task to task, started anew when killed, ended with their head."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import here
import pytest

import sysgym
from sysgym_zoo.sweeps.backends import DIED, Backend, Ended, Local, Task, how_it_died

pytestmark = pytest.mark.xdist_group("processes")


@pytest.fixture
def local() -> Iterator[Local]:
    backend = Local(2)
    yield backend
    backend.close()


def all_of(backend: Backend, count: int) -> dict[str, Ended]:
    found: dict[str, Ended] = {}
    until = time.monotonic() + 60
    while len(found) < count and time.monotonic() < until:
        found |= {ended.id: ended for ended in backend.ended(0.2)}
    return found


def test_workers_stay_warm_and_answer(local: Local) -> None:
    pids, found = set(), {}
    for value in range(6):
        local.start(Task(str(value), here.doubled, (value,)))
        found |= all_of(local, 1)
    pids = {ended.outcome["pid"] for ended in found.values()}
    assert [found[str(value)].outcome["value"] for value in range(6)] == [0, 2, 4, 6, 8, 10]
    assert len(pids) == 1 and os.getpid() not in pids


def test_a_killed_worker_costs_its_task_only(local: Local, tmp_path: Path) -> None:
    mark = str(tmp_path / "mark")
    local.start(Task("killed", here.killed_once, (mark,)))
    local.start(Task("other", here.counted, (str(tmp_path), "other", 0.5)))
    found = all_of(local, 2)
    assert found["other"].outcome["status"] == "done"
    assert found["killed"].outcome == {
        "status": DIED, "error": "its process was killed (SIGKILL, as by a machine that runs out of memory).",
    }  # fmt: skip
    local.start(Task("killed", here.killed_once, (mark,)))
    assert all_of(local, 1)["killed"].outcome["status"] == "done"


def test_an_idle_worker_that_was_killed_is_replaced(local: Local) -> None:
    local.start(Task("one", here.doubled, (1,)))
    pid = all_of(local, 1)["one"].outcome["pid"]
    os.kill(pid, signal.SIGKILL)
    local.workers[0].process.join(10)
    local.start(Task("two", here.doubled, (2,)))
    found = all_of(local, 1)["two"].outcome
    if found["status"] == DIED:  # the pipe took the task before the kill was seen: the head starts it again
        local.start(Task("two", here.doubled, (2,)))
        found = all_of(local, 1)["two"].outcome
    assert found["value"] == 4 and found["pid"] != pid


def test_room_is_counted_in_threads(local: Local) -> None:
    with pytest.raises(sysgym.UsageError, match="3 threads, and there are 2 core"):
        local.refuse(3)
    local.refuse(2)
    assert local.room(2)
    local.start(Task("one", here.doubled, (1,), threads=2))
    assert not local.room(1)
    all_of(local, 1)
    assert local.room(2)


def test_interrupt_reaches_what_works(local: Local, tmp_path: Path) -> None:
    local.start(Task("idle", here.doubled, (1,)))
    all_of(local, 1)
    local.start(Task("waits", here.waits, (str(tmp_path / "mark"),)))
    while not (tmp_path / "mark").exists():
        time.sleep(0.01)
    local.interrupt()
    assert all_of(local, 1)["waits"].outcome["status"] == "interrupted"
    local.start(Task("after", here.doubled, (3,)))
    assert all_of(local, 1)["after"].outcome["value"] == 6  # the same worker goes on


def test_workers_do_not_outlive_their_head(tmp_path: Path) -> None:
    """SIGKILL of the head ends a worker in the middle of its task."""
    mark = tmp_path / "mark"
    code = (
        "import here, sys, time\n"
        "from sysgym_zoo.sweeps.backends import Local, Task\n"
        "if __name__ == '__main__':\n"
        "    backend = Local(1)\n"
        "    backend.start(Task('a', here.waits, (sys.argv[1],)))\n"
        "    time.sleep(600)\n"
    )
    (tmp_path / "head.py").write_text(code)
    paths = {"PYTHONPATH": str(Path(here.__file__).parent)}
    head = subprocess.Popen([sys.executable, tmp_path / "head.py", mark], env={**os.environ, **paths})
    while not mark.exists() or not mark.read_text():
        time.sleep(0.02)
    worker = int(mark.read_text())
    head.kill()
    head.wait()
    until = time.monotonic() + 20
    while time.monotonic() < until and Path(f"/proc/{worker}").exists() and _alive(worker):
        time.sleep(0.02)
    assert not _alive(worker)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rsplit(")", 1)[1].split()[0] != "Z"


@pytest.mark.parametrize(
    ("code", "said"), [(-9, "SIGKILL, as by"), (-11, "killed (SIGSEGV)"), (3, "exit code 3"), (-63, "killed (63)")]
)
def test_how_a_process_died(code: int, said: str) -> None:
    assert said in how_it_died(code)
