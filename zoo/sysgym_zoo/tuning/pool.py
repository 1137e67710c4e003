"""The processes that work on a study: one here, or several where sweeps run too."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sysgym.core.errors import SysgymError, UsageError
from sysgym_zoo.jobs.console import say
from sysgym_zoo.sweeps.backends import DIED, TICK, TRIES, Backend, Task, interruptible, opened, signals, wait_for_all
from sysgym_zoo.tuning.study import Study
from sysgym_zoo.tuning.worker import work

Place = Callable[[], Backend]


def run(folder: Path, workers: int, place: Place | None = None) -> None:
    """Let so many processes work on a study until it is finished: in this one where it is one and there is no `place`.

    What a process that died leaves behind is taken up by another. KeyboardInterrupt where the user stopped it.
    """
    if workers == 1 and place is None:
        work(folder)
        return
    study = Study(folder)
    if place is None:
        raise UsageError("several processes need a place to run.")
    with opened(place()) as backend:
        backend.refuse(study.facts["threads"])
        _together(study, workers, backend)


def _together(study: Study, workers: int, backend: Backend) -> None:
    threads = study.facts["threads"]
    arguments = (str(study.folder.resolve()), os.getcwd())
    waiting, running, killed = [f"worker-{number}" for number in range(workers)], set[str](), Counter[str]()
    stopped: list[int] = []
    said: list[str] = []
    with signals(lambda number, frame: _stop(stopped, number)):
        while (waiting or running) and not stopped:
            while waiting and backend.room(threads):
                name = waiting.pop(0)
                backend.start(Task(name, worked, arguments, threads))
                running.add(name)
            for name, outcome in backend.ended(TICK):
                running.discard(name)
                if outcome["status"] == DIED and killed[name] + 1 < TRIES:
                    killed[name] += 1
                    waiting.append(name)
                    say(f"note: {name} died; what it left is gone on with.")
                elif outcome["status"] != "done":
                    said.append(str(outcome.get("error") or outcome["status"]))
            if study.over:
                waiting.clear()
        if stopped:
            say(f"stopping; {len(running)} process(es) keep what they have.")
            wait_for_all(backend, running)
            raise KeyboardInterrupt
    if not study.over:
        raise UsageError(f"no process is left to work on {study.folder}: {'; '.join(said) or 'all died'}.")


def _stop(stopped: list[int], number: int) -> None:
    if stopped:
        raise KeyboardInterrupt
    stopped.append(number)


def worked(folder: str, home: str) -> Mapping[str, Any]:
    """What one process does, as a task: it never raises. home: the folder that names of files count from."""
    before = os.getcwd()
    try:
        os.chdir(home)
        with interruptible():
            work(Path(folder))
    except KeyboardInterrupt:
        return {"status": "interrupted"}
    except Exception as error:
        what = str(error) if isinstance(error, SysgymError) else f"unexpected {type(error).__name__}: {error}"
        return {"status": "failed", "error": what}
    finally:
        os.chdir(before)
    return {"status": "done"}
