"""Where runs take place: processes of this machine, which stay warm from run to run and are started anew when killed.

Those of a cluster and of a queue are in `on_ray` and `on_slurm`. What a task is to do, and whether it was done, is in
the sweep's folder; a backend only says that a process ended, and how.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple, Protocol

from sysgym.core.errors import UsageError
from sysgym.resources import cores as cores_here

TRIES = 3  # of a task whose process is killed
TICK = 0.5  # seconds between looks at the signals
DIED = "died"  # the status of a task whose process was killed
PATIENCE = 30.0  # seconds that runs get to keep what they have, after they were told to stop


class Task(NamedTuple):
    """A function of a module and its arguments, plain data; it returns a mapping with a `status`."""

    id: str
    function: Callable[..., Mapping[str, Any]]
    arguments: tuple[Any, ...]
    threads: int = 1


class Ended(NamedTuple):
    """A task that ended, and what its function returned; status `died` where its process did."""

    id: str
    outcome: Mapping[str, Any]


class Backend(Protocol):
    """Where tasks run. Whoever uses one starts no more than it has `room` for, and closes it."""

    def refuse(self, threads: int) -> None: ...  # UsageError if a task of so many threads could never run

    def room(self, threads: int) -> bool: ...  # whether it would run at once

    def start(self, task: Task) -> None: ...

    def ended(self, seconds: float) -> list[Ended]: ...  # waits for one, so long at most

    def interrupt(self) -> None: ...  # all that run are to keep what they have and end

    def close(self) -> None: ...


class _Worker:
    """A process that carries out one task after another."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs,), daemon=False)
        self.process.start()
        theirs.close()
        self.task: Task | None = None

    def start(self, task: Task) -> None:
        self.task = task
        self.pipe.send((task.function, task.arguments))


class Local:
    """Processes of this machine, at most one a core in use."""

    def __init__(self, cores: int | None = None) -> None:
        if cores is not None and cores > cores_here():
            raise UsageError(f"--cores {cores} is more than the {cores_here()} core(s) that this process may use.")
        self.cores = cores or cores_here()
        self.workers: list[_Worker] = []

    def refuse(self, threads: int) -> None:
        """UsageError if there are fewer cores than threads."""
        if threads > self.cores:
            raise UsageError(
                f"a run takes {threads} threads, and there are {self.cores} core(s) for this sweep; lower threads in "
                "its table, or give it more with --cores."
            )

    def room(self, threads: int) -> bool:
        """Whether so many cores are free."""
        return sum(worker.task.threads for worker in self.workers if worker.task) + threads <= self.cores

    def start(self, task: Task) -> None:
        """Let a worker that is free, or a new one, carry it out."""
        while True:
            worker = next((each for each in self.workers if each.task is None), None)
            if worker is None:
                worker = _Worker()
                self.workers.append(worker)
            try:
                worker.start(task)
                return
            except (BrokenPipeError, ConnectionError):  # it was killed while it had nothing to do
                self._drop(worker)

    def ended(self, seconds: float) -> list[Ended]:
        """What ended; a worker whose process is gone is dropped, and the next task starts another."""
        pipes: dict[Any, _Worker] = {worker.pipe: worker for worker in self.workers}
        if not pipes:
            time.sleep(min(seconds, 0.05))
            return []
        found = []
        for pipe in wait(list(pipes), seconds):
            worker = pipes[pipe]
            try:
                outcome = worker.pipe.recv()
            except (EOFError, ConnectionError):
                self._drop(worker)
                worker.process.join(PATIENCE)
                outcome = {"status": DIED, "error": how_it_died(worker.process.exitcode)}
            if worker.task is not None:
                found.append(Ended(worker.task.id, outcome))
                worker.task = None
        return found

    def interrupt(self) -> None:
        """SIGINT to each that works; trainings write a checkpoint."""
        for worker in self.workers:
            if worker.task is not None and worker.process.pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(worker.process.pid, signal.SIGINT)

    def close(self) -> None:
        """End the workers."""
        for worker in self.workers:
            worker.pipe.close()  # an idle one ends by itself
            if worker.task is not None:
                worker.process.kill()
        for worker in self.workers:
            worker.process.join(PATIENCE)
            if worker.process.is_alive():
                worker.process.kill()
        self.workers.clear()

    def _drop(self, worker: _Worker) -> None:
        self.workers.remove(worker)
        worker.pipe.close()


def how_it_died(code: int | None) -> str:
    """A sentence for the exit code of a process."""
    if code is not None and code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
        hint = ", as by a machine that runs out of memory" if name == "SIGKILL" else ""
        return f"its process was killed ({name}{hint})."
    return f"its process ended with exit code {code}."


def serve(pipe: Connection) -> None:
    """Carry out what comes through a pipe until it is closed; a worker does not outlive the process that started it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the head tells whom to stop, once; a run sets its own handler
    if sys.platform != "win32":
        os.setpgrp()  # else Ctrl-C on a terminal comes a second time
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
    while True:
        try:
            function, arguments = pipe.recv()
            pipe.send(function(*arguments))
        except (EOFError, ConnectionError):
            return


def wait_for_all(backend: Backend, running: set[str]) -> list[Ended]:
    """Tell all that run to keep what they have and end, and wait for that, but not for ever."""
    backend.interrupt()
    until, found = time.monotonic() + PATIENCE, list[Ended]()
    while running and time.monotonic() < until:
        for ended in backend.ended(TICK):
            running.discard(ended.id)
            found.append(ended)
    return found


@contextmanager
def signals(stop: Callable[[int, Any], None]) -> Iterator[None]:
    """Let SIGINT and SIGTERM call `stop` within, where this is the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGINT be a KeyboardInterrupt within, where this is the main thread; a worker ignores it between tasks."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def opened(backend: Backend) -> Iterator[Backend]:
    """A backend that is closed at the end."""
    try:
        yield backend
    finally:
        backend.close()
