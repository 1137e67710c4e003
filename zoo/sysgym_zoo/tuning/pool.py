"""The processes of a study on this machine."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

from sysgym_zoo.jobs.console import say
from sysgym_zoo.tuning.study import Study
from sysgym_zoo.tuning.worker import work


def run(folder: Path, workers: int) -> None:
    """Let so many processes work on a study until it is finished. KeyboardInterrupt where the user stopped it.

    What a process that died leaves behind is taken up by another; if all of them died, by this one.
    """
    if workers > 1:
        context = get_context("spawn")
        started = [context.Process(target=_worked, args=(folder,)) for _ in range(workers)]
        for process in started:
            process.start()
        with _patient():
            for process in started:
                process.join()
        codes = [process.exitcode for process in started]
        if 130 in codes:
            raise KeyboardInterrupt
        if any(codes):
            say(f"note: {sum(map(bool, codes))} of {workers} processes died; what they left is gone on with.")
    if not Study(folder).over:
        work(folder)


def _worked(folder: Path) -> None:
    """One process."""
    try:
        work(folder)
    except KeyboardInterrupt:
        raise SystemExit(130) from None


@contextmanager
def _patient() -> Iterator[None]:
    """A Ctrl-C is for the processes, which keep what they have; this one waits for them."""
    previous = signal.signal(signal.SIGINT, lambda signum, frame: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
