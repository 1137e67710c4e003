"""The folder of a study: its facts, and the locks that let several processes share it.

`study.json` what is tuned and how, `journal.log` the trials (unless a database holds them), `trials/NUMBER-sSEED/`
their trainings, `report/trial-NUMBER/sSEED/` those of a winner that is reported, `locks/` who works on what. Locks are
the kernel's (`flock`): it frees those of a process that was killed, so that a trial which is marked as running while
nobody holds its lock was left behind, and is taken up by the next process that looks. No clock, no heartbeat. The
folder may be shared over a network where its file system passes locks on.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sysgym.core.errors import UsageError
from sysgym.core.solutions import read_json
from sysgym_zoo.lookup.records import MOST_BYTES, fault, maybe, number, spent, table, text, whole

STUDY, JOURNAL, TRIALS, LOCKS, REPORT = "study.json", "journal.log", "trials", "locks", "report.json"
FIRST_SEED = 10_000  # of the trainings of a study; reports train with seeds from 0, so that no seed is both
MOST = 10**6  # trials, or seeds

FACTS = {
    "schema": text, "name": text, "word": text, "agent": text, "recipe": maybe(text), "problem": text,
    "options": [text], "changes": [text], "instances": text, "eval": {"instances": text, "every": whole(1, 10**15)},
    "budget": {"steps": maybe(whole(1, 10**15)), "cpu_seconds": maybe(spent)}, "seeds": whole(1, 10**4),
    "trials": whole(1, MOST), "threads": whole(1, 1024), "sampler": text, "pruner": text, "seed": whole(0, 2**63),
    "storage": maybe(text), "space": {"*": table}, "shipped": table, "hashes": {"train": [text], "valid": [text]},
    "started": text, "versions": table,
    "hyper?": table, "solved?": table, "files?": {"*": text}, "device?": text,  # which older studies do not say
}  # fmt: skip
REPORTED = {"set": text, "ratio": maybe(number), "cost": maybe(number), "feasible": number}


def read_facts(folder: Path) -> dict[str, Any]:
    """What a study is about; UsageError if the folder holds none."""
    file = folder / STUDY
    if not os.path.isfile(file):
        raise UsageError(f"{folder} is no study: it holds no {STUDY}.")
    found = read_json(file, MOST_BYTES)
    wrong = fault(found, FACTS)
    if wrong:
        raise UsageError(f"{file} does not say what is tuned ({wrong}); start a new study in another folder.")
    return {"device": "auto", **found}


def write_json(file: Path, value: Any) -> None:
    """Write plain data, whole or not at all."""
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    partial.write_text(json.dumps(value, indent=1) + "\n")
    partial.replace(file)


def read_report(folder: Path) -> dict[str, Any] | None:
    """What the study's winner was reported to do on a test set; None if it was not."""
    file = folder / REPORT
    if not file.is_file():
        return None
    found = read_json(file, MOST_BYTES)
    wrong = fault(found, REPORTED)
    if wrong:
        raise UsageError(f"{file} is damaged ({wrong}); it is not written a second time.")
    return dict(found)


def run_folder(folder: Path, trial: int, seed: int) -> Path:
    """Where a training of a trial is."""
    return folder / TRIALS / f"{trial:04d}-s{seed}"


def report_folder(folder: Path, trial: int, seed: int) -> Path:
    """Where a training of the report is: of a trial, as the winner may be another one once there are more trials."""
    return folder / "report" / f"trial-{trial:04d}" / f"s{seed}"


def set_aside(out: Path) -> Path:
    """Rename a folder, so that its place is free and nothing in it is lost; its new place."""
    number = 1
    while (there := out.with_name(f"{out.name}.other-{number}")).exists():
        number += 1
    return out.rename(there)


class Lock:
    """A lock that the kernel frees when its process ends, however that is."""

    def __init__(self, file: Path) -> None:
        self.file, self._held = file, -1

    def acquire(self, wait: bool = True) -> bool:
        """Take it; False if another holds it and `wait` is False."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        held = os.open(self.file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(held)
            return False
        self._held = held
        return True

    def release(self) -> None:
        """Let it go."""
        os.close(self._held)
        self._held = -1


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Only one process at a time looks for a trial to work on, or writes the study's files."""
    lock = Lock(folder / LOCKS / "study")
    lock.acquire()
    try:
        yield
    finally:
        lock.release()


def mended(journal: Path) -> None:
    """Cut off a last line that a killed process left unfinished; the journal's lock must be held."""
    with journal.open("r+b") as stream:
        size = stream.seek(0, os.SEEK_END)
        kept = size
        while kept:
            start = max(0, kept - 4096)
            stream.seek(start)
            place = stream.read(kept - start).rfind(b"\n")
            if place >= 0:
                kept = start + place + 1
                break
            kept = start
        if kept < size:
            stream.truncate(kept)
